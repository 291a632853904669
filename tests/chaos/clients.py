"""Those who ask the services of a story all the time, over new connections and kept ones, and note what came of it.

Rule 1: requests are due at fixed times; an outage shows in each that it meets.
Rule 2: strict: an answer counts if it is whole. A kept connection that was closed between two requests is noted, and
        asked again once over a new one, as any client does.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from benchmarks.load import BrokenAnswerError, Connection

# Longer than the proxy lets a client wait.
_PATIENCE_S = 40.0


@dataclass(frozen=True, slots=True)
class Request:
    """One request to a `door`, and what came of it: an answer, or a reason why there is none.

    `closed`: a kept connection, found closed on a request without a byte of an answer; another one asked again.
    """

    door: str
    kept: bool
    began_s: float
    ended_s: float
    answer: dict[str, Any] | None
    reason: str = ""
    closed: bool = False


class Clients:
    """Ask at these `doors` (name -> port on 127.0.0.1) until `end`: `rate` requests a second of each kind at each."""

    def __init__(self, doors: Mapping[str, int], rate: float, kept: int = 2) -> None:
        self.requests: list[Request] = []
        self._doors, self._pause_s, self._kept = doors, 1 / rate, kept
        self._over = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="clients", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Ask no more; returns when all that was asked has come to something."""
        self._over.set()
        self._thread.join()

    def since(self, door: str, at_s: float) -> list[Request]:
        """Those that began after that and have ended."""
        return [one for one in tuple(self.requests) if one.door == door and one.began_s > at_s]

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for door, port in self._doors.items():
                tasks.create_task(self._ask_anew(door, port, tasks))
                for number in range(self._kept):
                    tasks.create_task(self._keep(door, port, number / self._kept))

    async def _ask_anew(self, door: str, port: int, tasks: asyncio.TaskGroup) -> None:
        due_s = time.monotonic()
        while not self._over.is_set():
            tasks.create_task(self._ask(door, port, None, kept=False))
            due_s += self._pause_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))

    async def _keep(self, door: str, port: int, phase: float) -> None:
        """One connection, used as long as it can be."""
        pause_s = self._kept * self._pause_s
        await asyncio.sleep(phase * pause_s)
        connection: Connection | None = None
        due_s = time.monotonic()
        while not self._over.is_set():
            connection = await self._ask(door, port, connection, kept=True)
            due_s = max(due_s + pause_s, time.monotonic())
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        if connection is not None:
            connection.close()

    async def _ask(self, door: str, port: int, connection: Connection | None, *, kept: bool) -> Connection | None:
        """The connection, if it is there still."""
        began_s = time.time()
        answer, reason, untouched = None, "", False
        try:
            async with asyncio.timeout(_PATIENCE_S):
                if connection is None:
                    connection = await Connection.open(port)
                answer = json.loads(await connection.ask(b"" if kept else b"Connection: close\r\n"))
        except BrokenAnswerError as error:
            reason, untouched = str(error), error.untouched
        except (OSError, ValueError) as error:
            reason = type(error).__name__
        self.requests.append(Request(door, kept, began_s, time.time(), answer, reason, untouched))
        if connection is not None and (answer is None or not kept):
            with suppress(OSError):
                connection.close()
            connection = None
        return await self._ask(door, port, None, kept=True) if untouched else connection
