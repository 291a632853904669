"""The (phase, event) table of one service, in a world that answers late, in any order that can be.

Rule 1: answers travel through a queue, as in the engine: what was asked since may have made an answer old.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from procwatch.core import messages as msg
from procwatch.core.model import Exit, RestartPolicy, Service
from procwatch.core.service import Go, ServiceEvent, Stop, step
from procwatch.core.state import Basis, Phase, ServiceState

NAME = "service.web"
BASES: list[Basis] = [(("build.a", "1"),), (("build.a", "2"),), (("build.a", "1"), ("disturbed", "build.a 3"))]


@st.composite
def services(draw: st.DrawFn) -> Service:
    hooks = {hook: ("true",) for hook in ("pre_start", "post_start", "crashed") if draw(st.booleans())}
    policy = RestartPolicy(policy=draw(st.sampled_from(["always", "on-failure", "never"])))
    return Service(
        name=NAME, run="true", hooks=hooks, restart=policy, switch=draw(st.sampled_from(["replace", "signal"]))
    )


@dataclass
class Stage:
    """What runs for the service, and the answers that are on their way."""

    service: Service
    state: ServiceState = field(default_factory=ServiceState)
    now_s: float = 0.0
    hook: int | None = None
    alive: int | None = None
    asked_to_stop: bool = False
    judged: bool = False
    timer: int | None = None
    mail: list[ServiceEvent] = field(default_factory=list)
    told: list[msg.Notice] = field(default_factory=list)

    def send(self, event: ServiceEvent) -> None:
        self.state, actions = step(self.service, self.state, event, self.now_s)
        for action in actions:
            self._perform(action)
        self._something_is_pending()

    def _perform(self, action: msg.Action) -> None:
        match action:
            case msg.StartInstance(_, number):
                assert self.alive is None, "two instances at once"
                assert self.hook is None, "it is started while its pre_start runs"
                self.alive, self.asked_to_stop, self.judged = number, False, False
                self.mail.append(msg.InstanceStarted(NAME, number, 1000 + number))
            case msg.StopInstance(_, number):
                assert number == self.state.instance, "an older instance is stopped"
                self.asked_to_stop = True
            case msg.RunHook(_, "pre_start", number):
                assert self.hook is None, "two pre_start at once"
                self.hook = number
            case msg.StopHook():
                self.hook = None
            case msg.SetTimer(_, number):
                self.timer = number
            case msg.Notice():
                self.told.append(action)

    def _something_is_pending(self) -> None:
        """What is no rest is left by something that is under way or due."""
        phase = self.state.phase
        if phase in {Phase.PREPARING, Phase.SWITCHING}:
            assert self.hook is not None or self._is_in_mail(msg.HookFinished), f"{phase} for ever"
        elif phase in {Phase.RETIRING, Phase.FAILING, Phase.STOPPING}:
            assert (self.alive and self.asked_to_stop) or self._is_in_mail(msg.InstanceEnded), f"{phase} for ever"
        elif phase in {Phase.STARTING, Phase.READY}:
            assert self.alive or self._is_in_mail(msg.InstanceEnded), f"{phase} without an instance"
        elif phase is Phase.BACKOFF:
            assert self.state.due or self.timer == self.state.timer or self._is_in_mail(msg.TimerFired), (
                "back-off for ever"
            )

    def _is_in_mail(self, kind: type) -> bool:
        return any(isinstance(event, kind) for event in self.mail)

    def happen(self, what: str, code: int) -> None:
        """One thing in the world, if it can be just now."""
        name, exit_ = NAME, Exit(code, f"exit {code}")
        if what == "deliver" and self.mail:
            self.send(self.mail.pop(0))
        elif what == "hook" and self.hook is not None:
            self.mail.append(msg.HookFinished(name, self.hook, exit_))
            self.hook = None
        elif what == "judge" and self.alive and not self.judged:
            self.judged = True
            ready = msg.InstanceReady(name, self.alive)
            self.mail.append(msg.InstanceNotReady(name, self.alive, "no answer") if code else ready)
        elif what == "end" and self.alive:
            self.mail.append(msg.InstanceEnded(name, self.alive, exit_))
            self.alive = None
        elif what == "timer" and self.timer is not None:
            self.mail.append(msg.TimerFired(name, self.timer))
            self.timer = None


WORLD = st.tuples(st.sampled_from(["deliver", "deliver", "hook", "judge", "end", "timer"]), st.sampled_from([0, 0, 1]))
PLANNER = st.sampled_from([Go(basis) for basis in BASES])


@given(services(), st.lists(WORLD | PLANNER | st.floats(0.01, 20.0), max_size=60))
def test_never_two_instances_and_never_a_wait_for_nothing(service: Service, story: list[object]) -> None:
    stage = Stage(service)
    for move in story:
        play(stage, move)


@given(services(), st.lists(WORLD | PLANNER, max_size=40), st.lists(WORLD, max_size=10))
def test_a_stop_at_any_moment_ends_all_that_runs(service: Service, story: list[object], after: list[object]) -> None:
    stage = Stage(service)
    for move in story:
        play(stage, move)
    stage.send(Stop())
    for move in (*after, *[("hook", 0), ("end", 1), ("timer", 0)], *[("deliver", 0)] * (len(stage.mail) + 20)):
        play(stage, move)
    assert stage.state.phase is Phase.STOPPED
    assert stage.alive is None
    assert stage.hook is None


@given(services(), st.lists(WORLD | PLANNER, max_size=40), st.data())
def test_what_is_older_than_the_newest_instance_changes_nothing(
    service: Service, story: list[object], data: st.DataObject
) -> None:
    stage = Stage(service)
    for move in story:
        play(stage, move)
    older = st.integers(0, stage.state.instance - 1) if stage.state.instance else st.just(-1)
    number = data.draw(older)
    old: list[ServiceEvent] = [
        msg.InstanceStarted(NAME, number, 5), msg.InstanceReady(NAME, number), msg.InstanceNotReady(NAME, number, "x"),
        msg.InstanceEnded(NAME, number, Exit(1, "exit 1")), msg.HookFinished(NAME, number + 1, Exit(0, "exit 0")),
        msg.TimerFired(NAME, stage.state.timer - 1),
    ]  # fmt: skip
    for event in old:
        assert step(service, stage.state, event, stage.now_s) == (stage.state, ())


@given(services(), st.lists(WORLD | PLANNER, max_size=60))
def test_what_is_told_of_instances_is_in_an_order_that_can_be(service: Service, story: list[object]) -> None:
    stage = Stage(service)
    for move in story:
        play(stage, move)
    started, ended = 0, 0
    for notice in stage.told:
        run = notice.run or 0
        if notice.event == "service_started":
            assert run > started, "an older instance is started"
            started = run
        elif notice.event == "service_ready":
            assert run == started > ended, "ready before it was started, or after its end"
        elif notice.event in {"service_stopped", "service_crashed"}:
            assert run >= ended, "the end of an older instance"
            ended = run


def play(stage: Stage, move: object) -> None:
    if isinstance(move, float):
        stage.now_s += move
    elif isinstance(move, Go):
        stage.send(move)
    elif isinstance(move, tuple):
        stage.happen(*move)
