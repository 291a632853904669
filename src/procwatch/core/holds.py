"""Why what is due cannot go now, in the words that a user is shown: "waits for build.api, which failed".

Rule 1: pure, and nothing is changed here: the planner asks, and goes on or waits.
"""

from __future__ import annotations

from procwatch.core import needed, reload, replicas
from procwatch.core.draft import STOPS_LIMIT, Draft, Standing
from procwatch.core.model import Build, Service
from procwatch.core.state import ALIVE, Basis, Phase, ServiceState


def of_build(draft: Draft, build: Build, standings: dict[str, Standing]) -> str | None:
    """Why a due build cannot go now, whatever places are free."""
    if reason := reload.newcomer_hold(draft, build):
        return reason
    for need in build.build_needs:
        if standings[need.name] == "busy":
            return f"waits for {need.name}"
        if standings[need.name] == "failed":
            return f"waits for {need.name}, which failed"
    for need in build.service_needs:
        if reason := needed.unmet(draft, need, standings, settled=True):
            return reason
    for service in draft.active_services:
        if draft.services[service.name].phase is Phase.RETIRING and build.name in draft.in_place(service):
            # It is being stopped to start from what is on disk now: a build must not write there first.
            return f"waits until {service.name} has started"
    return _turn_hold(draft, build)


def _turn_hold(draft: Draft, build: Build) -> str | None:
    """Those below that were outdated three times in a row go first."""
    for name in (build.name, *draft.below(build.name)):
        if name not in draft.builds:
            continue
        state = draft.builds[name]
        if name != build.name and state.activity == "running" and state.stops >= STOPS_LIMIT:
            return f"waits for {name}, which was stopped {STOPS_LIMIT} times in a row"
        if state.offered and (users := [user for user in draft.below(name) if _is_under_way(draft, user)]):
            return f"waits until {users[0]} has taken run {state.run} of {name}"
    return None


def _is_under_way(draft: Draft, name: str) -> bool:
    if name in draft.builds:
        state = draft.builds[name]
        return state.activity != "idle" or (state.due and state.check != 0)
    return draft.services[name].phase in ALIVE - {Phase.READY, Phase.STARTING, Phase.VERIFYING, Phase.LEAVING}


def of_place(draft: Draft, build: Build) -> str | None:
    """Why there is no place to run it now: all jobs taken, or its lock."""
    running = draft.under_way()
    if build.lock is not None:
        for other in running:
            if other.lock == build.lock:
                return f'waits for {other.name}, which holds the lock "{build.lock}"'
    if len(running) >= draft.project.jobs:
        return f"waits for one of {draft.project.jobs} jobs"
    return None


def of_service(
    draft: Draft, service: Service, standings: dict[str, Standing], basis: Basis | None, *, settled: bool
) -> str | None:
    """Why a service that is due cannot go now."""
    if reason := reload.newcomer_hold(draft, service):
        return reason
    if basis is None:
        reason = not_fresh(draft, service, standings)
    else:
        unmet = (needed.unmet(draft, need, standings, settled=settled) for need in service.service_needs)
        reason = next(filter(None, unmet), None)
    return reason or _others_hold(service, draft.services[service.name]) or replicas.hold(draft, service)


def _others_hold(service: Service, state: ServiceState) -> str | None:
    """Why no candidate is begun beside an instance that serves: one that was there before has not ended yet."""
    if service.switch != "overlap" or state.phase is not Phase.READY or not state.others:
        return None
    return f"waits until run {min(state.others)} has ended"


def not_fresh(draft: Draft, service: Service, standings: dict[str, Standing]) -> str | None:
    """The first thing that keeps a service from being up to date, and how."""
    if problem := draft.services[service.name].problem:
        return problem
    for name in sorted({need.name for need in service.build_needs} | set(draft.above(service))):
        if draft.builds[name].failure is not None and standings[name] == "failed":
            return f"{name} failed ({draft.builds[name].failure})"
    for need in service.build_needs:
        if standings[need.name] != "fresh":
            return f"waits for {need.name}"
    return None
