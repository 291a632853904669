"""What users ask for by name: it is done as the graph allows, and told when it has come to pass or cannot."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procwatch.core import messages as msg
from procwatch.core import names
from procwatch.core.model import Exit, RestartPolicy
from procwatch.core.snapshot import snapshot
from procwatch.core.state import Phase, Remembered
from procwatch.core.verdict import Moment, Wish, judge, since
from procwatch.errors import UsageError
from tests.rig.world import World, build, project, service
from tests.unit.test_planner import BROKEN, phase, running


def moment(world: World) -> Moment:
    return Moment(world.project, world.state, world.holds, world.at_rest, world.now_s)


class Asked:
    """A wish for one unit, made now, and how it stands."""

    def __init__(self, world: World, wish: Wish, name: str) -> None:
        self._world, self._wish, self._name = world, wish, name
        self._since = since(world.state, name)
        if wish == "build":
            world.send(msg.BuildsAsked((name,)))
        elif wish != "wait":
            world.send(msg.RollbackAsked((name,)) if wish == "rollback" else msg.ServicesAsked((name,), wish))

    @property
    def stands(self) -> tuple[str, str]:
        found = judge(moment(self._world), self._wish, self._name, self._since)
        return found.outcome, found.reason


def test_a_restart_is_a_new_instance_and_no_crash() -> None:
    world = running(service("web"))
    asked = Asked(world, "restart", "service.web")
    assert asked.stands == ("waits", "it is about to be restarted")
    world.look()
    assert asked.stands == ("waits", "the old instance is being stopped")
    world.settle()
    assert asked.stands == ("done", "ready (run 2, process 1002)")
    assert not world.told("service_crashed")


def test_a_restart_waits_for_a_build_that_runs() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=2)
    world.look()
    asked = Asked(world, "restart", "service.web")
    world.look()
    assert asked.stands == ("waits", "waits for build.app")
    world.settle()
    assert asked.stands[0] == "done"
    assert world.starts("service.web") == 2, "the switch and the restart are one"


def test_after_a_failed_build_a_restart_starts_again_what_ran() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.save("build.app", content=BROKEN)
    world.settle()
    asked = Asked(world, "restart", "service.web")
    world.settle()
    assert asked.stands == ("done", "ready (run 2, process 1002)")
    world.save("build.app", content=2)
    world.settle()
    assert world.instances == {"service.web": 3}


def test_a_restart_is_handed_on_to_those_who_asked_to_follow() -> None:
    world = running(service("db"), service("web", "service.db!"), service("other", "service.db"))
    Asked(world, "restart", "service.db")
    world.settle()
    assert world.instances == {"service.db": 2, "service.web": 2, "service.other": 1}


def test_a_restart_of_a_service_that_reloads_by_a_signal_is_a_restart() -> None:
    world = running(service("web", switch="signal"))
    Asked(world, "restart", "service.web")
    world.settle()
    assert world.instances == {"service.web": 2}


def test_a_restart_whose_pre_start_fails_leaves_what_runs_and_says_so() -> None:
    world = running(service("web", hooks={"pre_start": ("check",)}))
    world.unprepared = {"service.web"}
    asked = Asked(world, "restart", "service.web")
    world.settle()
    assert asked.stands == ("failed", "stays on run 1: pre_start failed (exit 1)")
    assert world.instances == {"service.web": 1}


def test_a_service_in_back_off_is_started_at_once_when_somebody_asks() -> None:
    world = running(service("web", restart=RestartPolicy(min_delay_s=10.0, max_delay_s=10.0)))
    world.crash("service.web")
    timers = [item for item in world.pending if isinstance(item, msg.SetTimer)]
    world.pending = [item for item in world.pending if item not in timers]
    asked = Asked(world, "start", "service.web")
    world.settle()
    assert asked.stands[0] == "done"
    assert world.state.services["service.web"].crashes == 0


def test_a_stopped_service_stays_stopped_through_builds_and_changes_until_it_is_started() -> None:
    world = running(build("app"), service("db"), service("web", "build.app", "service.db"))
    asked = Asked(world, "stop", "service.db")
    world.settle()
    assert asked.stands == ("done", "stopped")
    assert world.instances == {"service.web": 1}, "what needs it goes on"
    world.touch_service("service.db")
    world.save("build.app", content=2)
    world.settle()
    assert world.instances == {"service.web": 2}
    Asked(world, "start", "service.db")
    world.settle()
    assert world.instances == {"service.web": 2, "service.db": 2}


def test_services_that_are_stopped_together_stop_in_order() -> None:
    world = running(service("db"), service("web", "service.db"))
    world.send(msg.ServicesAsked(("service.db", "service.web"), "stop"))
    assert (phase(world, "service.db"), phase(world)) == (Phase.READY, Phase.STOPPING)
    assert world.holds["service.db"] == "stops after service.web"
    world.settle()
    assert world.instances == {}


def test_a_start_that_follows_a_stop_at_once_is_not_lost() -> None:
    world = running(service("web"))
    Asked(world, "stop", "service.web")
    asked = Asked(world, "start", "service.web")
    assert asked.stands == ("waits", "the old instance is being stopped")
    world.settle()
    assert asked.stands == ("done", "ready (run 2, process 1002)")


def test_a_start_starts_what_is_needed_too() -> None:
    world = running(service("db"), service("web", "service.db"))
    world.send(msg.ServicesAsked(("service.db", "service.web"), "stop"))
    world.settle()
    Asked(world, "start", "service.web")
    world.settle()
    assert world.instances == {"service.db": 2, "service.web": 2}


def test_a_service_that_did_not_take_part_does_when_it_is_started() -> None:
    world = World.of(project(build("app"), service("db"), service("web", "build.app", "service.db")), ["service.db"])
    world.begin()
    world.settle()
    assert world.state.builds == {}
    assert judge(moment(world), "wait", "service.web", 0).outcome == "failed"
    asked = Asked(world, "start", "service.web")
    world.settle()
    assert asked.stands[0] == "done"
    assert world.built == {"build.app": 0}
    assert world.instances == {"service.db": 1, "service.web": 1}


def test_a_build_that_is_asked_for_runs_whatever_has_changed() -> None:
    world = running(build("app"), service("web", "build.app"))
    asked = Asked(world, "build", "build.app")
    world.settle()
    assert asked.stands == ("done", "run 2 succeeded")
    assert world.instances == {"service.web": 1}, "the same content moves nobody"


def test_a_build_that_is_asked_for_while_it_runs_runs_once_more() -> None:
    world = running(build("app"))
    world.save("build.app", content=2)
    world.look()
    assert world.running
    asked = Asked(world, "build", "build.app")
    world.settle()
    assert asked.stands == ("done", "run 3 succeeded")


def test_a_manual_build_runs_when_it_is_asked_for_and_never_else() -> None:
    world = World.of(project(build("seed", manual=True), service("web")), ["service.web"]).begin()
    world.settle()
    asked = Asked(world, "build", "build.seed")
    world.settle()
    assert asked.stands == ("done", "run 1 succeeded")
    world.save("build.seed", content=3)
    world.settle()
    assert world.starts("build.seed") == 1


def test_a_build_that_is_taken_as_it_is_runs_when_it_is_asked_for() -> None:
    world = running(build("app", at_start="never"))
    assert world.starts("build.app") == 0
    assert judge(moment(world), "wait", "build.app", 0).reason == "taken as it is"
    Asked(world, "build", "build.app")
    world.settle()
    assert world.starts("build.app") == 1


def test_a_build_that_fails_is_told_and_a_failed_need_is_tried_again() -> None:
    world = running(build("lib"), build("app", "build.lib"))
    world.save("build.lib", content=BROKEN)
    world.settle()
    asked = Asked(world, "build", "build.app")
    world.settle()
    assert asked.stands == ("failed", "waits for build.lib, which failed")
    assert world.starts("build.lib") == 3
    world.broken = set()
    asked = Asked(world, "build", "build.app")
    world.settle()
    assert asked.stands[0] == "done"


@pytest.mark.parametrize("code", [0, 1])
def test_a_service_that_ends_at_once_has_failed(code: int) -> None:
    world = running(service("web"))
    asked = Asked(world, "restart", "service.web")
    world.look()
    world.let(msg.StopInstance, "service.web")
    world.send(msg.InstanceStarted("service.web", 2, 1002))
    world.pending = [item for item in world.pending if not isinstance(item, msg.StartInstance)]
    world.crash("service.web", code)
    assert asked.stands == ("failed", "crashed" if code else "has ended by itself")


def test_who_waits_is_told_at_once_what_there_is() -> None:
    world = running(build("app"), service("web", "build.app"))
    assert Asked(world, "wait", "service.web").stands == ("done", "ready (run 1, process 1001)")
    assert Asked(world, "wait", "build.app").stands == ("done", "fresh (run 1)")
    world.save("build.app", content=BROKEN)
    assert Asked(world, "wait", "service.web").stands[0] == "waits"
    world.settle()
    assert Asked(world, "wait", "service.web").stands == ("failed", "outdated: build.app failed (exit 2)")
    assert Asked(world, "wait", "build.app").stands == ("failed", "failed (exit 2)")


def test_who_waits_for_a_service_that_crashes_is_told_when_it_keeps_crashing() -> None:
    world = running(service("web"))
    for _ in range(4):
        world.crash("service.web")
        assert Asked(world, "wait", "service.web").stands[0] == "waits"
        world.settle()
    world.crash("service.web")
    assert Asked(world, "wait", "service.web").stands == ("failed", "crashed")


def test_a_build_that_waits_for_a_service_that_keeps_crashing_has_failed() -> None:
    world = running(service("db"), build("app", "service.db"))
    for _ in range(4):
        world.crash("service.db")
        assert Asked(world, "build", "build.app").stands[0] == "waits"
        world.settle()
    world.crash("service.db")
    outcome, reason = Asked(world, "build", "build.app").stands
    assert (outcome, "waits for service.db" in reason) == ("failed", True)


def test_who_waits_for_what_is_stopped_or_while_all_stops_is_told() -> None:
    world = running(service("db"), service("web"))
    Asked(world, "stop", "service.web")
    world.settle()
    assert Asked(world, "wait", "service.web").stands == ("failed", "it is stopped; `procwatch start` starts it")
    asked = Asked(world, "restart", "service.db")
    world.send(msg.StopAsked(130))
    assert asked.stands == ("failed", "procwatch stops")


def test_a_pause_collects_changes_and_its_end_is_one_batch() -> None:
    world = running(build("app"), service("web", "build.app"))
    everything = ("build.app", "service.web")
    world.send(msg.PauseAsked(everything, paused=True))
    world.save("build.app", content=2)
    world.touch_service("service.web")
    world.settle()
    assert (world.starts("build.app"), world.starts("service.web")) == (1, 1)
    assert world.holds["build.app"] == "paused"
    assert Asked(world, "wait", "build.app").stands == ("failed", "paused")
    world.crash("service.web")
    world.settle()
    assert world.instances == {"service.web": 2}, "a crash is no change"
    world.send(msg.PauseAsked(everything, paused=False))
    world.settle()
    assert (world.starts("build.app"), world.starts("service.web")) == (2, 3)
    assert not world.holds


def test_what_is_asked_for_by_name_is_done_in_a_pause() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.send(msg.PauseAsked(("build.app", "service.web"), paused=True))
    assert Asked(world, "restart", "service.web").stands[0] == "waits"
    Asked(world, "build", "build.app")
    world.settle()
    assert (world.starts("build.app"), world.starts("service.web")) == (2, 2)


def test_a_snapshot_has_what_the_planner_says() -> None:
    units = [build("app"), build("seed", manual=True), service("db"), service("web", "build.app", "service.db")]
    world = World.of(project(*units), ["service.web"], {"build.seed": Remembered("k", clean=True, run=3)}).begin()  # type: ignore[arg-type]
    world.broken = {BROKEN}
    world.settle()
    world.save("build.app", content=BROKEN)
    world.settle()
    world.now_s += 32
    shown = {unit["name"]: unit for unit in snapshot(moment(world))}
    assert list(shown) == list(world.project.units)
    web = shown["service.web"]
    assert (web["state"], web["outdated"], web["run"], web["pid"]) == ("ready", True, 1, 1001)
    assert web["reason"] == "build.app failed (exit 2) 32 s ago"
    assert web["why"] == "first start"
    assert (shown["build.app"]["state"], shown["build.app"]["failure"]) == ("failed", "exit 2")
    assert shown["build.app"]["why"] == "build.app.src changed"
    assert shown["build.seed"] == {
        "name": "build.seed", "state": "idle", "reason": "runs only when asked for", "takes_part": False,
    }  # fmt: skip
    Asked(world, "stop", "service.db")
    world.settle()
    stopped = {unit["name"]: unit for unit in snapshot(moment(world))}["service.db"]
    assert (stopped["state"], stopped["reason"]) == ("stopped", "stopped by hand")


@pytest.mark.parametrize(
    ("word", "found"),
    [("api", ("build.api", "service.api")), ("build.api", ("build.api",)), ("all", ("service.api", "build.api"))],
)
def test_a_short_name_means_both_a_build_and_a_service(word: str, found: tuple[str, ...]) -> None:
    made = project(build("api"), service("api"))
    made = replace(made, groups={"all": ("service.api", "build.api")})
    assert names.units(made, [word]) == found


@pytest.mark.parametrize(
    ("call", "word", "words"),
    [
        (names.builds, "web", '"web" is a service; builds are: build.app'),
        (names.builds, "ap", 'there is no build "ap"; did you mean "app"?'),
        (names.services, "app", '"app" is a build; to start only that build and what it needs say "build.app"'),
        (names.units, "service.wob", 'there is no "service.wob"; services are: service.web'),
        (names.units, "zzz", 'there is no build, service or group "zzz"; there are: app, web'),
    ],
)
def test_an_unknown_name_is_told_with_what_there_is(call: object, word: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(project(build("app"), service("web")), [word])  # type: ignore[operator]
    assert str(caught.value) == words


def test_the_exit_of_an_instance_that_was_stopped_by_hand_is_no_crash() -> None:
    world = running(service("web"))
    Asked(world, "stop", "service.web")
    world.pending.clear()
    instance = world.instances.pop("service.web")
    world.send(msg.InstanceEnded("service.web", instance, Exit(137, "killed by SIGKILL")))
    assert phase(world) is Phase.STOPPED
    assert not world.told("service_crashed")
