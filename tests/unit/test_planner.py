"""The planner, scene by scene: what is started, what stays, and what is told."""

from __future__ import annotations

import pytest

from procwatch.core import messages as msg
from procwatch.core.model import Exit, RestartPolicy
from procwatch.core.state import Phase, Remembered
from tests.rig.world import BRITTLE, World, build, project, service

GOOD, BROKEN = 0, 9


def running(*units: object, jobs: int = 8) -> World:
    """A world in which everything has been built and is ready."""
    world = World.of(project(*units, jobs=jobs))  # type: ignore[arg-type]
    world.broken = {BROKEN}
    world.begin()
    world.settle()
    return world


def phase(world: World, name: str = "service.web") -> Phase:
    """Where a service is in its life."""
    return world.state.services[name].phase


def test_a_service_starts_when_its_builds_have_succeeded() -> None:
    world = World.of(project(build("app"), service("web", "build.app"))).begin()
    world.look()
    assert world.running.keys() == {"build.app"}
    assert world.holds["service.web"] == "waits for build.app"
    world.settle()
    assert world.instances == {"service.web": 1}
    assert [notice.event for notice in world.notices] == [
        "build_started", "build_succeeded", "service_started", "service_ready",
    ]  # fmt: skip


def test_the_recovery_sequence_restarts_once_for_the_fix_and_never_for_the_way_back() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=BROKEN)
    world.settle()
    assert world.instances == {"service.web": 1}
    assert world.holds["service.web"] == "outdated: build.app failed (exit 2)"
    assert world.told("build_failed")[-1].effect == "service.web stays on run 1"
    world.save("build.app", content=2)
    world.settle()
    assert world.instances == {"service.web": 2}
    assert world.told("build_fixed")
    world.save("build.app", content=BROKEN)
    world.settle()
    runs = world.starts("build.app")
    world.save("build.app", content=2)
    world.settle()
    assert world.instances == {"service.web": 2}
    assert world.starts("build.app") == runs + 1, "the failed run may have disturbed what the last success wrote"
    assert not world.holds


def test_the_same_bytes_start_nothing_and_say_why() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app")
    world.settle()
    assert world.starts("build.app") == 1
    assert world.told("build_skipped")[-1].reason == "the same content as in run 1"


def test_a_service_that_was_restarted_on_a_failed_build_moves_on_when_the_content_is_good_again() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=BROKEN)
    world.settle()
    world.crash("service.web")
    world.settle()
    assert world.instances == {"service.web": 2}, "what is on disk is better than nothing"
    world.save("build.app", content=0)
    world.settle()
    assert world.instances == {"service.web": 3}, "nobody knows what it was started from"
    assert world.told("service_switched", "service.web")[-1].run == 3
    assert world.told("build_succeeded")[-1].effect is None


def test_a_change_while_the_old_instance_ends_starts_the_newest_one_at_once() -> None:
    world = running(service("web"))
    world.touch_service("service.web")
    assert world.state.services["service.web"].phase is Phase.RETIRING
    world.touch_service("service.web")
    world.settle()
    assert world.instances == {"service.web": 2}
    assert len(world.launches) == 2


def test_nothing_is_started_any_more_once_everything_is_to_stop() -> None:
    world = running(service("db"), service("web", "service.db"))
    world.touch_service("service.db")
    world.send(msg.StopAsked(130))
    world.settle()
    assert world.ended == 130
    assert len(world.launches) == 2


def test_a_crash_while_the_next_one_is_prepared_is_told_and_counted_like_any() -> None:
    hooks = {"pre_start": ("check",), "crashed": ("tell",)}
    world = running(service("web", hooks=hooks))
    world.touch_service("service.web")
    assert world.state.services["service.web"].phase is Phase.SWITCHING
    world.crash("service.web", code=137)
    assert world.told("service_crashed")[-1].effect == "the next one is being prepared"
    assert [item.hook for item in world.pending if isinstance(item, msg.RunHook)] == ["pre_start", "crashed"]
    world.settle()
    assert world.instances == {"service.web": 2}


