"""The process that passes bytes between public ports and instances, as the supervisor tells it (runtime/proxy.py).

Rule 1: its only tie is the socket that it has as standard input; when that ends, the supervisor is gone, and so is it.
Rule 2: an order is done before the next one is read: whoever comes after `point_to` goes to the instances it names.
Rule 3: only the standard library's small modules are imported: it must be there before the first service is.
"""

from __future__ import annotations

import array
import errno
import json
import os
import resource
import signal
import socket
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from procwatch.runtime.link import Link
from procwatch.runtime.turns import READ, Turns

# Taken from a port in one turn, so that those who are served get theirs.
_ACCEPTED_AT_ONCE = 64
# Two for each connection; the rest waits in the kernel's queue. A higher limit is not asked for.
_MAX_DESCRIPTORS = 65536
_SPARE_DESCRIPTORS = 32
_ORDER_BYTES = 64 * 1024
_MAX_PASSED = 64
_CONTROL = 0


class Front:
    """One service's public port: its listening sockets, the instances in charge, and the links that came in."""

    def __init__(self, name: str, wait_s: float, listeners: list[socket.socket], plane: Plane) -> None:
        self.name = name
        self._wait_s = wait_s
        self.turns = plane.turns
        self.moves = 0
        self.links: set[Link] = set()
        self.waiting: dict[Link, float] = {}
        self._plane = plane
        self._listeners = listeners
        self._ports: tuple[int, ...] = ()
        self._next = 0
        self._attached: Counter[int] = Counter()
        self._limits: dict[Link, float] = {}
        self._is_accepting = False
        self.accept_again()

    # --- orders ------------------------------------------------------------------------------------------------------

    def point_to(self, ports: tuple[int, ...]) -> None:
        """From now on these are in charge."""
        self._ports = ports
        for link in [link for link in self.links if link.port and link.port not in ports]:
            link.leave_stale()
        self._serve_waiting()

    def left_on(self, port: int) -> int:
        """How many links are with this instance."""
        return self._attached[port]

    def counts(self) -> dict[str, int]:
        """What is shown of it."""
        return {"open": len(self.links), "waiting": len(self.waiting), "moved": self.moves}

    def close(self) -> None:
        """Take no more, and cut what is there."""
        self.pause()
        for listener in self._listeners:
            listener.close()
        for link in [*self.links]:
            link.close()

    # --- accepting ---------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Let those who come wait in the kernel's queue."""
        if self._is_accepting:
            self._is_accepting = False
            for listener in self._listeners:
                self.turns.watch(listener, READ, 0, self._accept)

    def accept_again(self) -> None:
        """Take those who come."""
        if not self._is_accepting:
            self._is_accepting = True
            for listener in self._listeners:
                self.turns.watch(listener, 0, READ, self._accept)

    def _accept(self, _events: int) -> None:
        for listener in self._listeners:
            for _ in range(_ACCEPTED_AT_ONCE):
                try:
                    sock = listener.accept()[0]
                except (BlockingIOError, InterruptedError, ConnectionError):
                    break
                except OSError as error:
                    if error.errno == errno.EINVAL:
                        break  # it listens no more: the order to close it is on its way
                    # No descriptor is free, or no memory.
                    self._plane.is_full()
                    return
                self._begin(sock)
                if sock.fileno() >= self._plane.max_descriptor:
                    self._plane.is_full()
                    return

    def _begin(self, sock: socket.socket) -> None:
        sock.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        with suppress(OSError):  # the client has gone already
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        link = Link(self, sock)
        self.links.add(link)
        link.attach()

    # --- what links tell ---------------------------------------------------------------------------------------------

    def choose(self) -> int | None:
        """One instance after the other."""
        if not self._ports:
            return None
        self._next = (self._next + 1) % len(self._ports)
        return self._ports[self._next]

    def serves(self, port: int) -> bool:
        """Whether the instance at this port is in charge."""
        return port in self._ports

    def attached(self, port: int) -> None:
        """A link has gone to this instance."""
        self._attached[port] += 1

    def detached(self, port: int) -> None:
        """A link has left this instance."""
        self._attached[port] -= 1
        if not self._attached[port]:
            del self._attached[port]
            self._plane.look_at_drains()

    def moved(self) -> None:
        """A link has left an instance that is not in charge any more, and its client is kept."""
        self.moves += 1

    def wait(self, link: Link) -> None:
        """Nobody serves: attach it, or have it give up, later on."""
        self._limits.pop(link, None)
        self.waiting.setdefault(link, time.monotonic() + self._wait_s)
        self.turns.wake()

    def limit(self, link: Link, at_s: float) -> None:
        """Call `expire` at this time (monotonic seconds), unless it is served before."""
        self._limits[link] = at_s
        self.turns.wake()

    def served(self, link: Link) -> None:
        """It has an instance: it waits for nothing."""
        self.waiting.pop(link, None)
        self._limits.pop(link, None)

    def gone(self, link: Link) -> None:
        """It has been closed."""
        self.served(link)
        self.links.discard(link)

    # --- time --------------------------------------------------------------------------------------------------------

    def tick(self, now_s: float) -> bool:
        """Try once more for those who wait, and end what has come to its limit; whether there is more to wait for."""
        if self._ports and self.waiting:
            self._serve_waiting()
        for link in [link for link, at_s in self.waiting.items() if at_s <= now_s]:
            del self.waiting[link]
            link.expire()
        for link in [link for link, at_s in self._limits.items() if at_s <= now_s]:
            self._limits.pop(link, None)
            link.expire()
        return bool(self.waiting or self._limits)

    def _serve_waiting(self) -> None:
        """The first one tries; where it is refused the others would be, too."""
        for link in [link for link in self.waiting if not link.port]:
            if link in self.waiting:
                link.attach()
                if link in self.waiting and not link.port:
                    break


