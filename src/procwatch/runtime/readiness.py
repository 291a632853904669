"""Probes: wait until a service can serve, or say why it cannot.

Rule 1: `until_ready` returns, raises NotReady with the last try's result, or is cancelled; then nothing of it is left.
Rule 2: what a service prints or sends before the probe begins counts: `LogWatch` and `NotifySocket` exist before it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from procwatch.core.model import (
    AskedProbe,
    DelayProbe,
    HttpProbe,
    LogProbe,
    NotifyProbe,
    Probe,
    ProbeTiming,
    RunProbe,
    TcpProbe,
    at,
)
from procwatch.errors import ProcwatchError
from procwatch.frozen import field, frozen
from procwatch.runtime.asking import connect, until_taken
from procwatch.runtime.handover import FIRST_DESCRIPTOR
from procwatch.runtime.notify import NotifySocket
from procwatch.runtime.sockets import Handed
from procwatch.runtime.spawn import SpawnError, Spec, start
from procwatch.runtime.tree import Forest
from procwatch.runtime.wire import Wire
from procwatch.runtime.within import within

# How much of one line the `log` probe looks at; a longer one is no message to look for, but data.
_LINE_BYTES = 64 * 1024
# Colours and other CSI sequences, OSC titles, and escape sequences of two characters (ECMA-48).
_CONTROLS = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
# Where a port is not open yet the next try comes so soon at first, then later and later, until it is `interval`.
_SOON_S, _LATER = 0.005, 1.4
# How much of the last line of a probe's command goes into a message.
_SHOWN_BYTES = 200
_LOOPBACK = ("127.0.0.1", "::1")


class NotReady(ProcwatchError):  # noqa: N818 - it is an answer more than an error
    """Not ready by the deadline; `reason` is what the last try met."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class LogWatch:
    """Looks for a pattern in the lines of an output that comes in pieces; `found` is set once it is there."""

    def __init__(self, pattern: str) -> None:
        self.found = asyncio.Event()
        self._pattern = re.compile(pattern)
        self._line = b""

    def feed(self, data: bytes) -> None:
        """Take the next piece, cut anywhere. A line counts when it has ended; its first 64 KiB are looked at."""
        if self.found.is_set():
            return
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._look_at(self._line + line)
            self._line = b""
        self._line = (self._line + rest)[:_LINE_BYTES]

    def _look_at(self, line: bytes) -> None:
        text = _CONTROLS.sub(b"", line[:_LINE_BYTES]).rstrip(b"\r").decode(errors="replace")
        if self._pattern.search(text):
            self.found.set()


@frozen
class Target:
    """What probes need of the instance: `spec` gives a `run` probe its folder, environment and shell.

    Through the sockets that it was given (`spec.handed`) the instance itself is asked; `door` leads a command there.
    """

    spec: Spec
    forest: Forest
    log: LogWatch | None = None
    notify: NotifySocket | None = None
    door: Mapping[str, str] = field(default_factory=dict)


async def until_ready(probe: Probe, timing: ProbeTiming, target: Target) -> None:
    """Return when the probe has succeeded; raises NotReady when `timing.deadline_s` has passed without."""
    match probe:
        case DelayProbe():
            await asyncio.sleep(probe.delay_s)
        case LogProbe():
            if target.log is None:
                raise ValueError("a log probe needs the output")
            await _by_deadline(timing, target.log.found, lambda: f"no line matched /{probe.pattern}/")
        case NotifyProbe():
            notify = target.notify
            if notify is None:
                raise ValueError("a notify probe needs its socket")
            await _by_deadline(timing, notify.ready, lambda: _no_message(notify))
        case _:
            await _try_until_ready(probe, timing, target)


async def _by_deadline(timing: ProbeTiming, event: asyncio.Event, reason: Callable[[], str]) -> None:
    try:
        async with within(timing.deadline_s):
            await event.wait()
    except TimeoutError:
        raise NotReady(reason()) from None


def _no_message(notify: NotifySocket) -> str:
    status = f"; its last status is: {notify.status}" if notify.status else ""
    return f"no READY=1 came to $NOTIFY_SOCKET{status}"


