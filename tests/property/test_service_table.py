"""The (phase, event) table of one service, in a world that answers late, in any order that can be.

Rule 1: answers travel through a queue, as in the engine: what was asked since may have made an answer old.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from procwatch.core import messages as msg
from procwatch.core.life import Go, Stop
from procwatch.core.model import Exit, RestartPolicy, Service
from procwatch.core.overlap import GiveUp, OverlapEvent, step
from procwatch.core.state import Basis, Phase, ServiceState

NAME = "service.web"
BASES: list[Basis] = [(("build.a", "1"),), (("build.a", "2"),), (("build.a", "1"), ("disturbed", "build.a 3"))]


@st.composite
def services(draw: st.DrawFn) -> Service:
    hooks = {hook: ("true",) for hook in ("pre_start", "post_start", "crashed") if draw(st.booleans())}
    policy = RestartPolicy(policy=draw(st.sampled_from(["always", "on-failure", "never"])))
    return Service(
        name=NAME, run="true", hooks=hooks, restart=policy, verify=draw(st.sampled_from([None, "true"])),
        switch=draw(st.sampled_from(["replace", "signal", "overlap"])),
    )  # fmt: skip


@dataclass
class Stage:
    """What runs for the service, and the answers that are on their way."""

    service: Service
    state: ServiceState = field(default_factory=ServiceState)
    now_s: float = 0.0
    hook: tuple[str, int] | None = None
    alive: set[int] = field(default_factory=set)
    asked_to_stop: set[int] = field(default_factory=set)
    judged: set[int] = field(default_factory=set)
    timer: int | None = None
    mail: list[OverlapEvent] = field(default_factory=list)
    told: list[msg.Notice] = field(default_factory=list)

    def send(self, event: OverlapEvent) -> None:
        self.state, actions = step(self.service, self.state, event, self.now_s)
        for action in actions:
            self._perform(action)
        self._something_is_pending()

    def _perform(self, action: msg.Action) -> None:
        match action:
            case msg.StartInstance(_, number):
                serving = self.alive - self.asked_to_stop
                assert serving == ({self.state.instance} & self.alive if action.beside else set()), "two at once"
                assert self.hook is None, "it is started while its pre_start runs"
                self.alive.add(number)
                self.mail.append(msg.InstanceStarted(NAME, number, 1000 + number))
            case msg.TakeOver(_, number):
                assert number == self.state.instance, "one takes over that is not in charge"
                is_sure = self.service.verify is None or self.state.verified == self.state.basis
                assert is_sure or self.service.switch != "overlap", "it serves unverified"
            case msg.StopInstance(_, number):
                self.asked_to_stop.add(number)
            case msg.RunHook(_, "pre_start" | "verify" as hook, number):
                assert self.hook is None, "two hooks that decide at once"
                self.hook = (hook, number)
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
            assert self._is_ending(self.state.instance), f"{phase} for ever"
        elif phase in {Phase.STARTING, Phase.READY, Phase.VERIFYING, Phase.OVERLAPPING}:
            assert self._is_there(self.state.instance), f"{phase} without an instance"
        if phase is Phase.VERIFYING:
            assert self.hook is not None or self._is_in_mail(msg.HookFinished), "verified for ever"
        assert (self.state.candidate is not None) == (phase is Phase.OVERLAPPING), f"{phase}: {self.state.candidate}"
        if candidate := self.state.candidate:
            assert self._is_there(candidate.instance), "a candidate that is not there"
            assert not candidate.verifying or self.hook or self._is_in_mail(msg.HookFinished), "verified for ever"
        for number in self.state.others:
            assert self._is_ending(number), f"{number} goes on for ever"
        if phase is Phase.BACKOFF:
            assert self.state.due or self.timer == self.state.timer or self._is_in_mail(msg.TimerFired), (
                "back-off for ever"
            )

    def _is_there(self, number: int) -> bool:
        return number in self.alive or any(
            isinstance(event, msg.InstanceEnded) and event.instance == number for event in self.mail
        )

    def _is_ending(self, number: int) -> bool:
        return self._is_there(number) and (number not in self.alive or number in self.asked_to_stop)

    def _is_in_mail(self, kind: type) -> bool:
        return any(isinstance(event, kind) for event in self.mail)

    def may_go(self) -> bool:
        """What the planner looks at before it begins a candidate."""
        return not (self.service.switch == "overlap" and self.state.phase is Phase.READY and self.state.others)

    def happen(self, what: str, code: int) -> None:
        """One thing in the world, if it can be just now."""
        name, exit_ = NAME, Exit(code, f"exit {code}")
        if what == "deliver" and self.mail:
            self.send(self.mail.pop(0))
        elif what == "hook" and self.hook is not None:
            self.mail.append(msg.HookFinished(name, self.hook[1], exit_))
            self.hook = None
        elif what == "judge" and (fresh := self.alive - self.judged):
            number = max(fresh)
            self.judged.add(number)
            ready = msg.InstanceReady(name, number)
            self.mail.append(msg.InstanceNotReady(name, number, "no answer") if code else ready)
        elif what in {"end", "end newest"} and self.alive:
            number = min(self.alive) if what == "end" else max(self.alive)
            self.mail.append(msg.InstanceEnded(name, number, exit_))
            self.alive.remove(number)
        elif what == "ill" and self.alive:
            self.mail.append(msg.InstanceUnhealthy(name, max(self.alive), "no answer", 1.0))
        elif what == "leave" and self.alive:
            self.mail.append(msg.InstanceLeaving(name, min(self.alive)))
        elif what == "timer" and self.timer is not None:
            self.mail.append(msg.TimerFired(name, self.timer))
            self.timer = None


WORLD = st.tuples(
    st.sampled_from(["deliver"] * 4 + ["hook", "judge", "judge", "end", "end newest", "timer", "ill", "leave"]),
    st.sampled_from([0, 0, 1]),
)
PLANNER = st.sampled_from([*(Go(basis) for basis in BASES), GiveUp()])


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
    for move in (*after, *[("hook", 0), *[("end", 1)] * 3, ("timer", 0)], *[("deliver", 0)] * (len(stage.mail) + 20)):
        play(stage, move)
    assert stage.state.phase is Phase.STOPPED
    assert not stage.alive
    assert not stage.state.others
    assert stage.hook is None


@given(services(), st.lists(WORLD | PLANNER, max_size=40), st.data())
def test_what_is_older_than_the_newest_instance_changes_nothing(
    service: Service, story: list[object], data: st.DataObject
) -> None:
    stage = Stage(service)
    for move in story:
        play(stage, move)
    number = data.draw(st.integers(0, stage.state.instance - 1)) if stage.state.instance else -1
    if number in stage.state.others:
        return
    old: list[OverlapEvent] = [
        msg.InstanceStarted(NAME, number, 5), msg.InstanceReady(NAME, number), msg.InstanceNotReady(NAME, number, "x"),
        msg.InstanceEnded(NAME, number, Exit(1, "exit 1")), msg.HookFinished(NAME, number, Exit(0, "exit 0")),
        msg.TimerFired(NAME, stage.state.timer - 1),
    ]  # fmt: skip
    for event in old:
        assert step(service, stage.state, event, stage.now_s) == (stage.state, ())


@given(services(), st.lists(WORLD | PLANNER, max_size=60))
def test_what_is_told_of_instances_is_in_an_order_that_can_be(service: Service, story: list[object]) -> None:
    stage = Stage(service)
    for move in story:
        play(stage, move)
    started, ended = 0, set[int]()
    for notice in stage.told:
        run = notice.run or 0
        if notice.event == "service_started":
            assert run > started, "an older instance is started"
            started = run
        elif notice.event == "service_ready":
            assert run == started, "ready before it was started"
            assert run not in ended, "ready after its end"
        elif notice.event in {"service_stopped", "service_crashed"}:
            assert run not in ended or service.hooks.get("pre_start"), "its end is told twice"
            ended.add(run)


def play(stage: Stage, move: object) -> None:
    if isinstance(move, float):
        stage.now_s += move
    elif isinstance(move, GiveUp) or (isinstance(move, Go) and stage.may_go()):
        stage.send(move)
    elif isinstance(move, tuple):
        stage.happen(*move)
