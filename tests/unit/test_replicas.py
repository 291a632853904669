"""Three replicas of a service: something new comes to one after another, as long as all goes well."""

from __future__ import annotations

import pytest

from procwatch.core import messages as msg
from procwatch.core.model import Listener, Service
from procwatch.core.snapshot import snapshot
from procwatch.core.state import Phase
from procwatch.core.verdict import Moment, Verdict, judge
from tests.rig.world import World, build, project, service

NAMES = ("service.web.1", "service.web.2", "service.web.3")


def three(*more: Service, **keys: object) -> World:
    """Three that are up on the first build."""
    replicas = (service(f"web.{number}", "build.web", of="service.web", replica=number, **keys) for number in (1, 2, 3))
    world = World.of(project(build("web"), *replicas, *more)).begin()
    world.settle()
    assert world.instances.keys() >= {*NAMES}
    return world


def between(world: World) -> list[str]:
    """Those that do not serve, or have a candidate."""
    return [name for name in NAMES if world.state.services[name].phase is not Phase.READY]


def roll(world: World) -> list[str]:
    """Let everything happen; in which order they were between two instances, never two of them at once."""
    order: list[str] = []
    while world.pending:
        world.happen(0)
        now = between(world)
        assert len(now) <= 1, now
        order += [name for name in now if name not in order[-1:]]
    return order


def moment(world: World) -> Moment:
    return Moment(world.project, world.state, world.holds, at_rest=world.at_rest, now_s=world.now_s)


def shown(world: World) -> dict[str, str]:
    return {str(unit["name"]): str(unit.get("reason", "")) for unit in snapshot(moment(world))}


@pytest.mark.parametrize("switch", ["replace", "overlap"])
def test_a_new_version_comes_to_one_after_another(switch: str) -> None:
    world = three(switch=switch)
    world.save("build.web", content=5)
    assert roll(world) == [*NAMES]
    assert all(world.starts(name) == 2 for name in NAMES)


def test_all_of_them_start_at_once() -> None:
    replicas = (service(f"web.{number}", of="service.web", replica=number) for number in (1, 2, 3))
    world = World.of(project(*replicas)).begin()
    while any(isinstance(item, msg.CheckInputs) for item in world.pending):
        world.happen(0)
    assert sum(isinstance(item, msg.StartInstance) for item in world.pending) == 3


@pytest.mark.parametrize("switch", ["replace", "overlap"])
def test_a_restart_that_is_asked_for_comes_to_one_after_another(switch: str) -> None:
    world = three(switch=switch)
    world.send(msg.ServicesAsked(NAMES, "restart"))
    assert roll(world) == [*NAMES]
    assert all(judge(moment(world), "restart", name, 1).outcome == "done" for name in NAMES)


def test_where_the_first_one_fails_the_others_stay_until_something_is_new() -> None:
    world = three(switch="overlap", verify="check")
    world.wrong.update(NAMES)
    world.save("build.web", content=5)
    world.settle()
    assert {name: world.instances[name] for name in NAMES} == dict.fromkeys(NAMES, 1)
    assert [notice.name for notice in world.told("verify_failed")] == ["service.web.1"]
    assert shown(world)["service.web.2"] == shown(world)["service.web.3"] == "service.web.1: verify exit 1"
    assert judge(moment(world), "wait", "service.web.3", 0) == Verdict(
        "failed", "stays on run 1: service.web.1: verify exit 1"
    )
    world.wrong.clear()
    world.save("build.web", content=6)
    assert roll(world) == [*NAMES]


def test_one_that_crashes_meanwhile_starts_what_it_ran_before() -> None:
    replicas = (
        service(f"web.{number}", "build.web", of="service.web", replica=number, switch="overlap", verify="check")
        for number in (1, 2, 3)
    )
    world = World.of(project(build("web", outputs=("app",)), *replicas)).begin()
    world.settle()
    world.wrong.add("service.web.1")
    world.save("build.web", content=5)
    world.settle()
    world.crash("service.web.2")
    world.settle()
    *_, last = [launch for launch in world.launches if launch.name == "service.web.2"]
    assert last.releases == (("build.web", 1),)
    assert shown(world)["service.web.2"] == "service.web.1: verify exit 1"