async def _try_until_ready(probe: AskedProbe, timing: ProbeTiming, target: Target) -> None:
    last: str | None = _untaken(probe, target) or "the first try did not end in time"
    try:
        async with within(timing.deadline_s):
            wait_s, soon_s = timing.deadline_s, _SOON_S
            while last := await try_once(probe, timing.timeout_s, target, wait_s):
                is_soon = isinstance(last, Refused) and soon_s < timing.interval_s
                await asyncio.sleep(soon_s if is_soon else timing.interval_s)
                soon_s *= _LATER
    except TimeoutError:
        raise NotReady(last or "") from None


class Refused(str):
    """Why a try has failed: nobody listens there, so that nobody is bothered by another try soon."""

    __slots__ = ()


async def try_once(probe: AskedProbe, timeout_s: float, target: Target, queue_s: float | None = None) -> str | None:
    """One try of at most `timeout_s`; None when it has succeeded, else why not.

    `queue_s`: how long it may wait besides in the queue of a socket that the instance was given.
    """
    match probe:
        case RunProbe():
            return await _try_run(probe, timeout_s, target)
        case TcpProbe(listener=int()) | HttpProbe(listener=int()):
            return await _try_socket(probe, timeout_s, timeout_s if queue_s is None else queue_s, target)
        case TcpProbe():
            return await _try_hosts(probe.host, lambda host: _try_tcp(host, probe.port, timeout_s))
        case HttpProbe():
            return await _try_hosts(probe.host, lambda host: _try_http(host, probe, timeout_s))


def _untaken(probe: AskedProbe, target: Target) -> str | None:
    """What is wrong where nobody takes a connection from a socket; None for other probes."""
    if isinstance(probe, RunProbe) or probe.listener is None:
        return None
    given = target.spec.handed[probe.listener]
    place = f"descriptor {FIRST_DESCRIPTOR + probe.listener} (LISTEN_FDS)"
    return f"nothing takes connections at {given.address}, which the service is given as {place}"


async def _try_socket(probe: TcpProbe | HttpProbe, timeout_s: float, queue_s: float, target: Target) -> str | None:
    given = target.spec.handed[probe.listener or 0]
    try:
        async with within(queue_s):
            connection = await connect(given.slot)
        with connection:
            if isinstance(probe, HttpProbe):
                return await _try_in_queue(connection, probe, timeout_s, queue_s, given)
            async with within(queue_s):
                await until_taken(given.slot)
    except TimeoutError:
        return _untaken(probe, target)
    except OSError as error:
        return _in_words(error, given.address, timeout_s)
    return None


async def _try_in_queue(
    connection: socket.socket, probe: HttpProbe, timeout_s: float, queue_s: float, given: Handed
) -> str | None:
    """Ask at once. Raises TimeoutError if nobody has taken the connection by then; the answer has its own time."""
    line = asyncio.create_task(_first_line(connection, probe, given.address))
    taken = asyncio.create_task(until_taken(given.slot))
    try:
        async with within(queue_s):
            await asyncio.wait({line, taken}, return_when=asyncio.FIRST_COMPLETED)
        try:
            async with within(timeout_s):
                return _judged(await line, probe, given.address)
        except TimeoutError as error:
            return _in_words(error, given.address, timeout_s)
    finally:
        line.cancel()
        taken.cancel()
        await asyncio.gather(line, taken, return_exceptions=True)


async def _try_run(probe: RunProbe, timeout_s: float, target: Target) -> str | None:
    """The command is a tree of its own, and nothing of it outlives the try."""
    end = bytearray()

    def keep_the_end(data: bytes) -> None:
        end.extend(data)
        del end[:-_SHOWN_BYTES]

    try:
        env = {**target.spec.env, **target.door}
        spec = replace(target.spec, command=probe.command, env=env, stdin="null", terminal=None, handed=())
        process = start(spec, keep_the_end, target.forest)
    except SpawnError as error:
        return error.exit.words
    try:
        async with within(timeout_s):
            exit_ = await process.wait()
    except TimeoutError:
        return f"the command did not end within {timeout_s:g} s"
    finally:
        await process.kill()
    if exit_.ok:
        return None
    last_line = bytes(end).strip().rpartition(b"\n")[2].decode(errors="replace")
    return f"the command failed ({exit_.words})" + (f": {last_line}" if last_line else "")


