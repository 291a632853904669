"""All log files: blocks of lines get their time and are written by one thread, so that no disk holds up the caller.

Rule 1: `put` never waits. Whoever reads from processes asks `is_full` first, so that nothing is lost to a slow disk.
Rule 2: what cannot be written is counted and told, once with its reason, and once more when it can be again.
Rule 3: as soon as something is queued it is written; nothing waits for more to come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path

from procwatch.core.model import LogPolicy
from procwatch.frozen import frozen, record
from procwatch.output.dated import Dated
from procwatch.output.logfile import LogFile, Mark
from procwatch.output.spill import Span, lines_in
from procwatch.output.words import lines as counted
from procwatch.output.worker import Worker

# Half a second of the fastest process; a disk that stops for longer is waited for.
FULL_BYTES = 2 * 1024 * 1024
# What comes although it is full (the last words of processes that end) is kept up to here, and counted beyond.
MOST_BYTES = 16 * 1024 * 1024
# What is written at once: large enough that the system call does not matter.
_WRITE_BYTES = 1024 * 1024
# Descriptors are few on some systems, and a file is opened again in 20 us.
_MOST_OPEN = 64
# A disk may have room again at any moment; it is asked ever more seldom.
_RETRY_S, _MOST_RETRY_S = 1.0, 60.0

# What a block has become: its place in the file (None: none of it is there), lines that are not, and how many blocks.
Told = Callable[[Span | None, int, int], None]


@frozen
class _Block:
    """Whole lines, or a piece of one, of `source`; `told` is called on the thread."""

    source: object
    data: bytes
    at_s: float
    told: Told | None


class Logs:
    """The files in `folder` and the thread that writes them; `tell` gets words for the user, on the thread."""

    def __init__(self, folder: Path, tell: Callable[[str], None]) -> None:
        self._folder = folder
        self._tell = tell
        self._worker = Worker("procwatch-logs", self._run, lambda: self._queued_bytes <= FULL_BYTES // 2)
        self._changed = self._worker.changed
        self._logs: dict[str, Log] = {}
        self._open: dict[Log, None] = {}
        self._queue: list[tuple[Log, _Block | Callable[[], None]]] = []
        self._queued_bytes = 0

    def begin(self) -> None:
        """Have the thread now; ProcwatchError where the system gives none."""
        self._worker.begin()

    def of(self, name: str, policy: LogPolicy) -> Log:
        """The log of a unit (its full name); no file is made before there is something to write."""
        if name not in self._logs:
            self._logs[name] = Log(self, name, LogFile(self._folder / f"{name}.log", policy), self._tell)
        self._logs[name].file.policy = policy
        return self._logs[name]

    def put(self, log: Log, item: _Block | Callable[[], None]) -> bool:
        """Queue; False: there is far too much, and nobody has waited."""
        with self._changed:
            if self._queued_bytes >= MOST_BYTES or self._worker.is_closing:
                return False
            self._queue.append((log, item))
            self._queued_bytes += len(item.data) if isinstance(item, _Block) else 0
            self._worker.wake()
            return True

    @property
    def is_full(self) -> bool:
        """Whether to stop reading from processes until `when_room`: the disk is slower."""
        return self._queued_bytes >= FULL_BYTES

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, on the thread, when half of it is free again (at once if it is)."""
        self._worker.when_room(callback)

    def close(self, deadline_s: float) -> bool:
        """Write what is queued, tell what is missing; False when the disk was too slow for that."""
        return self._worker.close(deadline_s)

    def _run(self) -> None:
        try:
            self._write_all()
        except Exception as error:  # nobody is above a thread, and processes must not wait for one that has ended
            self._tell(f"internal error, please report it: no log file is written any more: {error!r}")
            with self._changed:
                self._worker.is_closing, left, self._queue = True, self._queue, []
                written_bytes = self._queued_bytes
            for log, item in left:
                log.drop(item)
            self._make_known(written_bytes)

    def _write_all(self) -> None:
        while batch := self._take():
            batch.sort(key=lambda entry: id(entry[0]))  # stable: each log keeps its order
            for log, items in groupby(batch, lambda entry: entry[0]):
                size = log.write(item for _, item in items)
                self._keep_few_open(log)
                self._make_known(size)
        for log in self._logs.values():
            log.end()

    def _take(self) -> list[tuple[Log, _Block | Callable[[], None]]]:
        """All that is queued; nothing at the end."""
        with self._changed:
            while not self._queue and not self._worker.is_closing:
                self._changed.wait()
            taken, self._queue = self._queue, []
            return taken

    def _keep_few_open(self, log: Log) -> None:
        self._open.pop(log, None)
        self._open[log] = None
        if len(self._open) > _MOST_OPEN:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.file.close()

    def _make_known(self, written_bytes: int) -> None:
        with self._changed:
            self._queued_bytes -= written_bytes
        self._worker.call_waiting()