class Plane:
    """All fronts, and the orders for them: JSON, one a line; listening sockets come along with `open`."""

    def __init__(self, control: socket.socket) -> None:
        self.turns = Turns(self._tick)
        self.max_descriptor = _raise_limit() - _SPARE_DESCRIPTORS
        self._control = control
        self._passed: list[socket.socket] = []
        self._part = b""
        self._fronts: dict[int, Front] = {}
        # What was asked, whose, of which instance, and until when.
        self._drains: list[tuple[int, Front, int, float]] = []
        self._is_full = False
        control.setblocking(False)  # noqa: FBT003 - as above
        self.turns.watch(control, 0, READ, self._read_orders)

    def run(self) -> None:
        """Until the supervisor is gone."""
        self.turns.run()

    def is_full(self) -> None:
        """No descriptor is free: those who come wait for a tick at least."""
        self._is_full = True
        for front in self._fronts.values():
            front.pause()
        self.turns.wake()

    def look_at_drains(self) -> None:
        """Answer those who wait for an instance to have no links any more, or no longer."""
        now_s = time.monotonic()
        for drain in [*self._drains]:
            number, front, port, until_s = drain
            left = front.left_on(port)
            if not left or until_s <= now_s:
                self._drains.remove(drain)
                self._answer(number, left)

    def _tick(self) -> bool:
        now_s = time.monotonic()
        self.look_at_drains()
        if self._is_full:
            self._is_full = False
            for front in self._fronts.values():
                front.accept_again()
        wanted = [front.tick(now_s) for front in self._fronts.values()]
        return any(wanted) or bool(self._drains)

    def _read_orders(self, _events: int) -> None:
        room = socket.CMSG_SPACE(_MAX_PASSED * array.array("i").itemsize)
        try:
            data, passed, _, _ = self._control.recvmsg(_ORDER_BYTES, room)
        except BlockingIOError:
            return
        except OSError:
            data, passed = b"", []
        for level, kind, numbers in passed:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._passed += [_listener(number) for number in array.array("i", numbers)]
        if not data:
            self.turns.stop()
            return
        *lines, self._part = (self._part + data).split(b"\n")
        for line in lines:
            self._do(json.loads(line))

    def _do(self, order: dict[str, Any]) -> None:
        number = order["front"]
        front = self._fronts.get(number)
        if order["do"] == "open":
            count = order["sockets"]
            listeners, self._passed = self._passed[:count], self._passed[count:]
            self._fronts[number] = Front(order["name"], order["wait"], listeners, self)
        elif front is None:  # it has been closed
            self._answer(order.get("answer"), None)
        else:
            self._do_with(front, order)

    def _do_with(self, front: Front, order: dict[str, Any]) -> None:
        match order["do"]:
            case "point_to":
                front.point_to(tuple(order["ports"]))
            case "drain":
                self._drains.append((order["answer"], front, order["port"], time.monotonic() + order["seconds"]))
                self.look_at_drains()
                self.turns.wake()
            case "count":
                self._answer(order["answer"], front.counts())
            case "close":
                del self._fronts[order["front"]]
                front.close()

    def _answer(self, number: int | None, value: object) -> None:
        if number is None:
            return
        line = json.dumps({"answer": number, "value": value}).encode() + b"\n"
        try:
            self._control.setblocking(True)  # noqa: FBT003 - it is read at once, or its reader is gone
            self._control.sendall(line)
            self._control.setblocking(False)  # noqa: FBT003
        except OSError:
            self.turns.stop()


def _listener(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)  # noqa: FBT003 - the name of the function says what it is
    sock = socket.socket(fileno=descriptor)
    sock.setblocking(False)  # noqa: FBT003
    return sock


def _raise_limit() -> int:
    """Have as many descriptors as may be had; how many that are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):  # macOS has a second limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], _MAX_DESCRIPTORS)


def main() -> None:
    """Serve until standard input, a socket, has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    Plane(socket.socket(fileno=os.dup(_CONTROL))).run()
    os._exit(0)  # the supervisor may be waiting, and there is nothing to be tidied up
