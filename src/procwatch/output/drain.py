"""Bytes to one descriptor from a thread of its own, so that a slow reader never holds up the caller.

Rule 1: `put` never waits. What is queued is bounded; what finds no room is counted, and told when it flows again.
Rule 2: a piece is written whole and in order; no piece that begins a line lands in the middle of another.
Rule 3: a reader that has gone is no error: from then on everything is dropped.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import BinaryIO

from procwatch.output.prefix import is_terminal

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
# The reader has closed its end, the terminal has hung up, or there never was an open descriptor.
_GONE = frozenset({errno.EPIPE, errno.EIO, errno.EBADF, errno.ENXIO, errno.ECONNRESET})

_Piece = bytes | BinaryIO


class Drain:
    """A queue before `fd`, of `limit_bytes` and one piece at most, and the thread that empties it.

    `written_bytes` is how much has found its reader. `loss(lines, obstacle)` makes the line that tells of `lines` lost
    ones; it is called on the thread. `line_break` ends a line that another has left unfinished.
    """

    def __init__(
        self,
        fd: int,
        loss: Callable[[int, str], bytes],
        *,
        line_break: bytes = b"\n",
        limit_bytes: int = LIMIT_BYTES,
    ) -> None:
        self._fd = fd
        self._most_bytes = _TERMINAL_BYTES if is_terminal(fd) else _BATCH_BYTES
        self._loss = loss
        self._line_break = line_break
        self._limit_bytes = limit_bytes
        self._changed = threading.Condition()
        self._pieces: deque[_Piece] = deque()
        self._queued_bytes = 0
        self.written_bytes = 0
        self._losing = False
        self._lost_lines = 0
        self._obstacle = _NOT_READ
        self._in_line = False
        self._closing = False
        self._gone = False
        self._waiting: list[Callable[[], None]] = []
        self._thread: threading.Thread | None = None

    def put(self, data: bytes, *, fresh: bool = True, own: bool = False) -> bool:
        """Queue `data`; False: there was no room, and it is counted as lost.

        `fresh`: it begins a line, and a line left unfinished before it is ended first. `own`: may use the reserve.
        Data without a line feed at its end leaves a line unfinished.
        """
        with self._changed:
            if self._gone or self._closing or not data:
                return True
            room_bytes = self._limit_bytes + (_RESERVE_BYTES if own else 0)
            if self._queued_bytes >= room_bytes or (self._losing and not own):
                self._losing = True
                self._lost_lines += max(1, data.count(b"\n"))
                return False
            self._append(data, fresh=fresh)
            return True

    def put_control(self, sequence: bytes) -> None:
        """Queue a control sequence after which the cursor is at the beginning of a line."""
        if self.put(sequence, fresh=False, own=True):
            with self._changed:
                self._in_line = False

    def put_file(self, file: BinaryIO) -> None:
        """Queue the rest of `file`, whole lines, whatever its size: it is read as it is written, then closed."""
        with self._changed:
            if self._gone or self._closing:
                file.close()
                return
            self._append(file, fresh=True)

    @property
    def is_full(self) -> bool:
        """Whether the caller had better wait for `when_room` before it reads more, so that nothing is lost."""
        return self._queued_bytes >= self._limit_bytes // 2 and not self._gone

    def when_room(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, on the thread, when a quarter of the queue is filled at most (at once if it is so)."""
        with self._changed:
            if not self._has_room():
                self._waiting.append(callback)
                return
        callback()

    def close(self, deadline_s: float) -> bool:
        """Take nothing more, write what is queued; False when that has not been done by the deadline."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is None:
            return True
        thread.join(deadline_s)
        return not thread.is_alive()

    def _has_room(self) -> bool:
        return self._queued_bytes <= self._limit_bytes // 4 or self._gone

    def _append(self, piece: _Piece, *, fresh: bool) -> None:
        """With the lock held."""
        if fresh and self._in_line:
            self._push(self._line_break)
        self._push(piece)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="procwatch-output", daemon=True)
            self._thread.start()
        self._changed.notify()

    def _push(self, piece: _Piece) -> None:
        self._pieces.append(piece)
        self._in_line = isinstance(piece, bytes) and not piece.endswith(b"\n")
        self._queued_bytes += len(piece) if isinstance(piece, bytes) else 0

    def _run(self) -> None:
        while (piece := self._take()) is not None:
            if isinstance(piece, bytes):
                self._deliver(piece)
            else:
                self._deliver_file(piece)
            self._make_known()

    def _take(self) -> _Piece | None:
        """The next file, or the next pieces joined; None at the end."""
        with self._changed:
            while not self._pieces:
                if self._closing:
                    return None
                self._changed.wait()
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

    def _deliver(self, data: bytes) -> None:
        self._write(data)
        with self._changed:
            self._queued_bytes -= len(data)

    def _deliver_file(self, file: BinaryIO) -> None:
        try:
            with file:
                while not self._gone and (data := file.read(_BATCH_BYTES)):
                    self._write(data)
        except OSError as error:  # the file could not be read: told like what could not be written
            with self._changed:
                self._losing, self._lost_lines = True, self._lost_lines + 1
                self._obstacle = f"what was kept could not be read ({error.strerror})"

    def _tell_loss(self) -> None:
        """With the lock held: once half of the queue is free, say what is missing, and take new output again."""
        if self._losing and self._queued_bytes <= self._limit_bytes // 2 and not self._gone:
            self._append(self._loss(self._lost_lines, self._obstacle), fresh=True)
            self._losing, self._lost_lines, self._obstacle = False, 0, _NOT_READ

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

    def _meet(self, error: OSError) -> None:
        """No reader: drop everything from now on. Anything else (a full disk): try again in a moment, until `close`."""
        with self._changed:
            if error.errno in _GONE or self._closing:
                self._gone = True
                self._forget()
                return
            self._obstacle = f"standard output could not be written ({error.strerror})"
            self._changed.wait_for(lambda: self._closing, _RETRY_S)

    def _forget(self) -> None:
        """With the lock held: nobody reads any more. What the thread is writing it takes off the count itself."""
        for piece in self._pieces:
            if isinstance(piece, bytes):
                self._queued_bytes -= len(piece)
            else:
                piece.close()
        self._pieces.clear()

    def _make_known(self) -> None:
        """After each delivery: tell of what was lost, and wake those who wait for room."""
        with self._changed:
            self._tell_loss()
            woken = self._waiting if self._has_room() else []
            if woken:
                self._waiting = []
        for callback in woken:
            callback()
