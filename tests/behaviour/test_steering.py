"""Two sockets of one address: each new connection comes to the slot that is meant, and none is lost."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from procwatch.core.model import Listener
from procwatch.runtime import asking, steering
from procwatch.runtime.listening import ListenError, open_address
from procwatch.runtime.steering import Listening, Slot
from procwatch.runtime.traffic import Traffic, look
from tests.rig.live import before_the_next_look
from tests.rig.needs import need_linux
from tests.rig.sample import free_port

DEADLINE_S = 30.0


@contextmanager
def listening_at(host: str, folder: Path = Path()) -> Iterator[Listening]:
    listener = Listener("web", path=host) if host.endswith(".sock") else Listener("web", host, free_port(host))
    with closing(open_address(listener, folder)) as listening:
        yield listening


def client_of(listening: Listening, host: str | None = None) -> socket.socket:
    if listening.family == socket.AF_UNIX:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(listening.reached_at))
        return client
    return socket.create_connection((host or listening.reached_at[0], listening.port), timeout=DEADLINE_S)


def until(true: Callable[[], bool], what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not true():
        assert time.monotonic() < end_s, what
        before_the_next_look()


def traffic(pids: list[int], listening: Listening) -> Traffic:
    found = asyncio.run(look(pids, listening))
    assert found is not None
    return found


def connections(pids: list[int], listening: Listening) -> int:
    found = traffic(pids, listening)
    return found.busy + found.idle + found.unclear


class Crowd:
    """A server on each slot that answers with its number, and clients that ask on one connection after another.

    `wanted` and `done`: the turn that is being begun, and the last one that is. In an odd turn slot 1 is in charge.
    """

    def __init__(self, listening: Listening, host: str) -> None:
        self.count = 0
        self.failures: list[str] = []
        self.wanted = self.done = 0
        self._listening = listening
        self._host = host
        self._enough = threading.Event()
        self._over = threading.Event()
        self._servers = [threading.Thread(target=self._serve, args=(slot,)) for slot in (0, 1)]
        self._clients = [threading.Thread(target=self._ask) for _ in range(3)]

    def _serve(self, slot: int) -> None:
        own = self._listening.socket(slot).dup()
        own.settimeout(0.05)
        with own:
            while not self._over.is_set():
                with suppress(TimeoutError):
                    connection, _ = own.accept()
                    with connection:
                        connection.sendall(str(slot).encode())

    def _ask(self) -> None:
        while not self._enough.is_set():
            before = (self.wanted, self.done)
            try:
                with client_of(self._listening, self._host) as client:
                    answer = client.recv(10).decode()
            except OSError as error:
                answer = repr(error)
            steady = before == (self.wanted, self.done) and self.wanted == self.done
            if answer not in ("0", "1") or (steady and answer != str(before[0] % 2)):
                self.failures.append(f"{answer} in turn {before[0]}")
            self.count += 1

    @contextmanager
    def goes_on(self) -> Iterator[Crowd]:
        for thread in (*self._servers, *self._clients):
            thread.start()
        try:
            yield self
        finally:
            self._enough.set()
            for thread in self._clients:
                thread.join(DEADLINE_S)
            self._over.set()
            for thread in self._servers:
                thread.join(DEADLINE_S)


@pytest.mark.parametrize(
    ("host", "client"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1")]
)
def test_no_connection_is_lost_or_led_astray_while_the_slots_take_turns(host: str, client: str) -> None:
    need_linux()
    with listening_at(host) as listening, Crowd(listening, client).goes_on() as crowd:
        assert listening.is_steered
        for turn in range(1, 201):
            crowd.wanted = turn
            listening.put_in_charge(turn % 2)
            crowd.done = turn
            enough = crowd.count + 3
            until(lambda: crowd.count >= enough, "answers")  # noqa: B023 - called at once
    assert crowd.failures == []
    assert crowd.count >= 600


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_connections_are_spread_over_all_slots_in_charge_and_come_to_no_other(host: str) -> None:
    need_linux()
    with listening_at(host) as listening, ExitStack() as clients:
        for _ in range(3):
            listening.grow()
        assert [*listening.slots] == [0, 1, 2, 3, 4]
        listening.put_in_charge(1, 3, 4)
        for _ in range(200):
            clients.enter_context(client_of(listening))
        waiting = [listening.queue_length(slot) or 0 for slot in listening.slots]
        assert waiting[0] == waiting[2] == 0
        assert min(waiting[1], waiting[3], waiting[4]) > 20, waiting  # by chance 67 each
        assert sum(waiting) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::"])
@pytest.mark.parametrize("in_charge", [0, 1])
def test_a_steered_source_port_reaches_the_other_slot_and_all_else_does_not(host: str, in_charge: int) -> None:
    need_linux()
    other = 1 - in_charge
    with listening_at(host) as listening:
        listening.put_in_charge(in_charge)
        ports = [free_port() for _ in range(20)]
        for port in ports:  # many at once
            listening.steer_port(port, other)

        async def two() -> tuple[socket.socket, socket.socket]:
            return await asking.connect(Slot(listening, other)), await asking.connect(Slot(listening, in_charge))

        first, second = asyncio.run(two())
        with first, second, client_of(listening):
            until(lambda: (listening.queue_length(other), listening.queue_length(in_charge)) == (1, 2), "the queues")
        for port in ports:
            listening.let_go(port)
        port = ports[0]
        with socket.socket(listening.family) as client:
            with suppress(OSError):  # another has got the port by now
                client.bind((listening.reached_at[0], port))
            client.connect(listening.reached_at)
            until(lambda: listening.queue_length(in_charge) == 3, "the queue")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "web.sock"])
def test_the_queue_is_known_and_what_has_left_it(host: str, tmp_path: Path) -> None:
    need_linux()
    with listening_at(host, tmp_path) as listening, ExitStack() as clients:
        own = listening.socket(0)
        assert listening.queue_length(0) == 0
        for number in (1, 2, 3):
            clients.enter_context(client_of(listening))
            until(lambda: listening.queue_length(0) == number, "the queue")  # noqa: B023 - called at once
        with own.accept()[0], own.accept()[0] as second:
            assert listening.queue_length(0) == 1
            assert connections([os.getpid()], listening) == 2
            second.shutdown(socket.SHUT_RDWR)
            second.close()
            until(lambda: connections([os.getpid()], listening) == 1, "the connection that is left")
            assert connections([1], listening) == 0


def test_a_client_that_has_said_all_still_waits_for_its_answer() -> None:
    need_linux()
    with listening_at("127.0.0.1") as listening, client_of(listening) as client, listening.socket(0).accept()[0]:
        client.shutdown(socket.SHUT_WR)
        assert connections([os.getpid()], listening) == 1


def test_a_connection_is_busy_from_its_first_moment_until_its_request_is_answered() -> None:
    need_linux()
    with listening_at("127.0.0.1") as listening, client_of(listening) as client, listening.socket(0).accept()[0] as own:
        us = [os.getpid()]
        assert traffic(us, listening) == Traffic(busy=1)
        client.send(b"?")
        assert traffic(us, listening) == Traffic(busy=1)
        assert own.recv(1) == b"?"
        # A request that came within the tick of the kernel's clock in which the connection was made is unclear.
        assert not traffic(us, listening).idle
        own.send(b"!")
        assert client.recv(1) == b"!"
        until(lambda: not traffic(us, listening).busy, "the end of the request")


def test_where_nothing_can_be_steered_one_socket_is_both_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(steering, "_attach", refuse)
    with listening_at("127.0.0.1") as listening:
        assert not listening.is_steered
        assert listening.socket(0) is listening.socket(1)
        listening.put_in_charge(1)
        listening.steer_port(1234, 1)
        listening.let_go(1234)
        connection = asyncio.run(asking.connect(Slot(listening, 1)))
        with connection, client_of(listening):
            until(lambda: listening.queue_length(0) == listening.queue_length(1) == 2, "the queue")


def test_a_program_that_would_share_the_port_gets_none_of_its_connections() -> None:
    """One of the same user that allows it too can still open it; nobody else can."""
    need_linux()
    with listening_at("127.0.0.1") as listening:
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", listening.port))
        with socket.socket() as other:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            other.bind(("127.0.0.1", listening.port))
            other.listen()
            with ExitStack() as clients:
                for _ in range(50):
                    clients.enter_context(client_of(listening))
                until(lambda: listening.queue_length(0) == 50, "the queue")


def test_an_address_is_free_again_when_it_is_closed_and_taken_until_then(tmp_path: Path) -> None:
    listener = Listener("web", "127.0.0.1", free_port())
    with closing(open_address(listener, tmp_path)), pytest.raises(ListenError, match="it is taken by"):
        open_address(listener, tmp_path)
    open_address(listener, tmp_path).close()


def test_descriptors_are_out_of_the_way_of_those_that_are_handed_over(tmp_path: Path) -> None:
    with listening_at("127.0.0.1") as tcp, listening_at("web.sock", tmp_path) as unix:
        for own in (tcp.socket(0), tcp.socket(1), unix.socket(0)):
            assert own.fileno() >= steering.LEAST_DESCRIPTOR
            assert not own.get_inheritable()
            own.setblocking(False)
        assert os.get_blocking(Slot(tcp, 1).descriptor())
        assert tcp.socket(1).getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
