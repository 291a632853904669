"""A thread that empties a queue: begun with the first piece, asked to end by `close`, and those who wait for room.

Rule 1: whoever has the queue keeps it under `changed`; nothing here waits for anybody but `close`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from procwatch.errors import ProcwatchError

NO_THREAD = "no more threads are allowed: raise the limit (ulimit -u) or run less at once"


class Worker:
    """`run` is the thread's work, `has_room` is asked with the lock held. `is_closing`: nothing more is taken."""

    def __init__(self, name: str, run: Callable[[], None], has_room: Callable[[], bool]) -> None:
        self.changed = threading.Condition()
        self.is_closing = False
        self._name = name
        self._run = run
        self._has_room = has_room
        self._waiting: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Have the thread now, where it can still be said that there is none to be had: ProcwatchError."""
        with self.changed:
            try:
                self._have_thread()
            except RuntimeError as error:
                raise ProcwatchError(NO_THREAD) from error

    def wake(self) -> None:
        """With the lock held: there is something to do."""
        self._have_thread()
        self.changed.notify()

    def _have_thread(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            thread.start()
            self._thread = thread

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, on the thread, when there is room (at once if there is)."""
        with self.changed:
            if not self._has_room():
                self._waiting.append(callback)
                return
        callback()

    def call_waiting(self) -> None:
        """On the thread, without the lock: if there is room, tell those who wait for it."""
        with self.changed:
            called = self._waiting if self._has_room() else []
            if called:
                self._waiting = []
        for callback in called:
            callback()

    def close(self, deadline_s: float) -> bool:
        """Let the work be ended; False when it has not been by the deadline."""
        with self.changed:
            self.is_closing = True
            self.changed.notify()
            thread = self._thread
        if thread is None:
            return True
        thread.join(deadline_s)
        return not thread.is_alive()
