"""Run a program on a pseudo-terminal: its size, what it prints, and what is typed into it.

Rule 1: the terminal is an ordinary one, so that programs behave as on any other; what is kept and shown as lines has
        the line ends of a pipe.
Rule 2: it is held open from our side until its program has ended: without that, the first moment in which nobody has it
        open would look like its end, and closing it then would hang up on a program that still runs.
"""

from __future__ import annotations

import asyncio
import errno
import os
import termios
from contextlib import ExitStack, suppress
from typing import NamedTuple

from procwatch.runtime import descriptors
from procwatch.runtime.gate import Gate
from procwatch.runtime.pipe import Feed, Pipe

# A terminal gives at most 4 KiB at once; so many reads make one piece, and one share of a turn of the loop.
_READS = 16
_READ_BYTES = 4096
# More than any kernel keeps of what was printed and not read (Linux: 640 KiB).
_MOST_WAITING_BYTES = 1024 * 1024
# Erasing a character of several bytes takes all of them (IUTF8 of Linux and macOS; Python does not name it).
_IUTF8 = 0x4000


class Size(NamedTuple):
    """Of a terminal, in characters."""

    rows: int
    columns: int


def open_terminal(size: Size, ours: ExitStack) -> tuple[int, int]:
    """A pseudo-terminal: our side of it, which is read and written without blocking, and the program's."""
    master, slave = os.openpty()
    with ExitStack() as opened:
        opened.callback(os.close, slave)
        master = descriptors.lift(master)
        ours.callback(os.close, master)
        opened.pop_all()
    slave = descriptors.lift(slave)
    ours.callback(os.close, slave)
    os.set_blocking(master, False)
    modes = termios.tcgetattr(slave)
    modes[0] |= _IUTF8
    termios.tcsetattr(slave, termios.TCSANOW, modes)
    termios.tcsetwinsize(slave, size)
    return master, slave


class Terminal(Pipe):
    """Our side of a terminal that a program runs on. `on_output` gets all that it prints, as a terminal would."""

    def __init__(self, master: int, slave: int, feed: Feed, gate: Gate | None) -> None:
        self.on_output: Feed = _nobody
        self._slave: int | None = slave
        self._line_ends = _LineEnds()
        self._typing = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        super().__init__(master, feed, None, gate)

    def resize(self, size: Size) -> None:
        """Give it another size; the program is told by SIGWINCH if it is a new one."""
        if self._slave is not None:
            termios.tcsetwinsize(self._slave, size)

    async def type(self, data: bytes) -> None:
        """Write what was typed, in order; returns when the terminal has taken it. What comes after the end is lost."""
        async with self._typing:
            left = memoryview(data)
            while left and self._output is not None:
                try:
                    left = left[os.write(self._output, left) :]
                except BlockingIOError:
                    await self._until_room(self._output)
                except OSError:  # it has been hung up: the program has ended
                    return

    def drain(self) -> None:
        """As of a pipe; a line end of which one half has come is none."""
        super().drain()
        if rest := self._line_ends.rest():
            self._feed(rest)

    async def _until_room(self, master: int) -> None:
        self._room = self._loop.create_future()
        self._loop.add_writer(master, self._found_room)
        try:
            await self._room
        finally:
            if self._output is not None:
                self._loop.remove_writer(self._output)
            self._room = None

    def _found_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _waiting_bytes(self, output: int) -> int:  # noqa: ARG002 - a terminal knows only of a part of it
        return _MOST_WAITING_BYTES

    def _take(self, output: int) -> bytes:
        pieces: list[bytes] = []
        for _ in range(_READS):
            try:
                piece = os.read(output, _READ_BYTES)
            except BlockingIOError:
                if not pieces:
                    raise
                break
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                piece = b""
            if not piece:
                break  # its end; where something came before, it is met again
            pieces.append(piece)
        return b"".join(pieces)

    def _hand_on(self, data: bytes) -> None:
        self.on_output(data)
        if text := self._line_ends.feed(data):
            self._feed(text)

    def _close_output(self) -> None:
        if self._output is not None:
            self._loop.remove_writer(self._output)
            self._found_room()
        super()._close_output()
        if self._slave is not None:
            with suppress(OSError):  # what it has lost by the hang-up was its own
                os.close(self._slave)
            self._slave = None


class _LineEnds:
    """Undoes what a terminal makes of a line feed: CR LF -> LF, wherever the bytes are cut."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        self._held = b"\r" if data.endswith(b"\r") else b""
        return data[: len(data) - len(self._held)].replace(b"\r\n", b"\n")

    def rest(self) -> bytes:
        rest, self._held = self._held, b""
        return rest


def _nobody(_data: bytes) -> None:
    """As long as nobody wants to know."""
