"""Scenes of a configuration that changes while it runs."""

from __future__ import annotations

from dataclasses import replace

from procwatch.core import messages as msg
from procwatch.core.model import Exit
from procwatch.core.reload import difference
from procwatch.core.state import Phase
from tests.rig.world import World, build, project, service


def running(*units: object, **more: object) -> World:
    """A world in which all of these have come up."""
    world = World.of(project(*units, **more)).begin()  # type: ignore[arg-type]
    world.settle()
    return world


def test_the_difference_in_words() -> None:
    old = project(build("app"), service("db"), service("web"))
    new = replace(project(build("app", timeout_s=3.0), service("web"), service("base")), isolation="pidns")
    assert difference(old, new).words == (
        "changed: build.app; new: service.base; gone: service.db; "
        "project.isolation counts from the next start of procwatch on"
    )
    assert difference(old, replace(old, jobs=3)).words == "no build or service is changed by it"
    words = difference(old, replace(old, env={"A": "1"})).words
    assert words == "changed: build.app, service.db, service.web"


def test_a_changed_service_alone_is_switched_at_once() -> None:
    world = running(build("app"), service("db"), service("web", "build.app", "service.db"))
    world.change(project(build("app"), service("db"), service("web", "build.app", "service.db", dir="else")))
    world.settle()
    assert (world.starts("service.web"), world.starts("service.db"), world.starts("build.app")) == (2, 1, 1)
    assert world.told("config_reloaded")[0].effect == "changed: service.web"
    assert world.state.services["service.web"].why == "its definition or an env file changed"


def test_a_changed_service_waits_for_its_changed_build() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.change(project(build("app", dir="else"), service("web", "build.app", dir="else")))
    world.look()
    assert world.state.services["service.web"].phase is Phase.READY
    assert "build.app" in world.running
    world.settle()
    assert world.starts("service.web") == 2
    assert world.state.services["service.web"].phase is Phase.READY


def test_a_crash_before_its_new_build_is_there_starts_what_ran_before() -> None:
    world = running(build("app"), service("web", "build.app"))
    world.broken = {3}
    world.content["build.app"] = 3
    world.change(project(build("app", dir="else"), service("web", "build.app", dir="else")))
    world.settle()
    assert world.holds["service.web"].startswith("outdated: build.app failed")
    world.crash("service.web")
    world.settle()
    first, second = (launch.definition for launch in world.launches)
    assert first == second
    world.save("build.app", content=1)
    world.settle()
    assert world.launches[-1].definition == world.defined("service.web") != first


def test_a_run_is_stopped_only_if_its_own_definition_changed() -> None:
    world = World.of(project(build("a", on_change="finish"), build("b"))).begin()
    world.look()
    assert world.running.keys() == {"build.a", "build.b"}
    world.change(project(build("a", on_change="finish", dir="else"), build("b", timeout_s=1.0)))
    assert [notice.name for notice in world.told("build_cancelled")] == ["build.a"]
    assert world.told("build_cancelled")[0].reason == "its definition has changed"
    world.settle()
    assert (world.starts("build.a"), world.starts("build.b")) == (2, 1)


def test_a_build_that_needs_nothing_any_more_is_looked_at() -> None:
    world = running(build("gen"), build("app", "build.gen"))
    world.change(project(build("gen"), build("app")))
    world.settle()
    assert (world.starts("build.gen"), world.starts("build.app")) == (1, 2)


def test_removed_services_stop_after_what_needs_them_and_are_forgotten() -> None:
    world = running(service("db"), service("web", "service.db"), service("other"))
    world.change(project(service("other")))
    assert world.state.services["service.db"].phase is Phase.READY
    assert world.holds["service.db"] == "stops after service.web"
    world.let(msg.StopInstance, "service.web")
    assert world.state.services.keys() == {"service.db", "service.other"}
    world.settle()
    assert world.instances.keys() == {"service.other"}
    assert world.state.services.keys() == world.project.services.keys() == {"service.other"}


def test_a_removed_service_that_ends_while_it_waits_is_no_crash() -> None:
    world = running(service("db", hooks={"crashed": ("true",)}), service("web", "service.db"), service("other"))
    world.change(project(service("other")))
    world.crash("service.db")
    assert not world.told("service_crashed")
    assert "service.db" not in world.state.services


def test_a_renamed_service_is_a_stop_and_a_start() -> None:
    world = running(service("web"))
    world.change(project(service("site")))
    world.look()
    assert world.holds["service.site"] == "waits until service.web has ended"
    assert world.instances.keys() == {"service.web"}
    world.settle()
    assert world.instances.keys() == {"service.site"}


