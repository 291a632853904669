"""One service's life: (phase, event) -> (phase, actions), as a table.

    STOPPED, BACKOFF, FAILED --Go--> [PREPARING --pre_start--> STOPPED --Go-->] STARTING
    STARTING --ready--> [VERIFYING --verify-->] READY
    STARTING, READY --Go--> [SWITCHING --pre_start--> as before --Go-->] RETIRING --ended--> STARTING
    STARTING, SWITCHING --deadline--> FAILING --ended--> BACKOFF or FAILED
    READY, VERIFYING --unhealthy--> FAILING
    STARTING, READY --"I am ending"--> LEAVING --grace over--> FAILING
    STARTING, READY, LEAVING --ended--> BACKOFF, STOPPED or FAILED
    any --Stop--> STOPPING --ended--> STOPPED

Rule 1: every start comes from a `Go` of the planner, which knows whether builds and needs allow it at that moment;
        after RETIRING it follows without another one, because the planner holds builds meanwhile.
        What `switch = "overlap"` makes of a `Go` while an instance serves is in `core.overlap`.
Rule 2: an event that has no row in the table changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from procwatch.core import messages as msg
from procwatch.core.life import (
    At,
    Go,
    ServiceEvent,
    Step,
    Stop,
    crashed,
    definition_in,
    fail,
    gone,
    leaving,
    must_verify,
    serve,
    started_notice,
    stdin_hint,
    stop_notice,
    verify_notice,
    why_started,
)  # fmt: skip
from procwatch.core.model import Exit, Service
from procwatch.core.state import Basis, Fault, Phase, ServiceState, is_disturbed


def step(service: Service, state: ServiceState, event: ServiceEvent, now_s: float) -> Step:
    """What `event` makes of the service; events of an older instance or timer are dropped here."""
    if _is_old(state, event):
        return state, ()
    row = _TABLE.get((state.phase, type(event)))
    return row(At(service, now_s), state, event) if row else (state, ())


def _is_old(state: ServiceState, event: ServiceEvent) -> bool:
    if isinstance(event, msg.TimerFired):
        return event.timer != state.timer
    if isinstance(event, msg.HookFinished):
        return event.instance != (state.instance if state.phase is Phase.VERIFYING else state.newest + 1)
    return not isinstance(event, Go | Stop) and event.instance != state.instance


# --- Go --------------------------------------------------------------------------------------------------------------


def _go_from_rest(at: At, state: ServiceState, event: Go) -> Step:
    """Nothing runs: prepare if that is still to be done, else launch."""
    if at.service.hooks.get("pre_start") and state.prepared != event.basis:
        hook = msg.RunHook(at.service.name, "pre_start", state.newest + 1, changed=state.changed)
        return replace(state, phase=Phase.PREPARING, going_to=event.basis), (hook,)
    return _launch(at, state, event.basis)


def _launch(at: At, state: ServiceState, basis: Basis) -> Step:
    """Start the next instance with `basis`."""
    moved = state.basis != basis and not is_disturbed(basis)
    number = state.newest + 1
    refused = state.refused if state.basis == basis != state.refused else None
    launched = replace(
        gone(state), phase=Phase.STARTING, instance=number, newest=number, basis=basis, prepared=None, refused=refused,
        due=False, switching=moved and state.basis is not None, started_s=at.now_s, changed=(),
        cause=state.changed, why=why_started(state, basis),
        generation=state.generation + moved, crashes=0 if moved else state.crashes,
    )  # fmt: skip
    again = definition_in(basis) != state.digest
    apart = at.service.switch == "overlap" and must_verify(at, state, basis)
    return launched, (msg.StartInstance(at.service.name, launched.instance, state.changed, again, apart=apart),)


def _go_from_running(at: At, state: ServiceState, event: Go) -> Step:
    """An instance runs: prepare beside it, then signal or retire it."""
    name = at.service.name
    if at.service.hooks.get("pre_start") and state.prepared != event.basis:
        hook = msg.RunHook(name, "pre_start", state.newest + 1, changed=state.changed)
        return replace(state, phase=Phase.SWITCHING, going_to=event.basis), (hook,)
    is_same_program = definition_in(event.basis) == definition_in(state.basis)
    if at.service.switch == "signal" and state.phase is Phase.READY and not state.due and is_same_program:
        signalled = replace(
            state, basis=event.basis, prepared=None, refused=None, generation=state.generation + 1, changed=(),
            cause=state.changed, why=why_started(state, event.basis),
        )  # fmt: skip
        notice = msg.Notice("service_switched", name, run=state.instance, reason=at.service.reload_signal)
        return signalled, (msg.SignalInstance(name, state.instance, at.service.reload_signal), notice)
    # New clients are kept waiting while those that the old instance has are answered.
    drain = bool(at.service.listen or at.service.proxy)
    retiring = replace(state, phase=Phase.RETIRING, going_to=event.basis, draining=drain)
    return retiring, (msg.StopInstance(name, state.instance, state.changed, drain=drain),)


def _go_from_verifying(at: At, state: ServiceState, _event: Go) -> Step:
    """What is being verified is old already, and nothing serves: it is ended, and another `Go` follows."""
    retiring = replace(state, phase=Phase.RETIRING, going_to=None)
    name = at.service.name
    return retiring, (msg.StopHook(name), msg.StopInstance(name, state.instance, state.changed))


# --- pre_start -------------------------------------------------------------------------------------------------------


def _prepared_from_rest(at: At, state: ServiceState, event: msg.HookFinished) -> Step:
    if event.exit.ok:
        return replace(state, phase=Phase.STOPPED, due=True, prepared=state.going_to), ()
    # The instance that was to be: it was never started, but it is what failed.
    tried = replace(state, refused=state.going_to, refusal=_refusal(event), started_s=at.now_s, cause=state.changed)
    reason = f"pre_start {event.exit.words}"
    notice = msg.Notice("not_ready", at.service.name, run=event.instance, exit_code=event.exit.code, reason=reason)
    after, actions = crashed(at, tried, Exit(event.exit.code, reason), run=event.instance)
    return after, (notice, *actions)


def _refusal(event: msg.HookFinished) -> str:
    return f"pre_start failed ({event.exit.words})"


def _prepared_from_running(at: At, state: ServiceState, event: msg.HookFinished) -> Step:
    phase = Phase.READY if state.ready else Phase.STARTING if state.leaving_s is None else Phase.LEAVING
    if event.exit.ok:
        return replace(state, phase=phase, prepared=state.going_to), ()
    notice = msg.Notice(
        "not_ready", at.service.name, run=state.instance, exit_code=event.exit.code,
        reason=f"pre_start {event.exit.words}", effect=f"{at.service.name} stays on run {state.instance}",
    )  # fmt: skip
    after = replace(state, phase=phase, refused=state.going_to, refusal=_refusal(event), due=False)
    if not state.probed:
        return after, (notice,)
    after, actions = _ready(at, after, msg.InstanceReady(at.service.name, state.instance))
    return after, (notice, *actions)


# --- the instance ----------------------------------------------------------------------------------------------------


def _started(at: At, state: ServiceState, event: msg.InstanceStarted) -> Step:
    return replace(state, pid=event.pid), (started_notice(at, event),)


def _ready(at: At, state: ServiceState, _event: msg.InstanceReady) -> Step:
    """It could serve: after a crash at once, if this is what has been verified before."""
    if must_verify(at, state, state.basis):
        verify = msg.RunHook(at.service.name, "verify", state.instance, changed=state.cause)
        return replace(state, phase=Phase.VERIFYING, probed=False), (verify,)
    return serve(at, state)


def _ready_while_switching(at: At, state: ServiceState, _event: msg.InstanceReady) -> Step:
    if state.leaving_s is not None:
        return state, ()
    if must_verify(at, state, state.basis):
        return replace(state, probed=True), ()  # it is about to be replaced: only if that comes to nothing
    after, actions = serve(at, state)
    return replace(after, phase=Phase.SWITCHING), actions


def _verified(at: At, state: ServiceState, event: msg.HookFinished) -> Step:
    """Nothing else runs: with `overlap` clients go on waiting when it failed, else it serves all the same."""
    if event.exit.ok:
        return serve(at, replace(state, verified=state.basis))
    reason = f"verify {event.exit.words}"
    is_let_in = at.service.switch != "overlap"
    notice = verify_notice(at, state.instance, event.exit, "it serves all the same" if is_let_in else None)
    if is_let_in:
        after, actions = serve(at, replace(state, unverified=reason))
    else:
        after, actions = fail(at, state, Fault(reason, state.started_s))
    return after, (notice, *actions)


def _without_verify(row: Callable[[At, ServiceState, Any], Step]) -> Callable[[At, ServiceState, Any], Step]:
    """The same for an instance that is being verified: that is stopped."""

    def stopping_it(at: At, state: ServiceState, event: object) -> Step:
        after, actions = row(at, state, event)
        return after, (msg.StopHook(at.service.name), *actions)

    return stopping_it


def _not_ready(at: At, state: ServiceState, event: msg.InstanceNotReady) -> Step:
    notice = msg.Notice(
        "not_ready", at.service.name, run=event.instance, reason=event.reason, duration_s=at.now_s - state.started_s
    )
    after, actions = fail(at, state, Fault("not ready", state.started_s))
    return after, (notice, *actions)


def _not_ready_while_switching(at: At, state: ServiceState, event: msg.InstanceNotReady) -> Step:
    """What is being prepared is no matter any more: the end of this one decides, as of any that fails."""
    after, actions = _not_ready(at, state, event)
    return after, (msg.StopHook(at.service.name), *actions)


def _unhealthy(at: At, state: ServiceState, event: msg.InstanceUnhealthy) -> Step:
    return fail(at, state, Fault(event.reason, at.now_s - event.ill_s))


def _leaving_while_switching(at: At, state: ServiceState, event: msg.InstanceLeaving) -> Step:
    after, actions = leaving(at, state, event)
    return replace(after, phase=Phase.SWITCHING), actions


def _lingers(at: At, state: ServiceState, _event: msg.TimerFired) -> Step:
    if state.leaving_s is None:
        return state, ()  # the timer of a back-off that a change has cut short
    reason = f"has not ended {at.service.stop.grace_s:g} s after STOPPING=1"
    return fail(at, state, Fault(reason, state.leaving_s))


def _lingers_while_switching(at: At, state: ServiceState, event: msg.TimerFired) -> Step:
    after, actions = _lingers(at, state, event)
    return after, (msg.StopHook(at.service.name), *actions) if actions else ()


def _failing_ended(at: At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    reason = state.fault.reason if state.fault else event.exit.words
    after, actions = crashed(at, state, Exit(event.exit.code or 1, reason))
    return replace(after, due=state.due), actions  # a start that was asked for meanwhile waits for no back-off


def _ended(at: At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    """It ended by itself."""
    if event.exit.ok and at.service.restart.policy != "always":
        lived_s = at.now_s - state.started_s
        hint = stdin_hint(at.service, state, lived_s)
        notice = msg.Notice(
            "service_stopped", at.service.name, run=event.instance, exit_code=0, duration_s=lived_s,
            reason="ended by itself", effect=f"it stays down until something changes{hint}",
        )  # fmt: skip
        return replace(gone(state), phase=Phase.STOPPED, switching=False), (notice,)
    return crashed(at, state, event.exit)


def _ended_while_switching(at: At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    """The old instance is gone before the next one was prepared: the preparation goes on, nothing serves."""
    after, actions = _ended(at, state, event)
    told = tuple(
        replace(action, effect="the next one is being prepared") if isinstance(action, msg.Notice) else action
        for action in actions
        if not isinstance(action, msg.SetTimer)
    )
    return replace(after, phase=Phase.PREPARING, due=True), told


def _retired(at: At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    """Builds were held since it was asked to stop, so that what is on disk still is what it is to start from.

    Where the planner has taken `going_to` away, another `Go` follows at once.
    """
    if state.going_to is None:
        return replace(_stopped(at, state, event)[0], due=True), (stop_notice(at, event),)
    launched, actions = _launch(at, state, state.going_to)
    return launched, (stop_notice(at, event), *actions)


def _stopped(at: At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    return replace(gone(state), phase=Phase.STOPPED, prepared=None), (stop_notice(at, event),)


def _waited(_at: At, state: ServiceState, _event: msg.TimerFired) -> Step:
    return replace(state, due=True), ()


# --- Stop ------------------------------------------------------------------------------------------------------------


def _stop_at_rest(_at: At, state: ServiceState, _event: Stop) -> Step:
    return replace(state, phase=Phase.STOPPED, due=False, prepared=None), ()


def _stop_preparing(at: At, state: ServiceState, event: Stop) -> Step:
    return _stop_at_rest(at, state, event)[0], (msg.StopHook(at.service.name),)


def _stop_running(at: At, state: ServiceState, event: Stop) -> Step:
    stop = msg.StopInstance(at.service.name, state.instance, drain=event.drain)
    return replace(state, phase=Phase.STOPPING, draining=event.drain), (stop,)


def _stop_switching(at: At, state: ServiceState, event: Stop) -> Step:
    after, actions = _stop_running(at, state, event)
    return after, (msg.StopHook(at.service.name), *actions)


def _stop_ending(at: At, state: ServiceState, _event: Stop) -> Step:
    """If its clients are waited for, they are not any more."""
    hurry = (msg.StopInstance(at.service.name, state.instance),) if state.draining else ()
    return replace(state, phase=Phase.STOPPING, draining=False), hurry


_Row = Callable[[At, ServiceState, object], Step]


def _table() -> dict[tuple[Phase, type], _Row]:
    """The drawing above, row by row."""
    rows: dict[tuple[Phase, type], object] = {
        (Phase.STOPPED, Go): _go_from_rest,
        (Phase.BACKOFF, Go): _go_from_rest,
        (Phase.FAILED, Go): _go_from_rest,
        (Phase.STARTING, Go): _go_from_running,
        (Phase.READY, Go): _go_from_running,
        (Phase.LEAVING, Go): _go_from_running,
        (Phase.VERIFYING, Go): _go_from_verifying,
        (Phase.PREPARING, msg.HookFinished): _prepared_from_rest,
        (Phase.SWITCHING, msg.HookFinished): _prepared_from_running,
        (Phase.VERIFYING, msg.HookFinished): _verified,
        (Phase.STARTING, msg.InstanceStarted): _started,
        (Phase.SWITCHING, msg.InstanceStarted): _started,
        (Phase.STARTING, msg.InstanceReady): _ready,
        (Phase.SWITCHING, msg.InstanceReady): _ready_while_switching,
        (Phase.STARTING, msg.InstanceNotReady): _not_ready,
        (Phase.SWITCHING, msg.InstanceNotReady): _not_ready_while_switching,
        (Phase.READY, msg.InstanceUnhealthy): _unhealthy,
        (Phase.VERIFYING, msg.InstanceUnhealthy): _without_verify(_unhealthy),
        (Phase.STARTING, msg.InstanceLeaving): leaving,
        (Phase.READY, msg.InstanceLeaving): leaving,
        (Phase.SWITCHING, msg.InstanceLeaving): _leaving_while_switching,
        (Phase.VERIFYING, msg.InstanceLeaving): _without_verify(leaving),
        (Phase.LEAVING, msg.TimerFired): _lingers,
        (Phase.SWITCHING, msg.TimerFired): _lingers_while_switching,
        (Phase.STARTING, msg.InstanceEnded): _ended,
        (Phase.READY, msg.InstanceEnded): _ended,
        (Phase.LEAVING, msg.InstanceEnded): _ended,
        (Phase.VERIFYING, msg.InstanceEnded): _without_verify(_ended),
        (Phase.SWITCHING, msg.InstanceEnded): _ended_while_switching,
        (Phase.RETIRING, msg.InstanceEnded): _retired,
        (Phase.FAILING, msg.InstanceEnded): _failing_ended,
        (Phase.STOPPING, msg.InstanceEnded): _stopped,
        (Phase.BACKOFF, msg.TimerFired): _waited,
        (Phase.STOPPED, Stop): _stop_at_rest,
        (Phase.BACKOFF, Stop): _stop_at_rest,
        (Phase.FAILED, Stop): _stop_at_rest,
        (Phase.PREPARING, Stop): _stop_preparing,
        (Phase.STARTING, Stop): _stop_running,
        (Phase.READY, Stop): _stop_running,
        (Phase.LEAVING, Stop): _stop_running,
        (Phase.SWITCHING, Stop): _stop_switching,
        (Phase.VERIFYING, Stop): _stop_switching,
        (Phase.RETIRING, Stop): _stop_ending,
        (Phase.FAILING, Stop): _stop_ending,
        (Phase.STOPPING, Stop): _stop_ending,
    }
    return rows  # type: ignore[return-value]  # each row takes just the event class of its key


_TABLE = _table()
