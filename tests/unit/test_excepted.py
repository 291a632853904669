"""What `--except` leaves out."""

from __future__ import annotations

from procwatch.core import messages as msg
from procwatch.core.planner import initial
from procwatch.core.state import Phase
from tests.rig.world import World, project, service


def test_what_is_left_out_counts_as_there_until_it_is_started() -> None:
    db, cache, api = service("db", "service.disk"), service("cache"), service("api", "service.db!", "service.cache")
    whole = project(service("disk"), db, cache, api)
    out = frozenset({"service.db"})
    world = World(whole, initial(whole, ("service.api",), {}, excepted=out)).begin()
    world.settle()
    assert set(world.state.services) == {"service.cache", "service.api"}
    assert world.state.services["service.api"].phase is Phase.READY
    world.send(msg.ServicesAsked(("service.api",), "restart"))
    world.settle()
    assert "service.db" not in world.state.services
    world.send(msg.ServicesAsked(("service.db",), "start"))
    world.settle()
    assert set(world.state.services) == set(whole.services)
    assert world.state.services["service.api"].instance == 3, "it follows service.db, which is new to it"


def test_what_is_left_out_stays_out_when_the_configuration_changes() -> None:
    units = service("db"), service("api", "service.db"), service("web")
    whole = project(*units[:2])
    world = World(whole, initial(whole, ("service.api",), {}, excepted=frozenset({"service.db"}))).begin()
    world.settle()
    world.change(project(*units))
    world.settle()
    assert set(world.state.services) == {"service.api", "service.web"}
    assert world.state.services["service.api"].instance == 1
