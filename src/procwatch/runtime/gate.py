"""When to stop reading what processes print, because whoever reads procwatch's own output is slower.

Rule 1: while the reader gets on, nobody reads more than it takes, so that no line is lost.
Rule 2: a reader that does not get on for a second never stops a service: reading goes on, and what finds no room is
        counted by the output.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

# Terminals that are held (Ctrl-S) and programs that hang are not waited for longer than this.
STALL_S = 1.0


class Backlog(Protocol):
    """The queue before the reader."""

    @property
    def is_full(self) -> bool:
        """Whether to wait before more is put into it."""

    @property
    def written_bytes(self) -> int:
        """How much the reader has taken so far."""

    def when_room(self, callback: Callable[[], None], /) -> None:
        """Call back once when there is room again, on any thread."""


class Gate:
    """What every reader of output asks before it reads."""

    def __init__(self, backlog: Backlog) -> None:
        self._backlog = backlog
        self._loop = asyncio.get_running_loop()
        self._waiting: list[Callable[[], None]] = []
        self._stalled = False
        self._taken_bytes = 0

    def holds(self, go_on: Callable[[], None]) -> bool:
        """Whether to wait; then `go_on` is called once it may be read again."""
        if not self._backlog.is_full:
            self._stalled = False
            return False
        if self._stalled and self._backlog.written_bytes == self._taken_bytes:
            return False
        self._stalled = False
        if not self._waiting:
            self._backlog.when_room(self._open_soon)
            self._look_again()
        self._waiting.append(go_on)
        return True

    def _open_soon(self) -> None:
        """There is room again; comes on the output's thread."""
        self._loop.call_soon_threadsafe(self._open)

    def _look_again(self) -> None:
        self._taken_bytes = self._backlog.written_bytes
        self._loop.call_later(STALL_S, self._has_it_moved)

    def _has_it_moved(self) -> None:
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
