"""What the tables of a service's life share: their events, what serving and failing come to, and what is told.

Rule 1: only an end that nobody asked for is a crash, and the end of an instance that was stopped for its own fault.
"""

from __future__ import annotations

from dataclasses import replace

from procwatch.core import messages as msg
from procwatch.core.model import Exit, RestartPolicy, Service
from procwatch.core.state import ASKED, DEFINITION, Basis, Fault, Phase, ServiceState
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
    """Stop, whatever it is doing. `drain`: others are there for new clients, and those that it has are answered."""

    drain: bool = False


ServiceEvent = (
    Go | Stop | msg.HookFinished | msg.InstanceStarted | msg.InstanceReady | msg.InstanceNotReady
    | msg.InstanceUnhealthy | msg.InstanceLeaving | msg.InstanceEnded | msg.TimerFired
)  # fmt: skip
Step = tuple[ServiceState, tuple[msg.Action, ...]]


@frozen
class At:
    """What a row of a table works with."""

    service: Service
    now_s: float


def gone(state: ServiceState) -> ServiceState:
    """Nothing of the instance is left."""
    return replace(
        state, ready=False, probed=False, pid=None, leaving_s=None, fault=None, unverified=None, draining=False
    )


def serve(at: At, state: ServiceState) -> Step:
    """The instance in charge is ready, and verified: clients are let in."""
    name, run = at.service.name, state.instance
    took_s = at.now_s - state.started_s
    ready = msg.Notice("service_ready", name, run=run, duration_s=took_s, pid=state.pid)
    actions: list[msg.Action] = [msg.TakeOver(name, run), ready]
    if state.switching:
        actions.append(msg.Notice("service_switched", name, run=run, duration_s=took_s, pid=state.pid))
    if at.service.hooks.get("post_start"):
        actions.append(msg.RunHook(name, "post_start", run, duration_s=took_s, changed=state.cause))
    return replace(state, phase=Phase.READY, ready=True, switching=False, probed=False), tuple(actions)


def must_verify(at: At, state: ServiceState, basis: Basis | None) -> bool:
    """Whether an instance of this basis is to be verified before it serves."""
    return at.service.verify is not None and state.verified != basis


def fail(at: At, state: ServiceState, fault: Fault) -> Step:
    """Stop it by its stop policy; its end counts as a crash for this reason."""
    failing = replace(state, phase=Phase.FAILING, ready=False, fault=fault)
    return failing, (msg.StopInstance(at.service.name, state.instance),)


def leaving(at: At, state: ServiceState, _event: object = None) -> Step:
    """It serves no more, and has its own grace to end in."""
    after = replace(state, phase=Phase.LEAVING, ready=False, leaving_s=at.now_s, timer=state.timer + 1)
    return after, (msg.SetTimer(at.service.name, after.timer, at.service.stop.grace_s),)


def crashed(at: At, state: ServiceState, exit_: Exit, run: int | None = None) -> Step:
    """Back-off by policy; `state.crashes` counts those in a row that came before `stable`. `run`: of which instance.

    What had a fault ran well until then, and no longer.
    """
    policy = at.service.restart
    lived_s = at.now_s - state.started_s
    well_s = state.fault.since_s - state.started_s if state.fault else lived_s
    crashes = 1 if well_s >= policy.stable_s else state.crashes + 1
    down = replace(gone(state), crashes=crashes, due=False, prepared=None, switching=False)
    name, run = at.service.name, state.instance if run is None else run
    hook = crashed_hook(at, run, exit_, lived_s, state.cause)
    if policy.policy == "never":
        notice = crash_notice(name, run, exit_, lived_s, "it is not restarted (restart.policy)")
        return replace(down, phase=Phase.FAILED), (notice, *hook)
    delay_s = _delay_s(policy, crashes)
    hint = stdin_hint(at.service, state, lived_s) if exit_.ok else ""
    notice = crash_notice(name, run, exit_, lived_s, f"restart in {delay_s:.3g} s{hint}")
    loop: tuple[msg.Action, ...] = ()
    if crashes == CRASH_LOOP:
        words = f"{CRASH_LOOP} crashes in a row, none after {policy.stable_s:g} s of running well"
        loop = (msg.Notice("crash_loop", name, run=run, reason=words, effect=f"tried every {policy.max_delay_s:g} s"),)
    timer = msg.SetTimer(name, state.timer + 1, delay_s)
    return replace(down, phase=Phase.BACKOFF, timer=timer.timer), (notice, *loop, timer, *hook)


def crashed_hook(at: At, run: int, exit_: Exit, lived_s: float, cause: tuple[str, ...]) -> tuple[msg.Action, ...]:
    """What is to be run for it, if there is anything; `cause`: the changes that the instance was started for."""
    if not at.service.hooks.get("crashed"):
        return ()
    return (msg.RunHook(at.service.name, "crashed", run, exit_, lived_s, changed=cause),)


def _delay_s(policy: RestartPolicy, crashes: int) -> float:
    """Doubling from the first crash on; in a crash loop as long as it may be."""
    if crashes >= CRASH_LOOP:
        return policy.max_delay_s
    return min(policy.max_delay_s, policy.min_delay_s * 2.0 ** (crashes - 1))


def definition_in(basis: Basis | None) -> str | None:
    """The digest of the definition in it."""
    return dict(basis or ()).get(DEFINITION)


def why_started(state: ServiceState, basis: Basis) -> str:
    """What made it start, in words; files are told by `changed`."""
    if state.basis is None:
        return "first start"
    new = [source for source, value in basis if (source, value) not in state.basis]
    if new == [ASKED]:
        return "a file that it watches changed" if state.changed else "asked for"
    words = {DEFINITION: "its definition or an env file changed", ASKED: "asked for"}
    return ", ".join(words.get(source, f"{source} has changed") for source in new) or "it had ended"


def started_notice(at: At, event: msg.InstanceStarted) -> msg.Notice:
    """Its process exists."""
    return msg.Notice("service_started", at.service.name, run=event.instance, pid=event.pid)


def stop_notice(at: At, event: msg.InstanceEnded) -> msg.Notice:
    """It has ended because it was to."""
    return msg.Notice("service_stopped", at.service.name, run=event.instance, exit_code=event.exit.code)


def verify_notice(at: At, instance: int, exit_: Exit, effect: str | None) -> msg.Notice:
    """Verify has failed; the reason is how it ended."""
    return msg.Notice(
        "verify_failed", at.service.name, run=instance, exit_code=exit_.code, reason=exit_.words, effect=effect
    )


def crash_notice(name: str, run: int, exit_: Exit, lived_s: float, effect: str) -> msg.Notice:
    """It has ended though it was not to; `effect` is what follows."""
    return msg.Notice(
        "service_crashed", name, run=run, exit_code=exit_.code, reason=exit_.words, effect=effect, duration_s=lived_s
    )


def stdin_hint(service: Service, state: ServiceState, lived_s: float) -> str:
    """For one that has ended with 0 so soon that it may not have meant to."""
    is_likely = lived_s < STDIN_HINT_S and state.leaving_s is None and not service.tty
    return f"; {STDIN_HINT}" if is_likely else ""