def test_where_a_later_one_fails_those_before_it_stay_on_the_new_one() -> None:
    world = three(switch="overlap", verify="check")
    world.wrong.add("service.web.2")
    world.save("build.web", content=5)
    world.settle()
    assert {name: world.starts(name) for name in NAMES} == dict(zip(NAMES, (2, 2, 1), strict=True))
    assert {name: world.instances[name] for name in NAMES} == dict(zip(NAMES, (2, 1, 1), strict=True))
    assert shown(world)["service.web.3"] == "service.web.2: verify exit 1"


def test_one_that_is_replaced_and_crashes_takes_no_other_down_with_it() -> None:
    world = three(switch="replace")
    world.save("build.web", content=5)
    while world.starts("service.web.1") < 2:
        world.happen(0)
    world.crash("service.web.1")
    assert world.state.services["service.web.1"].phase is Phase.BACKOFF
    assert shown(world)["service.web.2"] == "service.web.1 crashed"
    assert judge(moment(world), "wait", "service.web.2", 0).outcome == "failed"
    assert world.starts("service.web.2") == 1
    world.settle()  # the next try of the first one goes well
    assert all(world.starts(name) >= 2 for name in NAMES)
    assert not between(world)


def test_where_one_has_gone_back_the_others_do_not_try() -> None:
    world = World.of(
        project(
            build("web", outputs=("app",)),
            *(service(f"web.{number}", "build.web", of="service.web", replica=number) for number in (1, 2, 3)),
        )
    ).begin()
    world.settle()
    world.mute.update(NAMES)
    world.save("build.web", content=5)
    while not world.told("rolled_back"):
        world.happen(0)
    world.mute.clear()
    world.settle()
    assert [notice.name for notice in world.told("rolled_back")] == ["service.web.1"]
    assert [world.starts(name) for name in NAMES[1:]] == [1, 1]
    assert shown(world)["service.web.2"] == "service.web.1 went back to release 1 of build.web"
    world.save("build.web", content=6)
    assert roll(world) == [*NAMES]


def test_a_crashed_one_goes_before_those_that_serve() -> None:
    world = three(switch="overlap")
    world.crash("service.web.3")
    world.save("build.web", content=5)
    while not between(world):
        world.happen(0)
    assert roll(world) == ["service.web.3", "service.web.1", "service.web.2"]


def test_one_that_was_stopped_by_hand_holds_nobody_up() -> None:
    world = three(switch="overlap", verify="check")
    world.wrong.add("service.web.1")
    world.save("build.web", content=5)
    world.settle()
    assert world.starts("service.web.2") == 1
    world.send(msg.ServicesAsked(("service.web.1",), "stop"))
    world.settle()
    assert [world.starts(name) for name in NAMES[1:]] == [2, 2]


def test_what_needs_all_of_them_is_restarted_once_after_the_last() -> None:
    edge = service("edge", *(f"{name}!" for name in NAMES), "build.web")
    world = three(edge, switch="overlap")
    world.save("build.web", content=5)
    assert roll(world) == [*NAMES]
    assert world.starts("service.edge") == 2
    assert not world.told("service_stopped", "service.edge")[1:]


def test_what_needs_them_does_not_wait_for_those_that_stay() -> None:
    edge = service("edge", *NAMES, "build.web")
    world = three(edge, switch="overlap", verify="check")
    world.wrong.add("service.web.1")
    world.save("build.web", content=5)
    world.settle()
    assert world.starts("service.edge") == 2


def stops(world: World, name: str) -> list[bool]:
    """Whether its clients are let finish, of each stop that is under way."""
    return [item.drain for item in world.pending if isinstance(item, msg.StopInstance) and item.name == name]


def test_one_of_several_that_is_stopped_lets_its_clients_finish_until_all_is_to_end() -> None:
    world = three(switch="overlap", proxy=Listener("web", "127.0.0.1", 80))
    world.send(msg.ServicesAsked(("service.web.2",), "stop"))
    assert stops(world, "service.web.2") == [True]
    world.send(msg.StopAsked(0))
    assert stops(world, "service.web.2") == [True, False]
    assert stops(world, "service.web.1") == [False]
    world.settle()
    assert world.ended == 0


def test_the_last_one_that_is_stopped_is_not_waited_for() -> None:
    world = three(switch="overlap", proxy=Listener("web", "127.0.0.1", 80))
    world.send(msg.ServicesAsked(NAMES, "stop"))
    assert [drain for name in NAMES for drain in stops(world, name)] == [False] * 3
