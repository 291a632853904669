"""A span of a log file -> the lines as they would have been shown: prefix for time, control sequences dropped."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from procwatch.output.channel import LINE_LIMIT_BYTES
from procwatch.output.controls import ControlFilter
from procwatch.output.prefix import Prefixes
from procwatch.output.spill import Span

# The time before each line of a log: seconds, and what is more exact than a prefix.
_STAMP = re.compile(rb"^([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})\.[0-9]{3}Z ", re.MULTILINE)
# Prefixes of so many seconds are remembered.
_MOST_MADE = 1000


class Replay:
    """Called on one thread at a time, which is not the loop's."""

    def __init__(self, prefixes: Prefixes, *, terminal: bool) -> None:
        self._prefixes = prefixes
        self._terminal = terminal

    def of(self, span: Span) -> Iterator[bytes | int]:
        """Prefixed lines in pieces; a number stands for so many lines that are there no more."""
        shown = _Lines(self._prefixes, span.log.short, ControlFilter() if self._terminal else None)
        for part in span.log.read(span.begin, span.end):
            if isinstance(part, int):
                yield part
            elif text := shown.feed(part):
                yield text
        if text := shown.rest():
            yield text


class _Lines:
    """What a log's bytes, cut anywhere, look like with prefixes of one name."""

    def __init__(self, prefixes: Prefixes, name: str, control: ControlFilter | None) -> None:
        self._prefixes = prefixes
        self._name = name
        self._control = control
        self._held = b""
        self._is_first = True
        self._in_line = False
        self._made: dict[bytes, bytes] = {}

    def feed(self, data: bytes) -> bytes:
        """Whole lines of what has come so far; a very long one in pieces."""
        data = self._held + data
        cut = data.rfind(b"\n") + 1
        if len(data) - cut > LINE_LIMIT_BYTES:
            cut = len(data)
        self._held = data[cut:]
        return self._shown(data[:cut])

    def rest(self) -> bytes:
        """What is left: a line that goes on behind the end of the span."""
        return self._shown(self._held)

    def _shown(self, data: bytes) -> bytes:
        if not data:
            return b""
        head = b""
        if self._is_first and not _STAMP.match(data):  # the beginning of this line has been shown long ago
            head, self._in_line = self._prefixes.at(self._name, time.time()), True
        text = self._control.feed(data) if self._control else data
        if self._in_line:  # nothing that a line goes on with is a time
            end = text.find(b"\n") + 1 or len(text)
            head, text = head + text[:end], text[end:]
        self._is_first, self._in_line = False, not data.endswith(b"\n")
        return head + _STAMP.sub(self._prefix, text)

    def _prefix(self, found: re.Match[bytes]) -> bytes:
        seconds = found[1]
        made = self._made.get(seconds)
        if made is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            from datetime import datetime  # noqa: PLC0415 - nothing is read again before something was written

            at_s = datetime.fromisoformat(seconds.decode() + "+00:00").timestamp()
            made = self._made[seconds] = self._prefixes.at(self._name, at_s)
        return made
