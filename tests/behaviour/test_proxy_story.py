"""Random clients, random servers, random switches: every question gets its own answer, in order, and none is lost.

A server reads with h11, so what reaches it has to be whole requests, each connection from its first byte on.
"""

from __future__ import annotations

import random
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import h11
import pytest

from tests.rig.proxied import DEADLINE_S, Proxied

CLIENTS, QUESTIONS, SWITCHES = 4, 150, 60


class Answerer:
    """A server that answers with the target and the body of each request, framed and cut as it likes."""

    def __init__(self, seed: str) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]
        self.faults: list[str] = []
        self._seed = seed
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """Stop, when all connections have ended."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self._threads:
            thread.join(DEADLINE_S)

    def _accept(self) -> None:
        number = 0
        with suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                number += 1
                chance = random.Random(f"{self._seed} {number}")
                thread = threading.Thread(target=self._serve, args=(connection, chance))
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket, chance: random.Random) -> None:
        connection.settimeout(DEADLINE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with connection:
                self._converse(connection, chance)
        except (OSError, h11.RemoteProtocolError) as error:
            self.faults.append(repr(error))

    def _converse(self, connection: socket.socket, chance: random.Random) -> None:
        spoken = h11.Connection(h11.SERVER)
        asked: h11.Request | None = None
        body = b""
        while True:
            match spoken.next_event():
                case h11.NEED_DATA:
                    spoken.receive_data(connection.recv(chance.choice((1, 7, 65536))))
                case h11.Request() as asked:
                    body = b""
                case h11.Data(data=data):
                    body += data
                case h11.EndOfMessage():
                    assert asked is not None
                    answer = asked.target + b" " + body
                    send(connection, answer_with(spoken, asked.method, answer, chance), chance)
                    spoken.start_next_cycle()
                    if asked.target.startswith(b"/alone") and not chance.randrange(6):
                        return  # a server may close a kept connection when nothing is in the air
                case h11.ConnectionClosed():
                    return


def answer_with(spoken: h11.Connection, method: bytes, answer: bytes, chance: random.Random) -> bytes:
    """An answer with a length or in chunks, perhaps behind an interim one."""
    made = b""
    if not chance.randrange(4):
        made += b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    length = [("Content-Length", str(len(answer)))] if chance.randrange(2) else []
    made += spoken.send(h11.Response(status_code=200, headers=length)) or b""
    if method != b"HEAD":
        middle = chance.randint(0, len(answer))
        for part in (answer[:middle], answer[middle:]):
            made += (spoken.send(h11.Data(data=part)) or b"") if part else b""
    return made + (spoken.send(h11.EndOfMessage()) or b"")


def send(sock: socket.socket, data: bytes, chance: random.Random) -> None:
    """In pieces, or all at once."""
    cuts = sorted(chance.randrange(len(data)) for _ in range(chance.choice((0, 0, 1, 3))))
    for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
        sock.sendall(data[start:end])


def ask(address: tuple[str, int], name: str, chance: random.Random) -> None:
    """Many questions on one connection, sometimes several at once; each answer is looked at."""
    with socket.create_connection(address, DEADLINE_S) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = 0
        left = b""
        while number < QUESTIONS:
            count = chance.choice((1, 1, 1, 2, 3))
            kind = "alone" if count == 1 else "many"
            questions = [question(f"/{kind}/{name}/{number + index}", chance) for index in range(count)]
            send(client, b"".join(data for data, _, _ in questions), chance)
            for _, method, expected in questions:
                answer, left = read_answer(client, left, method)
                assert answer == (b"" if method == "HEAD" else expected)
            number += count


def question(target: str, chance: random.Random) -> tuple[bytes, str, bytes]:
    """A request, its method, and what is to be answered."""
    method = chance.choice(("GET", "GET", "HEAD", "PUT", "DELETE"))
    body = chance.randbytes(chance.choice((1, 100, 15000))) if method == "PUT" else b""
    head = f"{method} {target} HTTP/1.1\r\nHost: x\r\n"
    if method == "PUT" and chance.randrange(2):
        framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + framed, method, target.encode() + b" " + body
    length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
    return f"{head}{length}\r\n".encode() + body, method, target.encode() + b" " + body


def read_answer(client: socket.socket, data: bytes, method: str) -> tuple[bytes, bytes]:
    """The body of the next answer, and what has come behind it."""
    spoken = h11.Connection(h11.CLIENT)
    spoken.send(h11.Request(method=method, target="/", headers=[("Host", "x")]))
    spoken.send(h11.EndOfMessage())
    body = b""
    if data:
        spoken.receive_data(data)
    while True:
        match spoken.next_event():
            case h11.NEED_DATA:
                spoken.receive_data(client.recv(65536))
            case h11.Data(data=piece):
                body += piece
            case h11.EndOfMessage():
                return body, spoken.trailing_data[0]


@pytest.mark.parametrize("seed", range(3))
def test_every_question_gets_its_own_answer(seed: int) -> None:
    chance = random.Random(seed)
    servers = [Answerer(f"{seed} {number}") for number in range(3)]
    with Proxied() as proxied:
        proxied.run(point(proxied, servers[0].port))
        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = [
                pool.submit(ask, proxied.address, f"c{number}", random.Random(f"{seed} c{number}"))
                for number in range(CLIENTS)
            ]
            old = servers[0]
            for _ in range(SWITCHES):
                new = chance.choice(servers)
                proxied.run(point(proxied, new.port))
                if new is not old:
                    assert proxied.begin(proxied.front.drain(old.port, DEADLINE_S)).result(DEADLINE_S) == 0
                old = new
            for one in asking:
                one.result(DEADLINE_S)
        assert proxied.counts().moved
    for server in servers:
        server.close()
    assert [fault for server in servers for fault in server.faults] == []


async def point(proxied: Proxied, port: int) -> None:
    """Put this one in charge; returns when that has been done."""
    proxied.front.point_to(port)
    await proxied.front.counts()
