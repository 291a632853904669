"""The configuration changes at any moment, to anything: what differs follows, and nothing else is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from hypothesis import given
from hypothesis import strategies as st

from procwatch.core import messages as msg
from procwatch.core.model import Build, Project, Service
from procwatch.core.state import Phase
from tests.property.test_planner import BROKEN, play, projects
from tests.rig.world import World, build, need, project, service

Unit = TypeVar("Unit", Build, Service)


@st.composite
def changed(draw: st.DrawFn, old: Project) -> Project:
    """Another project: units stay, run something else, need something else, are gone, or are new."""
    builds: list[Build] = []
    for index in range(6):
        builds += draw(_unit(old.builds.get(f"build.{index}"), build(str(index)), [one.name for one in builds]))
    services: list[Service] = []
    for index in range(4):
        names = [one.name for one in (*builds, *services)]
        services += draw(_unit(old.services.get(f"service.{index}"), service(str(index)), names))
    return project(*builds, *services, service("last"), jobs=draw(st.integers(1, 3)))


@st.composite
def _unit(draw: st.DrawFn, known: Unit | None, new: Unit, names: list[str]) -> list[Unit]:
    """What has become of a unit; most stay as they are."""
    kind = draw(st.sampled_from(["stay", "stay", "stay", "run", "needs", "log", "go"]))
    if kind == "go" or (known is None and kind != "run"):
        return []
    made = known or new
    if kind == "run":
        made = replace(made, run=f"true {draw(st.integers(1, 3))}")
    if kind == "needs":
        made = replace(
            made,
            needs=tuple(map(need, draw(st.lists(st.sampled_from(names), unique=True, max_size=2)))) if names else (),
        )
    if kind == "log":
        made = replace(made, terminal="none")
    return [replace(made, needs=tuple(each for each in made.needs if each.name in names))]


def ask(world: World, made: Project, data: st.DataObject) -> None:
    """Somebody asks for something by name; the names may be those of an older configuration."""
    services = data.draw(st.lists(st.sampled_from(sorted({*made.services, *world.instances})), min_size=1, max_size=2))
    match data.draw(st.sampled_from(["start", "stop", "restart", "build", "pause", "resume"])):
        case ("start" | "stop" | "restart") as to:
            world.send(msg.ServicesAsked(tuple(services), to))
        case "build" if made.builds:
            world.send(msg.BuildsAsked((data.draw(st.sampled_from(sorted({*made.builds, *world.running}))),)))
        case "pause":
            world.send(msg.PauseAsked(tuple(services), paused=True))
        case _:
            world.send(msg.PauseAsked(tuple(made.units), paused=False))


def is_current(world: World, name: str) -> bool:
    """Whether a unit runs, or last ran, by the configuration of now."""
    return world.ran_as[name] == world.defined(name)


@given(projects(), st.data())
def test_after_any_history_every_service_runs_the_newest_content_and_definition(
    made: Project, data: st.DataObject
) -> None:
    world = World.of(made)
    world.broken = {BROKEN}
    world.begin()
    for _ in range(data.draw(st.integers(0, 20))):
        kind = data.draw(st.integers(0, 5))
        if kind > 1:
            if world.state.builds and world.state.services:
                play(world, data)
        elif kind == 1:
            ask(world, made, data)
        else:
            made = data.draw(changed(made))
            world.change(made)
    world.send(msg.PauseAsked(tuple(made.units), paused=False))
    world.send(msg.ServicesAsked(tuple(made.services), "start"))
    world.unprepared, world.mute = set(), set()
    world.settle()
    world.save(*made.builds, content=1)
    for name in made.services:
        world.touch_service(name)
    world.settle()
    assert (world.project, world.state.removed) == (made, frozenset())
    assert world.state.services.keys() == made.services.keys() == world.instances.keys()
    assert world.state.builds.keys() == made.builds.keys()
    for name, state in world.state.services.items():
        assert state.phase is Phase.READY, world.holds
        newest = [launch for launch in world.launches if launch.name == name][-1]
        assert {newest.built[each.name] for each in made.services[name].build_needs} <= {1}
        assert is_current(world, name)
    assert all(is_current(world, name) for name in made.builds)
    assert world.at_rest
    assert not world.holds


@given(projects(), st.data())
def test_changes_of_the_configuration_alone_come_to_the_same(made: Project, data: st.DataObject) -> None:
    world = World.of(made)
    world.begin()
    for _ in range(data.draw(st.integers(1, 6))):
        made = data.draw(changed(made))
        world.change(made)
        for _ in range(data.draw(st.integers(0, 12))):
            if world.pending:
                world.happen(data.draw(st.integers(0, len(world.pending) - 1)))
    world.settle()
    assert (world.project, world.state.removed) == (made, frozenset())
    assert world.instances.keys() == made.services.keys()
    assert all(is_current(world, name) for name in made.units)
    assert all(world.state.services[name].ready for name in made.services)
    assert world.at_rest
    assert not world.holds


@given(projects(), st.data())
def test_what_did_not_change_goes_on_as_if_nothing_had_happened(made: Project, data: st.DataObject) -> None:
    world = World.of(made)
    world.begin()
    world.settle()
    before, instances = world.state, dict(world.instances)
    new = data.draw(changed(made))
    same: dict[str, bool] = {}
    for name, unit in new.units.items():
        followed = [each.name for each in unit.needs if each.restart]
        same[name] = name in made.units and _runs_same(made.units[name], unit) and all(same[each] for each in followed)
    world.change(new)
    for _ in range(data.draw(st.integers(0, 30))):
        if world.pending:
            world.happen(data.draw(st.integers(0, len(world.pending) - 1)))
        for name in new.services:
            assert not same[name] or world.instances[name] == instances[name], f"{name} is restarted"
    world.settle()
    for name in [name for name in new.units if same[name]]:
        if name in new.builds:
            now, then = world.state.builds[name], before.builds[name]
            assert (now.run, now.key, now.clean) == (then.run, then.key, then.clean)
        else:
            assert replace(world.state.services[name], check=0) == replace(before.services[name], check=0)


def _runs_same(old: Build | Service, new: Build | Service) -> bool:
    return old == replace(new, terminal=old.terminal)


@given(projects(), st.data())
def test_a_stop_while_the_configuration_changes_ends_everything(made: Project, data: st.DataObject) -> None:
    world = World.of(made)
    world.broken = {BROKEN}
    world.begin()
    for _ in range(data.draw(st.integers(1, 20))):
        if data.draw(st.booleans()):
            made = data.draw(changed(made))
            world.change(made)
        elif world.state.builds and world.state.services:
            play(world, data)
    world.send(msg.StopAsked(130))
    world.change(data.draw(changed(made)))  # which counts no more
    world.settle()
    assert (world.ended, world.instances, world.running) == (130, {}, {})
