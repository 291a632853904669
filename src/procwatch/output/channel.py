"""One process's bytes -> whole lines on the screen.

Rule 1: only a line feed ends a line; every other byte is the process's own business.
Rule 2: the work is done once a chunk, never once a line.
Rule 3: memory is bounded: an unfinished line to `LINE_LIMIT_BYTES`, kept output to a file, the tail to `TAIL_BYTES`.
"""

from __future__ import annotations

import io
import tempfile
from collections import deque
from collections.abc import Callable
from typing import BinaryIO, Protocol

from procwatch.core.model import Terminal
from procwatch.output.controls import ControlFilter

# A longer line is passed on in pieces; no line that a person reads is as long.
LINE_LIMIT_BYTES = 1024 * 1024
# Output that is shown only after a failure is kept in memory up to here, beyond it in a file.
KEPT_BYTES = 1024 * 1024
# As much of the end as an event tells.
TAIL_BYTES = 64 * 1024

LineCallback = Callable[[bytes], None]


class Outlet(Protocol):
    """Where lines go: the screen."""

    @property
    def terminal(self) -> bool:
        """Whether it is a terminal."""

    def prefix(self, name: str) -> bytes:
        """What stands before a line of `name` now."""

    def write(self, source: object, prefix: bytes, text: bytes) -> None:
        """Show text; see `Screen.write`."""

    def show(self, kept: BinaryIO) -> None:
        """Show a file of lines and close it."""

    def say(self, text: str, error: bool = False) -> None:
        """Show procwatch's own words."""


class Channel:
    """What one run or instance prints, from its first byte to its last.

    A line is held until its line feed comes or `finish` is called. One of more than LINE_LIMIT_BYTES is passed on in
    pieces of about that size, each whole: other processes' lines may come between two pieces, and the next piece then
    stands on a line of its own; if none do, the line comes out as it is.

    `mode`: "all" shows at once, "on-failure" keeps and shows all of it with `finish(failed=True)`, "none" shows
    nothing; watchers and the tail get everything in each. `name` is the short one. On a terminal control sequences
    other than colours are dropped (`ControlFilter`), elsewhere the bytes stay as the process wrote them.
    """

    def __init__(self, outlet: Outlet, name: str, mode: Terminal = "all") -> None:
        self._outlet = outlet
        self._name = name
        self._mode = mode
        self._filter = ControlFilter() if outlet.terminal else None
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._watchers: list[LineCallback] = []
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._kept: _Kept | None = None

    def feed(self, data: bytes) -> None:
        """Take a chunk as it was read."""
        cut = data.rfind(b"\n") + 1
        if cut:
            self._pass_on(b"".join((*self._held, data[:cut])))
            self._held.clear()
            self._held_bytes = 0
            data = data[cut:]
        if data:
            self._held.append(data)
            self._held_bytes += len(data)
        if self._held_bytes > LINE_LIMIT_BYTES:
            self._pass_on_piece()

    def finish(self, failed: bool = False) -> None:
        """The process has ended: end an unfinished line, show what was kept if it `failed`. Again: does nothing more.

        More may be fed afterwards, by what the process left running; then `finish` is due again.
        """
        if self._held:
            self.feed(b"\n")
        kept, self._kept = self._kept, None
        if kept is None:
            return
        if not failed:
            kept.file.close()
            return
        kept.file.seek(0)
        self._outlet.show(kept.file)
        if kept.problem:
            self._outlet.say(f"the output of {self._name} could not be kept whole: {kept.problem}", error=True)

    def watch(self, callback: LineCallback) -> Callable[[], None]:
        """Call `callback` with each line to come, as the process wrote it without the line feed; returns how to stop.

        A line longer than LINE_LIMIT_BYTES comes as several.
        """
        self._watchers.append(callback)

        def stop() -> None:
            if callback in self._watchers:
                self._watchers.remove(callback)

        return stop

    def tail(self, lines: int) -> list[bytes]:
        """The last lines, at most `lines` and TAIL_BYTES of them, as the process wrote them; an unfinished one too."""
        recent = b"".join((*self._tail, *self._held))[-TAIL_BYTES:]
        found = recent.removesuffix(b"\n").split(b"\n") if recent else []
        return found[-lines:] if lines > 0 else []

    def _pass_on_piece(self) -> None:
        """Part of a line that is too long to hold. Its last byte stays, so that its end never stands alone."""
        piece = b"".join(self._held)
        self._held = [piece[-1:]]
        self._held_bytes = 1
        self._pass_on(piece[:-1])

    def _pass_on(self, block: bytes) -> None:
        """Whole lines, or one piece of a line without its line feed."""
        self._remember(block)
        if self._watchers:
            self._tell(block)
        if self._mode == "none":
            return
        text = self._filter.feed(block) if self._filter else block
        if not text:
            return
        prefix = self._outlet.prefix(self._name)
        if text.endswith(b"\n"):
            text = b"".join((text[:-1].replace(b"\n", b"\n" + prefix), b"\n"))
        if self._mode == "all":
            self._outlet.write(self, prefix, text)
        else:
            self._kept = self._kept or _Kept()
            self._kept.write(prefix, text)

    def _remember(self, block: bytes) -> None:
        end = block[-TAIL_BYTES:]
        self._tail.append(end)
        self._tail_bytes += len(end)
        while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    def _tell(self, block: bytes) -> None:
        for line in block.removesuffix(b"\n").split(b"\n"):
            for callback in tuple(self._watchers):
                if callback in self._watchers:
                    callback(line)


class _Kept:
    """Prefixed lines in memory, beyond KEPT_BYTES in an unlinked file.

    `problem` says why what came last is missing, if the file could not take it.
    """

    def __init__(self) -> None:
        self.file: io.BytesIO | io.FileIO = io.BytesIO()
        self.problem: str | None = None
        self._in_line = False
        self._bytes = 0
        self._whole_bytes = 0

    def write(self, prefix: bytes, text: bytes) -> None:
        """As `Outlet.write`, for one source."""
        if self.problem:
            return
        data = text if self._in_line else prefix + text
        try:
            if self._bytes <= KEPT_BYTES < self._bytes + len(data):
                self._move_to_disk()
            _write_all(self.file, data)
        except OSError as error:
            self.problem = error.strerror or str(error)
            self.file.truncate(self._whole_bytes)
            return
        self._bytes += len(data)
        self._in_line = not data.endswith(b"\n")
        if not self._in_line:
            self._whole_bytes = self._bytes

    def _move_to_disk(self) -> None:
        on_disk = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by whoever shows or drops it
        if isinstance(self.file, io.BytesIO):
            _write_all(on_disk, self.file.getvalue())
        self.file = on_disk


def _write_all(file: io.BytesIO | io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
