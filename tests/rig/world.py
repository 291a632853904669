"""A shell of plain data around the planner: effects wait in a list until a test lets one happen.

Every build reads one imaginary file, `<name>.src`, whose content is a number; a run succeeds unless that number was in
`broken` when it started, or, for a `fragile` build, one that it needs directly has the content BRITTLE. The `pre_start`
of a service in `unprepared` fails, an instance of one in `mute` is not ready by its deadline, and `verify` of one in
`wrong` fails. `instances` has those in charge, `beside` the others. The world checks the promises that must hold after
every single plan.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from procwatch.core import messages as msg
from procwatch.core.draft import Draft
from procwatch.core.model import Build, Exit, Need, Project, Release, Releases, Service, definition
from procwatch.core.planner import Plan, initial, plan
from procwatch.core.state import ALIVE, DEFINITION, Basis, Phase, Remembered, State, is_disturbed


def build(name: str, *needs: str, **more: object) -> Build:
    """A build that needs these."""
    return Build(name=f"build.{name}", run="true", needs=tuple(need(text) for text in needs), **more)  # type: ignore[arg-type]


def service(name: str, *needs: str, **more: object) -> Service:
    """A service that needs these."""
    return Service(name=f"service.{name}", run="true", needs=tuple(need(text) for text in needs), **more)  # type: ignore[arg-type]


def need(text: str) -> Need:
    """`build.x` restarts what needs it, `service.x` does not; a trailing `!` turns that round."""
    name = text.removesuffix("!")
    return Need(name=name, restart=name.startswith("build.") != text.endswith("!"))


def project(*units: Build | Service, jobs: int = 8) -> Project:
    """A project of these, given in an order in which they can start."""
    builds = {unit.name: unit for unit in units if isinstance(unit, Build)}
    services = {unit.name: unit for unit in units if isinstance(unit, Service)}
    return Project(name="world", folder="/nowhere", builds=builds, services=services, jobs=jobs)


# The content of a build that succeeds, but breaks the fragile ones that need it.
BRITTLE = 2

# In which a service that serves is on its way to another instance.
_SWITCHES = frozenset({Phase.SWITCHING, Phase.OVERLAPPING, Phase.RETIRING})

# What takes time, and what is told at once.
Effect = (
    msg.CheckInputs | msg.StartBuild | msg.StopBuild | msg.RunHook | msg.StopHook | msg.StartInstance
    | msg.StopInstance | msg.SignalInstance | msg.TakeOver | msg.SetTimer
)  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """One start of an instance, and what was on disk then: the content each build last succeeded with.

    Of a build with outputs, the content that its release was made from. `definition`: what it was started as.
    """

    name: str
    instance: int
    built: Mapping[str, int]
    basis: Basis | None
    definition: str
    releases: Releases = ()


@dataclass
class World:
    """The state, what is under way, and what has been told."""

    project: Project
    state: State
    now_s: float = 0.0
    content: dict[str, int] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    broken: set[int] = field(default_factory=set)
    fragile: set[str] = field(default_factory=set)
    unprepared: set[str] = field(default_factory=set)
    mute: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)
    built: dict[str, int] = field(default_factory=dict)
    result: dict[str, str] = field(default_factory=dict)
    pending: list[Effect] = field(default_factory=list)
    running: dict[str, tuple[int, int, float]] = field(default_factory=dict)
    instances: dict[str, int] = field(default_factory=dict)
    beside: set[tuple[str, int]] = field(default_factory=set)
    verified: set[tuple[str, int]] = field(default_factory=set)
    notices: list[msg.Notice] = field(default_factory=list)
    remembered: dict[str, msg.Remember] = field(default_factory=dict)
    sets: dict[str, msg.RememberService] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)
    retiring: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    ran_as: dict[str, str] = field(default_factory=dict)
    holds: Mapping[str, str] = field(default_factory=dict)
    at_rest: bool = False
    ended: int | None = None
    releases: dict[str, dict[int, int]] = field(default_factory=dict)
    current: dict[str, int] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    uses: dict[tuple[str, int], Releases] = field(default_factory=dict)
    alike: dict[int, int] = field(default_factory=dict)
    gathered: list[msg.Plentiful] | None = None

    @classmethod
    def of(
        cls,
        project: Project,
        names: Iterable[str] | None = None,
        remembered: Mapping[str, Remembered] | None = None,
        *,
        watching: bool = True,
    ) -> World:
        """A world in which nothing has begun."""
        return cls(project, initial(project, names or project.units, remembered or {}, watching=watching))

    # --- what a test does --------------------------------------------------------------------------------------------

    def begin(self) -> World:
        """The watcher is armed."""
        self.send(msg.Begun())
        return self

    def save(self, *names: str, content: int | None = None) -> None:
        """The sources of these builds are written, by default with the bytes that they hold; one batch."""
        for name in names:
            if content is not None:
                self.content[name] = content
            self.touched.add(name)
        paths = tuple(f"{name}.src" for name in names)
        self.send(msg.FilesChanged(paths, {name: (f"{name}.src",) for name in names}))

    def change(self, made: Project, names: Iterable[str] | None = None) -> None:
        """The configuration is another; without `names` all of it takes part."""
        self.send(msg.ProjectChanged(made, tuple(made.units if names is None else names)))

    def touch_service(self, name: str) -> None:
        """A file of a service's own `watch` is written."""
        self.send(msg.FilesChanged(("trigger",), {}, {name: ("trigger",)}))

    def crash(self, name: str, code: int = 1) -> None:
        """The running instance ends by itself."""
        self._crash(name, self.instances.pop(name), code)

    def crash_candidate(self, name: str, code: int = 1) -> None:
        """The instance that is to take over ends by itself."""
        candidate = self.state.services[name].candidate
        assert candidate is not None
        self.beside.remove((name, candidate.instance))
        before = self.instances[name]
        self._crash(name, candidate.instance, code)
        assert self.instances[name] == before, "the one in charge does not stay"

    def _crash(self, name: str, instance: int, code: int) -> None:
        self.pending = [
            item for item in self.pending if getattr(item, "instance", None) != instance or item.name != name
        ]
        self.send(msg.InstanceEnded(name, instance, Exit(code, f"exit {code}")))
        state = self.state.services.get(name)
        if name not in self.instances and state is not None and (name, state.instance) in self.beside:
            self.beside.remove((name, state.instance))
            self.instances[name] = state.instance

    def sicken(self, name: str, *, ill_s: float = 0.0) -> None:
        """The health probe of the running instance has failed too often: one that is ready is stopped, once."""
        before, phase = self.state, self.state.services[name].phase
        is_ready = phase in {Phase.READY, Phase.VERIFYING} and self.state.exit_code is None
        self.send(msg.InstanceUnhealthy(name, self.instances[name], "health: no answer", ill_s))
        assert is_ready or self.state == before, f"{name} is stopped while it is {before.services[name].phase}"
        after = self.state.services[name]
        assert not is_ready or (after.phase is Phase.FAILING and not after.ready)
        stops = [item for item in self.pending if isinstance(item, msg.StopInstance) and item.name == name]
        assert len([item for item in stops if item.instance == self.instances[name]]) <= 1, "it is stopped twice"

    def leave(self, name: str) -> None:
        """The running instance says that it ends by itself."""
        self.send(msg.InstanceLeaving(name, self.instances[name]))

    def settle(self, *, seconds_a_step: float = 0.01) -> None:
        """Let everything that is under way happen, oldest first."""
        for _ in range(2000):
            self.now_s += seconds_a_step
            if not self.pending:
                return
            self.happen(0)
        raise AssertionError(f"the world does not come to rest: {self.pending}")

    def happen(self, index: int) -> None:
        """Let one thing that is under way come to its end."""
        match self.pending.pop(index):
            case msg.CheckInputs(name, check):
                self._checked(name, check)
            case msg.StartBuild(name, run):
                if name in self.running and self.running[name][0] == run:
                    self._finished(name, run)
            case msg.StopBuild(name, run):
                self._cancelled(name, run)
            case msg.RunHook(name, "pre_start", instance):
                code = int(name in self.unprepared)
                self.send(msg.HookFinished(name, instance, Exit(code, f"exit {code}")))
            case msg.RunHook(name, "verify", instance):
                code = int(name in self.wrong)
                self.verified |= set() if code else {(name, instance)}
                self.send(msg.HookFinished(name, instance, Exit(code, f"exit {code}")))
            case msg.StartInstance() | msg.StopInstance() as effect:
                self._instance(effect)
            case msg.SetTimer(name, timer):
                self.send(msg.TimerFired(name, timer))

    def _instance(self, effect: msg.StartInstance | msg.StopInstance) -> None:
        who = (effect.name, effect.instance)
        if self.instances.get(effect.name) != effect.instance and who not in self.beside:
            return
        if isinstance(effect, msg.StartInstance):
            self.send(msg.InstanceStarted(effect.name, effect.instance, 1000 + effect.instance))
            verdict = msg.InstanceReady(effect.name, effect.instance)
            late = msg.InstanceNotReady(effect.name, effect.instance, "no answer")
            self.send(late if effect.name in self.mute else verdict)
        else:
            self.beside.discard(who)
            if self.instances.get(effect.name) == effect.instance:
                del self.instances[effect.name]
            self.send(msg.InstanceEnded(effect.name, effect.instance, Exit(143, "killed by SIGTERM")))

    def together(self, count: int) -> None:
        """Let up to so many things that are under way come to their end, and plan for them as one."""
        self.gathered = []
        for item in self.pending[:count]:
            if self.gathered is not None:  # what came before cannot have changed what is under way
                self.happen(self.pending.index(item))
        self._send_gathered()

    def _send_gathered(self) -> None:
        gathered, self.gathered = self.gathered, None
        if gathered:
            self.send(msg.Together(tuple(gathered)))

    def let(self, kind: type, name: str) -> None:
        """Let the oldest effect of this kind for this unit happen."""
        self.happen(next(i for i, item in enumerate(self.pending) if isinstance(item, kind) and item.name == name))

    def look(self) -> None:
        """Let all reading of inputs happen, nothing else."""
        while any(isinstance(item, msg.CheckInputs) for item in self.pending):
            self.happen(next(i for i, item in enumerate(self.pending) if isinstance(item, msg.CheckInputs)))

    # --- what a test asks --------------------------------------------------------------------------------------------

    def told(self, event: str, name: str | None = None) -> list[msg.Notice]:
        """The notices of this kind so far."""
        return [notice for notice in self.notices if notice.event == event and name in (None, notice.name)]

    def checks(self) -> list[msg.CheckInputs]:
        """The reading of inputs that is under way."""
        return [item for item in self.pending if isinstance(item, msg.CheckInputs)]

    def starts(self, name: str) -> int:
        """How many runs of a build, or instances of a service, have been started."""
        return len(self.told("build_started", name)) + len([item for item in self.launches if item.name == name])

    # --- effects -----------------------------------------------------------------------------------------------------

    def send(self, event: msg.Event) -> None:
        """Plan for an event and take in what the plan asks for; within `together`, with others as one."""
        if self.gathered is not None:
            if isinstance(event, msg.Plentiful) and event.name not in {one.name for one in self.gathered}:
                self.gathered.append(event)
                return
            self._send_gathered()
        before = self.state
        made = plan(self.project, self.state, event, self.now_s)
        self.project, self.state, self.holds, self.at_rest = made.project, made.state, made.holds, made.at_rest
        for action in made.actions:
            self._perform(action)
        self._must_roll(before)
        self._must_hold(made)

    def _perform(self, action: msg.Action) -> None:
        match action:
            case msg.Notice():
                self.notices.append(action)
                return
            case msg.Remember():
                self.remembered[action.name] = action
                return
            case msg.End(code):
                self.ended = code
                return
            case msg.RememberService() | msg.TakeRelease() | msg.DropReleases():
                self._keep(action)
                return
            case msg.StartBuild(name, run):
                self._may_start(name)
                assert name not in self.state.removed, f"{name} runs although it has been removed"
                self.running[name] = (run, self.content.get(name, 0), self.now_s)
                self.ran_as[name] = self.defined(name)
            case msg.StartInstance():
                self._may_launch(action)
            case msg.StopInstance(name, instance):
                if self.instances.get(name) == instance:
                    self.retiring.add(name)
            case msg.TakeOver(name, instance):
                self._take_over(name, instance)
                return
        self.pending.append(action)

    def _checked(self, name: str, check: int) -> None:
        content = self.content.get(name, 0)
        changed = (f"{name}.src",) if self.seen.get(name, content) != content else ()
        self.seen[name] = content
        touched = name in self.touched
        self.touched.discard(name)
        self.send(msg.InputsChecked(name, check, self.digest(name), changed, touched))

    def digest(self, name: str) -> str:
        """What a check of this unit gives now."""
        return f"{name}@{self.content.get(name, 0)}@{self.defined(name)}"

    def defined(self, name: str) -> str:
        """What this unit runs by the configuration of now."""
        unit = self.project.units.get(name)
        return "" if unit is None else definition(self.project, unit)

    def _finished(self, name: str, run: int) -> None:
        _, content, since_s = self.running.pop(name)
        failed = content in self.broken or (name in self.fragile and self._is_on_brittle_ground(name))
        self.result[name] = "failed" if failed else "succeeded"
        if not failed:
            self.built[name] = content
        outcome = msg.Failed(Exit(2, "exit 2")) if failed else msg.Succeeded(self._release(name, content))
        self.send(msg.BuildFinished(name, run, outcome, self.now_s - since_s))

    def _release(self, name: str, content: int) -> Release | None:
        """What a success leaves: of `alike` contents come the same outputs."""
        build, kept = self.project.builds[name], self.releases.setdefault(name, {})
        if not build.outputs:
            return None
        number = self.current.get(name, 0)
        if number not in kept or name in self.lost or self.made(kept[number]) != self.made(content):
            self.lost.discard(name)
            number = max((*kept, number), default=0) + 1
            kept[number] = content
        return Release(number, {output: f"{output}@{self.made(content)}" for output in build.outputs})

    def made(self, content: int) -> int:
        """What outputs hold that were made from this content."""
        return self.alike.get(content, content)

    def lose(self, *names: str) -> None:
        """Somebody removes the releases of these builds from the disk."""
        self.lost.update(names)
        self.send(msg.ReleasesLost(names))

    def _keep(self, action: msg.RememberService | msg.TakeRelease | msg.DropReleases) -> None:
        match action:
            case msg.RememberService(name):
                self.sets[name] = action
            case msg.TakeRelease(name, number):
                assert number in self.releases[name]
                assert number > self.current.get(name, 0)
                self.current[name] = number
            case msg.DropReleases(name, numbers):
                self._may_drop(name, numbers)

    def _may_drop(self, name: str, numbers: tuple[int, ...]) -> None:
        """Nobody runs from what is removed."""
        for number in numbers:
            assert number in self.releases[name], f"release {number} of {name} is removed twice"
            del self.releases[name][number]
            for user in (*self.instances.items(), *self.beside):
                assert (name, number) not in self.uses[user], f"{user} runs from release {number} of {name}"

    def _is_on_brittle_ground(self, name: str) -> bool:
        return any(self.built.get(item.name) == BRITTLE for item in self.project.builds[name].build_needs)

    def _cancelled(self, name: str, run: int) -> None:
        if name in self.running and self.running[name][0] == run:
            since_s = self.running.pop(name)[2]
            self.result[name] = "cancelled"
            self.send(msg.BuildFinished(name, run, msg.Cancelled(), self.now_s - since_s))

    # --- what must hold ----------------------------------------------------------------------------------------------

    def _will_move(self, name: str) -> bool:
        """Whether something of a build is under way or due."""
        state = self.state.builds[name]
        return state.due or state.activity != "idle" or state.check != 0

    def _needed(self, name: str) -> set[str]:
        """Every build that a unit needs, through builds."""
        found: set[str] = set()
        pending = [name]
        while pending:
            for item in self.project.units[pending.pop()].build_needs:
                if item.name not in found:
                    found.add(item.name)
                    pending.append(item.name)
        return found

    def _direct(self, name: str) -> set[str]:
        return {item.name for item in self.project.units[name].build_needs}

    def _in_place(self, name: str) -> set[str]:
        """Every build that writes where a service is started from: it has no outputs, or is needed by such a one."""
        found = {other for other in self._direct(name) if not self.project.builds[other].outputs}
        return found.union(*(self._needed(other) for other in found))

    def _may_start(self, name: str) -> None:
        """No run beside another of the same build, none while something it needs runs or has not succeeded."""
        assert name not in self.running, f"{name} runs twice"
        for other in self._needed(name):
            assert other not in self.running, f"{name} starts while {other} runs"
            assert other in self.built or self.state.builds[other].key, f"{name} starts before {other} ever succeeded"
        lock = self.project.builds[name].lock
        for other in self.running:
            assert lock is None or self.project.builds[other].lock != lock, f"{name} and {other} hold one lock"
        assert len(self.running) < self.project.jobs, "more runs than jobs"

    def _take_over(self, name: str, instance: int) -> None:
        """Only what has been verified serves, unless nothing else can; the one before is still there."""
        if (name, instance) in self.beside:
            assert name in self.instances, f"{name} has no instance in charge to take over from"
            self.beside.remove((name, instance))
            self.beside.add((name, self.instances[name]))
            self.instances[name] = instance
        assert self.instances[name] == instance, f"{name}: an instance takes over that is not there"
        state, service = self.state.services[name], self.project.services[name]
        is_sure = service.verify is None or service.switch != "overlap" or state.verified == state.basis
        assert is_sure, f"{name} serves unverified"

    def _may_launch(self, action: msg.StartInstance) -> None:
        """One in charge, one beside it; none while a build that it needs runs; a new basis only from succeeded ones."""
        name, instance = action.name, action.instance
        others = [number for other, number in self.beside if other == name]
        assert (name in self.instances) == action.beside, f"{name} has two instances"
        assert len(others) <= (not action.beside), f"{name} has too many instances"
        assert self.state.exit_code is None, f"{name} is started although everything is to stop"
        built = {other: self.built.get(other, -1) for other in self._needed(name)}
        built |= {other: self.releases[other][number] for other, number in action.releases}
        for other, number in action.releases:
            assert number <= self.current[other], f"{name} is started from a release of {other} that does not count"
        candidate = self.state.services[name].candidate
        basis = candidate.basis if candidate is not None else self.state.services[name].basis
        before = [item.basis for item in self.launches if item.name == name]
        moved = (not before or before[-1] != basis) and not is_disturbed(basis)
        for other in self._in_place(name):
            assert other not in self.running, f"{name} starts while {other} runs"
            if moved and other in self.result:
                assert self.result[other] == "succeeded", f"{name} moves to {other}, which {self.result[other]}"
        for item in self.project.services[name].service_needs:
            # One that ended while its dependent was between two instances does not hold up the second; nor does one
            # that a user has stopped, or left out.
            is_there = item.name in self.instances or item.name in self.state.excepted
            is_excused = is_there or name in self.retiring or not self.state.services[item.name].wanted
            assert is_there or is_excused, f"{name} starts without {item.name}"
        with_outputs = {other for other in self._direct(name) if self.project.builds[other].outputs}
        assert with_outputs == {other for other, _ in action.releases}
        self.uses[name, instance] = action.releases
        if action.beside:
            self.beside.add((name, instance))
        else:
            self.retiring.discard(name)
            self.instances[name] = instance
        started_as = self.ran_as[name] if action.again else self.defined(name)
        assert dict(basis or ())[DEFINITION].endswith(f"@{started_as}"), f"{name} is not started as its basis says"
        assert name not in self.state.removed, f"{name} is started although it has been removed"
        self.ran_as[name] = started_as
        self.launches.append(Launch(name, instance, built, basis, started_as, action.releases))

    def _must_roll(self, before: State) -> None:
        """No replica that serves is switched while another one is between two instances."""
        for name, unit in self.project.services.items():
            old, now = before.services.get(name), self.state.services.get(name)
            if not unit.of or old is None or now is None or old.phase is not Phase.READY or now.phase not in _SWITCHES:
                continue
            for other in self.project.services.values():
                state = self.state.services.get(other.name)
                if other.of == unit.of and other.name != name and state is not None and state.wanted:
                    assert state.phase not in ALIVE - {Phase.READY}, f"{name} is switched beside {other.name}"

    def _must_hold(self, made: Plan) -> None:
        """Planning without news does nothing; due work that is idle has a hold or a check under way."""
        if self.ended is not None:
            return
        again = plan(self.project, made.state, msg.TimerFired("service.none", 0), self.now_s)
        assert again.actions == (), f"planning again does more: {again.actions}"
        assert again.state == made.state
        if not made.state.begun or made.state.exit_code is not None:
            return
        for name, state in made.state.builds.items():
            if state.due and state.activity == "idle" and not state.check:
                assert made.holds.get(name), f"{name} waits in silence"
        for name, standing in Draft(self.project, made.state, self.now_s).standings().items():
            if standing == "busy" and not self.project.builds[name].manual:
                assert any(self._will_move(other) for other in {name, *self._needed(name)}), f"{name} is stuck"
        for name, unit in made.state.services.items():
            if unit.due and unit.phase not in ALIVE and not unit.check:
                assert made.holds.get(name), f"{name} waits in silence"
