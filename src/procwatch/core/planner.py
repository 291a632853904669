"""Decide what to do next: (project, state, event, time) -> (new state, actions, holds).

Rule 1: pure. No clock, file, process or task; the same input gives the same plan.
Rule 2: nothing waits in silence. Due work that is not started has a hold that says why.
Rule 3: a service moves to a new build only when every build it needs has succeeded at the content of now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from procwatch.core import asked, builds, echoes, ending, graph, holds, life, releases, reload, replicas
from procwatch.core import messages as msg
from procwatch.core.draft import STOPS_LIMIT, Draft, Standing, needs_without
from procwatch.core.model import Build, Project, Service
from procwatch.core.state import (
    ALIVE,
    ASKED,
    DISTURBED,
    Basis,
    Phase,
    Remembered,
    RememberedService,
    State,
)  # fmt: skip
from procwatch.frozen import frozen

# For which a service would be stopped, or started, at once.
_TROUBLES = (msg.InstanceNotReady, msg.InstanceUnhealthy, msg.TimerFired)
_Life = (
    msg.InputsChecked | msg.BuildFinished | msg.HookFinished | msg.InstanceStarted | msg.InstanceReady
    | msg.InstanceNotReady | msg.InstanceUnhealthy | msg.InstanceLeaving | msg.InstanceEnded | msg.TimerFired
)  # fmt: skip


@frozen
class Plan:
    """What one event leads to.

    `project`: what to go on with; it has what was removed until that has ended. `holds`: unit -> why its due work
    waits. `at_rest`: nothing is under way or about to be.
    """

    project: Project

    state: State
    actions: tuple[msg.Action, ...]
    holds: Mapping[str, str]
    at_rest: bool


def taking_part(project: Project, names: Iterable[str], excepted: frozenset[str] = frozenset()) -> frozenset[str]:
    """These (full names) and everything that they need, but what is excepted and what is needed by that alone."""
    return graph.closure(needs_without(project, excepted), names)


def initial(
    project: Project,
    names: Iterable[str],
    remembered: Mapping[str, Remembered],
    services: Mapping[str, RememberedService] | None = None,
    *,
    watching: bool = True,
    excepted: frozenset[str] = frozenset(),
) -> State:
    """The state before anything has started: `names` (full names) and what they need take part, `excepted` do not."""
    state = State({}, {}, absent=remembered, before=services or {}, watching=watching, excepted=excepted)
    draft = Draft(project, state, 0.0)
    draft.join(names)
    releases.forget_what_is_gone(draft)
    return draft.freeze()


def plan(project: Project, state: State, event: msg.Event, now_s: float) -> Plan:
    """Everything that `event` makes possible at the monotonic time `now_s`, and why the rest has to wait."""
    draft = Draft(project, state, now_s)
    for single in event.events if isinstance(event, msg.Together) else (event,):
        _record(draft, single)
    resting = False
    if draft.state.exit_code is not None:
        ending.shut_down(draft)
    elif draft.state.begun:
        while _advance(draft):
            pass
        releases.prune(draft)
        releases.remember(draft)
        resting = ending.at_rest(draft)
        if resting and not draft.state.watching:
            ending.end_by_itself(draft)
    return Plan(draft.project, draft.freeze(), tuple(draft.actions), draft.holds, resting)


# --- what happened ---------------------------------------------------------------------------------------------------


def _record(draft: Draft, event: msg.Single) -> None:
    """Write the event into the state; nothing is started here."""
    match event:
        case msg.Begun():
            draft.state = replace(draft.state, begun=True)
        case msg.FilesChanged():
            _note_changes(draft, event)
        case msg.StopAsked():
            _note_stop(draft, event)
        case msg.ProjectChanged():
            reload.note(draft, event)
        case msg.ReleasesLost(names):
            builds.note_lost(draft, names)
        case msg.ServicesAsked() | msg.BuildsAsked() | msg.RollbackAsked() | msg.PauseAsked():
            asked.note(draft, event)
        case _ if event.name in draft.services | draft.builds:
            _note_life(draft, event)


def _note_life(draft: Draft, event: _Life) -> None:
    """Of one unit that takes part."""
    match event:
        case msg.InputsChecked(name) if name in draft.builds:
            builds.note_check(draft, event)
        case msg.InputsChecked():
            _note_definition(draft, event)
        case msg.BuildFinished():
            builds.note_finish(draft, event)
        case msg.TimerFired(name) if name in draft.builds:
            builds.note_pause_over(draft, event)
        case _:
            _note_service(draft, event.name, event)


def _note_service(draft: Draft, name: str, event: life.ServiceEvent) -> None:
    if isinstance(event, _TROUBLES) and draft.state.exit_code is not None:
        return  # it is stopped in its turn: not before what needs it
    if isinstance(event, msg.InstanceEnded) and event.instance == draft.services[name].instance:
        _note_end(draft, name)
    before = draft.services[name]
    draft.step(name, event)
    releases.note_end(draft, draft.project.services[name], before)


def _note_end(draft: Draft, name: str) -> None:
    """What comes after the end of the newest instance is not decided by the service alone."""
    state = draft.services[name]
    if state.phase is Phase.OVERLAPPING and (draft.state.exit_code is not None or name in draft.state.removed):
        draft.step(name, life.Stop())  # its candidate as well
    elif draft.state.exit_code is not None:
        # All is being stopped: one that ends before it is asked to is not restarted, and is no crash.
        draft.set_service(name, phase=Phase.STOPPING)
    elif name in draft.state.removed:
        draft.set_service(name, phase=Phase.STOPPING)  # the same: it waits only for those that need it
    elif state.phase is Phase.RETIRING:
        wanted = draft.wanted_basis(draft.project.services[name], draft.standings())
        if wanted is not None and (wanted != state.going_to or state.news):
            draft.set_service(name, going_to=None)  # what it was to move to is old already


def _note_changes(draft: Draft, event: msg.FilesChanged) -> None:
    affected = [name for name in draft.project.units if name in event.readers or name in event.touched]
    affected = [name for name in affected if name in draft.services or _may_be_due(draft, name)]
    affected = [name for name in affected if name not in draft.state.removed]
    if not affected or draft.state.exit_code is not None:
        return
    draft.actions.append(msg.Notice("files_changed", paths=event.paths, names=tuple(affected)))
    echoes.note(draft, event, affected)
    for name in affected:
        if name in draft.builds:
            builds.note_changes(draft, name, event.readers[name])
            continue
        state = draft.services[name]
        asks = state.asks + (name in event.touched)
        news = state.news or name in event.readers
        own = builds.joined(event.readers.get(name, ()), event.touched.get(name, ()))
        changed = builds.joined(state.changed, own)
        draft.set_service(name, asks=asks, news=news, changed=changed, refused=None)


def _may_be_due(draft: Draft, name: str) -> bool:
    """Whether a change makes this build due: it takes part, and does not wait to be asked."""
    return name in draft.builds and not draft.project.builds[name].manual


def _note_definition(draft: Draft, event: msg.InputsChecked) -> None:
    state = draft.services.get(event.name)
    if state is not None and event.check == state.check:
        draft.set_service(event.name, check=0, digest=event.digest, problem=event.problem)


def _note_stop(draft: Draft, event: msg.StopAsked) -> None:
    if draft.state.exit_code is None:
        draft.state = replace(draft.state, exit_code=event.exit_code)
        if not event.is_done or any(draft.is_alive(name) for name in draft.services):
            draft.actions.append(msg.Notice("stopping"))


# --- what follows ----------------------------------------------------------------------------------------------------


def _advance(draft: Draft) -> bool:
    """One round over everything that is due; False when it changed nothing any more."""
    reload.see_off(draft)
    before = (dict(draft.builds), dict(draft.services))
    draft.holds = {}
    _spread(draft)
    for build in draft.active_builds:
        _advance_build(draft, build)
    for service in draft.active_services:
        _advance_service(draft, service)
    return before != (draft.builds, draft.services)


def _spread(draft: Draft) -> None:
    """What an upstream build has come to reaches the builds below it: new keys make due, new runs stop."""
    standings = draft.standings()
    for build in draft.active_builds:
        state = draft.builds[build.name]
        if state.offered and not state.due and _needs(draft, build, standings) == "fresh":
            draft.set_build(build.name, offered=False)
        if not build.build_needs or build.manual:
            continue
        rerun = [need.name for need in build.build_needs if _is_moving_on(draft, need.name, standings)]
        if state.activity == "running" and rerun:
            builds.stop(draft, build.name, f"{rerun[0]} runs again")
        elif state.activity == "idle" and not state.due and _needs(draft, build, standings) == "fresh":
            wanted = draft.wanted_key(build)
            if wanted is not None and wanted != state.judged:
                draft.set_build(build.name, due=True, news=True, looked=False)


def _needs(draft: Draft, unit: Build | Service, standings: Mapping[str, Standing]) -> Standing:
    """How the builds that a unit needs stand together."""
    return draft.worst((need.name for need in unit.build_needs), standings)


def _is_moving_on(draft: Draft, name: str, standings: Mapping[str, Standing]) -> bool:
    """Whether a needed build has begun a new run, or something that it needs has."""
    if standings[name] == "fresh":
        return False
    names = (name, *draft.above(draft.project.builds[name]))
    return any(draft.builds[other].activity in {"running", "stopping"} for other in names)


def _advance_build(draft: Draft, build: Build) -> None:
    state = draft.builds[build.name]
    if state.activity in {"running", "stopping"}:
        if state.news and not state.check and state.activity == "running":
            draft.check(build.name)
        return
    standings = draft.standings()
    needs = _needs(draft, build, standings)
    if state.activity == "verifying":
        if not state.check and not state.looked:
            # A run that was started within a burst ends within it: only after that it is known what it has seen.
            draft.check(build.name, settled=True)
        elif state.looked and (needs != "busy" or state.stops >= STOPS_LIMIT):
            builds.judge(draft, build, needs == "fresh")
    elif state.due and not state.check:
        _advance_due_build(draft, build, standings)
    state = draft.builds[build.name]
    if state.check and state.news and (state.activity == "verifying" or (state.due and state.stops)):
        # Looked at only when no more comes, and more has come.
        draft.holds[build.name] = "waits until its files have stopped changing"


def _advance_due_build(draft: Draft, build: Build, standings: dict[str, Standing]) -> None:
    """An idle build that is due: hold it, look at its inputs, or start it."""
    state = draft.builds[build.name]
    if build.name in draft.state.paused and not state.asked:
        draft.holds[build.name] = "paused"
        return
    if hold := holds.of_build(draft, build, standings):
        draft.holds[build.name] = hold
        return
    no_place = holds.of_place(draft, build)
    if no_place:
        draft.holds[build.name] = no_place
    if not state.looked:
        # Without a place to run it is looked at only for news: there may be nothing to do.
        if state.news or not no_place:
            draft.check(build.name, settled=state.stops > 0)
        return
    if not builds.must_run(draft, build):
        draft.holds.pop(build.name, None)
    elif no_place:
        draft.set_build(build.name, looked=False)
    elif pause := builds.must_pause(draft, build):
        draft.holds[build.name] = pause
    else:
        builds.start(draft, build)


def _advance_service(draft: Draft, service: Service) -> None:
    state = draft.services[service.name]
    if not state.wanted:
        asked.stop_unwanted(draft, service)
        return
    if state.news and not state.check:
        draft.check(service.name)
        return
    if state.check or state.phase in {Phase.PREPARING, Phase.SWITCHING, Phase.RETIRING, Phase.FAILING, Phase.STOPPING}:
        return
    standings = draft.standings()
    wanted = draft.wanted_basis(service, standings)
    current = state.candidate.basis if state.candidate else state.basis
    if not state.due and (wanted is None or wanted in (current, state.refused)):
        if wanted is None and (reason := holds.not_fresh(draft, service, standings)):
            draft.holds[service.name] = f"outdated: {reason}"
        return
    if service.name in draft.state.paused and not state.due:
        draft.holds[service.name] = "paused"
        return
    basis = _next_basis(draft, service, standings, wanted)
    hold = holds.of_service(draft, service, standings, basis, settled=wanted is not None and wanted != current)
    if hold or basis is None:
        draft.holds[service.name] = hold or "waits for its builds"
    else:
        draft.step(service.name, life.Go(basis))


def _next_basis(draft: Draft, service: Service, standings: dict[str, Standing], wanted: Basis | None) -> Basis | None:
    """What is wanted; what ran before where that cannot be had, or where it has died and that has come to nothing."""
    state = draft.services[service.name]
    if wanted is None:
        return _same_again(draft, service) or draft.earlier_basis(service, standings)
    has_died = state.phase not in ALIVE and not draft.in_place(service)
    if has_died and (wanted == state.refused or replicas.stuck(draft, service)):
        return _same_again(draft, service) or wanted
    return wanted


def _same_again(draft: Draft, service: Service) -> Basis | None:
    """What ran before is started again although a build has failed since (after a crash, or when a user asks for it).

    Not while a build without outputs runs.
    """
    state = draft.services[service.name]
    basis, in_place = state.basis, draft.in_place(service)
    if basis is None or any(_will_run(draft, name) for name in in_place):
        return None
    runs = [f"{name} {draft.builds[name].run}" for name in in_place if not draft.builds[name].clean]
    kept = tuple(part for part in draft.pin(service, basis) if part[0] not in {DISTURBED, ASKED})
    kept = (*kept, (ASKED, str(state.asks)))
    return (*kept, (DISTURBED, ", ".join(runs))) if runs else kept


def _will_run(draft: Draft, name: str) -> bool:
    """Whether a build runs or is about to."""
    state = draft.builds[name]
    is_due = (state.due or state.check != 0) and name not in draft.state.paused
    return state.activity != "idle" or is_due