def test_a_service_that_could_not_be_started_now_stays_as_it_is() -> None:
    world = running(service("web"))
    world.send(msg.FilesChanged(("app.env",), {"service.web": ("app.env",)}))
    check = world.state.services["service.web"].check
    world.pending.clear()
    world.send(msg.InputsChecked("service.web", check, "another", problem="app.env: no such file"))
    assert world.instances == {"service.web": 1}
    assert world.holds["service.web"] == "outdated: app.env: no such file"


def test_a_build_below_runs_again_when_the_one_above_goes_back_to_its_last_good_content() -> None:
    world = running(build("lib"), build("app", "build.lib"), service("web", "build.app"))
    world.fragile = {"build.app"}
    world.save("build.lib", content=BRITTLE)
    world.settle()
    assert world.told("build_failed", "build.app")
    world.save("build.lib", content=0)
    world.settle()
    assert world.told("build_fixed", "build.app")
    assert len(world.launches) == 1, "what it came to is what the service runs"
    world.crash("service.web")
    world.settle()
    assert world.instances == {"service.web": 2}


def test_a_run_is_told_all_the_changes_that_no_run_has_built() -> None:
    world = running(build("app"))
    world.send(msg.FilesChanged(("a",), {"build.app": ("a",)}))
    world.content["build.app"] = 1
    world.look()
    world.send(msg.FilesChanged(("b",), {"build.app": ("b",)}))
    world.content["build.app"] = 2
    world.look()
    world.settle()
    assert world.told("build_started")[-1].paths == ("a", "b")


def test_a_manual_build_runs_only_when_asked_for() -> None:
    world = World.of(project(build("seed", manual=True)), ["build.seed"]).begin()
    world.settle()
    world.save("build.seed", content=1)
    world.settle()
    assert world.starts("build.seed") == 1


def test_after_a_failure_any_save_tries_again() -> None:
    world = running(build("app"))
    world.save("build.app", content=BROKEN)
    world.settle()
    world.save("build.app")
    world.settle()
    assert world.starts("build.app") == 3


def test_what_a_failed_run_wrote_itself_is_no_save() -> None:
    world = running(build("app"))
    world.save("build.app", content=BROKEN)
    world.settle()
    world.send(msg.FilesChanged(("app.src",), {"build.app": ("app.src",)}))
    world.settle()
    assert world.starts("build.app") == 2


def test_a_change_during_the_run_stops_it_and_its_outcome_is_never_used() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=1)
    world.look()
    world.save("build.app", content=2)
    world.look()
    assert world.told("build_cancelled")[-1].reason == "build.app.src changed"
    world.settle()
    assert world.starts("build.app") == 3
    assert [launch.built["build.app"] for launch in world.launches] == [0, 2]


def test_with_finish_a_change_during_the_run_lets_it_end_and_then_runs_again() -> None:
    world = running(build("app", on_change="finish"), service("web", "build.app"))
    world.save("build.app", content=1)
    world.look()
    world.save("build.app", content=2)
    world.look()
    assert not world.told("build_cancelled")
    world.settle()
    assert world.starts("build.app") == 3
    assert [launch.built["build.app"] for launch in world.launches] == [0, 2]


def test_an_edit_that_no_event_has_told_of_yet_outdates_the_run_when_it_ends() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=1)
    world.look()
    world.content["build.app"] = 2
    world.let(msg.StartBuild, "build.app")
    world.settle()
    assert [launch.built["build.app"] for launch in world.launches] == [0, 2]


def test_six_saves_during_a_two_second_build_complete_at_most_two_builds_and_restart_once() -> None:
    world = running(build("app"), service("web", "build.app"))
    done = len(world.told("build_succeeded"))
    for content in range(1, 7):
        world.save("build.app", content=content)
        while any(not isinstance(item, msg.StartBuild) for item in world.pending):
            world.happen(next(i for i, item in enumerate(world.pending) if not isinstance(item, msg.StartBuild)))
        world.now_s += 0.3
    world.now_s += 1.5
    world.settle()
    assert len(world.told("build_succeeded")) - done <= 2
    assert len(world.told("build_cancelled", "build.app")) == 4, "three were stopped, one was outdated at its end"
    assert [launch.built["build.app"] for launch in world.launches] == [0, 6]


