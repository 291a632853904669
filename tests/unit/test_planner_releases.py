"""The planner and the releases of builds with outputs: what follows a success, what a start is made from."""

from __future__ import annotations

from dataclasses import replace

from procwatch.core import messages as msg
from procwatch.core.model import Build, Need, Release, Service
from procwatch.core.planner import initial
from procwatch.core.state import Phase, Remembered, RememberedService
from tests.rig.world import World, build, project, service

BROKEN = 9


def app(**more: object) -> Build:
    """A build with one output."""
    return build("app", outputs=("out",), **more)


def running(*units: Build | Service) -> World:
    """A world in which everything has been built and is ready."""
    world = World.of(project(*units))
    world.broken = {BROKEN}
    world.begin()
    world.settle()
    return world


def save(world: World, content: int, name: str = "build.app") -> None:
    world.save(name, content=content)
    world.settle()


def used(world: World, name: str = "service.web") -> dict[str, int]:
    """What the newest instance of a service was started from."""
    return dict([launch for launch in world.launches if launch.name == name][-1].releases)


def test_each_new_content_is_a_release_and_the_service_runs_from_it() -> None:
    world = running(app(), service("web", "build.app"))
    assert used(world) == {"build.app": 1}
    save(world, 1)
    assert world.instances == {"service.web": 2}
    assert used(world) == {"build.app": 2}
    assert world.current == {"build.app": 2}


def test_nothing_follows_a_build_whose_outputs_have_not_changed() -> None:
    world = running(app(), build("side", "build.app"), service("web", "build.app"), service("by", "build.side"))
    world.alike = {1: 0}
    save(world, 1)
    assert world.starts("build.app") == 2
    assert world.starts("build.side") == 1
    assert world.instances == {"service.web": 1, "service.by": 1}
    told = world.told("build_succeeded", "build.app")[-1]
    assert told.effect == "service.web stays on run 1, service.by stays on run 1 (the same content)"
    assert world.current == {"build.app": 1}
    assert world.state.builds["build.app"].releases[-1].number == 1


def test_a_need_that_uses_some_outputs_is_not_moved_by_the_others() -> None:
    web = replace(service("web"), needs=(Need("build.app", restart=True, uses=("bin",)),))
    world = running(build("app", outputs=("bin", "doc")), service("all", "build.app"), web)
    for number, digests in ((2, {"bin": "a", "doc": "a"}), (3, {"bin": "a", "doc": "b"})):
        world.save("build.app", content=number)
        world.look()
        world.releases["build.app"][number] = number
        run = world.state.builds["build.app"].run
        world.pending = [item for item in world.pending if not isinstance(item, msg.StartBuild)]
        world.running.clear()
        world.send(msg.BuildFinished("build.app", run, msg.Succeeded(Release(number, digests)), 1.0))
        world.settle()
    assert world.instances == {"service.all": 3, "service.web": 2}
    assert (used(world, "service.all"), used(world)) == ({"build.app": 3}, {"build.app": 2})
    world.crash("service.web")
    world.settle()
    assert used(world) == {"build.app": 3}, "all is fresh: the newest will do"


def test_a_crash_and_a_restart_by_hand_do_not_wait_for_the_running_build() -> None:
    world = running(app(), service("web", "build.app"))
    world.save("build.app", content=1)
    world.look()
    assert world.running.keys() == {"build.app"}
    world.crash("service.web")
    world.let(msg.SetTimer, "service.web")
    assert world.instances == {"service.web": 2}
    world.let(msg.StartInstance, "service.web")
    world.send(msg.ServicesAsked(("service.web",), "restart"))
    world.look()
    world.let(msg.StopInstance, "service.web")
    assert world.instances == {"service.web": 3}
    assert used(world) == {"build.app": 1}
    world.settle()
    assert used(world) == {"build.app": 2}


def test_without_outputs_a_restart_waits_for_the_running_build() -> None:
    world = running(build("gen"), app(), service("web", "build.app", "build.gen"))
    world.save("build.gen", content=1)
    world.look()
    world.crash("service.web")
    world.let(msg.SetTimer, "service.web")
    assert world.instances == {}
    assert world.holds["service.web"] == "waits for build.gen"


