"""What has become of what a user asked for: done, failed, or still to be waited for, with the reason in words.

Rule 1: pure, and asked anew after each plan; the reasons are the planner's own holds.
Rule 2: nothing is waited for that cannot come by itself: at rest, what is not done has failed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from procwatch.core import releases, replicas
from procwatch.core.draft import Draft
from procwatch.core.life import CRASH_LOOP
from procwatch.core.model import Project
from procwatch.core.state import ALIVE, Phase, State
from procwatch.frozen import frozen

# "wait" takes what there is; the others want something that comes after they were asked for.
Wish = Literal["start", "stop", "restart", "build", "rollback", "wait"]


@frozen
class Verdict:
    """`reason`: what it has come to, or what it waits for."""

    outcome: Literal["done", "failed", "waits"]
    reason: str


@frozen
class Moment:
    """What is known after a plan."""

    project: Project
    state: State
    holds: Mapping[str, str]
    at_rest: bool
    now_s: float


def since(state: State, name: str) -> int:
    """The run or instance that there is when something is asked for; 0 is none."""
    if name in state.builds:
        return state.builds[name].run
    return state.services[name].instance if name in state.services else 0


def judge(moment: Moment, wish: Wish, name: str, since: int) -> Verdict:
    """How it stands with the wish for this unit (full name); `since` is of the moment at which it was made."""
    if name in moment.project.builds:
        found = _build(moment, wish, name, since)
    elif wish == "stop":
        found = _stopped(moment, name)
    else:
        found = _service(moment, wish, name, since)
    if found.outcome != "waits":
        return found
    if moment.state.exit_code is not None and wish != "stop":
        return _failed("procwatch stops")
    tried_again = (state for state in moment.state.services.values() if state.phase is Phase.BACKOFF)
    retries = any(state.crashes < CRASH_LOOP for state in tried_again)
    return _failed(found.reason) if moment.at_rest and not retries else found


def _done(reason: str) -> Verdict:
    return Verdict("done", reason)


def _failed(reason: str) -> Verdict:
    return Verdict("failed", reason)


def _waits(reason: str) -> Verdict:
    return Verdict("waits", reason)


def _stopped(moment: Moment, name: str) -> Verdict:
    state = moment.state.services.get(name)
    if state is None or (state.phase not in ALIVE and not state.due and not state.others):
        return _done("stopped")
    if state.wanted and moment.state.exit_code is None:
        return _failed("somebody has started it again")
    return _waits(moment.holds.get(name, "it is ending"))


def _build(moment: Moment, wish: Wish, name: str, since: int) -> Verdict:
    state = moment.state.builds.get(name)
    if state is None:
        return _failed("it does not take part; `procwatch build` runs it")
    hold = moment.holds.get(name, "")
    under_way = state.activity != "idle" or state.check or state.due
    if under_way or (wish == "build" and state.run <= since):
        return _waits(hold or ("it runs" if state.activity == "running" else "it is about to run"))
    if state.failure is not None:
        return _failed(f"failed ({state.failure})")
    if wish == "wait":
        return _freshness(moment, name, hold)
    return _done(f"run {state.run} succeeded")


def _freshness(moment: Moment, name: str, hold: str) -> Verdict:
    """A build that has not failed and is not under way: is it what is wanted now?"""
    draft = Draft(moment.project, moment.state, moment.now_s)
    standing = draft.standings()[name]
    if standing == "fresh":
        run = moment.state.builds[name].run
        return _done(f"fresh (run {run})" if run else "taken as it is")
    for other in draft.above(moment.project.builds[name]) if standing == "failed" else ():
        if (failure := moment.state.builds[other].failure) is not None:
            return _failed(f"{other} failed ({failure})")
    return _waits(hold or "what it needs is being built")


def _service(moment: Moment, wish: Wish, name: str, since: int) -> Verdict:
    state = moment.state.services.get(name)
    if state is None:
        return _failed("it does not take part; `procwatch start` starts it")
    if not state.wanted:
        return _failed("it is stopped; `procwatch start` starts it")
    hold = moment.holds.get(name, "")
    is_newer = state.instance > since
    if wish != "start" and (reason := _why_it_stays(moment, name)):
        return _failed(f"stays on run {state.instance}: {reason}")
    if state.phase is Phase.READY and not state.due and not state.check and not state.news:
        return _ready(moment, wish, name, is_newer=is_newer)
    if state.phase in {Phase.BACKOFF, Phase.FAILED} and not state.due:
        if state.phase is Phase.FAILED or state.crashes >= CRASH_LOOP or (wish != "wait" and is_newer):
            return _failed("crashed")
        return _waits("crashed, and is about to be tried again")
    if state.phase is Phase.STOPPED and not state.due and not state.check and is_newer:
        return _failed("has ended by itself")
    return _waits(hold or _WORDS.get(state.phase, "it is about to start"))


def _why_it_stays(moment: Moment, name: str) -> str | None:
    """Of one that serves, and is to go on: what keeps it from that, as another replica has shown."""
    service, state = moment.project.services[name], moment.state.services[name]
    if not service.of or state.phase is not Phase.READY or state.check or state.news:
        return None
    draft = Draft(moment.project, moment.state, moment.now_s)
    is_to_go_on = state.due or draft.wanted_basis(service, draft.standings()) not in (None, state.basis)
    return replicas.stuck(draft, service) if is_to_go_on else None


def _ready(moment: Moment, wish: Wish, name: str, *, is_newer: bool) -> Verdict:
    """It serves: is it what was asked for?"""
    state = moment.state.services[name]
    if wish in {"restart", "rollback"} and not is_newer:
        return _failed(f"stays on run {state.instance}: {state.refusal}")
    if wish == "wait" and state.pinned:
        return _failed(f"it went back to {releases.words(state.pinned)}")
    if wish == "wait":
        draft = Draft(moment.project, moment.state, moment.now_s)
        wanted = draft.wanted_basis(moment.project.services[name], draft.standings())
        if wanted == state.refused and wanted is not None:
            return _failed(f"stays on run {state.instance}: {state.refusal}")
        if wanted != state.basis:
            return _waits(moment.holds.get(name, "it is about to be switched"))
    return _done(f"ready (run {state.instance}, process {state.pid})")


_WORDS = {
    Phase.READY: "it is about to be restarted",
    Phase.STARTING: "it is starting",
    Phase.PREPARING: "pre_start runs",
    Phase.SWITCHING: "pre_start runs",
    Phase.OVERLAPPING: "the new instance is starting",
    Phase.VERIFYING: "verify runs",
    Phase.RETIRING: "the old instance is being stopped",
    Phase.LEAVING: "the old instance is ending",
    Phase.FAILING: "the old instance is being stopped",
    Phase.STOPPING: "the old instance is being stopped",
}
