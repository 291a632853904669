"""Put the time before each line of what one unit prints: the form of its log.

Rule 1: one call costs the same for one line and for ten thousand.
"""

from __future__ import annotations

from procwatch.output.events import stamp


class Dated:
    """The lines of one unit: of its processes, one after the other or at once, and of its hooks."""

    def __init__(self) -> None:
        self._unfinished: object = None
        self._stamp = (-1, b"")

    def add(self, source: object, data: bytes, at_s: float, parts: list[bytes | memoryview]) -> int:
        """Append to `parts` what these lines, or this piece of one, of `source` become; how many lines end in it.

        A piece goes on where the same source has stopped; if another one comes in between, it becomes a line.
        """
        goes_on = self._unfinished is source
        lines = 0
        if not goes_on:
            if self._unfinished is not None:
                parts.append(b"\n")
                lines += 1
            parts.append(self._stamp_of(at_s))
        if not data.endswith(b"\n"):
            self._unfinished = source
            parts.append(data)
            return lines
        self._unfinished = None
        mark = self._stamp_of(at_s)
        dated = data.replace(b"\n", b"\n" + mark)
        lines += (len(dated) - len(data)) // len(mark)
        parts.append(memoryview(dated)[: -len(mark)])
        return lines

    def break_off(self) -> None:
        """What was unfinished is not there: the next line begins anew."""
        self._unfinished = None

    def _stamp_of(self, at_s: float) -> bytes:
        at_ms = int(at_s * 1000)
        if at_ms != self._stamp[0]:
            self._stamp = (at_ms, stamp(at_s).encode() + b" ")
        return self._stamp[1]