def test_going_back_after_a_failure_runs_nothing_as_the_release_is_not_disturbed() -> None:
    world = running(app(), service("web", "build.app"))
    save(world, BROKEN)
    save(world, 0)
    assert world.starts("build.app") == 2
    assert world.told("build_skipped")[-1].reason == "the same content as in its last success"
    assert [one.reason for one in world.told("build_fixed")] == ["after one failure"]
    assert world.instances == {"service.web": 1}
    assert not world.holds
    save(world, 1)
    assert len(world.told("build_fixed")) == 1


def test_going_back_after_a_failure_runs_where_another_build_reads_what_was_disturbed() -> None:
    world = running(app(), build("side", "build.app"))
    save(world, BROKEN)
    save(world, 0)
    assert world.starts("build.app") == 3


def test_what_comes_of_an_outdated_run_is_no_release() -> None:
    world = running(build("app", outputs=("out",), on_change="finish"), service("web", "build.app"))
    world.save("build.app", content=1)
    world.look()
    world.save("build.app", content=2)
    world.let(msg.StartBuild, "build.app")
    world.settle()
    assert world.releases["build.app"] == {1: 0, 2: 2}
    assert used(world) == {"build.app": 2}


def test_a_release_that_something_runs_from_is_never_removed() -> None:
    units = app(keep=1), build("test"), service("web", "build.app", "build.test"), service("new", "build.app")
    world = running(*units)
    save(world, BROKEN, "build.test")
    for content in (1, 2, 3):
        save(world, content)
    assert set(world.releases["build.app"]) == {1, 3, 4}, "the one before is there to go back to"
    assert (used(world), used(world, "service.new")) == ({"build.app": 1}, {"build.app": 4})
    world.crash("service.web")
    world.settle()
    assert used(world) == {"build.app": 1}
    save(world, 0, "build.test")
    assert set(world.releases["build.app"]) == {1, 3, 4}


def test_a_first_start_with_a_failing_build_takes_the_newest_good_release_and_says_so() -> None:
    before = Remembered("K", clean=True, run=7, release=4, releases=(Release(4, {"out": "out@0"}),))
    world = World.of(project(app(), service("web", "build.app")), remembered={"build.app": before})
    world.releases, world.current = {"build.app": {4: 0}}, {"build.app": 4}
    world.content, world.broken = {"build.app": BROKEN}, {BROKEN}
    world.begin()
    world.look()
    assert world.instances == {}, "the build may well succeed"
    world.settle()
    assert used(world) == {"build.app": 4}
    assert world.holds["service.web"] == "outdated: build.app failed (exit 2)"
    assert world.told("build_failed")[-1].effect == "service.web starts from an earlier release"
    save(world, 0)
    assert world.instances == {"service.web": 1}, "of the same content: nothing to move to"
    save(world, 1)
    assert used(world) == {"build.app": 5}


def test_a_first_start_waits_for_a_failed_build_that_has_no_release() -> None:
    before = Remembered("K", clean=True, run=7, release=4, releases=(Release(4, {"out": "out@0"}),))
    units = project(app(), build("gen"), service("web", "build.app", "build.gen"))
    world = World.of(units, remembered={"build.app": before})
    world.releases, world.current = {"build.app": {4: 0}}, {"build.app": 4}
    world.content, world.broken = {"build.gen": BROKEN}, {BROKEN}
    world.begin()
    world.settle()
    assert world.instances == {}


def test_at_start_changed_runs_where_the_outputs_are_not_there_any_more_or_a_run_was_cut_off() -> None:
    first = running(app(at_start="changed"))
    kept = first.remembered["build.app"]
    releases = first.state.builds["build.app"].releases
    for is_whole, clean, runs in ((True, True, 0), (False, True, 1), (True, False, 1)):
        before = Remembered(kept.key, clean, kept.run, kept.release, releases, is_whole)
        world = World.of(first.project, remembered={"build.app": before})
        world.releases, world.current = {"build.app": {1: 0}}, {"build.app": 1}
        world.begin()
        world.settle()
        assert world.starts("build.app") == runs


def test_at_start_never_takes_what_is_on_disk_as_a_release() -> None:
    world = World.of(project(app(at_start="never"), service("web", "build.app"))).begin()
    world.look()
    (start,) = (item for item in world.pending if isinstance(item, msg.StartBuild))
    assert start.adopt
    world.settle()
    assert used(world) == {"build.app": 1}
    assert world.state.services["service.web"].phase is Phase.READY
    save(world, 1)
    assert used(world) == {"build.app": 2}


