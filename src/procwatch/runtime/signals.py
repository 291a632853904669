"""Signals of the system as calls in the loop.

asyncio's `add_signal_handler` does the same, but loads `inspect` to look at what it is given (`procwatch.later`), and
has Python warn, inside of the signal handler, when a flood of signals fills the pipe that wakes the loop: that can
block on a lock that the main thread holds. Seen, with a procwatch that hung for ever.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

# One read: far more than there are signals.
_READ_BYTES = 4096


class Signals:
    """Calls back when a signal has come, as soon as the loop gets its turn; from the main thread, one for a loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._callbacks: dict[int, Callable[[], None]] = {}
        # Python writes the number of each signal into it, but for what finds no room.
        self._ours, self._pythons = socket.socketpair()
        self._ours.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        self._pythons.setblocking(False)  # noqa: FBT003
        self._loop.add_reader(self._ours, self._arrived)
        signal.set_wakeup_fd(self._pythons.fileno(), warn_on_full_buffer=False)

    def on(self, number: int, callback: Callable[[], None]) -> None:
        """From now on call this when the signal comes."""
        self._callbacks[number] = callback
        signal.signal(number, _wake)
        signal.siginterrupt(number, False)  # noqa: FBT003 - system calls go on

    def off(self, number: int) -> None:
        """Let the signal do again what it does by default."""
        if self._callbacks.pop(number, None):
            signal.signal(number, signal.SIG_DFL)

    def close(self) -> None:
        """Call nobody any more; what the signals do is left to others."""
        signal.set_wakeup_fd(-1)
        self._loop.remove_reader(self._ours)
        self._ours.close()
        self._pythons.close()

    def _arrived(self) -> None:
        with suppress(BlockingIOError):
            for number in dict.fromkeys(self._ours.recv(_READ_BYTES)):  # many at once count as one, as in the kernel
                if callback := self._callbacks.get(number):
                    self._loop.call_soon(callback)


def _wake(_number: int, _frame: object) -> None:
    """Python itself wakes the loop."""
