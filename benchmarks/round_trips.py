"""Ask a server over and over, each time when the last answer is there, and keep how long each answer took."""

from __future__ import annotations

import selectors
import socket
import time
from dataclasses import dataclass

GET = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n"
_BODY_BYTES = 5
_PIECE_BYTES = 1 << 20
_LIMIT_S = 60.0


@dataclass(frozen=True, slots=True)
class RoundTrips:
    """What came of it: seconds for each answer, in order of their length, and how long all of it took."""

    took_s: tuple[float, ...]
    all_s: float

    @property
    def median_s(self) -> float:
        """Half of the answers took no longer."""
        return self.took_s[len(self.took_s) // 2]

    @property
    def rate(self) -> float:
        """Answers in a second."""
        return len(self.took_s) / self.all_s


def kept(port: int, connections: int, seconds: float) -> RoundTrips:
    """So many connections at once, all of them kept."""
    took: list[float] = []
    asked: dict[socket.socket, float] = {}
    with selectors.DefaultSelector() as selector:
        began = time.perf_counter()
        for _ in range(connections):
            selector.register(client := _connect(port), selectors.EVENT_READ)
            asked[client] = time.perf_counter()
            client.sendall(GET)
        while time.perf_counter() - began < seconds:
            for key, _ in selector.select(_LIMIT_S):
                client = key.fileobj  # type: ignore[assignment]
                _take(client)
                now = time.perf_counter()
                took.append(now - asked[client])
                asked[client] = now
                client.sendall(GET)
        all_s = time.perf_counter() - began
    for client in asked:
        _take(client)
        client.close()
    return RoundTrips(tuple(sorted(took)), all_s)


def fresh(port: int, seconds: float) -> RoundTrips:
    """One after the other, each on a connection of its own."""
    took: list[float] = []
    began = time.perf_counter()
    while (asked := time.perf_counter()) - began < seconds:
        with _connect(port) as client:
            client.sendall(GET)
            _take(client)
        took.append(time.perf_counter() - asked)
    return RoundTrips(tuple(sorted(took)), time.perf_counter() - began)


def download(port: int, size: int) -> float:
    """Seconds for one answer of this size."""
    with _connect(port) as client:
        began = time.perf_counter()
        client.sendall(GET.replace(b"/ ", b"/%d " % size))
        left, room = size, bytearray(_PIECE_BYTES)
        while left > 0:
            got = client.recv_into(room)
            if not got:
                raise ConnectionError("the answer was cut off")
            left -= got
        return time.perf_counter() - began


def _connect(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), _LIMIT_S)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client


def _take(client: socket.socket) -> None:
    """Read a short answer: its head, and the five bytes that all servers here send."""
    answer = client.recv(4096)
    while len(answer.partition(b"\r\n\r\n")[2]) < _BODY_BYTES:
        if not (more := client.recv(4096)):
            raise ConnectionError("the answer was cut off")
        answer += more