# --- going back ------------------------------------------------------------------------------------------------------


def back(world: World, to: int | None = None) -> None:
    world.send(msg.RollbackAsked(("service.web",), to))
    world.settle()


def test_a_rollback_holds_through_crashes_and_restarts_until_a_build_succeeds() -> None:
    world = running(app(), service("web", "build.app"))
    save(world, 1)
    back(world)
    assert used(world) == {"build.app": 1}
    told = world.told("rolled_back")[-1]
    assert told.reason == "asked for"
    assert told.effect == "it goes on with release 1 of build.app until one of its builds succeeds"
    world.crash("service.web")
    world.settle()
    world.send(msg.ServicesAsked(("service.web",), "restart"))
    world.settle()
    save(world, BROKEN)
    save(world, 1)  # what it has come to before: no success
    assert len([launch for launch in world.launches if launch.releases == (("build.app", 1),)]) == 4
    assert world.instances == {"service.web": 5}
    save(world, 2)
    assert used(world) == {"build.app": 3}
    back(world)
    assert used(world) == {"build.app": 1}, "that is what ran before, not the one that was left"


def test_each_rollback_goes_further_back_and_no_further_than_there_are_releases() -> None:
    world = running(app(keep=5), service("web", "build.app"))
    save(world, 1)
    save(world, 2)
    back(world)
    assert used(world) == {"build.app": 2}
    back(world)
    assert used(world) == {"build.app": 1}
    back(world)
    assert len(world.told("rolled_back")) == 2
    back(world, to=3)
    assert used(world) == {"build.app": 3}


def test_a_build_that_is_asked_for_ends_a_rollback_though_it_makes_the_same() -> None:
    world = running(app(), service("web", "build.app"))
    save(world, 1)
    back(world)
    world.send(msg.BuildsAsked(("build.app",)))
    world.settle()
    assert used(world) == {"build.app": 2}
    assert world.told("build_succeeded")[-1].effect is None


def test_the_whole_set_goes_back() -> None:
    made = build("lib", outputs=("out",)), build("gen"), service("web", "build.app", "build.lib", "build.gen")
    world = running(app(), *made)
    world.save("build.app", "build.lib", content=1)
    world.settle()
    save(world, BROKEN, "build.gen")
    back(world)
    assert used(world) == {"build.app": 1, "build.lib": 1}
    save(world, 1, "build.gen")
    assert used(world) == {"build.app": 2, "build.lib": 2}


def test_a_release_that_never_becomes_ready_goes_back_by_itself() -> None:
    world = running(app(), service("web", "build.app"))
    for content in (1, 2):
        world.mute = {"service.web"}
        world.save("build.app", content=content)
        while not world.told("rolled_back")[content - 1 :]:
            world.happen(0)
        world.mute = set()
        world.settle()
        assert used(world) == {"build.app": 1}
        assert world.told("rolled_back")[-1].reason == f"release {content + 1} of build.app did not become ready"
    save(world, 3)
    assert used(world) == {"build.app": 4}
    assert not world.state.services["service.web"].pinned


def test_one_that_ends_before_it_is_ready_goes_back_too_and_at_once() -> None:
    world = running(app(), service("web", "build.app"))
    world.save("build.app", content=1)
    while "service.web" not in world.instances or world.instances["service.web"] == 1:
        world.happen(0)
    world.crash("service.web")
    assert used(world) == {"build.app": 1}
    world.settle()
    assert world.state.services["service.web"].phase is Phase.READY


def test_what_was_built_while_a_bad_release_was_ending_is_tried_before_anything_goes_back() -> None:
    world = running(app(), service("web", "build.app"))
    world.mute = {"service.web"}
    world.save("build.app", content=1)
    while world.state.services["service.web"].phase is not Phase.FAILING:
        world.happen(0)
    world.mute = set()
    world.save("build.app", content=2)
    while len(world.told("build_succeeded", "build.app")) < 3:
        world.happen(len(world.pending) - 1)  # the end of the bad one, first in the list, takes its time
    assert world.state.services["service.web"].phase is Phase.FAILING
    world.settle()
    assert used(world) == {"build.app": 3}
    assert not world.told("rolled_back")


def test_what_has_run_well_is_restarted_and_not_taken_back_when_it_crashes_later() -> None:
    world = running(app(), service("web", "build.app"))
    save(world, 1)
    world.mute = {"service.web"}
    world.crash("service.web")
    for _ in range(6):
        if world.pending:
            world.happen(0)
    assert not world.told("rolled_back")
    assert used(world) == {"build.app": 2}


