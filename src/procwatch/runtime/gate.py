"""When to stop reading what processes print: whoever reads procwatch's own output is slower, or the log files' disk.

Rule 1: while the reader gets on, nobody reads more than it takes, so that no line is lost.
Rule 2: a reader that does not get on for a second never stops a service: reading goes on, and what finds no room is
        shown later from the log files, or counted by the output.
Rule 3: a disk is waited for however long it takes; one that fails takes everything at once, and counts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

# Terminals that are held (Ctrl-S) and programs that hang are not waited for longer than this.
STALL_S = 1.0


class Queue(Protocol):
    """What is written by a thread of its own."""

    @property
    def is_full(self) -> bool:
        """Whether to wait before more is put into it."""

    def when_room(self, callback: Callable[[], None], /) -> None:
        """Call back once when there is room again, on any thread."""


class Backlog(Queue, Protocol):
    """The queue before the reader."""

    @property
    def written_bytes(self) -> int:
        """How much the reader has taken so far."""


class Gate:
    """What every reader of output asks before it reads."""

    def __init__(self, backlog: Backlog, logs: Queue) -> None:
        self._backlog = backlog
        self._logs = logs
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Callable[[], None]] = []
        self._is_asked = {backlog: False, logs: False}
        self._is_looking = False
        self._stalled = False
        self._taken_bytes = 0

    def holds(self, go_on: Callable[[], None]) -> bool:
        """Whether to wait; then `go_on` is called once it is worth asking again."""
        if self._logs.is_full:
            self._wait_for(self._logs, go_on)
            return True
        if not self._backlog.is_full:
            self._stalled = False
            return False
        if self._stalled and self._backlog.written_bytes == self._taken_bytes:
            return False
        self._stalled = False
        if not self._is_looking:
            self._look_again()
        self._wait_for(self._backlog, go_on)
        return True

    def _wait_for(self, queue: Queue, go_on: Callable[[], None]) -> None:
        self._waiting.append(go_on)
        if not self._is_asked[queue]:
            self._is_asked[queue] = True
            queue.when_room(lambda: self._open_soon(queue))

    def _open_soon(self, queue: Queue) -> None:
        """There is room again; comes on the queue's thread."""
        with suppress(RuntimeError):  # the loop has ended: nobody reads any more
            self._loop.call_soon_threadsafe(self._has_room, queue)

    def _has_room(self, queue: Queue) -> None:
        self._is_asked[queue] = False
        self._open()

    def _look_again(self) -> None:
        self._is_looking = True
        self._taken_bytes = self._backlog.written_bytes
        self._loop.call_later(STALL_S, self._has_it_moved)

    def _has_it_moved(self) -> None:
        self._is_looking = False
        if not self._waiting:
            return
        if self._backlog.written_bytes > self._taken_bytes:
            self._look_again()
        else:
            self._stalled = True
            self._open()

    def _open(self) -> None:
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()