def test_what_comes_back_before_it_has_ended_goes_on_or_starts_anew() -> None:
    both = project(service("db"), service("web", "service.db"))
    world = running(*both.services.values())
    world.change(project(service("other")))
    world.change(both)
    world.settle()
    assert world.starts("service.db") == 1
    assert world.starts("service.web") == 2
    assert world.state.services["service.web"].phase is Phase.READY


def test_numbers_go_on_under_the_same_name() -> None:
    world = running(build("app"), service("web"))
    world.change(project(service("other")))
    world.settle()
    world.change(project(build("app"), service("web"), service("other")))
    world.settle()
    assert (world.state.builds["build.app"].run, world.state.services["service.web"].instance) == (2, 2)


def test_a_removed_build_is_stopped_and_forgotten() -> None:
    world = World.of(project(build("app"), service("web", "build.app"))).begin()
    world.look()
    world.change(project(service("web")))
    assert [notice.reason for notice in world.told("build_cancelled")] == ["it has been removed"]
    world.settle()
    assert not world.state.builds
    assert world.instances.keys() == {"service.web"}


def test_only_what_was_asked_for_takes_part() -> None:
    world = World.of(project(service("web"), service("mail")), ["service.web"]).begin()
    world.settle()
    new = project(build("css"), service("web", "build.css"), service("mail"), service("more"))
    world.change(new, ["service.web"])
    world.settle()
    assert world.state.services.keys() == {"service.web"}
    assert world.state.builds.keys() == {"build.css"}


def test_it_ends_by_itself_only_as_long_as_nothing_is_watched() -> None:
    made = project(service("web"))
    for watching, ended in ((True, None), (False, 0)):
        world = World.of(made, watching=not watching).begin()
        world.settle()
        world.send(msg.ProjectChanged(replace(made, jobs=2), (), watching=watching))
        world.crash("service.web", code=0)
        world.settle()
        assert world.ended == ended


def test_a_candidate_of_the_old_definition_is_given_up() -> None:
    hooks = {"pre_start": ("sleep 1000",)}
    world = World.of(project(service("web", hooks=hooks))).begin()
    world.look()
    assert [item.hook for item in world.pending if isinstance(item, msg.RunHook)] == ["pre_start"]
    world.change(project(service("web")))
    assert msg.StopHook("service.web") in world.pending
    world.settle()
    assert world.state.services["service.web"].phase is Phase.READY


def test_a_candidate_stays_when_only_another_unit_changed() -> None:
    hooks = {"pre_start": ("true",)}
    world = World.of(project(service("web", hooks=hooks), service("db"))).begin()
    world.look()
    world.change(project(service("web", hooks=hooks), service("db", dir="else")))
    assert msg.StopHook("service.web") not in world.pending
    world.settle()
    assert world.starts("service.web") == 1


def test_a_new_definition_ends_the_back_off() -> None:
    world = running(service("web"))
    for _ in range(3):
        world.crash("service.web")
        world.let(msg.SetTimer, "service.web")
        world.settle()
    world.crash("service.web")
    world.change(project(service("web", dir="else")))
    world.look()
    assert world.state.services["service.web"].phase is Phase.STARTING
    assert world.state.services["service.web"].crashes == 0


def test_a_new_definition_restarts_what_is_otherwise_only_signalled() -> None:
    world = running(service("web", switch="signal"))
    world.change(project(service("web", switch="signal", dir="else")))
    world.settle()
    assert world.starts("service.web") == 2


def test_what_was_stopped_by_hand_stays_stopped() -> None:
    world = running(service("web"), service("db"))
    world.send(msg.ServicesAsked(("service.web",), "stop"))
    world.settle()
    world.change(project(service("web", dir="else"), service("db")))
    world.settle()
    assert world.instances.keys() == {"service.db"}
    world.send(msg.ServicesAsked(("service.web", "service.unknown"), "start"))
    world.settle()
    assert world.instances.keys() == {"service.db", "service.web"}


def test_a_retiring_service_starts_by_its_newest_definition_once() -> None:
    world = running(service("web"))
    world.touch_service("service.web")
    world.look()
    assert world.state.services["service.web"].phase is Phase.RETIRING
    world.change(project(service("web", dir="else")))
    world.send(msg.InstanceEnded("service.web", world.instances.pop("service.web"), Exit(143, "killed by SIGTERM")))
    world.settle()
    assert world.starts("service.web") == 2
    assert world.launches[-1].definition == world.defined("service.web")