def test_a_run_that_changes_have_outdated_is_judged_and_repeated_only_when_they_have_ended() -> None:
    world = running(build("app"))
    world.save("build.app", content=1)
    assert [item.settled for item in world.checks()] == [False], "the first one starts at once"
    world.look()
    world.save("build.app", content=2)
    assert [item.settled for item in world.checks()] == [False], "a change stops the run at once"
    world.look()
    world.let(msg.StopBuild, "build.app")
    assert [item.settled for item in world.checks()] == [True]
    world.look()
    world.let(msg.StartBuild, "build.app")  # of the run that was stopped
    world.let(msg.StartBuild, "build.app")
    assert [item.settled for item in world.checks()] == [True]
    assert "build.app" not in world.holds
    world.save("build.app")
    assert world.holds["build.app"] == "waits until its files have stopped changing"
    world.settle()
    world.save("build.app", content=3)
    assert [item.settled for item in world.checks()] == [False]


def test_what_changes_all_the_time_is_named_with_those_who_read_it() -> None:
    world = running(build("app"), build("lib"), build("seed", manual=True))
    readers = {"build.app": ("log", "app.src"), "build.lib": ("lib.src",), "build.seed": ("log",)}
    world.send(msg.FilesChanged(("app.src", "lib.src", "log"), readers, restless=("log",)))
    told = world.told("always_changing")[0]
    assert (told.paths, told.names) == (("log",), ("build.app",))
    world.send(msg.FilesChanged(("app.src", "lib.src", "log"), readers, restless=("log",)))
    world.send(msg.FilesChanged(("other",), {"build.seed": ("other",)}, restless=("other",)))
    world.send(msg.FilesChanged(("new/1",), {"build.lib": ("new/1",), "build.app": ("log",)}, restless=("new/",)))
    assert [one.names for one in world.told("always_changing")[1:]] == [("build.lib",)]
    assert len(world.told("always_changing")) == 2, "once; and nobody who is there reads the other one"


def test_what_changes_after_each_start_is_named_once() -> None:
    world = running(build("app"), service("web", "build.app"))
    for times in range(15):
        assert bool(world.told("always_changing")) == (times >= 10)
        world.save("build.app", content=10 + times)
        world.settle()
        world.now_s += 1.0
    (told,) = world.told("always_changing")
    assert (told.paths, told.names) == (("build.app.src",), ("build.app",))
    assert told.reason == "after each of the last 10 starts of service.web"
    assert world.starts("service.web") == 16, "it is told, and nothing else"


def test_a_service_that_touches_what_it_watches_is_named() -> None:
    world = running(service("web"))
    for _ in range(10):
        world.touch_service("service.web")
        world.settle()
    (told,) = world.told("always_changing")
    assert (told.paths, told.names) == (("trigger",), ("service.web",))


def test_whoever_takes_his_time_between_saves_is_not_taken_for_a_loop() -> None:
    world = running(build("app"), service("web", "build.app"))
    for times in range(30):
        world.save("build.app", content=10 + times)
        world.settle()
        world.now_s += 3.0 if times % 9 == 0 else 1.0
    assert not world.told("always_changing")


def test_builds_that_change_what_each_other_watches_are_named() -> None:
    world = running(build("a"), build("b", "build.a"))
    for times in range(10):
        world.save("build.a", content=10 + times)
        world.settle()
    (told,) = world.told("always_changing")
    assert told.reason == "after each of the last 10 runs of build.b"


def test_edits_that_never_end_do_not_starve_a_build() -> None:
    world = running(build("app"), service("web", "build.app"))
    content = 9
    for _ in range(20):
        for _ in range(8):
            content += 1
            world.save("build.app", content=content)
            while any(not isinstance(item, msg.StartBuild) for item in world.pending):
                world.happen(next(i for i, item in enumerate(world.pending) if not isinstance(item, msg.StartBuild)))
            world.now_s += 0.25
        if world.running:
            world.let(msg.StartBuild, "build.app")
            world.look()
    assert len(world.launches) > 3, "what was let finish is used although edits go on"


