"""One service's life: (phase, event) -> (phase, actions), as a table.

    STOPPED, BACKOFF, FAILED --Go--> [PREPARING --pre_start--> STOPPED --Go-->] STARTING --ready--> READY
    STARTING, READY --Go--> [SWITCHING --pre_start--> as before --Go-->] RETIRING --ended--> STARTING
    STARTING, SWITCHING --deadline--> FAILING --ended--> BACKOFF or FAILED
    READY --unhealthy--> FAILING
    STARTING, READY --"I am ending"--> LEAVING --grace over--> FAILING
    STARTING, READY, LEAVING --ended--> BACKOFF, STOPPED or FAILED
    any --Stop--> STOPPING --ended--> STOPPED

Rule 1: every start comes from a `Go` of the planner, which knows whether builds and needs allow it at that moment;
        after RETIRING it follows without another one, because the planner holds builds meanwhile.
Rule 2: an event that has no row in the table changes nothing.
Rule 3: only an end that nobody asked for is a crash, and the end of an instance that was stopped for its own fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from procwatch.core import messages as msg
from procwatch.core.model import Exit, RestartPolicy, Service
from procwatch.core.state import ASKED, DEFINITION, Basis, Fault, Phase, ServiceState, is_disturbed
from procwatch.frozen import frozen

# Five crashes in a row, each before `stable`, are a crash loop (contract, Crash).
CRASH_LOOP = 5
# A service that ends with 0 so soon is often one that reads standard input (contract, Crash).
STDIN_HINT_S = 2.0
STDIN_HINT = 'it may have read standard input: stdin = "open" keeps that open'


@frozen
class Go:
    """Start, or move to `basis`: everything that is needed is there."""

    basis: Basis


@frozen
class Stop:
    """Stop, whatever it is doing."""


ServiceEvent = (
    Go | Stop | msg.HookFinished | msg.InstanceStarted | msg.InstanceReady | msg.InstanceNotReady
    | msg.InstanceUnhealthy | msg.InstanceLeaving | msg.InstanceEnded | msg.TimerFired
)  # fmt: skip
Step = tuple[ServiceState, tuple[msg.Action, ...]]


@frozen
class _At:
    """What a row of the table works with."""

    service: Service
    now_s: float


def step(service: Service, state: ServiceState, event: ServiceEvent, now_s: float) -> Step:
    """What `event` makes of the service; events of an older instance or timer are dropped here."""
    if _is_old(state, event):
        return state, ()
    row = _TABLE.get((state.phase, type(event)))
    return row(_At(service, now_s), state, event) if row else (state, ())


def _is_old(state: ServiceState, event: ServiceEvent) -> bool:
    if isinstance(event, msg.TimerFired):
        return event.timer != state.timer
    if isinstance(event, msg.HookFinished):
        return event.instance != state.instance + 1
    return not isinstance(event, Go | Stop) and event.instance != state.instance


# --- Go --------------------------------------------------------------------------------------------------------------


def _go_from_rest(at: _At, state: ServiceState, event: Go) -> Step:
    """Nothing runs: prepare if that is still to be done, else launch."""
    if at.service.hooks.get("pre_start") and state.prepared != event.basis:
        hook = msg.RunHook(at.service.name, "pre_start", state.instance + 1, changed=state.changed)
        return replace(state, phase=Phase.PREPARING, going_to=event.basis), (hook,)
    return _launch(at, state, event.basis)


def _launch(at: _At, state: ServiceState, basis: Basis) -> Step:
    """Start the next instance with `basis`."""
    moved = state.basis != basis and not is_disturbed(basis)
    launched = replace(
        _gone(state), phase=Phase.STARTING, instance=state.instance + 1, basis=basis, prepared=None, refused=None,
        due=False, switching=moved and state.basis is not None, started_s=at.now_s, changed=(),
        cause=state.changed, why=_why(state, basis),
        generation=state.generation + moved, crashes=0 if moved else state.crashes,
    )  # fmt: skip
    again = _definition(basis) != state.digest
    return launched, (msg.StartInstance(at.service.name, launched.instance, state.changed, again),)


def _definition(basis: Basis | None) -> str | None:
    """The digest of the definition in it."""
    return dict(basis or ()).get(DEFINITION)


def _why(state: ServiceState, basis: Basis) -> str:
    """What made it start, in words; files are told by `changed`."""
    if state.basis is None:
        return "first start"
    new = [source for source, value in basis if (source, value) not in state.basis]
    if new == [ASKED]:
        return "a file that it watches changed" if state.changed else "asked for"
    words = {DEFINITION: "its definition or an env file changed", ASKED: "asked for"}
    return ", ".join(words.get(source, f"{source} has changed") for source in new) or "it had ended"


def _go_from_running(at: _At, state: ServiceState, event: Go) -> Step:
    """An instance serves: prepare beside it, then signal or retire it."""
    name = at.service.name
    if at.service.hooks.get("pre_start") and state.prepared != event.basis:
        hook = msg.RunHook(name, "pre_start", state.instance + 1, changed=state.changed)
        return replace(state, phase=Phase.SWITCHING, going_to=event.basis), (hook,)
    is_same_program = _definition(event.basis) == _definition(state.basis)
    if at.service.switch == "signal" and state.phase is Phase.READY and not state.due and is_same_program:
        signalled = replace(
            state, basis=event.basis, prepared=None, refused=None, generation=state.generation + 1, changed=(),
            cause=state.changed, why=_why(state, event.basis),
        )  # fmt: skip
        notice = msg.Notice("service_switched", name, run=state.instance, reason=at.service.reload_signal)
        return signalled, (msg.SignalInstance(name, state.instance, at.service.reload_signal), notice)
    retiring = replace(state, phase=Phase.RETIRING, going_to=event.basis)
    return retiring, (msg.StopInstance(name, state.instance, state.changed),)


# --- pre_start -------------------------------------------------------------------------------------------------------


def _prepared_from_rest(at: _At, state: ServiceState, event: msg.HookFinished) -> Step:
    if event.exit.ok:
        return replace(state, phase=Phase.STOPPED, due=True, prepared=state.going_to), ()
    # The instance that was to be: it was never started, but it is what failed.
    tried = replace(state, refused=state.going_to, started_s=at.now_s, cause=state.changed)
    reason = f"pre_start {event.exit.words}"
    notice = msg.Notice("not_ready", at.service.name, run=event.instance, exit_code=event.exit.code, reason=reason)
    after, actions = _crashed(at, tried, Exit(event.exit.code, reason), run=event.instance)
    return after, (notice, *actions)


def _prepared_from_running(at: _At, state: ServiceState, event: msg.HookFinished) -> Step:
    phase = Phase.READY if state.ready else Phase.STARTING if state.leaving_s is None else Phase.LEAVING
    if event.exit.ok:
        return replace(state, phase=phase, prepared=state.going_to), ()
    notice = msg.Notice(
        "not_ready", at.service.name, run=state.instance, exit_code=event.exit.code,
        reason=f"pre_start {event.exit.words}", effect=f"{at.service.name} stays on run {state.instance}",
    )  # fmt: skip
    return replace(state, phase=phase, refused=state.going_to, due=False), (notice,)


# --- the instance ----------------------------------------------------------------------------------------------------


def _started(at: _At, state: ServiceState, event: msg.InstanceStarted) -> Step:
    notice = msg.Notice("service_started", at.service.name, run=event.instance, pid=event.pid)
    return replace(state, pid=event.pid), (notice,)


def _ready(at: _At, state: ServiceState, event: msg.InstanceReady) -> Step:
    name, run = at.service.name, event.instance
    took_s = at.now_s - state.started_s
    actions: list[msg.Action] = [msg.Notice("service_ready", name, run=run, duration_s=took_s, pid=state.pid)]
    if state.switching:
        actions.append(msg.Notice("service_switched", name, run=run, duration_s=took_s, pid=state.pid))
    if at.service.hooks.get("post_start"):
        actions.append(msg.RunHook(name, "post_start", run, duration_s=took_s, changed=state.cause))
    return replace(state, phase=Phase.READY, ready=True, switching=False), tuple(actions)


def _ready_while_switching(at: _At, state: ServiceState, event: msg.InstanceReady) -> Step:
    if state.leaving_s is not None:
        return state, ()
    after, actions = _ready(at, state, event)
    return replace(after, phase=Phase.SWITCHING), actions


def _not_ready(at: _At, state: ServiceState, event: msg.InstanceNotReady) -> Step:
    notice = msg.Notice(
        "not_ready", at.service.name, run=event.instance, reason=event.reason, duration_s=at.now_s - state.started_s
    )
    after, actions = _fail(at, state, Fault("not ready", state.started_s))
    return after, (notice, *actions)


def _not_ready_while_switching(at: _At, state: ServiceState, event: msg.InstanceNotReady) -> Step:
    """What is being prepared is no matter any more: the end of this one decides, as of any that fails."""
    after, actions = _not_ready(at, state, event)
    return after, (msg.StopHook(at.service.name), *actions)


def _unhealthy(at: _At, state: ServiceState, event: msg.InstanceUnhealthy) -> Step:
    return _fail(at, state, Fault(event.reason, at.now_s - event.ill_s))


def _leaving(at: _At, state: ServiceState, _event: msg.InstanceLeaving) -> Step:
    """It serves no more, and has its own grace to end in."""
    after = replace(state, phase=Phase.LEAVING, ready=False, leaving_s=at.now_s, timer=state.timer + 1)
    return after, (msg.SetTimer(at.service.name, after.timer, at.service.stop.grace_s),)


def _leaving_while_switching(at: _At, state: ServiceState, event: msg.InstanceLeaving) -> Step:
    after, actions = _leaving(at, state, event)
    return replace(after, phase=Phase.SWITCHING), actions


def _lingers(at: _At, state: ServiceState, _event: msg.TimerFired) -> Step:
    if state.leaving_s is None:
        return state, ()  # the timer of a back-off that a change has cut short
    reason = f"has not ended {at.service.stop.grace_s:g} s after STOPPING=1"
    return _fail(at, state, Fault(reason, state.leaving_s))


def _lingers_while_switching(at: _At, state: ServiceState, event: msg.TimerFired) -> Step:
    after, actions = _lingers(at, state, event)
    return after, (msg.StopHook(at.service.name), *actions) if actions else ()


def _fail(at: _At, state: ServiceState, fault: Fault) -> Step:
    """Stop it by its stop policy; its end counts as a crash for this reason."""
    failing = replace(state, phase=Phase.FAILING, ready=False, fault=fault)
    return failing, (msg.StopInstance(at.service.name, state.instance),)


def _failing_ended(at: _At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    reason = state.fault.reason if state.fault else event.exit.words
    after, actions = _crashed(at, state, Exit(event.exit.code or 1, reason))
    return replace(after, due=state.due), actions  # a start that was asked for meanwhile waits for no back-off


def _ended(at: _At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    """It ended by itself."""
    if event.exit.ok and at.service.restart.policy != "always":
        lived_s = at.now_s - state.started_s
        hint = _stdin_hint(at.service, state, lived_s)
        notice = msg.Notice(
            "service_stopped", at.service.name, run=event.instance, exit_code=0, duration_s=lived_s,
            reason="ended by itself", effect=f"it stays down until something changes{hint}",
        )  # fmt: skip
        return replace(_gone(state), phase=Phase.STOPPED, switching=False), (notice,)
    return _crashed(at, state, event.exit)


def _ended_while_switching(at: _At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    """The old instance is gone before the next one was prepared: the preparation goes on, nothing serves."""
    after, actions = _ended(at, state, event)
    told = tuple(
        replace(action, effect="the next one is being prepared") if isinstance(action, msg.Notice) else action
        for action in actions
        if not isinstance(action, msg.SetTimer)
    )
    return replace(after, phase=Phase.PREPARING, due=True), told


def _retired(at: _At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    """Builds were held since it was asked to stop, so that what is on disk still is what it is to start from.

    Where the planner has taken `going_to` away, another `Go` follows at once.
    """
    if state.going_to is None:
        return replace(_stopped(at, state, event)[0], due=True), (_stop_notice(at, event),)
    launched, actions = _launch(at, state, state.going_to)
    return launched, (_stop_notice(at, event), *actions)


def _stopped(at: _At, state: ServiceState, event: msg.InstanceEnded) -> Step:
    return replace(_gone(state), phase=Phase.STOPPED, prepared=None), (_stop_notice(at, event),)


def _gone(state: ServiceState) -> ServiceState:
    """Nothing of the instance is left."""
    return replace(state, ready=False, pid=None, leaving_s=None, fault=None)


def _stdin_hint(service: Service, state: ServiceState, lived_s: float) -> str:
    """For one that has ended with 0 so soon that it may not have meant to."""
    is_likely = lived_s < STDIN_HINT_S and state.leaving_s is None and not service.tty
    return f"; {STDIN_HINT}" if is_likely else ""


def _stop_notice(at: _At, event: msg.InstanceEnded) -> msg.Notice:
    return msg.Notice("service_stopped", at.service.name, run=event.instance, exit_code=event.exit.code)


def _crashed(at: _At, state: ServiceState, exit_: Exit, run: int | None = None) -> Step:
    """Back-off by policy; `state.crashes` counts those in a row that came before `stable`. `run`: of which instance.

    What had a fault ran well until then, and no longer.
    """
    policy = at.service.restart
    lived_s = at.now_s - state.started_s
    well_s = state.fault.since_s - state.started_s if state.fault else lived_s
    crashes = 1 if well_s >= policy.stable_s else state.crashes + 1
    down = replace(_gone(state), crashes=crashes, due=False, prepared=None, switching=False)
    name, run = at.service.name, state.instance if run is None else run
    hook: tuple[msg.Action, ...] = ()
    if at.service.hooks.get("crashed"):
        hook = (msg.RunHook(name, "crashed", run, exit_, lived_s, changed=state.cause),)
    if policy.policy == "never":
        notice = _crash_notice(name, run, exit_, lived_s, "it is not restarted (restart.policy)")
        return replace(down, phase=Phase.FAILED), (notice, *hook)
    delay_s = _delay_s(policy, crashes)
    hint = _stdin_hint(at.service, state, lived_s) if exit_.ok else ""
    notice = _crash_notice(name, run, exit_, lived_s, f"restart in {delay_s:.3g} s{hint}")
    loop: tuple[msg.Action, ...] = ()
    if crashes == CRASH_LOOP:
        words = f"{CRASH_LOOP} crashes in a row, none after {policy.stable_s:g} s of running well"
        loop = (msg.Notice("crash_loop", name, run=run, reason=words, effect=f"tried every {policy.max_delay_s:g} s"),)
    timer = msg.SetTimer(name, state.timer + 1, delay_s)
    return replace(down, phase=Phase.BACKOFF, timer=timer.timer), (notice, *loop, timer, *hook)


def _delay_s(policy: RestartPolicy, crashes: int) -> float:
    """Doubling from the first crash on; in a crash loop as long as it may be."""
    if crashes >= CRASH_LOOP:
        return policy.max_delay_s
    return min(policy.max_delay_s, policy.min_delay_s * 2.0 ** (crashes - 1))


def _crash_notice(name: str, run: int, exit_: Exit, lived_s: float, effect: str) -> msg.Notice:
    return msg.Notice(
        "service_crashed", name, run=run, exit_code=exit_.code, reason=exit_.words, effect=effect, duration_s=lived_s
    )


def _waited(_at: _At, state: ServiceState, _event: msg.TimerFired) -> Step:
    return replace(state, due=True), ()


# --- Stop ------------------------------------------------------------------------------------------------------------


def _stop_at_rest(_at: _At, state: ServiceState, _event: Stop) -> Step:
    return replace(state, phase=Phase.STOPPED, due=False, prepared=None), ()


def _stop_preparing(at: _At, state: ServiceState, event: Stop) -> Step:
    return _stop_at_rest(at, state, event)[0], (msg.StopHook(at.service.name),)


def _stop_running(at: _At, state: ServiceState, _event: Stop) -> Step:
    return replace(state, phase=Phase.STOPPING), (msg.StopInstance(at.service.name, state.instance),)


def _stop_switching(at: _At, state: ServiceState, event: Stop) -> Step:
    after, actions = _stop_running(at, state, event)
    return after, (msg.StopHook(at.service.name), *actions)


def _stop_ending(_at: _At, state: ServiceState, _event: Stop) -> Step:
    return replace(state, phase=Phase.STOPPING), ()


_Row = Callable[[_At, ServiceState, object], Step]


def _table() -> dict[tuple[Phase, type], _Row]:
    """The drawing above, row by row."""
    rows: dict[tuple[Phase, type], object] = {
        (Phase.STOPPED, Go): _go_from_rest,
        (Phase.BACKOFF, Go): _go_from_rest,
        (Phase.FAILED, Go): _go_from_rest,
        (Phase.STARTING, Go): _go_from_running,
        (Phase.READY, Go): _go_from_running,
        (Phase.LEAVING, Go): _go_from_running,
        (Phase.PREPARING, msg.HookFinished): _prepared_from_rest,
        (Phase.SWITCHING, msg.HookFinished): _prepared_from_running,
        (Phase.STARTING, msg.InstanceStarted): _started,
        (Phase.SWITCHING, msg.InstanceStarted): _started,
        (Phase.STARTING, msg.InstanceReady): _ready,
        (Phase.SWITCHING, msg.InstanceReady): _ready_while_switching,
        (Phase.STARTING, msg.InstanceNotReady): _not_ready,
        (Phase.SWITCHING, msg.InstanceNotReady): _not_ready_while_switching,
        (Phase.READY, msg.InstanceUnhealthy): _unhealthy,
        (Phase.STARTING, msg.InstanceLeaving): _leaving,
        (Phase.READY, msg.InstanceLeaving): _leaving,
        (Phase.SWITCHING, msg.InstanceLeaving): _leaving_while_switching,
        (Phase.LEAVING, msg.TimerFired): _lingers,
        (Phase.SWITCHING, msg.TimerFired): _lingers_while_switching,
        (Phase.STARTING, msg.InstanceEnded): _ended,
        (Phase.READY, msg.InstanceEnded): _ended,
        (Phase.LEAVING, msg.InstanceEnded): _ended,
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
        (Phase.RETIRING, Stop): _stop_ending,
        (Phase.FAILING, Stop): _stop_ending,
    }
    return rows  # type: ignore[return-value]  # each row takes just the event class of its key


_TABLE = _table()
