"""Apply a changed project by difference: what is the same in both goes on as if nothing had happened.

Rule 1: what a unit runs and reads decides whether it is looked at again; its digest decides what follows, as after any
        change of a file. All else of a definition counts from its next use on.
Rule 2: what was removed is stopped with its old definition, after what needs it, then forgotten. What is new waits for
        that: a renamed unit is a stop and a start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from procwatch.core import builds, overlap, releases
from procwatch.core import messages as msg
from procwatch.core.draft import Draft
from procwatch.core.model import Build, Project, Service, definition
from procwatch.core.state import ALIVE, Phase, Remembered
from procwatch.frozen import frozen

# So many names are told of each kind; a changed `project.env` changes all of them.
_MOST_TOLD = 5


@frozen
class Difference:
    """Full names: units that are not the same in both projects, that only the new one has, and only the old one."""

    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    isolation: bool = False

    @property
    def words(self) -> str:
        """What changes, for the user."""
        kinds = (("changed", self.changed), ("new", self.added), ("gone", self.removed))
        told = [f"{kind}: {_listed(names)}" for kind, names in kinds if names]
        if self.isolation:
            told.append("project.isolation counts from the next start of procwatch on")
        return "; ".join(told) or "no build or service is changed by it"


def difference(old: Project, new: Project) -> Difference:
    """What a change of the configuration comes to."""
    before, after = old.units, new.units
    both = [name for name in after if name in before]
    return Difference(
        tuple(name for name in both if before[name] != after[name] or _is_touched(old, new, name)),
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        old.isolation != new.isolation,
    )


def note(draft: Draft, event: msg.ProjectChanged) -> None:
    """Take the new project, and write down what is due for it."""
    if draft.state.exit_code is not None:
        return
    new, old = event.project, draft.project
    current = old.only(old.units.keys() - draft.state.removed)
    gone = {name for name in old.units if name not in new.units and (name in draft.builds or name in draft.services)}
    back = [name for name in draft.state.removed if name in new.units]
    draft.use(_with_old(new, old, gone))
    paused = draft.state.paused.intersection(new.units)
    draft.state = replace(draft.state, removed=frozenset(gone), watching=event.watching, paused=paused)
    for name in gone:
        _give_up(draft, name)
    for name in new.units:
        if name in old.units and (name in back or _is_touched(old, new, name)):
            _look_again(draft, name, is_redefined=definition(old, old.units[name]) != definition(new, new.units[name]))
    for name in back:
        _take_back(draft, name)
    wanted = [name for name in event.names if name not in draft.state.excepted]
    draft.join((*wanted, *(name for name in new.units if name in draft.builds or name in draft.services)))
    releases.forget_what_is_gone(draft)
    told = difference(current, new)
    names = (*told.changed, *told.added, *told.removed)
    draft.actions.append(msg.Notice("config_reloaded", effect=told.words, names=names))


def see_off(draft: Draft) -> None:
    """Stop the runs of builds that were removed, and forget what has ended; services are stopped as by hand."""
    ended = [name for name in draft.state.removed if not _still_runs(draft, name)]
    for name in ended:
        _forget(draft, name)
    if ended:
        left = draft.state.removed - set(ended)
        draft.state = replace(draft.state, removed=left)
        draft.use(draft.project.only(draft.project.units.keys() - set(ended)))


def newcomer_hold(draft: Draft, unit: Build | Service) -> str | None:
    """Why a unit that has not run yet is not started: it may be one that was removed, under another name."""
    if not draft.state.removed:
        return None
    if unit.name in draft.builds:
        has_run = draft.builds[unit.name].run_digest is not None
    else:
        has_run = draft.services[unit.name].basis is not None
    return None if has_run else f"waits until {min(draft.state.removed)} has ended"


def _is_touched(old: Project, new: Project, name: str) -> bool:
    """Whether a unit that is in both may be outdated: it runs, reads or needs something else."""
    return _subject(old, old.units[name]) != _subject(new, new.units[name])


def _subject(project: Project, unit: Build | Service) -> tuple[object, ...]:
    reads = (unit.watch, unit.ignore, project.watch.ignore, project.watch.gitignore)
    # `switch` decides whether another address can be had beside the old one.
    own = unit.unchanged if isinstance(unit, Build) else bool(unit.listen or unit.proxy) and unit.switch
    return (definition(project, unit), unit.needs, reads, own)


def _with_old(new: Project, old: Project, gone: Iterable[str]) -> Project:
    """The new project, with those of the old one that are still to be stopped; all that these need is each other."""
    kept = {name: old.units[name] for name in gone}
    ghosts = {
        name: replace(unit, needs=tuple(need for need in unit.service_needs if need.name in kept))
        for name, unit in kept.items()
    }
    return replace(
        new,
        builds={**new.builds, **{name: unit for name, unit in ghosts.items() if isinstance(unit, Build)}},
        services={**new.services, **{name: unit for name, unit in ghosts.items() if isinstance(unit, Service)}},
    )


def _give_up(draft: Draft, name: str) -> None:
    """It is to end."""
    if name in draft.services:
        draft.set_service(name, wanted=False, due=False, news=False, check=0)
        return
    state = draft.builds[name]
    draft.set_build(name, due=False, news=False, check=0, asked=False)
    if state.activity == "running":
        builds.stop(draft, name, "it has been removed")


def _look_again(draft: Draft, name: str, *, is_redefined: bool) -> None:
    """Its inputs or its definition are others: what is known of them is old, an answer that is under way too."""
    if name in draft.services:
        draft.set_service(name, news=True, check=0, refused=None)
        if is_redefined:
            _drop_candidate(draft, name)
    elif name in draft.builds:
        state = draft.builds[name]
        draft.set_build(
            name, due=not draft.project.builds[name].manual or state.due, news=True, check=0, looked=False,
            rounds=0, suspects=frozenset(), pause="to come",
        )  # fmt: skip
        if is_redefined and state.activity == "running":
            builds.stop(draft, name, "its definition has changed")
            draft.set_build(name, stops=0)


def _drop_candidate(draft: Draft, name: str) -> None:
    """What is being prepared for the old definition is not waited for."""
    state = draft.services[name]
    match state.phase:
        case Phase.PREPARING:
            draft.set_service(name, phase=Phase.STOPPED, due=True, going_to=None)
        case Phase.SWITCHING:
            phase = Phase.READY if state.ready else Phase.STARTING if state.leaving_s is None else Phase.LEAVING
            draft.set_service(name, phase=phase, going_to=None)
        case Phase.RETIRING:
            draft.set_service(name, going_to=None)
        case Phase.OVERLAPPING:
            draft.step(name, overlap.GiveUp())
    if state.phase in {Phase.PREPARING, Phase.SWITCHING}:
        draft.actions.append(msg.StopHook(name))


def _take_back(draft: Draft, name: str) -> None:
    """It was removed, and is there again before it has ended."""
    if name in draft.services:
        runs = draft.services[name].phase in ALIVE - {Phase.STOPPING, Phase.FAILING}
        draft.set_service(name, wanted=True, due=not runs)
    else:
        draft.set_build(name, due=True)


def _still_runs(draft: Draft, name: str) -> bool:
    if name in draft.builds:
        return draft.is_alive(name)
    return draft.services[name].phase is not Phase.STOPPED or draft.is_alive(name)


def _forget(draft: Draft, name: str) -> None:
    """All but its numbers: under the same name they go on."""
    numbers = dict(draft.state.numbers)
    if name in draft.builds:
        state = draft.builds.pop(name)
        numbers[name] = (state.run, state.timer)
        release = state.releases[-1].number if state.releases else None
        before = Remembered(state.key, state.clean, state.run, release, state.releases)
        draft.state = replace(draft.state, absent={**draft.state.absent, name: before})
    else:
        service = draft.services.pop(name)
        numbers[name] = (service.newest, service.timer)
    draft.state = replace(draft.state, numbers=numbers)


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_TOLD
    return ", ".join(names[:_MOST_TOLD]) + (f" and {more} more" if more > 0 else "")