def test_a_diamond_builds_each_once_a_change_and_restarts_once() -> None:
    world = running(
        build("lib"), build("left", "build.lib"), build("right", "build.lib"),
        service("app", "build.left", "build.right", "build.lib"),
    )  # fmt: skip
    world.save("build.lib", content=1)
    world.settle()
    assert [world.starts(f"build.{name}") for name in ("lib", "left", "right")] == [2, 2, 2]
    assert len(world.launches) == 2
    world.save("build.right", content=BROKEN)
    world.settle()
    world.save("build.left", content=5)
    world.settle()
    assert len(world.launches) == 2
    assert world.holds["service.app"] == "outdated: build.right failed (exit 2)"


def test_builds_below_a_failed_one_do_not_run() -> None:
    world = running(build("a"), build("b", "build.a"))
    world.save("build.a", "build.b", content=BROKEN)
    world.settle()
    assert world.starts("build.b") == 1
    assert world.holds["build.b"] == "waits for build.a, which failed"


def test_a_build_that_writes_what_it_watches_runs_again_at_most_once_if_the_content_settles() -> None:
    world = running(build("gen"))
    world.save("build.gen", content=1)
    world.look()
    world.content["build.gen"] = 2
    world.let(msg.StartBuild, "build.gen")
    world.save("build.gen")
    world.settle()
    assert world.starts("build.gen") == 3
    assert world.at_rest


def rewrite_itself(world: World, content: int) -> None:
    """One run of build.gen that changes what it watches; the event of that comes when it has ended."""
    world.look()
    world.content["build.gen"] = content
    world.let(msg.StartBuild, "build.gen")
    world.save("build.gen")
    world.look()


def test_somebody_who_saves_all_the_time_is_not_taken_for_a_loop() -> None:
    world = World.of(project(build("gen"), service("web", "build.gen"))).begin()
    for content in range(100, 104):
        rewrite_itself(world, content)
    world.save("build.gen", content=200)
    world.look()
    assert "build.gen" in world.running, "who changes it while nothing runs is not the build"
    world.settle()
    assert not world.told("build_loop")
    assert world.launches[-1].built["build.gen"] == 200


def test_what_a_parked_build_came_to_is_not_remembered_as_good() -> None:
    world = World.of(project(build("gen"))).begin()
    for content in range(100, 104):
        rewrite_itself(world, content)
    world.let(msg.SetTimer, "build.gen")
    rewrite_itself(world, 104)
    assert world.remembered["build.gen"].clean is False
    world.send(msg.FilesChanged(("build.gen.src",), {"build.gen": ("build.gen.src",)}))
    world.settle()
    assert world.starts("build.gen") == 5, "the event of its own last write comes late"
    world.save("build.gen")
    world.settle()
    assert world.starts("build.gen") == 6


def test_a_build_that_changes_what_it_watches_each_time_is_parked_after_five_rounds() -> None:
    world = World.of(project(build("gen"), service("web", "build.gen"))).begin()
    for content in range(100, 104):
        rewrite_itself(world, content)
    assert world.holds["build.gen"] == "waits 1 s to see whether anybody else changes build.gen.src"
    assert not world.at_rest
    world.let(msg.SetTimer, "build.gen")
    rewrite_itself(world, 104)
    assert world.starts("build.gen") == 5
    loop = world.told("build_loop")
    assert [notice.paths for notice in loop] == [("build.gen.src",)]
    world.settle()
    assert world.instances == {"service.web": 1}
    world.save("build.gen", content=1)
    world.settle()
    assert world.starts("build.gen") == 6, "the next real edit goes on"


def test_jobs_and_locks_hold_what_is_due_and_say_so() -> None:
    world = World.of(project(build("a"), build("b"), jobs=1)).begin()
    world.look()
    assert world.holds == {"build.b": "waits for one of 1 jobs"}
    world = World.of(project(build("a", lock="cargo"), build("b", lock="cargo"), build("c"))).begin()
    world.look()
    assert world.running.keys() == {"build.a", "build.c"}
    assert world.holds == {"build.b": 'waits for build.a, which holds the lock "cargo"'}


