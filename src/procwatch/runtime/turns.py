"""A loop over sockets for the process that passes bytes on: what can be read or written is called, turn by turn.

Why it is not asyncio: docs/decisions/0011-proxy.md.

Rule 1: who is called does what can be done at once, and returns.
Rule 2: while nothing happens it sleeps; it ticks only while somebody has asked for that.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE
# How exact the limits of connections are: they are seconds long.
TICK_S = 0.1

OnEvent = Callable[[int], None]


class Turns:
    """Calls for each socket that is watched, from `run` until `stop`."""

    def __init__(self, tick: Callable[[], bool]) -> None:
        """`tick` is called every TICK_S as long as it says that it wants to be, and once after each `wake`."""
        self._selector = selectors.DefaultSelector()
        self._tick = tick
        self._is_ticking = False
        self._is_over = False

    def watch(self, sock: socket.socket, before: int, wanted: int, on_event: OnEvent) -> None:
        """Call for this socket when it is ready for what is wanted: READ, WRITE, both, or nothing (0)."""
        if not before:
            self._selector.register(sock, wanted, on_event)
        elif wanted:
            self._selector.modify(sock, wanted, on_event)
        else:
            self._selector.unregister(sock)

    def wake(self) -> None:
        """Begin to tick."""
        self._is_ticking = True

    def stop(self) -> None:
        """Let `run` return after this turn."""
        self._is_over = True

    def run(self) -> None:
        """Call until `stop`."""
        next_s = 0.0
        while not self._is_over:
            ready = self._selector.select(TICK_S if self._is_ticking else None)
            for key, events in ready:
                key.data(events)
            if self._is_ticking and (now_s := time.monotonic()) >= next_s:
                next_s = now_s + TICK_S
                self._is_ticking = self._tick()
        self._selector.close()
