"""The next instance beside the one in charge, one moment after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procwatch.core import messages as msg
from procwatch.core.snapshot import snapshot
from procwatch.core.state import Phase
from procwatch.core.verdict import Moment
from tests.rig.world import World, build, project, service

API = "service.api"


def overlapping(**more: object) -> World:
    """A service that is up on its first build."""
    world = World.of(project(build("api"), service("api", "build.api", switch="overlap", **more))).begin()
    world.settle()
    assert world.instances == {API: 1}
    return world


def candidate(world: World) -> World:
    """The build has succeeded once more, and the next instance has been asked for."""
    world.save("build.api", content=world.content.get("build.api", 0) + 1)
    while not world.beside:
        world.happen(0)
    assert world.state.services[API].phase is Phase.OVERLAPPING
    return world


def effects(world: World, event: str) -> list[str | None]:
    return [notice.effect for notice in world.told(event, API)]


def shown(world: World) -> dict[str, object]:
    units = snapshot(Moment(world.project, world.state, world.holds, at_rest=world.at_rest, now_s=world.now_s))
    return next(unit for unit in units if unit["name"] == API)


def test_the_new_instance_takes_over_when_it_is_ready_and_only_then_the_old_one_is_stopped() -> None:
    world = candidate(overlapping())
    assert world.instances == {API: 1}
    assert shown(world)["reason"] == "run 2 is starting"
    world.let(msg.StartInstance, API)
    assert world.instances == {API: 2}
    assert world.beside == {(API, 1)}
    (stop,) = [item for item in world.pending if isinstance(item, msg.StopInstance)]
    assert (stop.instance, stop.drain) == (1, True)
    world.settle()
    assert not world.beside
    order = [notice.event for notice in world.notices if notice.name == API][-4:]
    assert order == ["service_started", "service_ready", "service_switched", "service_stopped"]


def test_what_needs_it_is_not_held_up_by_a_switch() -> None:
    made = project(build("api"), service("api", "build.api", switch="overlap"), service("web", API))
    world = World.of(made).begin()
    world.settle()
    candidate(world)
    world.crash("service.web")
    world.let(msg.SetTimer, "service.web")
    assert "service.web" in world.instances


@pytest.mark.parametrize("code", [0, 1])
def test_a_candidate_that_ends_by_itself_changes_nothing_and_is_told_once(code: int) -> None:
    world = candidate(overlapping())
    world.crash_candidate(API, code)
    world.settle()
    assert world.instances == {API: 1}
    assert effects(world, "not_ready" if code == 0 else "service_crashed") == ["service.api stays on run 1"]
    assert len(world.launches) == 2
    assert shown(world)["reason"] == f"run 2: exit {code}"
    assert shown(world)["outdated"]


def test_a_candidate_that_is_not_ready_in_time_is_stopped_and_the_next_good_build_tries_again() -> None:
    world = candidate(overlapping())
    world.mute = {API}
    world.settle()
    assert (world.instances, world.beside) == ({API: 1}, set())
    assert effects(world, "not_ready") == ["service.api stays on run 1"]
    world.mute = set()
    candidate(world)
    world.settle()
    assert world.instances == {API: 3}
    assert not shown(world)["outdated"]


def test_verify_is_asked_before_the_new_instance_takes_over() -> None:
    world = candidate(overlapping(verify="true"))
    world.let(msg.StartInstance, API)
    assert world.instances == {API: 1}
    assert shown(world)["reason"] == "run 2 is being verified"
    world.settle()
    assert world.instances == {API: 2}


def test_what_fails_verify_is_given_up() -> None:
    world = candidate(overlapping(verify="true"))
    world.wrong = {API}
    world.settle()
    assert (world.instances, world.beside) == ({API: 1}, set())
    assert effects(world, "verify_failed") == ["service.api stays on run 1"]
    assert shown(world)["reason"] == "verify exit 1"


def test_at_the_first_start_nothing_serves_before_verify_has_passed() -> None:
    world = World.of(project(service("api", switch="overlap", verify="true")))
    world.wrong = {API}
    world.begin()
    for _ in range(20):
        if world.pending:
            world.happen(0)
    assert not world.told("service_ready")
    assert world.told("verify_failed")
    assert world.told("service_crashed")
    world.wrong = set()
    world.settle()
    assert world.state.services[API].phase is Phase.READY


def test_without_overlap_what_fails_verify_serves_and_is_marked() -> None:
    world = World.of(project(service("api", verify="true")))
    world.wrong = {API}
    world.begin()
    world.settle()
    assert world.state.services[API].phase is Phase.READY
    assert effects(world, "verify_failed") == ["it serves all the same"]
    assert shown(world)["reason"] == "verify exit 1"


def test_after_a_crash_what_has_been_verified_is_not_verified_again() -> None:
    world = overlapping(verify="true")
    assert world.verified == {(API, 1)}
    world.crash(API)
    world.settle()
    assert world.instances == {API: 2}
    assert world.verified == {(API, 1)}


def test_a_newer_build_gives_up_the_candidate_and_the_next_waits_for_its_end() -> None:
    world = candidate(overlapping())
    world.save("build.api", content=7)
    while not any(isinstance(item, msg.StopInstance) for item in world.pending):
        world.happen(1)  # the start of the candidate, first in the list, takes its time
    assert world.state.services[API].others == {2}
    assert world.holds[API] == "waits until run 2 has ended"
    world.settle()
    assert world.instances == {API: 3}
    assert world.launches[-1].built == {"build.api": 7}


def test_the_one_in_charge_ends_and_the_candidate_is_all_there_is() -> None:
    world = candidate(overlapping())
    world.crash(API)
    assert effects(world, "service_crashed") == ["run 2, which is starting, takes its place"]
    assert world.state.services[API].phase is Phase.STARTING
    world.settle()
    assert world.instances == {API: 2}
    assert len(world.launches) == 2


def test_a_stop_by_hand_ends_both() -> None:
    world = candidate(overlapping())
    world.send(msg.ServicesAsked((API,), "stop"))
    world.settle()
    assert not world.instances
    assert not world.beside


def test_a_stop_waits_no_longer_for_the_clients_of_a_retired_instance() -> None:
    world = candidate(overlapping())
    world.let(msg.StartInstance, API)
    world.send(msg.StopAsked(0))
    stops = [(item.instance, item.drain) for item in world.pending if isinstance(item, msg.StopInstance)]
    assert stops == [(1, True), (2, False), (1, False)]
    world.settle()
    assert world.ended == 0


def test_a_changed_definition_gives_up_the_candidate() -> None:
    world = candidate(overlapping())
    api = world.project.services[API]
    made = replace(world.project, services={API: replace(api, run="other")})
    world.change(made)
    assert world.state.services[API].candidate is None
    world.settle()
    assert world.instances == {API: 3}
    assert world.launches[-1].definition != world.launches[0].definition


def test_pre_start_runs_before_the_candidate_is_started() -> None:
    world = overlapping(hooks={"pre_start": ("true",)})
    world.save("build.api", content=1)
    while not any(isinstance(item, msg.RunHook) for item in world.pending):
        world.happen(0)
    assert not world.beside
    world.unprepared = {API}
    world.settle()
    assert world.instances == {API: 1}
    assert shown(world)["reason"] == "pre_start failed (exit 1)"