@pytest.mark.parametrize(
    ("at_start", "before", "runs"),
    [
        ("always", Remembered("K", True, 4), 1),
        ("changed", None, 1),
        ("changed", Remembered("other", True, 4), 1),
        ("changed", Remembered("K", True, 4), 0),
        ("changed", Remembered("K", False, 4), 1),
        ("never", None, 0),
        ("never", Remembered("other", False, 4), 0),
    ],
)
def test_at_start(at_start: str, before: Remembered | None, runs: int) -> None:
    probe = World.of(project(build("app"))).begin()
    probe.settle()
    key = probe.state.builds["build.app"].key
    remembered = {"build.app": Remembered(key, before.clean, before.run)} if before and before.key == "K" else {}
    if before and before.key == "other":
        remembered = {"build.app": before}
    world = World.of(project(build("app", at_start=at_start), service("web", "build.app")), remembered=remembered)
    world.begin().settle()
    assert world.starts("build.app") == runs
    assert world.instances == {"service.web": 1}


def test_a_needed_service_is_switched_first_and_the_dependent_once() -> None:
    world = running(build("x"), service("db", "build.x"), service("api", "build.x", "service.db!"))
    world.save("build.x", content=1)
    world.settle()
    assert [(launch.name, launch.instance) for launch in world.launches] == [
        ("service.db", 1), ("service.api", 1), ("service.db", 2), ("service.api", 2),
    ]  # fmt: skip


def test_a_switch_of_a_needed_service_restarts_only_who_asked_for_it() -> None:
    world = running(service("db"), service("api", "service.db!"), service("web", "service.db"))
    world.touch_service("service.db")
    world.settle()
    assert world.instances == {"service.db": 2, "service.api": 2, "service.web": 1}


def test_a_crash_of_a_needed_service_restarts_nobody_else() -> None:
    world = running(service("db"), service("api", "service.db!"))
    world.crash("service.db")
    world.settle()
    assert world.instances == {"service.db": 2, "service.api": 1}


def test_a_need_without_restart_must_have_succeeded_but_does_not_switch() -> None:
    world = running(build("test"), service("api", "build.test!"))
    world.save("build.test", content=1)
    world.settle()
    assert world.instances == {"service.api": 1}
    world.save("build.test", content=BROKEN)
    world.settle()
    world.touch_service("service.api")
    world.settle()
    assert world.instances == {"service.api": 1}
    world.save("build.test", content=3)
    world.settle()
    assert world.instances == {"service.api": 2}


def test_a_crashed_service_comes_back_although_its_build_has_failed() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=BROKEN)
    world.settle()
    world.crash("service.web")
    world.settle()
    assert world.instances == {"service.web": 2}
    assert world.launches[-1].built == {"build.app": GOOD}


def test_a_restart_after_a_crash_waits_for_a_running_build_to_end() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=1)
    world.look()
    world.crash("service.web")
    world.let(msg.SetTimer, "service.web")
    assert world.instances == {}
    assert world.holds["service.web"] == "waits for build.app"
    world.settle()
    assert world.instances == {"service.web": 2}


def test_a_build_waits_while_a_service_is_between_two_instances() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=1)
    world.look()
    world.let(msg.StartBuild, "build.app")
    world.look()
    assert world.state.services["service.web"].phase is Phase.RETIRING
    world.save("build.app", content=2)
    world.look()
    assert world.holds["build.app"] == "waits until service.web has started"
    world.settle()
    assert [launch.built["build.app"] for launch in world.launches] == [0, 1, 2]


def test_a_failed_pre_start_stops_nothing_and_is_tried_again_with_the_next_good_build() -> None:
    world = running(build("app"), service("web", "build.app", hooks={"pre_start": ("check",)}))
    world.save("build.app", content=1)
    while not any(isinstance(item, msg.RunHook) for item in world.pending):
        world.happen(0)
    world.pending.clear()
    world.send(msg.HookFinished("service.web", 2, Exit(1, "exit 1")))
    world.settle()
    assert world.instances == {"service.web": 1}
    assert world.told("not_ready")[-1].effect == "service.web stays on run 1"
    world.save("build.app", content=2)
    world.settle()
    assert world.instances == {"service.web": 2}


def test_a_refused_switch_is_tried_again_with_any_save() -> None:
    world = running(build("app"), service("web", "build.app", hooks={"pre_start": ("check",)}))
    world.unprepared = {"service.web"}
    world.save("build.app", content=1)
    world.settle()
    assert len(world.told("not_ready")) == 1
    world.unprepared = set()
    world.save("build.app")
    world.settle()
    assert world.told("build_skipped")
    assert world.launches[-1].built == {"build.app": 1}


