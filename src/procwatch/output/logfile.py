"""One unit's log file on disk: appended to, rotated by size, and read again by position.

Rule 1: only one thread appends; any thread may `read`.
Rule 2: a file begins and ends at a line's end. Only a line longer than `max_bytes` is cut, and then at that size.
Rule 3: a position counts what this procwatch has written since it began, through all rotations.
"""

from __future__ import annotations

import os
import stat
import sys
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from pathlib import Path

from procwatch.core.model import LogPolicy
from procwatch.frozen import frozen

# One read of what is shown again.
_READ_BYTES = 256 * 1024
# A disk that fills up again and again makes a stretch each time; older ones than this are forgotten.
_MOST_STRETCHES = 1000
# Whatever has been put in the place of the file is neither followed nor waited for.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK

# How much has been written before the first byte of a file stands beside it, where the file system keeps such notes.
_NOTE = "user.procwatch.before"


@frozen
class Mark:
    """A position: so many bytes, and so many ends of lines, had been written before it."""

    offset: int = 0
    lines: int = 0


@frozen
class _Stretch:
    """What was written into one file in one go: from `begin` on, at `base` in the file with this inode."""

    begin: Mark
    inode: int
    base: int
    in_line: bool


@frozen
class Before:
    """So many bytes of the same unit has one procwatch (`run`) written before this file."""

    run: bytes
    offset: int


