"""A service's next instance beside the one in charge (`switch = "overlap"`): tables over that of `core.service`.

    READY --Go--> OVERLAPPING --ready--> [--verified-->] READY; the instance that was in charge is retired
    OVERLAPPING --not ready, not well, not verified, ended--> READY as before, and what it was of is refused
    OVERLAPPING --Go--> READY as before; another Go follows when the candidate that was given up has ended
    OVERLAPPING --the one in charge ends--> STARTING or VERIFYING: the candidate is all there is
    OVERLAPPING --Stop--> STOPPING

Rule 1: until a candidate takes over nothing changes for the instance in charge, whatever becomes of the candidate.
Rule 2: of a candidate's failure the user is told once; the next try is for something new.
Rule 3: those that were retired or given up are only waited for; the planner begins no candidate before they have ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from procwatch.core import life, service
from procwatch.core import messages as msg
from procwatch.core.life import At, Go, Step, Stop
from procwatch.core.model import Service
from procwatch.core.state import Candidate, Phase, ServiceState, is_disturbed
from procwatch.frozen import frozen


@frozen
class GiveUp:
    """Stop the candidate, if there is one: its definition has changed."""


OverlapEvent = life.ServiceEvent | GiveUp


def step(unit: Service, state: ServiceState, event: OverlapEvent, now_s: float) -> Step:
    """What `event` makes of the service, however it is switched."""
    at = At(unit, now_s)
    if isinstance(event, msg.InstanceEnded) and event.instance in state.others:
        return _other_ended(at, state, event)
    if state.candidate is not None:
        return _row(state.candidate, event)(at, state, event)
    if isinstance(event, Go) and _may_begin(unit, state, event):
        return _begin(at, state, event)
    if isinstance(event, GiveUp):
        return state, ()
    after, actions = service.step(unit, state, event, now_s)
    if isinstance(event, Stop) and after.phase is not state.phase:
        actions = (*actions, *_hurried(at, state))
    return after, actions


def _row(candidate: Candidate, event: OverlapEvent) -> _Row:
    """What an event means while there is a candidate: to it, or to the one in charge beside it."""
    is_its = isinstance(event, _OF_INSTANCES) and event.instance == candidate.instance
    return (_CANDIDATE if is_its else _BESIDE).get(type(event), _ignore)


def _may_begin(unit: Service, state: ServiceState, event: Go) -> bool:
    is_prepared = not unit.hooks.get("pre_start") or state.prepared == event.basis
    return unit.switch == "overlap" and state.phase is Phase.READY and is_prepared


def _begin(at: At, state: ServiceState, event: Go) -> Step:
    number = state.newest + 1
    candidate = Candidate(number, event.basis, at.now_s, state.changed, life.why_started(state, event.basis))
    after = replace(
        state, phase=Phase.OVERLAPPING, candidate=candidate, newest=number, prepared=None, refused=None, due=False,
        changed=(),
    )  # fmt: skip
    again = life.definition_in(event.basis) != state.digest
    return after, (msg.StartInstance(at.service.name, number, state.changed, again, beside=True, apart=True),)


# --- the candidate ---------------------------------------------------------------------------------------------------


def _candidate(state: ServiceState) -> Candidate:
    assert state.candidate is not None, "a row of the candidate's without one"
    return state.candidate


def _ignore(_at: At, state: ServiceState, _event: object) -> Step:
    return state, ()


def _started(at: At, state: ServiceState, event: msg.InstanceStarted) -> Step:
    candidate = replace(_candidate(state), pid=event.pid)
    return replace(state, candidate=candidate), (life.started_notice(at, event),)


def _ready(at: At, state: ServiceState, _event: msg.InstanceReady) -> Step:
    candidate = _candidate(state)
    if not life.must_verify(at, state, candidate.basis):
        return _take_over(at, state)
    verify = msg.RunHook(at.service.name, "verify", candidate.instance, changed=candidate.cause)
    return replace(state, candidate=replace(candidate, verifying=True)), (verify,)


def _verified(at: At, state: ServiceState, event: msg.HookFinished) -> Step:
    candidate = _candidate(state)
    if event.exit.ok:
        verified = replace(state, verified=candidate.basis, candidate=replace(candidate, verifying=False))
        return _take_over(at, verified)
    after, actions = _refuse(at, state, f"verify {event.exit.words}")
    return after, (life.verify_notice(at, candidate.instance, event.exit, _stays(at, state)), *actions)


def _take_over(at: At, state: ServiceState) -> Step:
    """The one moment in which clients move: the new instance is in charge, the one before finishes what it began."""
    candidate, retired = _candidate(state), state.instance
    after, actions = life.serve(at, replace(_put_in_charge(state), others=state.others | {retired}))
    stop = msg.StopInstance(at.service.name, retired, candidate.cause, drain=True)
    return after, (*actions, stop)


def _put_in_charge(state: ServiceState) -> ServiceState:
    candidate = _candidate(state)
    moved = state.basis != candidate.basis and not is_disturbed(candidate.basis)
    return replace(
        life.gone(state), instance=candidate.instance, basis=candidate.basis, pid=candidate.pid, candidate=None,
        started_s=candidate.started_s, cause=candidate.cause, why=candidate.why, switching=True,
        generation=state.generation + moved, crashes=0 if moved else state.crashes,
    )  # fmt: skip


def _not_ready(at: At, state: ServiceState, event: msg.InstanceNotReady | msg.InstanceUnhealthy) -> Step:
    candidate = _candidate(state)
    after, actions = _refuse(at, state, f"run {candidate.instance} was not ready: {event.reason}")
    return after, (_not_ready_notice(at, state, event.reason), *actions)


def _ended(at: At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    """By itself, whatever its exit status: it was to serve."""
    candidate = _candidate(state)
    after, actions = _resume(at, replace(state, candidate=None, refused=candidate.basis))
    after = replace(after, refusal=f"run {candidate.instance}: {event.exit.words}")
    lived_s = at.now_s - candidate.started_s
    if candidate.verifying:
        actions = (msg.StopHook(at.service.name), *actions)
    if event.exit.ok:
        return after, (_not_ready_notice(at, state, f"ended by itself ({event.exit.words})"), *actions)
    notice = life.crash_notice(at.service.name, event.instance, event.exit, lived_s, _stays(at, state))
    hook = life.crashed_hook(at, event.instance, event.exit, lived_s, candidate.cause)
    return after, (notice, *hook, *actions)


def _not_ready_notice(at: At, state: ServiceState, reason: str) -> msg.Notice:
    candidate = _candidate(state)
    return msg.Notice(
        "not_ready", at.service.name, run=candidate.instance, reason=reason, effect=_stays(at, state),
        duration_s=at.now_s - candidate.started_s,
    )  # fmt: skip


def _stays(at: At, state: ServiceState) -> str:
    return f"{at.service.name} stays on run {state.instance}"


def _refuse(at: At, state: ServiceState, reason: str) -> Step:
    """It has failed: what it was of is not tried again before something is new."""
    basis = _candidate(state).basis
    after, actions = _give_up(at, state)
    return replace(after, refused=basis, refusal=reason), actions


def _give_up(at: At, state: ServiceState, _event: object = None) -> Step:
    """Stop the candidate, and go on with the one in charge."""
    candidate, name = _candidate(state), at.service.name
    after, actions = _resume(at, replace(state, candidate=None, others=state.others | {candidate.instance}))
    verify = (msg.StopHook(name),) if candidate.verifying else ()
    return after, (*verify, msg.StopInstance(name, candidate.instance), *actions)


def _resume(at: At, state: ServiceState) -> Step:
    """As if there had been no candidate. One that has said that it is leaving has its grace from now."""
    if state.leaving_s is None:
        return replace(state, phase=Phase.READY), ()
    return life.leaving(at, state)


# --- the one in charge, beside it ------------------------------------------------------------------------------------


def _leaving(at: At, state: ServiceState, event: msg.InstanceLeaving) -> Step:
    """It serves no more: the candidate may be just in time."""
    if event.instance != state.instance:
        return state, ()
    return replace(state, ready=False, leaving_s=at.now_s), ()


def _lost(at: At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    """The one in charge has ended, which nobody asked for; the candidate is all there is now."""
    if event.instance != state.instance:
        return state, ()
    candidate = _candidate(state)
    lived_s = at.now_s - state.started_s
    effect = f"run {candidate.instance}, which is starting, takes its place"
    phase = Phase.VERIFYING if candidate.verifying else Phase.STARTING
    after = replace(_put_in_charge(state), phase=phase)
    if event.exit.ok:
        notice = msg.Notice(
            "service_stopped", at.service.name, run=event.instance, exit_code=0, duration_s=lived_s,
            reason="ended by itself", effect=effect,
        )  # fmt: skip
        return after, (notice,)
    notice = life.crash_notice(at.service.name, event.instance, event.exit, lived_s, effect)
    return after, (notice, *life.crashed_hook(at, event.instance, event.exit, lived_s, state.cause))


def _stop(at: At, state: ServiceState, _event: Stop) -> Step:
    after, actions = _give_up(at, state)
    name = at.service.name
    return replace(after, phase=Phase.STOPPING), (*actions, msg.StopInstance(name, state.instance))


# --- those that go ---------------------------------------------------------------------------------------------------


def _other_ended(at: At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    return replace(state, others=state.others - {event.instance}), (life.stop_notice(at, event),)


def _hurried(at: At, state: ServiceState) -> tuple[msg.Action, ...]:
    """All is to end: those whose clients are let finish as well."""
    return tuple(msg.StopInstance(at.service.name, number) for number in sorted(state.others))


_Row = Callable[[At, ServiceState, object], Step]
_OF_INSTANCES = (
    msg.HookFinished, msg.InstanceStarted, msg.InstanceReady, msg.InstanceNotReady, msg.InstanceUnhealthy,
    msg.InstanceLeaving, msg.InstanceEnded,
)  # fmt: skip


def _tables() -> tuple[dict[type, _Row], dict[type, _Row]]:
    """What happens to the candidate, and what else happens while there is one."""
    candidate: dict[type, object] = {
        msg.InstanceStarted: _started,
        msg.InstanceReady: _ready,
        msg.HookFinished: _verified,
        msg.InstanceNotReady: _not_ready,
        msg.InstanceUnhealthy: _not_ready,
        msg.InstanceEnded: _ended,
    }
    beside: dict[type, object] = {
        Go: _give_up,  # what it is of is old already
        GiveUp: _give_up,
        Stop: _stop,
        msg.InstanceLeaving: _leaving,
        msg.InstanceEnded: _lost,
    }
    return candidate, beside  # type: ignore[return-value]  # each row takes just the event class of its key


_CANDIDATE, _BESIDE = _tables()