def test_a_failing_pre_start_backs_off_like_a_crash() -> None:
    world = World.of(project(service("web", hooks={"pre_start": ("check",)}))).begin()
    world.unprepared = {"service.web"}
    waits = []
    for _ in range(6):
        world.look()
        world.let(msg.RunHook, "service.web")
        waits += [item.delay_s for item in world.pending if isinstance(item, msg.SetTimer)]
        world.let(msg.SetTimer, "service.web")
    assert waits == [0.1, 0.2, 0.4, 0.8, 10.0, 10.0]


def test_a_failed_pre_start_of_the_first_instance_is_a_crash() -> None:
    world = World.of(project(service("web", hooks={"pre_start": ("check",)}))).begin()
    world.look()
    world.pending.clear()
    world.send(msg.HookFinished("service.web", 1, Exit(1, "exit 1")))
    assert world.told("service_crashed")[-1].reason == "pre_start exit 1"
    assert [item.delay_s for item in world.pending if isinstance(item, msg.SetTimer)] == [0.1]
    world.settle()
    assert world.instances == {"service.web": 1}


def test_not_ready_by_the_deadline_on_a_first_start_is_a_crash() -> None:
    world = World.of(project(service("web"), service("api", "service.web"))).begin()
    world.look()
    world.send(msg.InstanceNotReady("service.web", 1, "connection refused"))
    assert world.told("not_ready")[-1].reason == "connection refused"
    world.let(msg.StopInstance, "service.web")
    assert world.state.services["service.web"].phase is Phase.BACKOFF
    assert world.holds["service.api"] == "waits for service.web, which crashed"


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        ("on-failure", 0, Phase.STOPPED),
        ("on-failure", 1, Phase.BACKOFF),
        ("always", 0, Phase.BACKOFF),
        ("always", 1, Phase.BACKOFF),
        ("never", 0, Phase.STOPPED),
        ("never", 1, Phase.FAILED),
    ],
)
def test_the_restart_policy(policy: str, code: int, phase: Phase) -> None:
    world = running(build("app"), service("web", "build.app", restart=RestartPolicy(policy=policy)))  # type: ignore[arg-type]
    world.crash("service.web", code=code)
    assert world.state.services["service.web"].phase is phase
    world.save("build.app", content=1)
    world.settle()
    assert world.instances == {"service.web": 2}, "a new build starts it whatever the policy"


def test_five_crashes_in_a_row_are_told_once_as_a_loop_and_stable_starts_over() -> None:
    world = running(service("web"))
    for _ in range(7):
        world.crash("service.web")
        world.settle()
    assert len(world.told("crash_loop")) == 1
    assert world.told("service_crashed")[-1].effect == "restart in 10 s"
    world.now_s += 11
    world.crash("service.web")
    assert world.told("service_crashed")[-1].effect == "restart in 0.1 s"


def test_a_service_that_is_ill_from_the_beginning_is_in_a_crash_loop_however_long_it_takes_to_find_out() -> None:
    world = running(service("web"))
    for _ in range(5):
        world.now_s += 15
        world.sicken("service.web", ill_s=15)
        world.settle()
    assert world.told("crash_loop")[-1].reason == "5 crashes in a row, none after 10 s of running well"


def test_a_service_that_is_never_ready_is_in_a_crash_loop_whatever_its_deadline() -> None:
    world = World.of(project(service("web"))).begin()
    for instance in range(1, 6):
        world.look()
        world.now_s += 30
        world.send(msg.InstanceNotReady("service.web", instance, "connection refused"))
        world.let(msg.StopInstance, "service.web")
        world.let(msg.SetTimer, "service.web")
    assert len(world.told("crash_loop")) == 1


def test_an_ill_service_is_let_alone_while_the_next_one_is_prepared_and_once_all_is_to_stop() -> None:
    world = running(service("db", hooks={"pre_start": ("check",)}), service("api", "service.db"))
    world.touch_service("service.db")
    world.sicken("service.db")
    assert phase(world, "service.db") is Phase.SWITCHING
    world.settle()
    world.send(msg.StopAsked(130))
    world.sicken("service.db")
    assert [item.name for item in world.pending if isinstance(item, msg.StopInstance)] == ["service.api"]


