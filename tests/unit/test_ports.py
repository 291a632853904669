"""A free port for an instance: one that stays free until the instance opens it."""

from __future__ import annotations

import random
import socket

import pytest

from procwatch.runtime import ports


def test_it_is_none_that_the_system_gives_to_outgoing_connections() -> None:
    first, last = ports._outgoing()
    found = {ports.find_free(()) for _ in range(300)}
    assert len(found) > 200
    for port in found:
        assert port is not None
        assert 10_000 <= port < 65_536
        assert not first <= port <= last


def test_where_all_ports_are_for_those_it_is_one_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_outgoing", lambda: (1024, 65_535))
    assert ports.find_free(()) in range(10_000, 65_536)


def test_none_that_somebody_has_or_that_was_given_already(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = next(port for port in random.sample(range(10_000, 30_000), 1000) if not ports.is_taken(port))
    with socket.create_server(("127.0.0.1", mine)):
        monkeypatch.setattr(ports, "_outgoing", lambda: (1024, 65_535))
        monkeypatch.setattr(ports, "_LEAST_FREE", mine)
        monkeypatch.setattr(ports, "_END", mine + 1)
        assert ports.find_free(()) is None
    assert ports.find_free(()) == mine
    assert ports.find_free({mine}) is None


def test_where_the_system_does_not_say_it_is_below_the_usual_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: str) -> object:
        raise FileNotFoundError(path)

    monkeypatch.setattr(ports, "open", missing, raising=False)
    found = ports.find_free(())
    assert found is not None
    assert 10_000 <= found < 49_152
