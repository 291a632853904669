"""The releases of services: which stay, and how a service goes back to those that it ran before.

Rule 1: what an instance was started from, and what a service would go back to, stays.
Rule 2: a service that has gone back stays there, through crashes and restarts, until one of its builds succeeds.
"""

from __future__ import annotations

from procwatch.core import messages as msg
from procwatch.core.draft import Draft
from procwatch.core.model import Releases, Service
from procwatch.core.state import Phase, ServiceState

# As many sets as `rollback` can go back, one after the other, if their releases are still there.
_MOST_REMEMBERED = 10
# From one of the first to one of the second: an instance has ended that was not asked to, but for its own fault.
_UP = frozenset({Phase.STARTING, Phase.VERIFYING, Phase.LEAVING, Phase.FAILING})
_DOWN = frozenset({Phase.BACKOFF, Phase.FAILED, Phase.STOPPED})


def words(releases: Releases) -> str:
    """For the user."""
    return ", ".join(f"release {number} of {name}" for name, number in releases)


# --- back ------------------------------------------------------------------------------------------------------------


def earlier(draft: Draft, service: Service, to: int | None = None) -> Releases | str:
    """What a service can go back to, `to` a number or to what it ran before; or why there is nothing, in words."""
    state = draft.services.get(service.name)
    with_outputs = [need.name for need in service.build_needs if draft.project.builds[need.name].outputs]
    if state is None:
        return "it does not take part"
    if not with_outputs:
        return 'none of the builds that it needs has "outputs", so there are no releases'
    if to is None:
        found = [one for one in state.history if one != state.releases and _are_there(draft, one)]
        return found[-1] if found else "it has run from no other releases that are still there"
    if len(with_outputs) > 1:
        return f"--to names a release of one build, and it needs {len(with_outputs)}: {', '.join(with_outputs)}"
    (name,) = with_outputs
    numbers = [release.number for release in draft.builds[name].releases]
    if to in numbers:
        return ((name, to),)
    return f"{name} has no release {to}; there are: {', '.join(map(str, numbers)) or 'none'}"


def _are_there(draft: Draft, releases: Releases) -> bool:
    known = {(name, release.number) for name, state in draft.builds.items() for release in state.releases}
    return known.issuperset(releases)


def roll_back(draft: Draft, name: str, to: int | None) -> None:
    """A user asks for it."""
    found = earlier(draft, draft.project.services[name], to)
    if isinstance(found, str):
        return
    state = draft.services[name]
    _go_back(draft, name, found, "asked for")
    draft.set_service(name, wanted=True, asks=state.asks + 1, news=True)


def note_end(draft: Draft, service: Service, before: ServiceState) -> None:
    """Of an instance that nobody has stopped: if none from its releases has ever served well, they are no good."""
    state = draft.services[service.name]
    is_over = before.phase in _UP and state.phase in _DOWN
    is_doubtful = state.unverified is not None and before.unverified is None
    if not (is_over or is_doubtful) or before.is_proven or state.pinned or _has_newer(draft, service):
        return
    found = earlier(draft, service) if state.wanted and draft.state.exit_code is None else ""
    if not isinstance(found, str):
        what = "was not verified" if is_doubtful else "did not become ready"
        _go_back(draft, service.name, found, f"{words(state.releases)} {what}")


def _has_newer(draft: Draft, service: Service) -> bool:
    """Whether its builds have come to something else since it was started, which is to be tried first."""
    state = draft.services[service.name]
    wanted = draft.wanted_basis(service, draft.standings())
    return wanted not in (None, state.basis) and draft.releases_for(service, wanted) != state.releases


def _go_back(draft: Draft, name: str, releases: Releases, reason: str) -> None:
    state = draft.services[name]
    kept = state.history[: state.history.index(releases)] if releases in state.history else state.history
    draft.set_service(name, pinned=releases, history=kept, is_proven=False, due=True, refused=None, crashes=0)
    effect = f"it goes on with {words(releases)} until one of its builds succeeds"
    draft.actions.append(msg.Notice("rolled_back", name, run=state.instance, reason=reason, effect=effect))


def unpin(draft: Draft, build: str) -> tuple[str, ...]:
    """A build has succeeded: the services of it that had gone back."""
    users = [user for user in draft.active_services if draft.services[user.name].pinned]
    found = tuple(user.name for user in users if any(need.name == build and need.restart for need in user.needs))
    found += tuple(user.name for user in users if build in dict(draft.services[user.name].pinned))
    for name in found:
        draft.set_service(name, pinned=())
    return found


# --- what stays ------------------------------------------------------------------------------------------------------


def prune(draft: Draft) -> None:
    """Let go of all that are older than the newest `keep`, and that nobody needs."""
    needed: set[tuple[str, int]] = set()
    if any(state.releases for state in draft.builds.values()):
        needed.update(*(_needed(draft, service) for service in draft.active_services))
    for name, state in tuple(draft.builds.items()):
        build = draft.project.builds[name]
        newest = state.releases[-build.keep :] if build.outputs else ()
        left = tuple(one for one in state.releases if one in newest or (name, one.number) in needed)
        if left != state.releases:
            gone = tuple(one.number for one in state.releases if one not in left)
            draft.set_build(name, releases=left)
            draft.actions.append(msg.DropReleases(name, gone))


def _needed(draft: Draft, service: Service) -> Releases:
    """Those that its instance was started from, that the next one will be, and that it would go back to."""
    state = draft.services[service.name]
    coming = [draft.releases_for(service, basis) for basis in (state.going_to, state.prepared) if basis is not None]
    back = earlier(draft, service)
    sets = (state.releases, *state.beside.values(), state.pinned, *coming, () if isinstance(back, str) else back)
    return tuple(one for releases in sets for one in releases)


def remember(draft: Draft) -> None:
    """Have the next start know what a service can go back to, where that has changed."""
    for name, state in draft.services.items():
        before = draft.state.services.get(name)
        if state is before:
            continue
        if len(state.history) > _MOST_REMEMBERED:
            draft.set_service(name, history=state.history[-_MOST_REMEMBERED:])
        if before is None or _lasting(draft.services[name]) != _lasting(before):
            history, pinned = _lasting(draft.services[name])
            draft.actions.append(msg.RememberService(name, history, pinned))


def _lasting(state: ServiceState) -> tuple[tuple[Releases, ...], Releases]:
    """To the next start what runs well now is what ran before."""
    now = (state.releases,) if state.is_proven and state.releases else ()
    return (*state.history, *now), state.pinned


def forget_what_is_gone(draft: Draft) -> None:
    """Releases may have been deleted between two starts, and services need other builds than before."""
    for service in draft.active_services:
        state = draft.services[service.name]
        history = tuple(one for one in state.history if _are_there(draft, one))
        is_good = _are_there(draft, state.pinned) and {need.name for need in service.needs}.issuperset(
            dict(state.pinned)
        )
        draft.set_service(service.name, history=history, pinned=state.pinned if is_good else ())