async def _try_hosts(host: str | None, attempt: Callable[[str], Awaitable[str | None]]) -> str | None:
    """Ready when one of the hosts is; else the first answer that was not right, else the first failure."""
    answer = failure = None
    for name in (host,) if host else _LOOPBACK:
        try:
            reason = await attempt(name)
        except _UnreachableError as error:
            is_refused = isinstance(error.__cause__, ConnectionRefusedError)
            failure = failure or (Refused(error) if is_refused else str(error))
            continue
        if reason is None:
            return None
        answer = answer or reason
    return answer or failure


class _UnreachableError(ProcwatchError):
    """No connection, or no answer on it."""


async def _try_tcp(host: str, port: int, timeout_s: float) -> str | None:
    try:
        async with within(timeout_s):
            (await _connect(host, port)).close()
    except OSError as error:
        raise _UnreachableError(_in_words(error, at(host, port), timeout_s)) from error
    return None


async def _try_http(host: str, probe: HttpProbe, timeout_s: float) -> str | None:
    place = at(host, probe.port)
    try:
        async with within(timeout_s):
            with await _connect(host, probe.port) as connection:
                line = await _first_line(connection, probe, place)
    except OSError as error:
        raise _UnreachableError(_in_words(error, place, timeout_s)) from error
    if not line:
        raise _UnreachableError(str(_judged(line, probe, place)))
    return _judged(line, probe, place)


def _judged(line: bytes, probe: HttpProbe, place: str) -> str | None:
    """What is wrong with the first line of an answer; empty: the connection ended without one."""
    if not line:
        return f"{place} closed the connection without an answer"
    status = re.match(rb"HTTP/[\d.]+ (\d{3})\b", line)
    if not status:
        return f"{place} answered, but not in {'HTTPS' if probe.tls else 'HTTP'}"
    code = int(status[1])
    if code == probe.status or (probe.status is None and 200 <= code < 400):
        return None
    return f"GET {probe.path} answered {code}" + (f" instead of {probe.status}" if probe.status else "")


async def _first_line(connection: socket.socket, probe: HttpProbe, place: str) -> bytes:
    """Ask, and give the first line of the answer; empty when the connection ended without one."""
    host = place if probe.port else "localhost"
    request = f"GET {probe.path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: procwatch\r\n"
    wire = Wire(connection, (probe.host or "localhost") if probe.tls else None)
    return await wire.ask(f"{request}Accept: */*\r\nConnection: close\r\n\r\n".encode())


async def _connect(host: str, port: int) -> socket.socket:
    """A connection to the first address of the host that takes one."""
    failure = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, kind, protocol, _, address in await _addresses(host, port):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
            await asyncio.get_running_loop().sock_connect(connection, address)
            if connection.getsockname() == connection.getpeername():
                # A port out of the range for clients can meet itself where nobody listens.
                raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:  # a cancellation
            connection.close()
            raise
        else:
            return connection
    raise failure


async def _addresses(host: str, port: int) -> list[tuple[int, int, int, str, tuple[Any, ...]]]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:  # a name: asked for in a thread, as the answer may take long
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(found)


def _in_words(error: OSError, place: str, timeout_s: float) -> str:
    match error:
        case ConnectionRefusedError():
            return f"connection refused on {place}"
        case TimeoutError():
            return f"no answer from {place} within {timeout_s:g} s"
        case socket.gaierror():
            return f"no address is known for {place}"
        case _ if type(error).__module__ == "ssl":
            reason = getattr(error, "reason", None) or "unknown"
            return f"no TLS connection to {place}: {reason.lower().replace('_', ' ')}"
        case ConnectionResetError() | BrokenPipeError():
            return f"{place} closed the connection without an answer"
    return f"no connection to {place}: {os.strerror(error.errno).lower() if error.errno else 'unknown reason'}"
