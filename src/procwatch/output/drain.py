"""Bytes to one descriptor from a thread of its own, so that a slow reader never holds up the caller.

Rule 1: `put` never waits. What is queued is bounded; what finds no room is shown from the log files, or counted and
        told, once the reader goes on, and until then everything that comes shares its fate, so that order is kept.
Rule 2: a piece is written whole and in order; no piece that begins a line lands in the middle of another.
Rule 3: a reader that has gone is no error: from then on everything is dropped.
"""

from __future__ import annotations

import errno
import os
import select
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO

from procwatch.frozen import frozen
from procwatch.output.spill import Span, Spill, Step, lines_in
from procwatch.output.worker import Worker
from procwatch.streams import is_terminal

# About four seconds of a fast build's output to a terminal; more would only delay what is told about the loss.
LIMIT_BYTES = 8 * 1024 * 1024
# Kept free for procwatch's own lines, which are few: they come through where a process's output does not.
_RESERVE_BYTES = 1024 * 1024
# One write: large enough that the system call does not matter, small enough to join without notice.
_BATCH_BYTES = 256 * 1024
# To a terminal less at once: it takes its time, and how far it has come is seen only between two writes.
_TERMINAL_BYTES = 8 * 1024
# A full disk may have room again; a second is soon enough and costs nothing.
_RETRY_S = 1.0
_NOT_READ = "standard output is not read fast enough"
_ROTATED = f"{_NOT_READ}, and their log file has gone"
# The reader has closed its end, the terminal has hung up, or there never was an open descriptor.
_GONE = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET})


@frozen
class Voice:
    """How a drain puts things, all called on its thread.

    `loss(lines, obstacle)` tells of `lines` that are not shown; `again` makes of a span of a log what would have been
    shown of it, and numbers for lines that are gone; `line_break` ends a line that another has left unfinished.
    """

    loss: Callable[[int, str], bytes]
    again: Callable[[Span], Iterator[bytes | int]]
    line_break: bytes = b"\n"


@frozen
class _Kept:
    """A file in the queue; it counts as so many bytes."""

    file: BinaryIO
    weight_bytes: int


_Piece = bytes | _Kept


