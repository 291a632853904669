"""A plan in the making: the state being changed, the actions so far, and what the graph says about both.

Rule 1: it lives inside one call of `plan`; what leaves that call is frozen again.
Rule 2: questions about standing have one answer here, for starting work, for holds and for what is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal

from procwatch.core import messages as msg
from procwatch.core import overlap
from procwatch.core.graph import closure
from procwatch.core.model import Build, Need, Project, Release, Releases, Service
from procwatch.core.state import (
    ALIVE,
    ASKED,
    DEFINITION,
    Basis,
    BuildState,
    Remembered,
    RememberedService,
    ServiceState,
    State,
)  # fmt: skip
from procwatch.sums import blake2b

# "one stopped three times in a row is let finish" (contract, Change).
STOPS_LIMIT = 3

# fresh: last succeeded at the wanted key; busy: that may change without anybody's help; failed: not before an edit.
Standing = Literal["fresh", "busy", "failed"]


class Draft:
    """State, actions and holds of one `plan`, and the questions that its rules ask."""

    def __init__(self, project: Project, state: State, now_s: float) -> None:
        self.project = project
        self.now_s = now_s
        self.state = state
        self.builds = dict(state.builds)
        self.services = dict(state.services)
        self.actions: list[msg.Action] = []
        self.holds: dict[str, str] = {}
        self._standings: dict[str, Standing] | None = None

    def freeze(self) -> State:
        """The state as it is now."""
        return replace(self.state, builds=self.builds, services=self.services)

    def set_build(self, name: str, **changes: Any) -> None:
        """Replace fields of one build's state."""
        self.put_build(name, replace(self.builds[name], **changes))

    def put_build(self, name: str, state: BuildState) -> None:
        """Replace one build's state; what was known of standings no longer holds."""
        self.builds[name] = state
        self._standings = None

    def set_service(self, name: str, **changes: Any) -> None:
        """Replace fields of one service's state."""
        self.services[name] = replace(self.services[name], **changes)

    def step(self, name: str, event: overlap.OverlapEvent) -> None:
        """Have a service go on with its life; what is started for it is told from which releases."""
        service, before = self.project.services[name], self.services[name]
        after, actions = overlap.step(service, before, event, self.now_s)
        self.services[name] = after
        for action in actions:
            if isinstance(action, msg.StartInstance):
                self._started_from(service, action)
        self._note_charge(service, before)
        for action in actions:
            match action:
                case msg.StartInstance() | msg.RunHook():
                    self.actions.append(replace(action, releases=self._releases_of(service, before, action)))
                case _:
                    self.actions.append(action)

    def _started_from(self, service: Service, action: msg.StartInstance) -> None:
        """Note which releases an instance is started from."""
        state = self.services[service.name]
        basis = state.candidate.basis if action.beside and state.candidate else state.basis
        beside = {**state.beside, action.instance: self.releases_for(service, basis)}
        self.set_service(service.name, beside=beside)

    def _note_charge(self, service: Service, before: ServiceState) -> None:
        """Another instance may be in charge: what has served well before can be gone back to."""
        state = self.services[service.name]
        is_other, beside = state.instance != before.instance, dict(state.beside)
        if is_other:
            beside[before.instance] = state.releases
        releases = beside.pop(state.instance, state.releases)
        if releases != state.releases:
            proven = (state.releases,) if state.is_proven and state.releases else ()
            self.set_service(service.name, releases=releases, is_proven=False, history=(*state.history, *proven))
        if state.ready and not state.unverified and (is_other or not before.ready):
            self.set_service(service.name, is_proven=True)
        there = state.others | ({state.candidate.instance} if state.candidate else set())
        left = {number: beside[number] for number in beside if number in there}
        if left != state.beside:
            self.set_service(service.name, beside=left)

    def _releases_of(self, service: Service, before: ServiceState, action: msg.StartInstance | msg.RunHook) -> Releases:
        """The releases of the instance that an action is about."""
        state = self.services[service.name]
        if isinstance(action, msg.RunHook) and action.hook == "pre_start":
            return self.releases_for(service, state.going_to)
        number = action.run if isinstance(action, msg.RunHook) else action.instance
        known = {before.instance: before.releases, **before.beside, **state.beside, state.instance: state.releases}
        return known.get(number, state.releases)

    def check(self, name: str, *, settled: bool = False) -> None:
        """Have the inputs of a unit read; what is known of them until the answer is old. `settled` as in the action."""
        number = self.state.checks + 1
        self.state = replace(self.state, checks=number)
        if name in self.builds:
            self.set_build(name, check=number, news=False, looked=False)
        else:
            self.set_service(name, check=number, news=False)
        self.actions.append(msg.CheckInputs(name, number, settled))

    def join(self, names: Iterable[str]) -> None:
        """Have these units, and what they need, take part from now on; an excepted one only if it is among `names`."""
        self.state = replace(self.state, excepted=self.state.excepted.difference(names))
        joining = self.needed(names)
        for name in self.project.units:
            if name not in self.builds and name not in self.services and name in joining:
                self._add(name)
        self.use(self.project)

    def use(self, project: Project) -> None:
        """Go by this project from now on; what was known of the graph no longer holds."""
        self.project = project
        for known in ("active_builds", "active_services", "dependents"):
            self.__dict__.pop(known, None)
        self._standings = None

    def _add(self, name: str) -> None:
        number, timer = self.state.numbers.get(name, (0, 0))
        if name in self.project.services:
            kept = self.state.before.get(name, RememberedService())
            self.services[name] = ServiceState(
                instance=number, newest=number, timer=timer, history=kept.history, pinned=kept.pinned
            )
        else:
            made = first_build(self.project.builds[name], self.state.absent.get(name))
            self.builds[name] = replace(made, timer=timer)

    # --- the graph ---------------------------------------------------------------------------------------------------

    def needed(self, names: Iterable[str]) -> frozenset[str]:
        """These units and everything that they need, but what is excepted and what is needed by that alone."""
        return closure(needs_without(self.project, self.state.excepted), names)

    @cached_property
    def active_builds(self) -> tuple[Build, ...]:
        """The builds that take part, needed ones first."""
        return tuple(build for name, build in self.project.builds.items() if name in self.builds)

    @cached_property
    def active_services(self) -> tuple[Service, ...]:
        """The services that take part, needed ones first."""
        return tuple(service for name, service in self.project.services.items() if name in self.services)

    @cached_property
    def dependents(self) -> dict[str, tuple[str, ...]]:
        """Name -> the active units that need it directly."""
        found: dict[str, list[str]] = {}
        for unit in (*self.active_builds, *self.active_services):
            for need in unit.needs:
                found.setdefault(need.name, []).append(unit.name)
        return {name: tuple(users) for name, users in found.items()}

    def below(self, name: str) -> tuple[str, ...]:
        """Everything that needs `name`, directly or not."""
        found: dict[str, None] = {}
        pending = list(self.dependents.get(name, ()))
        while pending:
            user = pending.pop()
            if user not in found:
                found[user] = None
                pending.extend(self.dependents.get(user, ()))
        return tuple(found)

    def services_below(self, name: str) -> tuple[str, ...]:
        """The services among those."""
        return tuple(user for user in self.below(name) if user in self.services)

    def above(self, unit: Build | Service) -> tuple[str, ...]:
        """The builds that `unit` needs, directly or through other builds."""
        found: dict[str, None] = {}
        pending = [need.name for need in unit.build_needs]
        while pending:
            name = pending.pop()
            if name not in found:
                found[name] = None
                pending.extend(need.name for need in self.project.builds[name].build_needs)
        return tuple(found)

    # --- builds ------------------------------------------------------------------------------------------------------

    def wanted_key(self, build: Build) -> str | None:
        """The key of its inputs as they are known now; None while those of something it needs are not."""
        state = self.builds[build.name]
        needed = [self.version(need) for need in build.build_needs]
        if state.digest is None or None in needed:
            return None
        return join_keys(state.digest, [key for key in needed if key is not None])

    def standings(self) -> dict[str, Standing]:
        """Where every active build stands; a build is fresh only if all that it needs is."""
        if self._standings is None:
            self._standings = {}
            for build in self.active_builds:
                self._standings[build.name] = self._standing(build, self._standings)
        return self._standings

    def _standing(self, build: Build, found: dict[str, Standing]) -> Standing:
        state = self.builds[build.name]
        if state.offered:
            return "fresh"
        needed = {found[need.name] for need in build.build_needs}
        if state.activity != "idle" or "busy" in needed:
            return "busy"
        if "failed" in needed:
            return "failed"
        if state.due or state.check:
            return "busy"
        wanted = self.wanted_key(build)
        if wanted != state.judged:
            return "busy"
        return "fresh" if state.failure is None else "failed"

    def worst(self, names: Iterable[str], standings: Mapping[str, Standing]) -> Standing:
        """The standing of several builds together."""
        met = {standings[name] for name in names}
        return "busy" if "busy" in met else "failed" if "failed" in met else "fresh"

    def in_place(self, unit: Build | Service) -> tuple[str, ...]:
        """The builds whose runs disturb what `unit` is started from: those without outputs, and what these need."""
        needed = [self.project.builds[need.name] for need in unit.build_needs]
        exposed = [build for build in needed if not build.outputs]
        return tuple(dict.fromkeys(name for build in exposed for name in (build.name, *self.above(build))))

    def under_way(self) -> list[Build]:
        """The builds that have processes."""
        return [build for build in self.active_builds if self.builds[build.name].activity in {"running", "stopping"}]

    # --- services ----------------------------------------------------------------------------------------------------

    def wanted_basis(self, service: Service, standings: dict[str, Standing]) -> Basis | None:
        """What it would be started with now; None while it cannot be, or a build that it needs is not fresh."""
        state = self.services[service.name]
        if state.digest is None or state.problem:
            return None
        held = {name for name, _ in state.pinned}  # what it has gone back to need not be fresh
        if self.worst((need.name for need in service.build_needs if need.name not in held), standings) != "fresh":
            return None
        return self.newest_basis(service)

    def newest_basis(self, service: Service) -> Basis:
        """What it would be started with from what its needs last came to, fresh or not."""
        state = self.services[service.name]
        parts = [(DEFINITION, state.digest or "")]
        parts.extend((need.name, self.version(need) or "") for need in service.needs if need.restart)
        basis = (*parts, (ASKED, str(state.asks)))
        return self.pin(service, basis) if state.pinned else basis  # every plan asks it of every service

    def pin(self, service: Service, basis: Basis) -> Basis:
        """The basis, with the releases that the service has been taken back to."""
        pinned, held = dict(self.services[service.name].pinned), dict[str, str]()
        for need in service.build_needs:
            for release in self.builds[need.name].releases:
                if release.number == pinned.get(need.name):
                    held[need.name] = content(release, need.uses or self.project.builds[need.name].outputs)
        return tuple((source, held.get(source, value)) for source, value in basis)

    def earlier_basis(self, service: Service, standings: Mapping[str, Standing]) -> Basis | None:
        """For a first start while builds have failed: the newest good releases, if there are any of an earlier time."""
        state = self.services[service.name]
        if state.basis is not None or state.digest is None or state.problem:
            return None
        for need in service.build_needs:
            has_release = self.project.builds[need.name].outputs and self.version(need) is not None
            if standings[need.name] == "busy" or (standings[need.name] == "failed" and not has_release):
                return None
        return self.newest_basis(service)

    def version(self, need: Need) -> str | None:
        """What a needed unit last came to: of a build with outputs those that are used, else its key; None: nothing."""
        if need.name in self.services:
            return str(self.services[need.name].generation)
        if need.name not in self.builds:  # excepted
            return ""
        state, outputs = self.builds[need.name], self.project.builds[need.name].outputs
        if not outputs:
            return state.key
        return content(state.releases[-1], need.uses or outputs) if state.releases else None

    def releases_for(self, service: Service, basis: Basis | None) -> Releases:
        """The releases that make up `basis`: the newest, or those in use as long as one of its builds is not fresh."""
        if not service.build_needs:
            return ()
        state, wanted = self.services[service.name], dict(basis or ())
        is_fresh = self.worst((need.name for need in service.build_needs), self.standings()) == "fresh"
        used = dict(state.pinned) if is_fresh else {**dict(state.releases), **dict(state.pinned)}
        found: list[tuple[str, int]] = []
        for need in service.build_needs:
            outputs, known = self.project.builds[need.name].outputs, self.builds[need.name].releases
            if not outputs:
                continue
            of_that = [one for one in known if wanted.get(need.name) in (None, content(one, need.uses or outputs))]
            numbers = [one.number for one in of_that or known]
            if numbers:
                number = used.get(need.name)
                found.append((need.name, number if number in numbers else numbers[-1]))
        return tuple(found)

    def is_alive(self, name: str) -> bool:
        """Whether anything of this unit runs."""
        if name in self.builds:
            return self.builds[name].activity in {"running", "stopping"}
        return self.services[name].phase in ALIVE or bool(self.services[name].others)


