"""Everything that is known at one moment as plain data: what `status` prints and other programs read.

Rule 1: what is shown is what is done: phases, reasons and holds are the planner's own.
"""

from __future__ import annotations

from typing import Any

from procwatch.core import releases
from procwatch.core.draft import Draft
from procwatch.core.model import Build, Service
from procwatch.core.state import BuildState, Phase, ServiceState
from procwatch.core.verdict import Moment

# So many failures fit into a line.
_MOST_NAMED = 3

# The phases that a user knows; the finer ones are steps of these.
PHASES = {
    Phase.PREPARING: "starting",
    Phase.OVERLAPPING: "switching",
    Phase.VERIFYING: "starting",
    Phase.RETIRING: "switching",
    Phase.LEAVING: "stopping",
    Phase.FAILING: "stopping",
}


def snapshot(moment: Moment) -> list[dict[str, Any]]:
    """Every build and service, in the order in which they can start."""
    draft = Draft(moment.project, moment.state, moment.now_s)
    units: list[dict[str, Any]] = []
    for name, unit in moment.project.units.items():
        if isinstance(unit, Service):
            units.append(_service(moment, draft, unit, moment.state.services.get(name)))
        else:
            units.append(_build(moment, draft, unit, moment.state.builds.get(name)))
    return units


def _service(moment: Moment, draft: Draft, service: Service, state: ServiceState | None) -> dict[str, Any]:
    if state is None:
        reason = "left out by --except" if service.name in moment.state.excepted else "not asked for"
        return {"name": service.name, "state": "stopped", "reason": reason, "takes_part": False}
    found: dict[str, Any] = {
        "name": service.name,
        "state": PHASES.get(state.phase, state.phase.value),
        "run": state.instance,
        "takes_part": True,
        "outdated": _is_outdated(draft, service, state),
        "why": state.why,
        "changed": list(state.cause),
        "crashes": state.crashes,
    }
    if state.pid is not None:
        found |= {"pid": state.pid, "uptime": round(moment.now_s - state.started_s, 3)}
    if reason := _reason(moment, service.name, state):
        found["reason"] = reason
    if state.releases:
        found["releases"] = dict(state.releases)
    if service.name in moment.state.paused:
        found["paused"] = True
    return found


def _is_outdated(draft: Draft, service: Service, state: ServiceState) -> bool:
    """Whether what runs is not what is wanted."""
    if state.phase not in {Phase.READY, Phase.STARTING, Phase.SWITCHING, Phase.OVERLAPPING} or state.basis is None:
        return False
    return bool(state.pinned) or draft.wanted_basis(service, draft.standings()) != state.basis


def _reason(moment: Moment, name: str, state: ServiceState) -> str:
    """Why it is as it is, if that needs a word: what it waits for, what has failed and how long ago."""
    if not state.wanted:
        return "stopped by hand"
    hold = moment.holds.get(name, "")
    for other, build in moment.state.builds.items():
        if build.failure is not None and hold.startswith(f"outdated: {other} failed"):
            return f"{hold.removeprefix('outdated: ')} {_ago(moment.now_s - build.ended_s)}"
    if hold:
        return hold.removeprefix("outdated: ")
    if state.pinned:
        return f"went back to {releases.words(state.pinned)}"
    return _trouble(state)


def _trouble(state: ServiceState) -> str:
    """What is out of the ordinary about it, if anything is."""
    if state.phase is Phase.BACKOFF:
        return f"crashed {state.crashes} times in a row" if state.crashes > 1 else "crashed"
    if state.fault is not None:
        return state.fault.reason
    if state.candidate is not None:
        return f"run {state.candidate.instance} is {'being verified' if state.candidate.verifying else 'starting'}"
    if state.refused is not None:
        return state.refusal
    if state.unverified is not None:
        return state.unverified
    if state.phase is Phase.STOPPED and state.instance and not state.due:
        return "has ended by itself"
    return ""


def _build(moment: Moment, draft: Draft, build: Build, state: BuildState | None) -> dict[str, Any]:
    if state is None:
        reason = "runs only when asked for" if build.manual else "not asked for"
        return {"name": build.name, "state": "idle", "reason": reason, "takes_part": False}
    found: dict[str, Any] = {
        "name": build.name,
        "state": _activity(draft, build, state),
        "run": state.run,
        "takes_part": True,
        "why": state.why,
        "changed": list(state.run_paths),
        "failures": state.failures,
    }
    if state.activity == "running":
        found["duration"] = round(moment.now_s - state.started_s, 3)
    elif state.ended_s:
        found |= {"duration": round(state.duration_s, 3), "age": round(moment.now_s - state.ended_s, 3)}
    if state.failure is not None:
        found["failure"] = state.failure
    if state.releases:
        found["releases"] = [release.number for release in state.releases]
    if hold := moment.holds.get(build.name):
        found["reason"] = hold
    if build.name in moment.state.paused:
        found["paused"] = True
    return found


def _activity(draft: Draft, build: Build, state: BuildState) -> str:
    """One word: what it does, or how it stands."""
    if state.activity != "idle":
        return "stopping" if state.activity == "stopping" else "running"
    if state.failure is not None:
        return "failed"
    return {"fresh": "fresh", "busy": "stale", "failed": "stale"}[draft.standings()[build.name]]


def _ago(age_s: float) -> str:
    """As a person would say it."""
    if age_s < 60:
        return f"{age_s:.0f} s ago"
    if age_s < 3600:
        return f"{age_s // 60:.0f} min ago"
    return f"{age_s // 3600:.0f} h ago"


def summary(moment: Moment) -> str:
    """All of it in a line: what has failed, how many services are ready, what is under way."""
    services = {name: state for name, state in moment.state.services.items() if state.wanted}
    failed = [f"{name} failed" for name, state in moment.state.builds.items() if state.failure is not None]
    failed += [f"{name} crashed" for name, state in services.items() if state.phase in {Phase.BACKOFF, Phase.FAILED}]
    ready = sum(state.ready for state in services.values())
    words = failed[:_MOST_NAMED]
    if len(failed) > _MOST_NAMED:
        words.append(f"{len(failed) - _MOST_NAMED} more")
    words.append(f"{ready} of {len(services)} services ready")
    running = [name for name, state in moment.state.builds.items() if state.activity == "running"]
    if moment.state.exit_code is not None:
        words.append("stopping")
    elif running:
        words.append(f"{running[0]} runs" if len(running) == 1 else f"{len(running)} builds run")
    return ", ".join(words)