class Drain:
    """A queue before `fd`, of `limit_bytes` and one piece at most, and the thread that empties it.

    `written_bytes` is how much has found its reader.
    """

    def __init__(self, fd: int, voice: Voice, *, limit_bytes: int = LIMIT_BYTES) -> None:
        self._fd = fd
        self._most_bytes = _TERMINAL_BYTES if is_terminal(fd) else _BATCH_BYTES
        self._voice = voice
        self._limit_bytes = limit_bytes
        self._worker = Worker("procwatch-output", self._run, self._has_room)
        self._changed = self._worker.changed
        self._pieces: deque[_Piece] = deque()
        self._queued_bytes = 0
        self.written_bytes = 0
        # From the first piece that found no room until all of it has been settled, and shown or counted.
        self._spilling = False
        self._spill = Spill()
        self._unsettled = 0
        self._lost_lines = 0
        self._obstacle = _NOT_READ
        self._in_line = False
        # Of the thread alone: lines that were to be shown from a log, and whether what was written ends within a line.
        self._rotated_lines = 0
        self._ends_in_line = False
        self._gone = False

    def begin(self) -> None:
        """Have the thread now; ProcwatchError where the system gives none."""
        self._worker.begin()

    def put(self, data: bytes, *, fresh: bool = True, own: bool = False) -> bool:
        """Queue `data`; False: there was no room, and the caller settles it (`own`: it has been counted).

        `fresh`: it begins a line, and a line left unfinished before it is ended first. `own`: may use the reserve.
        Data without a line feed at its end leaves a line unfinished.
        """
        with self._changed:
            if self._gone or self._worker.is_closing or not data:
                return True
            if not own:
                return self._has_place() and self._append(data, fresh=fresh)
            if self._queued_bytes >= self._limit_bytes + _RESERVE_BYTES:
                self._spilling = True
                self._lost_lines += lines_in(data)
                return False
            if self._spilling:
                self._spill.say(data)
                self._queued_bytes += len(data)
                self._changed.notify()
                return True
            return self._append(data, fresh=fresh)

    def settle(self, spans: Iterable[Span], lost_lines: int, count: int = 1) -> None:
        """What has become of `count` puts that found no room: they stand in the log, or are lost. From any thread."""
        with self._changed:
            self._unsettled -= count
            if not self._gone:
                self._spill.add(spans)
                self._lost_lines += lost_lines
            self._changed.notify()

    def put_control(self, sequence: bytes) -> None:
        """Queue a control sequence after which the cursor is at the beginning of a line."""
        if self.put(sequence, fresh=False, own=True):
            with self._changed:
                self._in_line = False

    def put_file(self, file: BinaryIO, weight_bytes: int) -> bool:
        """Queue the rest of `file`, whole lines: it is read as it is written, then closed.

        It counts as `weight_bytes`. False: there was no room; the caller settles it, and keeps the file.
        """
        with self._changed:
            if self._gone or self._worker.is_closing:
                file.close()
                return True
            return self._has_place() and self._append(_Kept(file, weight_bytes), fresh=True)

    @property
    def is_full(self) -> bool:
        """Whether the caller had better wait for `when_room` before it reads more, so that nothing is lost."""
        return (self._spilling or self._queued_bytes >= self._limit_bytes // 2) and not self._gone

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, on the thread, when a quarter of the queue is filled at most (at once if it is so)."""
        self._worker.when_room(callback)

    def close(self, deadline_s: float) -> bool:
        """Take nothing more, write what is queued; False when that has not been done by the deadline."""
        return self._worker.close(deadline_s)

    def _has_room(self) -> bool:
        return (self._queued_bytes <= self._limit_bytes // 4 and not self._spilling) or self._gone

    def _has_place(self) -> bool:
        """With the lock held: whether one more fits. If not, its caller owes a word on what becomes of it."""
        if self._queued_bytes < self._limit_bytes and not self._spilling:
            return True
        self._spilling = True
        self._unsettled += 1
        return False

    def _append(self, piece: _Piece, *, fresh: bool) -> bool:
        """With the lock held; True."""
        if fresh and self._in_line:
            self._push(self._voice.line_break)
        self._push(piece)
        self._worker.wake()
        return True

    def _push(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        self._in_line = isinstance(piece, bytes) and not piece.endswith(b"\n")
        self._queued_bytes += _weight(piece)

    def _run(self) -> None:
        while (piece := self._take()) is not None:
            if isinstance(piece, bytes):
                self._write(piece)
                self._made_room(len(piece))
            elif isinstance(piece, _Kept):
                self._deliver_file(piece)
                self._made_room(piece.weight_bytes)
            else:
                self._deliver_step(piece)
                self._made_room(sum(len(line) for line in piece.own))

    def _take(self) -> _Piece | Step | None:
        """What is next: queued pieces, then what found no room; None at the end."""
        with self._changed:
            while not self._pieces:
                if self._spill:
                    return self._spill.take()
                if self._spilling and not self._unsettled:
                    self._end_spill()
                    return b""
                if self._worker.is_closing:
                    return None
                self._changed.wait()
            return self._take_pieces()

    def _end_spill(self) -> None:
        """With the lock held: say what is missing, and take new output again."""
        self._in_line = self._ends_in_line
        for lines, obstacle in (
            (self._take_rotated(), _ROTATED),
            (self._lost_lines + self._spill.take_lost(), self._obstacle),
        ):
            if lines and not self._gone:
                self._append(self._voice.loss(lines, obstacle), fresh=True)
        self._spilling, self._lost_lines, self._obstacle = False, 0, _NOT_READ

    def _take_pieces(self) -> _Piece:
        """With the lock held: as many as make one write."""
        first = self._pieces.popleft()
        if not isinstance(first, bytes):
            return first
        batch, size = [first], len(first)
        while self._pieces and isinstance(self._pieces[0], bytes) and size + len(self._pieces[0]) <= _BATCH_BYTES:
            piece = self._pieces.popleft()
            if isinstance(piece, bytes):
                batch.append(piece)
                size += len(piece)
        return batch[0] if len(batch) == 1 else b"".join(batch)

    def _deliver_file(self, kept: _Kept) -> None:
        try:
            with kept.file as file:
                while not self._gone and (data := file.read(_BATCH_BYTES)):
                    self._write(data)
        except OSError as error:  # the file could not be read: told like what could not be written
            with self._changed:
                self._spilling, self._lost_lines = True, self._lost_lines + 1
                self._obstacle = f"what was kept could not be read ({error.strerror})"

    def _deliver_step(self, step: Step) -> None:
        """What the logs still have, and before it in one line how much they have not."""
        for span in step.spans.all:
            if self._gone:
                return
            self._end_line()
            for part in self._voice.again(span):
                if isinstance(part, int):
                    self._rotated_lines += part
                else:
                    if self._rotated_lines:
                        self._write(self._voice.loss(self._take_rotated(), _ROTATED))
                    self._write(part)
        for line in step.own:
            self._end_line()
            self._write(line)

    def _take_rotated(self) -> int:
        lines, self._rotated_lines = self._rotated_lines, 0
        return lines

    def _end_line(self) -> None:
        if self._ends_in_line:
            self._write(self._voice.line_break)

    def _write(self, data: bytes) -> None:
        """Write all of it, however long the reader takes; nothing when there is no reader."""
        left = memoryview(data)
        while left and not self._gone:
            try:
                count = os.write(self._fd, left[: self._most_bytes])
                self.written_bytes += count
                left = left[count:]
            except BlockingIOError:  # somebody else has made the shared descriptor non-blocking
                select.select([], [self._fd], [])
            except OSError as error:
                self._meet(error)
        if data:
            self._ends_in_line = not data.endswith(b"\n")

    def _meet(self, error: OSError) -> None:
        """No reader: drop everything from now on. Anything else (a full disk): try again in a moment, until `close`."""
        with self._changed:
            if error.errno in _GONE or self._worker.is_closing:
                self._gone = True
                self._forget()
                return
            self._obstacle = f"standard output could not be written ({error.strerror})"
            self._changed.wait_for(lambda: self._worker.is_closing, _RETRY_S)

    def _forget(self) -> None:
        """With the lock held: nobody reads any more. What the thread is writing it takes off the count itself."""
        for piece in self._pieces:
            self._queued_bytes -= _weight(piece)
            if isinstance(piece, _Kept):
                piece.file.close()
        while self._spill:
            self._queued_bytes -= sum(len(line) for line in self._spill.take().own)
        self._pieces.clear()

    def _made_room(self, size_bytes: int) -> None:
        """After each delivery: wake those who wait for room."""
        with self._changed:
            self._queued_bytes -= size_bytes
        self._worker.call_waiting()


def _weight(piece: _Piece) -> int:
    return len(piece) if isinstance(piece, bytes) else piece.weight_bytes
