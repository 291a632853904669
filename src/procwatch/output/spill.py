"""What standard output had no room for: where it stands in the log files, in bounded memory.

Rule 1: what a log holds of one process is shown in its order; how several mix is kept about as exact as memory allows.
Rule 2: every line is either in a span or counted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Protocol

from procwatch.frozen import field, frozen, record
from procwatch.output.logfile import Mark

# Some hundred bytes each. Only output that is shown and output that is not, in turns in one log, makes so many.
MOST_SPANS = 4096
# So much is shown of one process before another one's of the same time; more, once there would be too many spans.
STEP_BYTES = 256 * 1024


class Log(Protocol):
    """What has been written and can be read again."""

    @property
    def short(self) -> str:
        """Whose output it is, as it stands before each line."""

    def read(self, begin: Mark, end: Mark) -> Iterator[bytes | int]:
        """As `LogFile.read`."""


def lines_in(data: bytes) -> int:
    """How many lines are lost where `data` is; a piece of a line counts as one."""
    return max(1, data.count(b"\n"))


@frozen
class Span:
    """A piece of a log, from one mark to another."""

    log: Log
    begin: Mark
    end: Mark

    @property
    def lines(self) -> int:
        """How many lines end in it; a piece of a line counts as one."""
        return max(1, self.end.lines - self.begin.lines)

    def joined(self, other: Span) -> Span | None:
        """Both as one, if the other one follows directly."""
        return Span(self.log, self.begin, other.end) if self.log is other.log and self.end == other.begin else None


class Spans:
    """Spans in order, those that follow each other in their log as one."""

    def __init__(self) -> None:
        self.all: list[Span] = []
        self.size_bytes = 0
        self._last: dict[Log, int] = {}

    def add(self, span: Span) -> None:
        """At the end, or to the last one of the same log."""
        self.size_bytes += span.end.offset - span.begin.offset
        place = self._last.get(span.log)
        if place is not None and (joined := self.all[place].joined(span)):
            self.all[place] = joined
        else:
            self._last[span.log] = len(self.all)
            self.all.append(span)


@record
class Step:
    """What has come at about one time, and then procwatch's own lines."""

    spans: Spans = field(default_factory=Spans)
    own: list[bytes] = field(default_factory=list)


class Spill:
    """Steps from the oldest to the newest."""

    def __init__(self) -> None:
        self._lost_lines = 0
        self._steps: deque[Step] = deque()
        self._step_bytes = STEP_BYTES
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._steps)

    def add(self, spans: Iterable[Span]) -> None:
        """Output of processes."""
        for span in spans:
            if self._count >= MOST_SPANS:
                self._coarsen()
            last = self._steps[-1] if self._steps else None
            if last is None or last.own or last.spans.size_bytes >= self._step_bytes:
                last = Step()
                self._steps.append(last)
            before = len(last.spans.all)
            last.spans.add(span)
            self._count += len(last.spans.all) - before
            if self._count > MOST_SPANS * 2:
                self._drop_oldest()

    def say(self, line: bytes) -> None:
        """A line of procwatch's own; the caller sees to it that there are not too many."""
        if not self._steps:
            self._steps.append(Step())
        self._steps[-1].own.append(line)

    def take(self) -> Step:
        """The oldest step, taken out."""
        step = self._steps.popleft()
        self._count -= len(step.spans.all)
        if not self._steps:
            self._step_bytes = STEP_BYTES
        return step

    def take_lost(self) -> int:
        """How many lines had to be given up, as their spans were too many; from then on none."""
        lost, self._lost_lines = self._lost_lines, 0
        return lost

    def _coarsen(self) -> None:
        """Make one step of each two, so that more spans follow each other."""
        self._step_bytes *= 2
        steps, self._steps = self._steps, deque()
        while steps:
            step = steps.popleft()
            if steps:
                after = steps.popleft()
                for span in after.spans.all:
                    step.spans.add(span)
                step.own += after.own
            self._steps.append(step)
        self._count = sum(len(step.spans.all) for step in self._steps)

    def _drop_oldest(self) -> None:
        """Nothing could be joined: count the older half instead of showing it."""
        for step in self._steps:
            half = len(step.spans.all) // 2
            dropped, kept = step.spans.all[:half], step.spans.all[half:]
            self._lost_lines += sum(span.lines for span in dropped)
            step.spans = Spans()
            for span in kept:
                step.spans.add(span)
        self._count = sum(len(step.spans.all) for step in self._steps)
