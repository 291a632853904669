"""Switches of real servers behind the proxy, under load on new and on kept connections: nothing is lost."""

from __future__ import annotations

import http.client
import socket
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

import pytest

from tests.rig.proxied import DEADLINE_S, Proxied

# Each prints its port when it listens, and its process id as every answer. Nobody handles SIGTERM: what is in the air
# when it comes is lost.
PLAIN = """
import http.server, os, socketserver

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self):
        body = b"%d" % os.getpid()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, *_):
        pass

class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

server = Server(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""
# Handles SIGTERM: it closes idle connections and ends when the others are done. It answers in chunks.
UVICORN = """
import os, socket, uvicorn

async def app(scope, receive, send):
    assert scope["type"] == "http"
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid(), "more_body": True})
    await send({"type": "http.response.body", "body": b""})

listener = socket.create_server(("127.0.0.1", 0), backlog=128)

class Server(uvicorn.Server):
    async def startup(self, sockets=None):
        await super().startup(sockets)
        print(listener.getsockname()[1], flush=True)

Server(uvicorn.Config(app, lifespan="off", log_level="critical")).run([listener])
"""


# So many are started before they are needed: a switch does not wait for a program to start.
_AHEAD = 4


class Server:
    """A process that serves, from its start until it is stopped."""

    def __init__(self, code: str) -> None:
        self.process = subprocess.Popen((sys.executable, "-c", code), stdout=subprocess.PIPE)

    @cached_property
    def port(self) -> int:
        """Known once it listens."""
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def stop(self) -> None:
        """SIGTERM, and its end."""
        self.process.terminate()
        self.process.wait(DEADLINE_S)
        assert self.process.stdout is not None
        self.process.stdout.close()


@dataclass
class Load:
    """Clients that ask again and again; `answers` counts those of each server, `lost` tells what went wrong."""

    address: tuple[str, int]
    answers: Counter[bytes] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    is_over: threading.Event = field(default_factory=threading.Event)
    begun: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def kept(self) -> None:
        """On one connection; what closes it is a loss."""
        client = http.client.HTTPConnection(*self.address, timeout=DEADLINE_S)
        client.connect()
        ours = client.sock.getsockname()
        for number in self.turns():
            if number % 3:
                client.request("GET", "/")
            else:
                client.request("POST", "/", body=b"x" * 5000)
            self.take(client.getresponse())
            if client.sock is None or client.sock.getsockname() != ours:
                self.lost.append("the connection was closed")
                return
        client.close()

    def fresh(self) -> None:
        """Each time on a new connection."""
        for _ in self.turns():
            client = http.client.HTTPConnection(*self.address, timeout=DEADLINE_S)
            client.request("GET", "/")
            self.take(client.getresponse())
            client.close()

    def raw(self) -> None:
        """Two requests at once on one connection."""
        with socket.create_connection(self.address, DEADLINE_S) as client:
            for _ in self.turns():
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
                for _ in range(2):
                    answer = http.client.HTTPResponse(client, method="GET")
                    answer.fp = client.makefile("rb", buffering=0)  # type: ignore[assignment]
                    answer.begin()
                    self.take(answer)

    def take(self, answer: http.client.HTTPResponse) -> None:
        """Count an answer that is whole."""
        body = answer.read()
        if answer.status != 200 or not body.isdigit():
            self.lost.append(f"{answer.status} {body!r}")
        self.answers[body] += 1

    def turns(self) -> Iterator[int]:
        """Until it is over."""
        number = 0
        while not self.is_over.is_set():
            yield number
            number += 1
            self.begun.release()

    def run(self, work: Callable[[], None]) -> None:
        """Do this; what is raised is a loss."""
        try:
            work()
        except (OSError, http.client.HTTPException) as error:
            self.lost.append(f"{work.__name__}: {error!r}")
            self.begun.release()


@contextmanager
def load_on(address: tuple[str, int]) -> Iterator[Load]:
    """Steady load for the length of a `with`."""
    load = Load(address)
    works = [load.kept, load.kept, load.raw, load.fresh, load.fresh]
    threads = [threading.Thread(target=load.run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    try:
        yield load
    finally:
        load.is_over.set()
        for thread in threads:
            thread.join(DEADLINE_S)


@pytest.mark.long
@pytest.mark.parametrize(("code", "switches"), [(PLAIN, 100), (UVICORN, 10)], ids=["plain", "uvicorn"])
def test_nothing_is_lost_in_a_hundred_switches(code: str, switches: int) -> None:
    with Proxied() as proxied, ExitStack() as stack:
        old = Server(code)
        stack.callback(lambda: old.stop())
        proxied.run(_point(proxied, old.port))
        ahead = deque[Server]()
        stack.callback(_stop, ahead)
        with load_on(proxied.address) as load:
            for number in range(switches):
                ahead += [Server(code) for _ in range(min(_AHEAD - len(ahead), switches - number - len(ahead)))]
                new = ahead.popleft()
                proxied.run(_point(proxied, new.port))
                left = proxied.begin(proxied.front.drain(old.port, DEADLINE_S)).result(DEADLINE_S)
                old.stop()
                old = new
                assert left == 0
            load.begun.acquire()
        assert load.lost == []
        assert len(load.answers) >= switches
        assert proxied.counts().moved >= switches


@pytest.mark.parametrize("code", [PLAIN, UVICORN], ids=["plain", "uvicorn"])
def test_nothing_is_lost_where_the_old_one_stops_first(code: str) -> None:
    with Proxied() as proxied, ExitStack() as stack:
        server = Server(code)
        stack.callback(lambda: server.stop())
        proxied.run(_point(proxied, server.port))
        with load_on(proxied.address) as load:
            for _ in range(5):
                proxied.run(_point(proxied))
                assert proxied.begin(proxied.front.drain(server.port, DEADLINE_S)).result(DEADLINE_S) == 0
                server.stop()
                server = Server(code)
                proxied.run(_point(proxied, server.port))
                for _ in range(20):
                    load.begun.acquire(timeout=DEADLINE_S)
        assert load.lost == []
        assert len(load.answers) >= 5


def _stop(servers: Iterable[Server]) -> None:
    for server in servers:
        server.stop()


async def _point(proxied: Proxied, *ports: int) -> None:
    proxied.front.point_to(*ports)
    await proxied.front.counts()
