"""One process's bytes -> whole lines on the screen and in its unit's log.

Rule 1: only a line feed ends a line; every other byte is the process's own business.
Rule 2: the work is done once a chunk, never once a line.
Rule 3: memory is bounded: an unfinished line to `LINE_LIMIT_BYTES`, kept output to a file, the tail to `TAIL_BYTES`.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable
from typing import BinaryIO, Protocol

from procwatch.core.model import Terminal
from procwatch.output.controls import ControlFilter
from procwatch.output.logs import Log, Told
from procwatch.output.ring import Ring
from procwatch.output.spill import Span, Spans, lines_in

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

    def write(self, source: object, prefix: bytes, text: bytes | memoryview) -> bool:
        """Show text; False: there was no room, and `settle` is due."""

    def show(self, kept: BinaryIO, weight_bytes: int) -> bool:
        """Show a file of lines and close it; False: as with `write`, and the file stays open."""

    def settle(self, spans: Iterable[Span], lost_lines: int, count: int = 1) -> None:
        """Say what has become of what found no room; see `Screen.settle`."""

    def say(self, text: str, error: bool = False) -> None:
        """Show procwatch's own words."""


class Channel:
    """What one run or instance prints, from its first byte to its last.

    A line is held until its line feed comes or `finish` is called. One of more than LINE_LIMIT_BYTES is passed on in
    pieces of about that size, each whole: other processes' lines may come between two pieces, and the next piece then
    stands on a line of its own; if none do, the line comes out as it is.

    `mode`: "all" shows at once, "on-failure" keeps and shows all of it with `finish(failed=True)`, "none" shows
    nothing; watchers and the tail get everything in each. `name` is the short one. On a terminal control sequences
    other than colours are dropped (`ControlFilter`), elsewhere the bytes stay as the process wrote them. `log` gets
    all of them in each mode, and what finds no room on the screen is shown from there. `ring`: where there is no log.
    """

    def __init__(
        self, outlet: Outlet, name: str, mode: Terminal = "all", log: Log | None = None, ring: Ring | None = None
    ) -> None:
        self._outlet = outlet
        self._name = name
        self._mode = mode
        self._log = log
        self._ring = ring
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
        if not self._outlet.show(kept.file, kept.weight_bytes):
            kept.file.close()
            self._settle(kept)
        elif kept.problem:
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
        if self._ring:
            self._ring.put(self, block)
        told = None if self._mode == "none" else self._show(block)
        if self._log:
            self._log.put(self, block, told)
        elif told:
            told(None, lines_in(block), 1)

    def _show(self, block: bytes) -> Told | None:
        """Show or keep it; who is to be told where it stands in the log, or that it does not."""
        text = self._filter.feed(block) if self._filter else block
        if not text:
            return None
        prefix = self._outlet.prefix(self._name)
        lines = memoryview(text)
        if text.endswith(b"\n"):  # a prefix behind the last one too, which is cut off: that costs no copy
            lines = memoryview(text.replace(b"\n", b"\n" + prefix))[: -len(prefix)]
        if self._mode == "all":
            return None if self._outlet.write(self, prefix, lines) else self._spilled
        self._kept = self._kept or _Kept()
        self._kept.write(prefix, lines)
        return self._kept.note

    def _spilled(self, span: Span | None, lost_lines: int, count: int) -> None:
        self._outlet.settle((span,) if span else (), lost_lines, count)

    def _settle(self, kept: _Kept) -> None:
        """What was kept found no room: it is shown from the log."""
        if self._log:
            self._log.after(lambda: self._outlet.settle(kept.spans.all, kept.lost_lines))
        else:
            self._outlet.settle((), kept.lost_lines)

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

    `problem` says why what came last is missing, if the file could not take it. `spans` is the same in the log, but
    for `lost_lines`, as far as the log has got.
    """

    def __init__(self) -> None:
        self.file: io.BytesIO | io.FileIO = io.BytesIO()
        self.problem: str | None = None
        self.spans = Spans()
        self.lost_lines = 0
        self._in_line = False
        self._bytes = 0
        self._whole_bytes = 0

    @property
    def weight_bytes(self) -> int:
        """What it takes of the memory that the screen may use; a file, of which there are not to be many, as much."""
        return max(1, min(self._bytes, KEPT_BYTES))

    def note(self, span: Span | None, lost_lines: int, _count: int) -> None:
        """Where a block stands in the log; on the log's thread, or where there is none, on the loop's."""
        self.lost_lines += lost_lines
        if span:
            self.spans.add(span)

    def write(self, prefix: bytes, text: memoryview) -> None:
        """As `Outlet.write`, for one source."""
        if self.problem:
            return
        data = bytes(text) if self._in_line else b"".join((prefix, text))
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
        import tempfile  # noqa: PLC0415 - few builds print so much

        on_disk = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  # closed by whoever shows or drops it
        if isinstance(self.file, io.BytesIO):
            _write_all(on_disk, self.file.getvalue())
        self.file = on_disk


def _write_all(file: io.BytesIO | io.FileIO, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[file.write(left) :]
