"""Clients that ask a server all the time, and count what they do not get: a new connection a request, and kept ones.

Rule 1: requests are due at fixed times, whatever has become of those before: an outage shows in each that it meets.
Rule 2: strict. An answer counts if it is whole; a kept connection that was closed between two requests is counted by
        itself, and asked for again once, as any HTTP client does.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from urllib.request import urlopen

# What takes longer than this is lost: no user waits so long.
_PATIENCE_S = 20.0
# Between looks at a server that is starting.
_LOOK_S = 0.05
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n%b\r\n"


@dataclass(slots=True)
class Counts:
    """`asked`, `lost` and `longest_s` of one kind of connection; `reasons`: of what was lost, how often."""

    asked: int = 0
    lost: int = 0
    longest_s: float = 0.0
    reasons: dict[str, int] = field(default_factory=dict)

    def answered(self, took_s: float) -> None:
        """One whole answer."""
        self.asked += 1
        self.longest_s = max(self.longest_s, took_s)

    def failed(self, reason: str) -> None:
        """No whole answer."""
        self.asked += 1
        self.lost += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


class BrokenAnswerError(Exception):
    """No whole answer came; `untouched`: not a byte of it, on a connection that had been used before."""

    def __init__(self, reason: str, *, untouched: bool) -> None:
        super().__init__(reason)
        self.untouched = untouched


class Load:
    """Asks 127.0.0.1:`port` for the length of a `with`: `rate` requests a second of each kind, over `kept` connections.

    `closed`: how often a kept connection was found closed, or was closed on a request before a byte of an answer.
    `bodies`: each answer that came, and how often.
    """

    def __init__(self, port: int, *, rate: float = 50.0, kept: int = 5) -> None:
        self.fresh, self.kept, self.closed = Counts(), Counts(), 0
        self.bodies: dict[bytes, int] = {}
        self._port, self._rate, self._connections = port, rate, kept
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    @property
    def lost(self) -> int:
        """Of both kinds."""
        return self.fresh.lost + self.kept.lost

    @property
    def longest_ms(self) -> float:
        """The longest answer of both kinds."""
        return 1000 * max(self.fresh.longest_s, self.kept.longest_s)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._connections):
                tasks.create_task(self._keep(number / self._connections))
            due_s = time.monotonic()
            while not self._over.is_set():
                tasks.create_task(self._ask_once())
                due_s += 1 / self._rate
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _ask_once(self) -> None:
        since_s = time.monotonic()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                connection = await Connection.open(self._port)
                try:
                    body = await connection.ask(b"Connection: close\r\n")
                finally:
                    connection.close()
        except (OSError, BrokenAnswerError) as error:
            self.fresh.failed(_in_a_word(error))
        else:
            self._note(self.fresh, since_s, body)

    async def _keep(self, phase: float) -> None:
        """One connection, used as long as it can be."""
        pause_s = self._connections / self._rate
        await asyncio.sleep(phase * pause_s)
        connection: Connection | None = None
        due_s = time.monotonic()
        while not self._over.is_set():
            since_s = time.monotonic()
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    connection, body = await self._ask_kept(connection)
            except (OSError, BrokenAnswerError) as error:
                connection = None
                self.kept.failed(_in_a_word(error))
            else:
                self._note(self.kept, since_s, body)
            due_s += pause_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if connection is not None:
            connection.close()

    async def _ask_kept(self, connection: Connection | None) -> tuple[Connection, bytes]:
        if connection is not None:
            try:
                return connection, await connection.ask()
            except BrokenAnswerError as broken:
                connection.close()
                if not broken.untouched:
                    raise
                self.closed += 1
        connection = await Connection.open(self._port)
        try:
            return connection, await connection.ask()
        except BaseException:
            connection.close()
            raise

    def _note(self, counts: Counts, since_s: float, body: bytes) -> None:
        counts.answered(time.monotonic() - since_s)
        self.bodies[body] = self.bodies.get(body, 0) + 1


class Connection:
    """One connection of an HTTP/1.1 client that does nothing more than this needs."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._used = False

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to this machine."""
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, headers: bytes = b"") -> bytes:
        """Send one request; the body of its answer. Raises BrokenAnswerError."""
        untouched = self._used
        try:
            self._writer.write(_REQUEST % headers)
            await self._writer.drain()
            head = await self._reader.readuntil(b"\r\n\r\n")
            untouched = False
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = await self._reader.readexactly(int(length.partition(b":")[2]))
        except asyncio.IncompleteReadError as error:
            raise BrokenAnswerError("closed in an answer", untouched=untouched and not error.partial) from error
        except OSError as error:
            raise BrokenAnswerError(_in_a_word(error), untouched=untouched) from error
        if not head.startswith(b"HTTP/1.1 200"):
            raise BrokenAnswerError(head.split(b"\r\n")[0].decode(errors="replace"), untouched=False)
        self._used = True
        return body

    def close(self) -> None:
        """Whatever it was doing."""
        self._writer.close()


def _in_a_word(error: BaseException) -> str:
    return str(error) if isinstance(error, BrokenAnswerError) else type(error).__name__


def free_port() -> int:
    """A port of this machine that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int, within_s: float) -> bool:
    """Wait until a server answers at a port; whether one does in time."""
    end_s = time.monotonic() + within_s
    while time.monotonic() < end_s:
        try:
            with urlopen(f"http://127.0.0.1:{port}/", timeout=within_s) as answer:
                answer.read()
        except OSError:
            time.sleep(_LOOK_S)
        else:
            return True
    return False