class LogFile:
    """`path`, and beside it `path.1` (the newest of the old ones) to `path.KEEP`; `policy` may be replaced."""

    def __init__(self, path: Path, policy: LogPolicy) -> None:
        self.path = path
        self.mark = Mark()
        self.policy = policy
        self._fd = -1
        self._inode = 0
        self._size = 0
        self._in_line = False
        self._line_bytes = 0
        self._run = f"{os.getpid()}.{time.time_ns()}"
        # Held while files get other numbers: so long no reader looks for one.
        self._lock = threading.Lock()
        self._stretches: deque[_Stretch] = deque()

    def append(self, data: bytes, lines: int) -> None:
        """Write all of `data`, in new files where it does not fit; raises OSError, and then whole lines are written.

        `lines` is how many line feeds it has. `mark` says how far it has come. What follows a failure begins a line.
        """
        start = 0
        goal = self.mark.lines + lines
        while start < len(data):
            self._make_ready()
            count = cut(data, start, self.policy.max_bytes, self._size, self._line_bytes)
            if count:
                self._write(data, start, start + count, goal)
                start += count
            else:
                self._rotate()

    def close(self) -> None:
        """Give the descriptor back; the next `append` opens the file again."""
        if self._fd >= 0:
            with suppress(OSError):  # what is written has been, as far as anyone can say
                os.close(self._fd)
            self._fd = -1

    # --- writing -----------------------------------------------------------------------------------------------------

    def _make_ready(self) -> None:
        """Have the file open that stands at `path` now, whoever has moved, emptied or removed it meanwhile."""
        if self._fd >= 0:
            with suppress(FileNotFoundError):
                found = self.path.lstat()
                if found.st_ino == self._inode:
                    if found.st_size != self._size:
                        self._begin_stretch(found.st_size)
                    return
            self.close()
        self._open()

    def _open(self) -> None:
        try:
            fd = os.open(self.path, _FLAGS, 0o600)
        except FileNotFoundError:
            for folder in (self.path.parent.parent, self.path.parent):
                folder.mkdir(mode=0o700, exist_ok=True)
            fd = os.open(self.path, _FLAGS, 0o600)
        try:
            self._take(fd, os.fstat(fd))
        except OSError:
            os.close(fd)
            raise

    def _take(self, fd: int, found: os.stat_result) -> None:
        """Go on in this file: where it was left off, or behind what others have written."""
        if not stat.S_ISREG(found.st_mode):
            raise OSError(None, "it is not a file")
        size = found.st_size
        if found.st_ino != self._inode or size != self._size:
            if size and os.pread(fd, 1, size - 1) != b"\n":
                size += os.write(fd, b"\n")  # the last line of a procwatch that was killed while it wrote
            self._inode = found.st_ino
            self._begin_stretch(size)
            if size == 0:
                self._note(fd)
        self._fd = fd

    def _note(self, fd: int) -> None:
        """For readers that meet this file and have not met those before it."""
        if sys.platform == "linux":
            with suppress(OSError):
                os.setxattr(fd, _NOTE, f"{self._run} {self.mark.offset}".encode())

    def _begin_stretch(self, size: int) -> None:
        """What is written from now on stands elsewhere than right behind what was written last."""
        self._size, self._line_bytes = size, 0
        with self._lock:
            if size == 0:  # a new file may have got the inode of one that has gone
                self._forget(self._inode)
            self._stretches.append(_Stretch(self.mark, self._inode, size, self._in_line))
            if len(self._stretches) > _MOST_STRETCHES:
                self._stretches.popleft()

    def _forget(self, inode: int) -> None:
        self._stretches = deque(one for one in self._stretches if one.inode != inode)

    def _write(self, data: bytes, start: int, end: int, goal: int) -> None:
        """`goal`: so many lines have been written when all of `data` has."""
        done = start
        try:
            with memoryview(data) as view:
                while done < end:
                    done += os.write(self._fd, view[done:end])
        except OSError:
            whole = max(start, data.rfind(b"\n", start, done) + 1)
            self._take_back(done - whole)
            self._count(data, start, whole, self.mark.lines + data.count(b"\n", start, whole))
            self._in_line = False
            raise
        self._count(data, start, end, goal if end == len(data) else self.mark.lines + data.count(b"\n", start, end))

    def _take_back(self, count: int) -> None:
        """Cut off the beginning of a line whose rest found no room; what cannot be is ended at the next opening."""
        with suppress(OSError):
            if count:
                os.ftruncate(self._fd, os.fstat(self._fd).st_size - count)
        self.close()
        self._inode = 0

    def _count(self, data: bytes, start: int, end: int, lines: int) -> None:
        self._size += end - start
        last = data.rfind(b"\n", start, end) + 1
        self._line_bytes = end - last if last else self._line_bytes + end - start
        self._in_line = self._line_bytes > 0
        self.mark = Mark(self.mark.offset + end - start, lines)

    def _rotate(self) -> None:
        """Give every file the next number; the last one goes."""
        keep = self.policy.keep
        with self._lock:
            oldest = self._path(keep)
            self._forget(_inode_of(oldest))
            if keep == 0:
                oldest.unlink()
            for number in range(keep - 1, -1, -1):
                with suppress(FileNotFoundError):
                    self._path(number).rename(self._path(number + 1))
        self.close()
        number = keep + 1
        while _inode_of(self._path(number)):  # what an earlier, larger `keep` has left
            self._path(number).unlink()
            number += 1

    def _path(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    # --- reading -----------------------------------------------------------------------------------------------------

    def read(self, begin: Mark, end: Mark) -> Iterator[bytes | int]:
        """What was written between two marks, in pieces; a number stands for so many lines that are there no more."""
        place, is_torn = begin, False
        while place.offset < end.offset:
            with self._lock:
                one, after = self._at(place, end)
                fd = -1 if one is None else self._find(one)
            from_ = place if one is None else max(place, one.begin, key=_offset)
            is_torn = is_torn or from_ != place
            if lost := from_.lines - place.lines:
                yield lost
            if one is None or fd < 0:
                if lost := after.lines - from_.lines:
                    yield lost
                is_torn = True
            else:
                skips = is_torn and one.in_line and from_ == one.begin
                at = one.base + from_.offset - one.begin.offset
                size, lines = after.offset - from_.offset, after.lines - from_.lines
                is_torn = yield from _pieces(fd, at, size, lines, skips=skips)
            place = after

    def _at(self, place: Mark, end: Mark) -> tuple[_Stretch | None, Mark]:
        """The stretch that has this position, or the next one after it, and where it or what is wanted of it ends."""
        found, after = None, end
        following = end
        for one in reversed(self._stretches):
            if one.begin.offset >= end.offset:
                continue
            found, after = one, following
            if one.begin.offset <= place.offset:
                break
            following = one.begin
        return found, after

    def _find(self, one: _Stretch) -> int:
        """Open the file that holds a stretch, under whatever number it has now; -1: it has gone."""
        for number in range(self.policy.keep + 1):
            try:
                fd = os.open(self._path(number), os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            except OSError:
                continue
            if os.fstat(fd).st_ino == one.inode:
                return fd
            os.close(fd)
        return -1


def _pieces(fd: int, place: int, left: int, lines: int, *, skips: bool) -> Generator[bytes | int, None, bool]:
    """So many bytes and lines of a file, which is closed. `skips`: its first line has lost its beginning: it counts.

    Gives whether that line has not ended in it.
    """
    try:
        while left and (data := os.pread(fd, min(left, _READ_BYTES), place)):
            place += len(data)
            left -= len(data)
            if skips:
                end = data.find(b"\n") + 1
                data = data[end:] if end else b""
                skips = not end
            lines -= data.count(b"\n")
            if data:
                yield data
    except OSError:
        pass  # what could not be read is counted below
    finally:
        os.close(fd)
    if lines:
        yield lines
    return skips


def before(fd: int) -> Before | None:
    """What came before an open file; None where nobody knows."""
    if sys.platform == "linux":
        with suppress(OSError, ValueError):
            run, offset = os.getxattr(fd, _NOTE).split()
            return Before(run, int(offset))
    return None


def _offset(mark: Mark) -> int:
    return mark.offset


def _inode_of(path: Path) -> int:
    """0: it is not there."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return 0


def cut(data: bytes, start: int, max_bytes: int, size: int, line_bytes: int) -> int:
    """How much of `data` from `start` on is to go into a file of `size` bytes; 0: none, a new file is due.

    `line_bytes` of the file are a line without its end: that may go on beyond `max_bytes`, until it is itself as long.
    """
    room, left = max_bytes - size, len(data) - start
    if left <= room:
        return left
    if room > 0 and (end := data.rfind(b"\n", start, start + room) + 1):
        return end - start
    if size and not line_bytes:
        return 0
    most = max_bytes - line_bytes
    end = data.find(b"\n", start, start + most) + 1
    return end - start if end else min(left, max(0, most))
