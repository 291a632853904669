"""The lines of log files as runs of one moment, and those of several logs merged by their times.

Rule 1: each log's lines keep their order, also where the clock was set back meanwhile.
Rule 2: what is printed fast has thousands of lines of one millisecond, and costs no step for each of them. What is
        printed slowly is looked at line by line: there all is as plain as can be.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from operator import itemgetter

# The time before each line (docs/output.md), without the space behind it.
_TIME = rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z"
_MARK = re.compile(_TIME + b" ")
DATED_LINE = re.compile(b"^(" + _TIME + b") ", re.MULTILINE)
MARK_BYTES = 25
# Less than this is looked at line by line: it is not worth halving.
_SMALL_BYTES = 4096

# Whole lines of one moment: their place among others, which is never before that of earlier lines of their log; their
# mark, the time and a space; and the lines, each with the mark before it.
Run = tuple[bytes, bytes, bytes]
# A run and which of the logs it is from.
Placed = tuple[int, Run]


def text_of(run: Run) -> bytes:
    """The lines without their marks."""
    _, mark, lines = run
    return lines[MARK_BYTES:].replace(b"\n" + mark, b"\n")


class Reader:
    """One log's bytes -> runs. A line without a time gets that of the one before it."""

    def __init__(self) -> None:
        self._key = b""
        self._mark = b""

    def read(self, data: bytes, fallback: bytes) -> list[Run]:
        """The runs of whole lines. `fallback`: the time of first lines that have none, in a log without any."""
        if not self._mark and not _MARK.match(data):
            found = DATED_LINE.search(data)
            self._mark = found[0] if found else fallback + b" "
        runs: list[Run] = []
        self._split(data, runs)
        return runs

    def _split(self, data: bytes, runs: list[Run]) -> None:
        mark = data[:MARK_BYTES]
        if _is_of_one_moment(data, mark):
            self._mark, self._key = mark, max(self._key, mark)
            runs.append((self._key, mark, data))
            return
        cut = data.find(b"\n", len(data) // 2) + 1 if len(data) > _SMALL_BYTES else len(data)
        if cut == len(data):
            self._by_line(data, runs)
        else:
            self._split(data[:cut], runs)
            self._split(data[cut:], runs)

    def _by_line(self, data: bytes, runs: list[Run]) -> None:
        key, mark = self._key, self._mark
        match, add = _MARK.match, runs.append
        for line in data.split(b"\n")[:-1]:
            if not match(line):
                add((key, mark, mark + line + b"\n"))
                continue
            mark = line[:MARK_BYTES]
            if mark > key:
                key = mark
            add((key, mark, line + b"\n"))
        self._key, self._mark = key, mark


def _is_of_one_moment(data: bytes, mark: bytes) -> bool:
    """Whether each of the lines begins with `mark`, a time; the last line is asked first, for what that saves."""
    if not _MARK.match(mark) or not data.startswith(mark, data.rfind(b"\n", 0, -1) + 1):
        return False
    return data.count(b"\n" + mark) == data.count(b"\n") - 1


_key = itemgetter(0)


def merged(logs: Sequence[Iterator[list[Run]]]) -> Iterator[list[Placed]]:
    """The runs of all by their times, in portions; those of one time by the order of `logs`."""
    merge = _Merge(logs)
    while portion := merge.take():
        yield portion


class _Merge:
    """What has been read of each log and not been taken, by where it begins and ends."""

    def __init__(self, logs: Sequence[Iterator[list[Run]]]) -> None:
        self._logs = logs
        self._waiting: dict[int, tuple[list[Run], int]] = {}
        self._heads: list[tuple[bytes, int]] = []
        self._lasts: list[tuple[bytes, int]] = []
        for number in range(len(logs)):
            self._read(number)

    def _read(self, number: int) -> None:
        """Read more of a log of which nothing waits any more."""
        runs = next((runs for runs in self._logs[number] if runs), None)
        if runs is not None:
            self._waiting[number] = runs, 0
            heappush(self._heads, (runs[0][0], number))
            heappush(self._lasts, (runs[-1][0], number))

    def take(self) -> list[Placed]:
        """What comes next; empty at the end. Only the logs that have something of it are touched."""
        if not self._lasts:
            return []
        # Beyond that, the log that ends there could have something earlier that has not been read.
        last = self._lasts[0][0]
        touched: list[int] = []
        while self._heads and self._heads[0][0] <= last:
            touched.append(heappop(self._heads)[1])
        touched.sort()
        portion: list[Placed] = []
        for number in touched:
            runs, begin = self._waiting[number]
            end = bisect_right(runs, last, lo=begin, key=_key)
            portion += [(number, run) for run in runs[begin:end]]
            if end < len(runs):
                self._waiting[number] = runs, end
                heappush(self._heads, (runs[end][0], number))
        if len(touched) > 1:
            portion.sort(key=lambda placed: placed[1][0])
        ended: list[int] = []
        while self._lasts and self._lasts[0][0] == last:
            ended.append(heappop(self._lasts)[1])
        for number in ended:
            self._read(number)
        return portion


def without_first(count: int, portions: Iterable[list[Placed]]) -> Iterator[list[Placed]]:
    """All but the first `count` lines."""
    for portion in portions:
        if not count:
            yield portion
            continue
        kept: list[Placed] = []
        for number, (key, mark, lines) in portion:
            total = lines.count(b"\n") if count else 0
            if total <= count and count:
                count -= total
            else:
                kept.append((number, (key, mark, lines.split(b"\n", count)[count])))
                count = 0
        yield kept
