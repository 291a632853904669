"""The one writer to standard output: prefixed output of processes, and procwatch's own lines, in one order.

Rule 1: nothing here waits for whoever reads standard output.
Rule 2: what one call hands over is written whole; only a line longer than `channel.LINE_LIMIT_BYTES` comes in several.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from typing import BinaryIO

from procwatch.output import drain, words
from procwatch.output.controls import RESET
from procwatch.output.events import stamp
from procwatch.output.prefix import Prefixes
from procwatch.output.replay import Replay
from procwatch.output.spill import Span
from procwatch.streams import is_terminal

# To the top left, then clear the screen and what scrolled off it.
_CLEAR = b"\x1b[H\x1b[2J\x1b[3J"


class Screen:
    """Standard output as everything in procwatch sees it.

    `on_output` is called after output of a process was handed over (not after procwatch's own lines).
    """

    def __init__(
        self, fd: int, prefixes: Prefixes, *, terminal: bool | None = None, limit_bytes: int = drain.LIMIT_BYTES
    ) -> None:
        self.terminal = is_terminal(fd) if terminal is None else terminal
        self.on_output: Callable[[], None] = _nothing
        self._prefixes = prefixes
        again = Replay(prefixes, terminal=self.terminal).of
        voice = drain.Voice(self._loss, again, RESET + b"\n" if self.terminal else b"\n")
        self._drain = drain.Drain(fd, voice, limit_bytes=limit_bytes)
        self._source: object = None
        self._is_json = False

    def begin(self) -> None:
        """Have the thread now; ProcwatchError where the system gives none."""
        self._drain.begin()

    def prefix(self, name: str) -> bytes:
        """What stands before a line of `name` (a short name) at this moment."""
        return self._prefixes.of(name)

    def write(self, source: object, prefix: bytes, text: bytes | memoryview) -> bool:
        """Show `text`, whose inner lines have their prefix already; `prefix` is for its first line.

        Text without a line feed at its end is a line to be continued: the next text of the same `source` goes on where
        it stopped if nothing came between, else on a line of its own. False: there was no room; `settle` is due.
        """
        going_on = self._source is source and source is not None
        data = bytes(text) if going_on else b"".join((prefix, text))
        kept = self._drain.put(data, fresh=not going_on)
        self._source = source if kept and not data.endswith(b"\n") else None
        self.on_output()
        return kept

    def show(self, kept: BinaryIO, weight_bytes: int) -> bool:
        """Show the rest of a file of prefixed lines, whatever its size, and close it. False: as with `write`."""
        self._source = None
        taken = self._drain.put_file(kept, weight_bytes)
        self.on_output()
        return taken

    def settle(self, spans: Iterable[Span], lost_lines: int, count: int = 1) -> None:
        """Say what has become of `count` texts or files that found no room: they stand in a log, or are lost.

        From any thread. What stands in a log is shown from there once the reader goes on.
        """
        self._drain.settle(spans, lost_lines, count)

    def say(self, text: str, error: bool = False) -> None:
        """Show procwatch's own words, a prefix before each line. They may hold colours of procwatch's own."""
        self._source = None
        prefix = self._prefixes.own(error=error)
        body = text.encode("utf-8", "backslashreplace").replace(b"\n", b"\n" + prefix)
        self._drain.put(prefix + body + b"\n", own=True)

    def plain(self, text: str) -> None:
        """Show a line as it is, without a prefix: JSON. From then on a loss is told as JSON too."""
        self._is_json = True
        self._source = None
        self._drain.put(text.encode("utf-8", "backslashreplace") + b"\n", own=True)

    def blank(self) -> None:
        """An empty line, to tell what follows from what came before."""
        self._source = None
        self._drain.put(b"\n", own=True)

    def clear(self) -> None:
        """Clear the screen and what scrolled off it; only on a terminal."""
        if self.terminal:
            self._source = None
            self._drain.put_control(_CLEAR)

    @property
    def is_full(self) -> bool:
        """Whether to stop reading from processes for now: half of the queue is filled, and more may be lost."""
        return self._drain.is_full

    @property
    def written_bytes(self) -> int:
        """How much the reader has taken so far."""
        return self._drain.written_bytes

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` once when there is room again; it comes on another thread (`loop.call_soon_threadsafe`)."""
        self._drain.when_room(callback)

    def close(self, deadline_s: float) -> bool:
        """Write what is left and take nothing more; False when the reader was too slow for that."""
        return self._drain.close(deadline_s)

    def _loss(self, lines: int, obstacle: str) -> bytes:
        """The line that tells of lost ones, in the form of the others. Called on the writer's thread."""
        told = f"{words.lines(lines)} not shown: {obstacle}"
        if self._is_json:
            event = {"at": stamp(time.time()), "event": "lines_lost", "reason": told}
            return json.dumps(event).encode() + b"\n"
        return self._prefixes.own(error=True) + told.encode() + b"\n"


def _nothing() -> None:
    """Until somebody wants to know."""