class Log:
    """The log of one unit: of its processes, one after the other or at once, and of its hooks."""

    def __init__(self, logs: Logs, name: str, file: LogFile, tell: Callable[[str], None]) -> None:
        self.short = name.partition(".")[2]
        self.file = file
        self._logs = logs
        self._tell = tell
        self._dated = Dated()
        self._trouble: _Trouble | None = None
        self._pause_s = 0.0
        self._failed_s = 0.0
        self._dropped_lines = 0

    def put(self, source: object, data: bytes, told: Told | None = None) -> None:
        """Queue whole lines, or a piece of a line that the same `source` goes on with; they get the time of now."""
        block = _Block(source, data, time.time(), told)
        if not self._logs.put(self, block):
            self.drop(block)

    def after(self, callback: Callable[[], None]) -> None:
        """Call this on the thread when all that has been put so far is written, or counted."""
        if not self._logs.put(self, callback):
            self.drop(callback)

    def drop(self, item: _Block | Callable[[], None]) -> None:
        """What is not written counts as lost, and is told to whoever waits for it."""
        if not isinstance(item, _Block):
            item()
            return
        lines = lines_in(item.data)
        self._dropped_lines += lines
        if item.told:
            item.told(None, lines, 1)

    def read(self, begin: Mark, end: Mark) -> Iterator[bytes | int]:
        """As `LogFile.read`; from any thread."""
        return self.file.read(begin, end)

    # --- on the thread -----------------------------------------------------------------------------------------------

    def write(self, items: Iterable[_Block | Callable[[], None]]) -> int:
        """Write blocks, call what is to be called in between; how many bytes the blocks had."""
        total = size = 0
        group: list[_Block] = []
        for item in items:
            block = item if isinstance(item, _Block) else None
            if group and (block is None or size >= _WRITE_BYTES or block.told != group[0].told):
                self._write(group)
                group, size = [], 0
            if block:
                group.append(block)
                size += len(block.data)
                total += len(block.data)
            elif not isinstance(item, _Block):
                item()
        if group:
            self._write(group)
        return total

    def end(self) -> None:
        """No more comes: close, and tell what is missing."""
        self.file.close()
        missing = self._dropped_lines + (self._trouble.missing if self._trouble else 0)
        if missing:
            reason = self._trouble.reason if self._trouble else _TOO_SLOW
            self._tell(f"{self.file.path} lacks {counted(missing)} ({reason})")

    def _write(self, group: list[_Block]) -> None:
        if self._dropped_lines:
            dropped, self._dropped_lines = self._dropped_lines, 0
            self._fail(_TOO_SLOW, dropped, pause=False)
        parts: list[bytes | memoryview] = []
        lines = sum(self._dated.add(block.source, block.data, block.at_s, parts) for block in group)
        data = b"".join(parts)
        begin = self.file.mark
        lost = self._append(data, lines)
        end = self.file.mark
        if told := group[0].told:
            told(Span(self, begin, end) if end != begin else None, lost, len(group))

    # --- trouble with the disk ---------------------------------------------------------------------------------------

    def _append(self, data: bytes, lines: int) -> int:
        """Write, or count; how many lines are not in the file."""
        before = self.file.mark.lines
        if self._trouble is None or time.monotonic() >= self._trouble.retry_s:
            try:
                self.file.append(data, lines)
            except OSError as error:
                lost = max(1, before + lines - self.file.mark.lines)
                self._fail(error.strerror or str(error), lost, pause=True)
                return lost
            self._recover()
            return 0
        lost = max(1, lines)
        self._trouble.missing += lost
        self._dated.break_off()
        return lost

    def _fail(self, reason: str, lost: int, *, pause: bool) -> None:
        self._dated.break_off()
        now_s = time.monotonic()
        if self._trouble is None or self._trouble.reason != reason:
            self._tell(f"{self.file.path} cannot be written ({reason}); what finds no room in it is counted")
        missing = lost + (self._trouble.missing if self._trouble else 0)
        if pause:
            soon = now_s - self._failed_s < 2 * _MOST_RETRY_S
            self._pause_s = min(_MOST_RETRY_S, self._pause_s * 2) if soon and self._pause_s else _RETRY_S
            self._failed_s = now_s
        self._trouble = _Trouble(reason, missing, now_s + (self._pause_s if pause else 0.0))

    def _recover(self) -> None:
        if self._trouble is not None:
            self._tell(f"{self.file.path} is written again; it lacks {counted(self._trouble.missing)}")
            self._trouble = None


@record
class _Trouble:
    """Why the file cannot be written, how many lines it lacks, and when it is tried again."""

    reason: str
    missing: int
    retry_s: float


_TOO_SLOW = "the disk is too slow"
