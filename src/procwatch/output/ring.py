"""The last output of a unit that has no log file, in memory, in the form of a log file.

Rule 1: a place counts all that was ever put; what has been pushed out is known by that.
"""

from __future__ import annotations

import time
from collections import deque
from typing import NamedTuple

from procwatch.output.dated import Dated

LIMIT_BYTES = 1024 * 1024
# One answer of the control socket holds so much of it.
_PAGE_BYTES = 256 * 1024


class Page(NamedTuple):
    """Bytes of a log from `begin` on, which may be later than was asked for; `is_last`: there is no more for now."""

    begin: int
    data: bytes
    is_last: bool


class Ring:
    """What one unit has printed last, some 1 MiB of it."""

    def __init__(self, limit_bytes: int = LIMIT_BYTES) -> None:
        self._limit_bytes = limit_bytes
        self._dated = Dated()
        self._texts: deque[bytes] = deque()
        self._begin = 0
        self._end = 0

    def put(self, source: object, data: bytes) -> None:
        """Keep whole lines, or a piece of a line that the same `source` goes on with; they get the time of now."""
        parts: list[bytes | memoryview] = []
        self._dated.add(source, data, time.time(), parts)
        text = b"".join(parts)
        self._texts.append(text)
        self._end += len(text)
        while self._end - self._begin - len(self._texts[0]) >= self._limit_bytes:
            self._begin += len(self._texts.popleft())

    def page(self, place: int, most_bytes: int = _PAGE_BYTES) -> Page:
        """What there is from a place on; the next page begins where this one ends."""
        begin = min(max(place, self._begin), self._end)
        at, parts, size = self._begin, list[bytes](), 0
        for text in self._texts if begin < self._end else ():
            if at + len(text) > begin and size < most_bytes:
                parts.append(text[max(0, begin - at) :])
                size += len(parts[-1])
            at += len(text)
        data = b"".join(parts)[:most_bytes]
        return Page(begin, data, begin + len(data) == self._end)