def test_a_probe_of_an_older_instance_is_never_used() -> None:
    world = running(service("web"))
    world.crash("service.web")
    world.settle()
    world.send(msg.InstanceUnhealthy("service.web", 1, "health: no answer", 0.0))
    world.send(msg.InstanceLeaving("service.web", 1))
    assert world.state.services["service.web"].phase is Phase.READY


def test_a_service_that_is_leaving_counts_as_ready_no_more_and_ends_in_order() -> None:
    world = running(service("db"), build("seed", "service.db", manual=False))
    world.leave("service.db")
    assert world.state.services["service.db"].phase is Phase.LEAVING
    world.save("build.seed", content=1)
    world.look()
    assert world.holds["build.seed"] == "waits for service.db"
    world.crash("service.db", code=0)
    stopped = world.told("service_stopped")[-1]
    assert (stopped.reason, stopped.effect) == ("ended by itself", "it stays down until something changes")
    assert not world.told("service_crashed")


def test_a_service_that_says_it_leaves_and_does_not_is_stopped_after_its_grace() -> None:
    world = running(service("web"))
    world.leave("service.web")
    timer = next(item for item in world.pending if isinstance(item, msg.SetTimer))
    assert timer.delay_s == 10
    world.now_s += 10
    world.let(msg.SetTimer, "service.web")
    world.let(msg.StopInstance, "service.web")
    assert world.told("service_crashed")[-1].reason == "has not ended 10 s after STOPPING=1"


def test_a_service_that_leaves_while_the_next_one_is_prepared_is_replaced_by_it() -> None:
    world = running(service("web", hooks={"pre_start": ("check",)}))
    world.touch_service("service.web")
    world.leave("service.web")
    assert phase(world) is Phase.SWITCHING
    world.unprepared = {"service.web"}
    world.let(msg.RunHook, "service.web")
    assert phase(world) is Phase.LEAVING
    world.unprepared = set()
    world.touch_service("service.web")
    world.settle()
    assert world.instances == {"service.web": 2}
    assert world.state.services["service.web"].phase is Phase.READY


def test_a_service_that_leaves_before_it_was_ready_is_never_ready_even_while_the_next_one_is_prepared() -> None:
    world = World.of(project(service("web", hooks={"pre_start": ("check",)}))).begin()
    world.look()
    world.let(msg.RunHook, "service.web")
    world.touch_service("service.web")
    world.leave("service.web")
    world.let(msg.StartInstance, "service.web")
    assert phase(world) is Phase.SWITCHING
    assert not world.told("service_ready")


def test_a_service_that_switches_by_signal_keeps_its_instance() -> None:
    world = running(build("app"), service("web", "build.app", switch="signal", reload_signal="SIGUSR2"))
    world.save("build.app", content=1)
    world.settle()
    assert world.instances == {"service.web": 1}
    assert world.told("service_switched")[-1].reason == "SIGUSR2"
    assert not world.holds


def test_services_stop_before_what_they_need() -> None:
    world = running(service("db"), service("api", "service.db"))
    world.send(msg.StopAsked(130))
    assert [item.name for item in world.pending if isinstance(item, msg.StopInstance)] == ["service.api"]
    assert world.holds == {"service.db": "stops after service.api"}
    world.settle()
    assert world.ended == 130


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 1)])
def test_without_watching_procwatch_ends_when_nothing_is_left_to_do(broken: bool, code: int) -> None:
    world = World.of(project(build("app"), service("once", "build.app")), watching=False)
    world.content["build.app"] = BROKEN if broken else GOOD
    world.broken = {BROKEN}
    world.begin().settle()
    if not broken:
        world.crash("service.once", code=0)
    assert world.ended == code


def test_only_what_was_asked_for_and_what_it_needs_takes_part() -> None:
    made = project(build("a"), build("b"), service("x", "build.a"), service("y", "build.b"))
    world = World.of(made, ["service.x"]).begin()
    world.settle()
    assert world.instances.keys() == {"service.x"}
    world.save("build.b", content=1)
    assert not world.pending
