"""Replicas of one service: something new comes to one after another, and to no other where one of them has failed.

Rule 1: one that serves is not touched while another one is between two instances, or has none and is about to start.
Rule 2: each stays with what it runs, also through a crash, while what is wanted of it has come to nothing at another.
"""

from __future__ import annotations

from collections.abc import Iterator

from procwatch.core import releases
from procwatch.core.draft import Draft
from procwatch.core.model import Service
from procwatch.core.state import ALIVE, Basis, Phase, ServiceState


def hold(draft: Draft, service: Service) -> str | None:
    """Why one that runs does not go on now."""
    phase = draft.services[service.name].phase
    if not service.of or phase not in ALIVE:
        return None
    if (reason := stuck(draft, service)) is not None:
        return f"outdated: {reason}"
    others = _others(draft, service) if phase is Phase.READY else ()
    return next((f"waits for {name}" for name, state in others if _is_between(draft, name, state)), None)


def may_drain(draft: Draft, service: Service) -> bool:
    """Whether one that is stopped can let its clients finish: new ones come to others, or to what takes its place."""
    if not (service.listen or service.proxy):
        return False
    others = (state for _, state in _others(draft, service)) if service.of else ()
    return service.name in draft.state.removed or any(state.ready for state in others)


def _is_between(draft: Draft, name: str, state: ServiceState) -> bool:
    """Whether it is on its way to an instance, or about to set out."""
    if state.phase in ALIVE - {Phase.READY}:
        return True
    if name in draft.state.paused:
        return False
    if state.phase is Phase.READY:
        return state.prepared is not None
    return state.due or _wanted(draft, name) not in (None, state.basis, state.refused)


def stuck(draft: Draft, service: Service) -> str | None:
    """Why this one is not tried, as another one has shown; None if nothing is known against it."""
    if not service.of:
        return None
    pinned = draft.services[service.name].pinned
    for name, state in _others(draft, service):
        if state.pinned and not pinned:
            return f"{name} went back to {releases.words(state.pinned)}"
        wanted = _wanted(draft, name)
        if wanted is None:
            continue
        if wanted == state.refused:
            return f"{name}: {state.refusal}"
        if wanted == state.basis and state.phase in {Phase.BACKOFF, Phase.FAILED}:
            return f"{name} crashed"
        if wanted == state.basis and state.unverified:
            return f"{name}: {state.unverified}"
    return None


def _wanted(draft: Draft, name: str) -> Basis | None:
    return draft.wanted_basis(draft.project.services[name], draft.standings())


def _others(draft: Draft, service: Service) -> Iterator[tuple[str, ServiceState]]:
    """The other replicas, but those that somebody has stopped or removed."""
    for other in draft.active_services:
        if other.of == service.of and other.name != service.name and draft.services[other.name].wanted:
            yield other.name, draft.services[other.name]
