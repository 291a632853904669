"""Whatever clients and instances do to a connection, in whatever order: the process lives on, and nothing is left."""

from __future__ import annotations

import random
import select
import socket

import pytest

from tests.rig.proxied import GET, Instance, Proxied, ok, reset, serve

MOVES = 1500
SCRAPS = (
    GET, GET[:9], GET[9:], ok(), ok()[:20], ok()[20:], b"\r\n", b"\0\xff", b"0\r\n\r\n", b"5\r\nhello\r\n",
    b"x" * 70000,
    b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", b"hello", b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"GET / HTTP/1.1\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 101 Yes\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", b"HTTP/1.1 204 No\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\n\r\n",
)  # fmt: skip


class Mob:
    """Connections of both sides, and what is done to them."""

    def __init__(self, proxied: Proxied, chance: random.Random) -> None:
        self.proxied = proxied
        self.chance = chance
        self.instances: list[Instance] = [proxied.instance() for _ in range(3)]
        self.open: list[socket.socket] = []

    def move(self) -> None:
        """Do something to somebody."""
        match self.chance.choice(
            ("connect", "accept", "send", "send", "send", "read", "read", "shut", "end", "switch")
        ):
            case "connect":
                self.take(self.proxied.connect())
            case "switch" if not self.chance.randrange(3):
                self.proxied.point_to(*self.chance.sample(self.instances, self.chance.randrange(4)))
            case "accept":
                listeners = [instance.listener for instance in self.instances]
                for listener in select.select(listeners, [], [], 0)[0]:
                    self.take(listener.accept()[0])
            case what if self.open:
                self.do(what, self.chance.choice(self.open))

    def take(self, sock: socket.socket) -> None:
        """One more to do something to."""
        sock.setblocking(False)
        self.open.append(sock)

    def do(self, what: str, sock: socket.socket) -> None:
        """One thing, if it can be done at once."""
        try:
            match what:
                case "send":
                    sock.send(self.chance.choice(SCRAPS))
                case "read":
                    sock.recv(self.chance.choice((1, 100, 100000)))
                case "shut":
                    sock.shutdown(socket.SHUT_WR)
                case "end":
                    self.open.remove(sock)
                    self.chance.choice((reset, socket.socket.close))(sock)
        except BlockingIOError:
            return
        except OSError:
            if sock in self.open:
                self.open.remove(sock)
            sock.close()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_that_is_done_to_connections_harms_the_others(seed: int) -> None:
    with Proxied(wait_s=0.5) as proxied:
        mob = Mob(proxied, random.Random(seed))
        for _ in range(MOVES):
            mob.move()
        for sock in mob.open:
            reset(sock)
        for instance in mob.instances:
            instance.close()
        proxied.point_to()
        proxied.until(open=0, waiting=0)
        serve(proxied.connect(), proxied.in_charge())
        assert proxied.reports == []