def needs_without(project: Project, excepted: frozenset[str]) -> dict[str, tuple[str, ...]]:
    """Unit -> the units that it needs, as if nothing needed the excepted ones."""
    return {
        name: tuple(need.name for need in unit.needs if need.name not in excepted)
        for name, unit in project.units.items()
    }


def first_build(build: Build, before: Remembered | None) -> BuildState:
    """`at_start` says whether the last success of an earlier supervisor counts, or what is on disk, or neither."""
    fresh = BuildState(
        force=build.at_start == "always", adopt=build.at_start == "never", run=before.run if before else 0,
        releases=before.releases if before else (),
    )  # fmt: skip
    if before is None or build.at_start == "always" or (build.outputs and not before.is_whole):
        return fresh
    # "its last run succeeded": while procwatch runs that does not matter where there is a release.
    has_to_run = bool(build.outputs) and build.at_start == "changed" and not before.clean
    return replace(fresh, key=before.key, clean=before.clean, force=has_to_run)


def content(release: Release, outputs: tuple[str, ...]) -> str:
    """What these entries of `outputs` hold in a release; of one that it was made without, nothing."""
    return join_keys("", [release.digests.get(output, "") for output in outputs])


def join_keys(digest: str, needed: list[str]) -> str:
    """The key of a build from its own digest and the keys of the builds it needs, in the order of `needs`."""
    return blake2b("\n".join([digest, *needed]).encode(), digest_size=16).hexdigest()
