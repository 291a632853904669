"""Whatever happens, in whatever order: the promises of the planner, judged by the world's own record."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from procwatch.core import messages as msg
from procwatch.core.model import Build, Exit, Project, RestartPolicy, Service
from procwatch.core.planner import plan
from procwatch.core.state import Phase
from tests.rig.world import World, build, project, service

BROKEN = 3


@st.composite
def projects(draw: st.DrawFn) -> Project:
    """Up to five builds and three services, each needing some of those before it."""
    builds: list[Build] = []
    for index in range(draw(st.integers(1, 5))):
        needs = (
            draw(st.lists(st.sampled_from([made.name for made in builds]), unique=True, max_size=2)) if builds else []
        )
        builds.append(
            build(
                str(index),
                *needs,
                on_change=draw(st.sampled_from(["restart", "finish"])),
                lock=draw(st.sampled_from([None, None, "cargo"])),
                at_start=draw(st.sampled_from(["always", "changed"])),
                outputs=draw(st.sampled_from([(), (), ("out",)])),
                keep=draw(st.integers(1, 2)),
            )
        )
    services: list[Service] = []
    for index in range(draw(st.integers(1, 3))):
        chosen = draw(st.lists(st.sampled_from([made.name for made in builds]), unique=True, max_size=3))
        linked = draw(st.booleans())
        if services and linked:
            chosen.append(services[0].name + draw(st.sampled_from(["", "!"])))
        hooks = {"pre_start": ("true",)} if draw(st.booleans()) else {}
        switch = draw(st.sampled_from(["replace", "overlap"]))
        verify = draw(st.sampled_from([None, "true"]))
        made = service(str(index), *chosen, hooks=hooks, switch=switch, verify=verify)
        services += replicas(made, draw(st.sampled_from([1, 1, 2, 3])))
    return project(*builds, *services, jobs=draw(st.integers(1, 3)))


def replicas(made: Service, count: int) -> list[Service]:
    """The service, or several of it."""
    if count == 1:
        return [made]
    return [replace(made, name=f"{made.name}.{number}", of=made.name, replica=number) for number in range(1, count + 1)]


def play(world: World, data: st.DataObject) -> None:
    """One thing happens: an edit, a touch, a crash or another trouble, or the end of something that is under way."""
    world.now_s += data.draw(st.sampled_from([0.0, 0.01, 0.5, 3.0]))
    kinds = ["save", "touch", "happen", "happen", "happen", "together", "trouble", "trigger", "faults", "ask"]
    kind = data.draw(st.sampled_from(kinds))
    builds, services = sorted(world.state.builds), sorted(world.state.services)
    if kind == "save":
        names = data.draw(st.lists(st.sampled_from(builds), unique=True, min_size=1, max_size=2))
        world.save(*names, content=data.draw(st.integers(0, BROKEN)))
    elif kind == "touch":
        world.save(data.draw(st.sampled_from(builds)))
    elif kind == "trigger":
        world.touch_service(data.draw(st.sampled_from(services)))
    elif kind == "faults":
        faults = data.draw(st.sampled_from([world.unprepared, world.mute, world.wrong]))
        faults ^= {data.draw(st.sampled_from(services))}
    elif kind == "ask":
        ask(world, data)
    elif kind == "trouble" and world.instances:
        trouble(world, data.draw(st.sampled_from(sorted(world.instances))), data)
    elif kind in ("happen", "together") and world.pending:
        do = world.happen if kind == "happen" else world.together
        do(data.draw(st.integers(0, len(world.pending) - 1)))
    for name in sorted(world.instances):
        if world.state.services[name].phase not in {Phase.READY, Phase.VERIFYING}:
            world.sicken(name)  # which changes nothing


def ask(world: World, data: st.DataObject) -> None:
    """A user wants something by name, or removes releases."""
    builds, services = sorted(world.state.builds), sorted(world.state.services)
    to = data.draw(st.sampled_from(["start", "stop", "restart", "rollback", "build", "pause", "resume", "lose"]))
    names = builds if to in {"build", "lose"} else [*builds, *services] if to in {"pause", "resume"} else services
    chosen = tuple(data.draw(st.lists(st.sampled_from(names), unique=True, min_size=1)))
    if to == "build":
        world.send(msg.BuildsAsked(chosen))
    elif to == "lose":
        world.lose(*(name for name in chosen if world.state.builds[name].releases))
    elif to == "rollback":
        world.send(msg.RollbackAsked(chosen, data.draw(st.sampled_from([None, None, 1, 2]))))
    elif to in {"pause", "resume"}:
        world.send(msg.PauseAsked(chosen, paused=to == "pause"))
    else:
        world.send(msg.ServicesAsked(chosen, to))  # type: ignore[arg-type]


def undo(world: World) -> None:
    """Whatever was asked for: everything is wanted, nothing is paused."""
    world.send(msg.PauseAsked(tuple(world.project.units), paused=False))
    world.send(msg.ServicesAsked(tuple(world.state.services), "start"))


def begin(world: World, data: st.DataObject) -> None:
    """The watcher is armed; in half of the histories everything has come up before anything else happens."""
    world.begin()
    if data.draw(st.booleans()):
        world.settle()


def trouble(world: World, name: str, data: st.DataObject) -> None:
    """An instance ends by itself, says that it is about to, or is found ill, whatever is being done with it."""
    state, code = world.state.services[name], data.draw(st.sampled_from([0, 1]))
    unasked = {Phase.READY, Phase.STARTING, Phase.VERIFYING, Phase.SWITCHING, Phase.OVERLAPPING, Phase.LEAVING}
    match data.draw(st.sampled_from(["crash", "crash candidate", "leave", "sicken"])):
        case "crash":
            if state.phase in unasked:
                world.crash(name, code)
        case "crash candidate":
            if state.candidate is not None:
                world.crash_candidate(name, code)
        case "leave":
            world.leave(name)
        case "sicken":
            world.sicken(name)


@given(projects(), st.data())
def test_after_any_history_and_a_repair_every_service_runs_the_newest_content(
    made: Project, data: st.DataObject
) -> None:
    world = World.of(made)
    world.broken = {BROKEN}
    world.alike = data.draw(st.sampled_from([{}, {2: 1}]))
    world.fragile = set(data.draw(st.lists(st.sampled_from(sorted(made.builds)), unique=True)))
    begin(world, data)
    for _ in range(data.draw(st.integers(0, 40))):
        play(world, data)
    world.unprepared, world.mute, world.wrong = set(), set(), set()
    undo(world)
    world.settle()
    world.save(*world.state.builds, content=1)
    for name in world.state.services:
        world.touch_service(name)
    world.settle()
    held = {build for state in world.state.services.values() for build, _ in state.pinned}
    world.send(msg.BuildsAsked(tuple(held)))  # to go on from what was gone back to
    world.settle()
    for name, state in world.state.services.items():
        assert state.phase is Phase.READY, world.holds
        newest = [launch for launch in world.launches if launch.name == name][-1]
        direct = {item.name for item in made.services[name].build_needs}
        assert {name: world.made(newest.built[name]) for name in direct} == dict.fromkeys(direct, 1)
        assert world.instances[name] == newest.instance == state.instance
    assert not world.beside
    assert world.at_rest
    assert not world.holds


@given(projects(), st.data())
def test_a_broken_save_and_its_repair_to_the_same_content_restart_nothing(made: Project, data: st.DataObject) -> None:
    world = World.of(made)
    world.broken = {BROKEN}
    world.begin()
    world.settle()
    instances = dict(world.instances)
    names = data.draw(st.lists(st.sampled_from(sorted(world.state.builds)), unique=True, min_size=1))
    world.save(*names, content=BROKEN)
    for _ in range(data.draw(st.integers(0, 20))):
        if world.pending:
            world.happen(data.draw(st.integers(0, len(world.pending) - 1)))
    assert world.instances == instances
    world.save(*names, content=0)
    world.settle()
    assert world.instances == instances
    assert world.at_rest


@given(projects(), st.data())
def test_a_stop_at_any_moment_ends_everything_in_order_and_then_procwatch(made: Project, data: st.DataObject) -> None:
    world = World.of(made)
    world.broken = {BROKEN}
    begin(world, data)
    for _ in range(data.draw(st.integers(0, 25))):
        play(world, data)
    already = {item.name for item in world.pending if isinstance(item, msg.StopInstance)}
    world.send(msg.StopAsked(130))
    while world.pending and world.ended is None:
        for name in world.instances:
            world.sicken(name)  # nobody's turn comes earlier by that
        before = set(world.instances)
        world.happen(data.draw(st.integers(0, len(world.pending) - 1)))
        for gone in before - set(world.instances) - already:
            users = [user for user in world.instances if gone in {n.name for n in made.services[user].service_needs}]
            assert not users or world.state.services[gone].phase is not Phase.STOPPED
    assert world.ended == 130
    assert not world.instances
    assert not world.beside
    assert not world.running


@given(projects(), st.data())
def test_what_is_older_or_of_nobody_changes_nothing(made: Project, data: st.DataObject) -> None:
    world = World.of(made)
    world.broken = {BROKEN}
    world.begin()
    for _ in range(data.draw(st.integers(0, 25))):
        play(world, data)
    exit_ = Exit(data.draw(st.sampled_from([0, 1])), "exit")
    old: list[msg.Event] = [msg.TimerFired("build.nobody", 1), msg.InstanceEnded("service.nobody", 1, exit_)]
    old.append(msg.InputsChecked("service.nobody", 1, "digest"))
    for name, build_state in world.state.builds.items():
        old.append(msg.BuildFinished(name, build_state.run - 1, msg.Succeeded(), 1.0))
        old.append(msg.BuildFinished(name, build_state.run + 1, msg.Failed(exit_), 1.0))
        old.append(msg.InputsChecked(name, world.state.checks + 1, "digest", ("a",), touched=True))
        old.append(msg.TimerFired(name, build_state.timer - 1))
    for name, unit in world.state.services.items():
        old.append(msg.InstanceStarted(name, unit.instance - 1, 7))
        old.append(msg.InstanceReady(name, unit.instance - 1))
        old.append(msg.InstanceNotReady(name, unit.instance - 1, "no answer"))
        if unit.instance - 1 not in unit.others:
            old.append(msg.InstanceEnded(name, unit.instance - 1, exit_))
        if unit.phase is not Phase.VERIFYING:
            old.append(msg.HookFinished(name, unit.instance, exit_))
        old.append(msg.TimerFired(name, unit.timer - 1))
        old.append(msg.InputsChecked(name, world.state.checks + 1, "digest"))
    for event in old:
        after = plan(made, world.state, event, world.now_s)
        assert (after.state, after.actions) == (world.state, ()), event


@given(st.integers(0, 12))
def test_the_back_off_doubles_up_to_its_limit_and_an_asked_restart_never_waits(crashes: int) -> None:
    world = World.of(project(service("a", restart=RestartPolicy())))
    world.begin()
    world.settle()
    delay_s = 0.1
    for _ in range(crashes):
        world.crash("service.a")
        timer = next(item for item in world.pending if isinstance(item, msg.SetTimer))
        assert timer.delay_s == delay_s
        delay_s = delay_s * 2 if delay_s < 0.8 else 10.0  # from the fifth on it is a crash loop
        world.let(msg.SetTimer, "service.a")
        assert world.state.services["service.a"].phase is Phase.STARTING
    world.crash("service.a")
    world.touch_service("service.a")
    assert world.state.services["service.a"].phase is Phase.STARTING


@given(st.sampled_from(["on-failure", "always", "never"]), st.floats(0, 20), st.integers(0, 6))
def test_what_is_found_ill_comes_back_by_the_policy_as_after_a_crash(policy: str, well_s: float, times: int) -> None:
    made = service("a", restart=RestartPolicy(policy))  # type: ignore[arg-type]
    ill, crashed = (World.of(project(made)).begin() for _ in range(2))
    for world in (ill, crashed):
        world.settle()
    for _ in range(times):
        if "service.a" not in ill.instances:
            break
        for world in (ill, crashed):
            world.now_s += well_s
        ill.sicken("service.a")
        ill.let(msg.StopInstance, "service.a")
        crashed.crash("service.a")
        last = [world.told("service_crashed")[-1] for world in (ill, crashed)]
        assert last[0].effect == last[1].effect
        assert last[0].reason == "health: no answer"
        assert ill.state.services["service.a"].crashes == crashed.state.services["service.a"].crashes
        for world in (ill, crashed):
            world.settle()
    assert len(ill.told("crash_loop")) == len(crashed.told("crash_loop"))
