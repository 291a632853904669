"""Public ports of services that know only `$PORT`: who comes is passed on to the instance in charge.

Rule 1: the ports are this process's as long as it lives; bytes are passed by a process of its own (runtime/plane.py),
        so that neither holds the other up.
Rule 2: that process dies with this one. If it alone ends, another one takes its place; who comes meanwhile waits.
Rule 3: `point_to` is one step: who comes before it goes to the old instances, who comes after it to the new ones.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import socket
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import procwatch
from procwatch.core.model import StopPolicy
from procwatch.errors import ProcwatchError
from procwatch.frozen import frozen
from procwatch.runtime import ports
from procwatch.runtime.listening import bound_tcp
from procwatch.runtime.spawn import Process, SpawnError, Spec, start
from procwatch.runtime.steering import BACKLOG, lifted
from procwatch.runtime.tree import Forest

# How long a client waits for somebody who serves: what a first start may take by default (`ready.deadline`).
WAIT_S = 30.0
# Between two starts of a process that ends by itself: each start takes 20 ms of a processor.
_AGAIN_S = 1.0
_ANSWER_BYTES = 64 * 1024
# Without site-packages (-S) and the user's Python settings (-I) it is there in 20 ms instead of 60.
_PROGRAM = "import sys; sys.path.append(sys.argv[1]); from procwatch.runtime.plane import main; main()"
_QUICK_END = StopPolicy(grace_s=0.0)


class PortError(ProcwatchError):
    """The public port cannot be had; the message says why."""


@frozen
class Counts:
    """Connections of clients: all that are `open`, those of them `waiting` for an instance, and those ever `moved`."""

    open: int = 0
    waiting: int = 0
    moved: int = 0


class Proxies:
    """The ports of all services, and the process behind them, which is started with the first one.

    `report` gets what is wrong in words. Clients for whom nobody serves are let go after `wait_s`: with a 503 if they
    speak HTTP. `close` ends it; what is open then is cut.
    """

    def __init__(self, forest: Forest, report: Callable[[str], None], wait_s: float = WAIT_S) -> None:
        self._forest = forest
        self._wait_s = wait_s
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._proxies: dict[int, Proxy] = {}
        self._numbers = 0
        self._channel: _Channel | None = None
        self._process: Process | None = None
        self._following: asyncio.Task[None] | None = None

    async def open(self, name: str, host: str, port: int) -> Proxy:
        """Own this port from now on; until `point_to` those who come wait. Raises PortError.

        `host` is an address or a name, all of whose addresses are opened; empty: all addresses of this machine.
        """
        listeners = await _listen(host, port)
        self._numbers += 1
        proxy = Proxy(self, self._numbers, name, listeners)
        try:
            if self._following is None:
                self._start()
                self._following = self._loop.create_task(self._follow())
        except (SpawnError, OSError) as error:
            proxy.shut()
            reason = error if isinstance(error, SpawnError) else os.strerror(error.errno or 0).lower()
            raise PortError(f"the process that serves it cannot be started: {reason}") from error
        self._proxies[proxy.number] = proxy
        self._introduce(proxy)
        return proxy

    async def close(self) -> None:
        """Close all ports and end the process."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait([self._following])
        self._end_channel()
        if self._process is not None:
            await self._process.end(_QUICK_END)
        self._following = self._process = None
        for proxy in self._proxies.values():
            proxy.shut()
        self._proxies.clear()

    def order(self, proxy: Proxy, what: str, **more: object) -> None:
        """Have the process do this, after all that was said before."""
        if self._channel is not None:
            self._channel.send({"do": what, "front": proxy.number, **more})

    async def ask(self, proxy: Proxy, what: str, **more: object) -> Any:
        """The same, and what it answers; None if it ends instead."""
        if self._channel is None:
            return None
        return await self._channel.ask({"do": what, "front": proxy.number, **more})

    def forget(self, proxy: Proxy) -> None:
        """Its port has been given up."""
        self.order(proxy, "close")
        self._proxies.pop(proxy.number, None)

    def _start(self) -> None:
        ours, childs = socket.socketpair()
        try:
            root = str(Path(procwatch.__file__).parent.parent)
            argv = (sys.executable, "-I", "-S", "-c", _PROGRAM, root)
            env = {**os.environ, "PROCWATCH_NAME": "proxy"}
            with childs:
                spec = Spec(argv, (), Path("/"), env, childs.fileno(), stop=_QUICK_END)
                self._process = start(spec, self._complain, self._forest)
            self._channel = _Channel(lifted(ours))
        except BaseException:
            ours.close()
            raise

    async def _follow(self) -> None:
        """Whenever the process ends, start another one, and tell it what holds now."""
        while True:
            assert self._process is not None
            exit_ = await self._process.wait()
            self._process.close()
            self._end_channel()
            self._report(
                f"the proxy process has ended ({exit_.words}): connections through it are cut; starting another"
            )
            while self._channel is None:
                await asyncio.sleep(_AGAIN_S)
                with suppress(SpawnError, OSError):  # no process or descriptor is free: the next try is in a second
                    self._start()
            for proxy in self._proxies.values():
                self._introduce(proxy)

    def _introduce(self, proxy: Proxy) -> None:
        if self._channel is None:
            return
        passed = [listener.fileno() for listener in proxy.listeners]
        about = {"name": proxy.name, "wait": self._wait_s, "sockets": len(passed)}
        self._channel.send({"do": "open", "front": proxy.number, **about}, passed)
        self.order(proxy, "point_to", ports=proxy.ports)

    def _end_channel(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()

    def _complain(self, data: bytes) -> None:
        for line in data.decode(errors="replace").splitlines():
            self._report(f"the proxy process: {line}")


class Proxy:
    """One service's public port."""

    def __init__(self, proxies: Proxies, number: int, name: str, listeners: list[socket.socket]) -> None:
        self.number = number
        self.name = name
        self.listeners = listeners
        self.ports: tuple[int, ...] = ()
        self._proxies = proxies

    def point_to(self, *instances: int) -> None:
        """The instances at these ports of the loopback are in charge; none: nobody serves, and those who come wait.

        A connection between two requests leaves an instance that is not in charge any more, and its client is kept.
        To be called without an instance as soon as it has ended: its port may soon be somebody else's.
        """
        self.ports = instances
        self._proxies.order(self, "point_to", ports=instances)

    async def drain(self, instance: int, seconds: float) -> int:
        """Wait until no connection is with this instance, or so long; how many still are."""
        return int(await self._proxies.ask(self, "drain", port=instance, seconds=seconds) or 0)

    async def counts(self) -> Counts:
        """How many connections there are."""
        return Counts(**(await self._proxies.ask(self, "count") or {}))

    def close(self) -> None:
        """Give the port up; what is open is cut."""
        self._proxies.forget(self)
        self.shut()

    def shut(self) -> None:
        """Close the sockets, at once also for the process that has them too: the port can be opened anew after that."""
        for listener in self.listeners:
            with suppress(OSError):  # where a socket that listens knows no shutdown, the process closes it in a moment
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()


class _Channel:
    """Orders to the process and its answers, one a line; the sockets of an order go along with its first byte."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._sock.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        self._loop = asyncio.get_running_loop()
        self._unsent: deque[tuple[bytes, list[int]]] = deque()
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._numbers = 0
        self._part = b""
        self._loop.add_reader(sock, self._read)

    def send(self, order: dict[str, object], passed: list[int] | None = None) -> None:
        """Put an order behind the others."""
        self._unsent.append((json.dumps(order).encode() + b"\n", passed or []))
        if len(self._unsent) == 1:
            self._write()

    async def ask(self, order: dict[str, object]) -> Any:
        """Send an order; what is answered, or None if nobody will answer any more."""
        self._numbers += 1
        number = self._numbers
        self._asked[number] = answer = self._loop.create_future()
        try:
            self.send({**order, "answer": number})
            return await answer
        finally:
            self._asked.pop(number, None)

    def close(self) -> None:
        """Let go of the process, which then ends, and of those who wait for answers."""
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)

    def _write(self) -> None:
        while self._unsent:
            data, passed = self._unsent[0]
            try:
                sent = socket.send_fds(self._sock, [data], passed) if passed else self._sock.send(data)
            except BlockingIOError:
                self._loop.add_writer(self._sock, self._write)
                return
            except OSError:  # it has ended, which its process tells
                self._unsent.clear()
                break
            self._unsent.popleft()
            if sent < len(data):
                self._unsent.appendleft((data[sent:], []))
        self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        try:
            data = self._sock.recv(_ANSWER_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._loop.remove_reader(self._sock)
            return
        *lines, self._part = (self._part + data).split(b"\n")
        for line in lines:
            told = json.loads(line)
            answer = self._asked.get(told["answer"])
            if answer is not None and not answer.done():
                answer.set_result(told["value"])


async def _listen(host: str, port: int) -> list[socket.socket]:
    """Listen on all addresses of the host. Raises PortError."""
    listeners: list[socket.socket] = []
    try:
        for family, address in await _addresses(host, port):
            listeners.append(_open(family, address))
            if port == 0:
                break
    except (OSError, UnicodeError) as error:
        for listener in listeners:
            listener.close()
        raise PortError(await _in_words(error, host, port)) from error
    return listeners


async def _addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    if not host and socket.has_dualstack_ipv6():
        return [(socket.AF_INET6, ("::", port))]
    try:
        found = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)  # noqa: S104
    except socket.gaierror:  # a name: asked for in a thread, as the answer may take long
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _open(family: int, address: tuple[Any, ...]) -> socket.socket:
    listener = bound_tcp(family, address, shared=False)
    try:
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


async def _in_words(error: Exception, host: str, port: int) -> str:
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    match error:
        case OSError(errno=errno.EADDRINUSE):
            holder = await ports.holder_of(port)
            return f"{place} is taken by {holder}" if holder else f"{place} is taken by another program"
        case OSError(errno=errno.EACCES):
            return f"{place} may not be opened by this user: take a port above 1023"
        case OSError(errno=errno.EADDRNOTAVAIL):
            return f"{place}: this machine has no such address"
        case socket.gaierror() | UnicodeError():
            return f"{place}: no address is known for this name"
        case OSError(errno=int(number)):
            return f"{place} cannot be opened: {os.strerror(number).lower()}"
    return f"{place} cannot be opened: {error}"
