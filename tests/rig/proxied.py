"""A proxy for tests: its loop runs in a thread, and the test plays clients and instances with plain sockets."""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import ExitStack, suppress
from typing import Any, TypeVar

from procwatch.runtime.proxy import WAIT_S, Counts, Proxies, Proxy
from procwatch.runtime.tree import Forest

T = TypeVar("T")
# How long anything may take on a loaded machine before a test gives up.
DEADLINE_S = 30.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def ok(body: bytes = b"hello") -> bytes:
    """An answer after which the connection is kept."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Instance:
    """What a service's instance would be: listens on a free port of the loopback; the test does what it does."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.listener = socket.create_server((host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
        self.listener.settimeout(DEADLINE_S)
        self.port: int = self.listener.getsockname()[1]
        self.accepted: list[socket.socket] = []

    def accept(self) -> socket.socket:
        """The next connection."""
        connection = self.listener.accept()[0]
        connection.settimeout(DEADLINE_S)
        self.accepted.append(connection)
        return connection

    def close(self) -> None:
        """Stop listening, and close what was accepted."""
        for sock in (self.listener, *self.accepted):
            sock.close()


class Proxied:
    """A public port in front of instances, for the length of a `with`."""

    def __init__(self, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self.reports: list[str] = []
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._stack = ExitStack()

    def __enter__(self) -> Proxied:
        self._thread.start()
        self.proxies = self.run(self._make())
        self.front = self.open("service.api", "127.0.0.1", 0)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        self.run(self.proxies.close())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(DEADLINE_S)
        self.loop.close()

    async def _make(self) -> Proxies:
        self.forest = Forest(self.reports.append)
        return Proxies(self.forest, self.reports.append, self._wait_s)

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run this in the loop's thread."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The same, and what came of it."""
        return self.begin(work).result(DEADLINE_S)

    def open(self, name: str, host: str, port: int) -> Proxy:
        """Another public port."""
        return self.run(self.proxies.open(name, host, port))

    def instance(self, host: str = "127.0.0.1") -> Instance:
        """A new instance, which is closed at the end."""
        made = Instance(host)
        self._stack.callback(made.close)
        return made

    def in_charge(self, *hosts: str) -> Instance:
        """A new instance in charge."""
        made = self.instance(*hosts)
        self.point_to(made)
        return made

    def point_to(self, *instances: Instance) -> None:
        """Put these in charge; returns when that has been done."""

        async def point() -> None:
            self.front.point_to(*(one.port for one in instances))
            await self.front.counts()

        self.run(point())

    def drain(self, instance: Instance, seconds: float = DEADLINE_S) -> Future[int]:
        """How many connections are left on this instance, in the end."""
        return self.begin(self.front.drain(instance.port, seconds))

    def counts(self) -> Counts:
        """How many connections there are now."""
        return self.run(self.front.counts())

    def until(self, **counts: int) -> None:
        """Wait until so many connections are open, wait or have been moved."""
        while any(getattr(self.counts(), name) != count for name, count in counts.items()):
            pass

    @property
    def address(self) -> tuple[str, int]:
        """Where clients connect to."""
        host, port = self.front.listeners[0].getsockname()[:2]
        return host, port

    def connect(self, proxy: Proxy | None = None) -> socket.socket:
        """A client's connection."""
        listener = (proxy or self.front).listeners[0]
        client = socket.socket(listener.family)
        self._stack.callback(client.close)
        client.settimeout(DEADLINE_S)
        client.connect(listener.getsockname()[:2])
        return client


def serve(client: socket.socket, instance: Instance, *, is_asked: bool = False) -> socket.socket:
    """One question of the client and its answer by the instance, on a connection which that is to accept."""
    if not is_asked:
        client.sendall(GET)
    server = instance.accept()
    assert receive(server, len(GET)) == GET
    server.sendall(ok())
    assert receive(client, len(ok())) == ok()
    return server


def receive(sock: socket.socket, count: int) -> bytes:
    """So many bytes, or all there are until the end."""
    data = b""
    while len(data) < count and (piece := sock.recv(count - len(data))):
        data += piece
    return data


def ends(sock: socket.socket) -> bool:
    """Whether the other side has closed its half; nothing else may come. Raises ConnectionResetError."""
    return not sock.recv(1)


def is_cut(sock: socket.socket) -> bool:
    """Whether the connection is reset, after whatever may still come."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionResetError:
        return True
    return False


def reset(sock: socket.socket) -> None:
    """Close so that the other side sees a reset."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
