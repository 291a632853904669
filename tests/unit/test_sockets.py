"""The sockets of services: who keeps one open, and what becomes of one that a program has shut down."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.core.model import Listener, Service
from procwatch.runtime.listening import ListenError
from procwatch.runtime.sockets import Sockets
from tests.rig.sample import free_port


@pytest.fixture
def sockets(tmp_path: Path) -> Iterator[Sockets]:
    made = Sockets(tmp_path)
    yield made
    made.close()


def web(name: str, port: int) -> Service:
    return Service(f"service.{name}", "serve", listen=(Listener("web", "127.0.0.1", port),))


def is_open(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_one_that_a_program_has_shut_down_is_opened_anew_unless_others_have_it(sockets: Sockets) -> None:
    one, two = web("web.1", port := free_port()), web("web.2", port)
    (listening,) = asyncio.run(sockets.claim(one))
    assert asyncio.run(sockets.claim(two, held={listening})) == (listening,)
    listening.socket(0).shutdown(socket.SHUT_RD)
    with pytest.raises(ListenError, match="which other replicas have too; use proxy instead"):
        asyncio.run(sockets.claim(one, held={listening}))
    (anew,) = asyncio.run(sockets.claim(one))
    assert anew is not listening
    assert is_open(port)


def test_an_address_goes_from_one_that_is_over_to_one_that_is_to_have_it(sockets: Sockets) -> None:
    old, new = web("old", port := free_port()), web("new", port)
    (listening,) = asyncio.run(sockets.claim(old))
    sockets.planned([new], lambda name: name == "service.old")
    assert is_open(port)
    assert asyncio.run(sockets.claim(new)) == (listening,)
    sockets.planned([new], lambda _name: True)
    assert not is_open(port)