def test_a_release_that_is_no_good_is_left_as_it_is_where_there_is_nothing_to_go_back_to() -> None:
    world = World.of(project(app(), service("web", "build.app")))
    world.mute = {"service.web"}
    world.begin()
    while not world.told("service_crashed"):
        world.happen(0)
    assert world.state.services["service.web"].phase is Phase.BACKOFF
    assert not world.told("rolled_back")


def test_the_next_procwatch_knows_what_ran_before_and_what_was_gone_back_to() -> None:
    first = running(app(at_start="changed"), service("web", "build.app"))
    save(first, 1)
    back(first)
    kept, sets = first.remembered["build.app"], first.sets["service.web"]
    assert sets.pinned == (("build.app", 1),)
    before = Remembered(kept.key, kept.clean, kept.run, kept.release, first.state.builds["build.app"].releases)
    ran = RememberedService(sets.history, sets.pinned)
    state = initial(first.project, first.project.units, {"build.app": before}, {"service.web": ran})
    world = World(first.project, state, content={"build.app": 1})
    world.releases, world.current = {"build.app": {1: 0, 2: 1}}, {"build.app": 2}
    world.begin()
    world.settle()
    assert used(world) == {"build.app": 1}
    save(world, 2)
    assert used(world) == {"build.app": 3}
    back(world)
    assert used(world) == {"build.app": 1}


# --- beside one another ----------------------------------------------------------------------------------------------


def test_with_overlap_each_instance_has_its_own_release_which_stays_as_long_as_it_runs() -> None:
    world = running(app(keep=1), service("web", "build.app", switch="overlap", hooks={"post_stop": ("x",)}))
    world.save("build.app", content=1)
    while not world.beside:
        world.happen(0)
    state = world.state.services["service.web"]
    assert (state.releases, dict(state.beside)) == ((("build.app", 1),), {2: (("build.app", 2),)})
    world.settle()
    state = world.state.services["service.web"]
    assert (state.releases, dict(state.beside)) == ((("build.app", 2),), {})
    assert state.history == ((("build.app", 1),),)
    back(world)
    assert used(world) == {"build.app": 1}


def test_a_candidate_that_is_no_good_moves_nothing_and_goes_nowhere_back() -> None:
    world = running(app(), service("web", "build.app", switch="overlap"))
    world.mute = {"service.web"}
    save(world, 1)
    state = world.state.services["service.web"]
    assert (state.releases, state.pinned, dict(state.beside)) == ((("build.app", 1),), (), {})
    assert not world.told("rolled_back")
    world.mute = set()
    save(world, 2)
    assert used(world) == {"build.app": 3}
    back(world)
    assert used(world) == {"build.app": 1}, "the second has never served"


def test_what_dies_after_its_next_one_was_no_good_is_started_from_its_own_release_again() -> None:
    world = running(app(), service("web", "build.app", switch="overlap", verify="true"))
    world.wrong = {"service.web"}
    save(world, 1)
    world.crash("service.web")
    world.settle()
    assert [dict(each.releases)["build.app"] for each in world.launches] == [1, 2, 1]
    assert len(world.told("verify_failed")) == 1
    assert not world.told("rolled_back")
    world.wrong = set()
    save(world, 2)
    assert used(world) == {"build.app": 3}


def test_with_replace_a_release_that_is_not_verified_goes_back() -> None:
    world = running(app(), service("web", "build.app", switch="replace", verify="smoke"))
    world.wrong = {"service.web"}
    save(world, 1)
    assert world.told("rolled_back")[-1].reason == "release 2 of build.app was not verified"
    world.wrong = set()
    world.settle()
    assert used(world) == {"build.app": 1}
    save(world, 2)
    assert used(world) == {"build.app": 3}


def test_a_build_whose_releases_were_removed_makes_one_and_nothing_else_changes() -> None:
    world = running(app(), service("web", "build.app"))
    save(world, 1)
    world.lose("build.app", "build.gone")
    world.settle()
    assert world.starts("build.app") == 3
    assert world.instances == {"service.web": 2}
    assert [one.number for one in world.state.builds["build.app"].releases] == [3]
    world.crash("service.web")
    world.settle(seconds_a_step=1.0)
    assert used(world) == {"build.app": 3}
