"""Our end of what one process prints, and of its standard input where that is held open.

Rule 1: nothing is read that nobody has room for (`gate`), but for what is left when the leader has ended.
Rule 2: a descriptor is closed when nobody can write to it any more, or by `close`.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sys
import termios
from collections.abc import Callable
from contextlib import ExitStack, suppress

from procwatch.runtime import descriptors
from procwatch.runtime.gate import Gate

# One read of a pipe, and so the share of one process in a turn of the loop (facts: 256 KiB gave 2 to 4 M lines/s).
CHUNK_BYTES = 256 * 1024

Feed = Callable[[bytes], None]


def open_pipe(ours: ExitStack, childs: ExitStack) -> tuple[int, int]:
    """A pipe that we read without blocking, and as large as one read of it: our end and the child's."""
    output, childs_output = os.pipe()
    childs.callback(os.close, childs_output)
    output = descriptors.lift(output)
    ours.callback(os.close, output)
    os.set_blocking(output, False)
    if hasattr(fcntl, "F_SETPIPE_SZ"):
        with suppress(OSError):  # the user's share of pipe memory is used up: a pipe of the usual size does too
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    return output, childs_output


def open_stdin(ours: ExitStack, childs: ExitStack) -> tuple[int, int]:
    """A pipe for standard input that is held open: our end and the child's."""
    childs_stdin, stdin = os.pipe()
    childs.callback(os.close, childs_stdin)
    stdin = descriptors.lift(stdin)
    ours.callback(os.close, stdin)
    return stdin, childs_stdin


class Pipe:
    """Reads `output` whenever there is something, and hands it to `feed`."""

    def __init__(self, output: int, feed: Feed, stdin: int | None, gate: Gate | None) -> None:
        self._output: int | None = output
        self._gate = gate
        self._feed = feed
        self._stdin = stdin
        self._silent: Callable[[], None] | None = None
        self._loop = asyncio.get_running_loop()
        self._go_on()

    def drain(self) -> None:
        """Hand on what has been written up to now; what is written meanwhile could go on for ever."""
        if self._output is None:
            return
        left = self._waiting_bytes(self._output)
        while left > 0 and (count := self._read()):
            left -= count

    def close(self) -> None:
        """Hand on what is there and close."""
        self.close_stdin()
        try:
            self.drain()
        finally:
            self._close_output()

    def close_stdin(self) -> None:
        """Let standard input end."""
        if self._stdin is not None:
            os.close(self._stdin)
            self._stdin = None

    def when_silent(self, silent: Callable[[], None]) -> None:
        """Call this when nobody can write any more."""
        if self._output is None:
            silent()
        self._silent = silent

    # --- what a terminal does in its own way -------------------------------------------------------------------------

    def _waiting_bytes(self, output: int) -> int:
        """As much as can be there to be read now."""
        return int.from_bytes(fcntl.ioctl(output, termios.FIONREAD, bytes(4)), sys.byteorder)

    def _take(self, output: int) -> bytes:
        """One piece; empty when nobody can write any more. Raises BlockingIOError when there is none now."""
        return os.read(output, CHUNK_BYTES)

    def _hand_on(self, data: bytes) -> None:
        self._feed(data)

    def _close_output(self) -> None:
        if self._output is not None:
            self._loop.remove_reader(self._output)
            os.close(self._output)
            self._output = None
            if self._silent:
                self._silent()

    # -----------------------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Read whenever there is something."""
        if self._output is not None:
            self._loop.add_reader(self._output, self._readable)

    def _readable(self) -> None:
        """Something can be read: now, or when what was read before has found its reader."""
        if self._gate is None or not self._gate.holds(self._go_on):
            self._read()
        elif self._output is not None:
            self._loop.remove_reader(self._output)

    def _read(self) -> int:
        """Hand on one piece; gives its length, 0 when there is none or nobody can write any more."""
        if self._output is None:
            return 0
        try:
            data = self._take(self._output)
        except BlockingIOError:
            return 0
        if data:
            self._hand_on(data)
        else:
            self._close_output()
        return len(data)
