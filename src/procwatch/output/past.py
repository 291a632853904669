"""Read the log files of one unit: from a place near their end, from a moment, and on while they grow and are rotated.

Rule 1: nothing here writes, and nothing is asked of whoever does: it works on what a killed procwatch has left.
Rule 2: each file is held open until it has been read, so that neither a rotation nor a deletion takes it from us.
Rule 3: memory is bounded: so much is read at once, and a line that is longer than `LONGEST_BYTES` comes in pieces.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from procwatch.errors import ProcwatchError
from procwatch.output.events import stamp
from procwatch.output.logfile import Before, before
from procwatch.output.runs import DATED_LINE, Reader, Run

BLOCK_BYTES = 256 * 1024
LONGEST_BYTES = 16 * 1024 * 1024
# How much of the end is looked at in one step, and of the surroundings of a moment.
_STEP_BYTES = 64 * 1024
# So many files that came after those being read are held open: what a slow reader may take of the disk beyond `keep`.
_MOST_HELD = 16
# Not followed and not waited for, whatever stands there.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)

# How many of these lines, which have their times, count.
Count = Callable[[bytes], int]
# So many bytes have been rotated away before they could be read; None: nobody knows how many.
Lost = Callable[[int | None], None]


class _Part:
    """One file: read up to `place`, and there is something up to `end`."""

    __slots__ = ("before", "end", "fd", "gap", "inode", "place")

    def __init__(self, fd: int, inode: int, before: Before | None) -> None:
        self.fd, self.inode, self.before = fd, inode, before
        self.place = self.end = 0
        # Something between it and the file before is missing: so many bytes, or nobody knows how many.
        self.gap: tuple[int | None] | None = None


class Past:
    """What the files `path.N` … `path.1`, `path` hold, in that order. `lost` is called where some of it has gone."""

    def __init__(self, path: Path, lost: Lost) -> None:
        self._path = os.fspath(path)
        self._lost = lost
        self._reader = Reader()
        self._parts: list[_Part] = []
        self._held: list[_Part] = []

    def close(self) -> None:
        """Give back the descriptors."""
        self._parts += self._held
        self._drop(len(self._parts))

    def look(self) -> None:
        """Take in what has come since the last look: more in the newest file, and newer files."""
        self.hold()
        # Sizes come after that: a file that is not the newest grows no more.
        for part in (*self._parts[-1:], *self._held):
            part.end = os.fstat(part.fd).st_size
            if part.end < part.place:  # it was emptied
                part.place = 0
        self._parts += self._held
        self._held = []

    def hold(self) -> None:
        """Open the newer files, so that no rotation takes them before the next look."""
        if len(self._held) >= _MOST_HELD:
            return
        newest = next(iter((*self._held[-1:], *self._parts[-1:])), None)
        newer, is_seamless = self._newer(newest)
        if newest and newer and not is_seamless:
            newer[0].gap = _gap(newest, newer[0])
        self._held += newer

    def _newer(self, newest: _Part | None) -> tuple[list[_Part], bool]:
        """The files down to the newest that is known, and whether that is still there.

        From the new to the old: a rotation meanwhile shows a file twice, and hides none.
        """
        found: list[_Part] = []
        number = 0
        while True:
            part = _opened(f"{self._path}.{number}" if number else self._path)
            if part is None and number:
                return found[::-1], False
            if part is not None and newest is not None and part.inode == newest.inode:
                os.close(part.fd)
                return found[::-1], True
            if part is not None and any(one.inode == part.inode for one in found):
                os.close(part.fd)
            elif part is not None:
                found.append(part)
            number += 1

    # --- where to begin ----------------------------------------------------------------------------------------------

    def go_to_moment(self, at: bytes) -> None:
        """Leave out what stands before the first line of this time (as in the files) or a later one."""
        for index in range(len(self._parts) - 1, -1, -1):
            part = self._parts[index]
            first = DATED_LINE.search(os.pread(part.fd, _STEP_BYTES, 0))
            if first is not None and first[1] < at:
                part.place = _place_of(part, at)
                self._drop(index)
                return

    def go_back(self, lines: int, count: Count, *, unfinished: bool) -> int:
        """Leave out all but the end, in which so many lines count, or somewhat more, or all there are: gives how many.

        `unfinished`: a last line without an end counts too.
        """
        found = 0
        for index in range(len(self._parts) - 1, -1, -1):
            part = self._parts[index]
            for place, data in _backwards(part, whole=unfinished or index < len(self._parts) - 1):
                found += count(data)
                if found >= lines:
                    part.place = place
                    self._drop(index)
                    return found
        return found

    def _drop(self, count: int) -> None:
        for part in self._parts[:count]:
            os.close(part.fd)
        del self._parts[:count]

    # --- reading -----------------------------------------------------------------------------------------------------

    def runs(self, block_bytes: int = BLOCK_BYTES, *, unfinished: bool) -> Iterator[list[Run]]:
        """What there is, as far as the last look has seen. `unfinished`: a last line without an end too."""
        while self._parts:
            part = self._parts[0]
            is_newest = len(self._parts) == 1
            fallback = stamp(os.fstat(part.fd).st_mtime).encode()
            for data in _forwards(part, block_bytes, whole=unfinished or not is_newest):
                yield self._reader.read(data, fallback)
            if is_newest:
                return
            self._drop(1)
            if gap := self._parts[0].gap:
                self._lost(*gap)


def _opened(path: str) -> _Part | None:
    """The file, if it is one; ProcwatchError where it cannot be read."""
    try:
        fd = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        more = "; name fewer units, or raise ulimit -n" if error.errno == errno.EMFILE else ""
        raise ProcwatchError(f"{path} cannot be read: {os.strerror(error.errno or 0).lower()}{more}") from error
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode):
        return _Part(fd, found.st_ino, before(fd))
    os.close(fd)
    return None


def _gap(last: _Part, following: _Part) -> tuple[int | None] | None:
    """What stood between two files."""
    one, other = last.before, following.before
    if one is None or other is None or one.run != other.run:
        return (None,)
    missing = other.offset - one.offset - os.fstat(last.fd).st_size
    return (missing,) if missing > 0 else None


def _forwards(part: _Part, block_bytes: int, *, whole: bool) -> Iterator[bytes]:
    """Whole lines from where it stands to its end. `whole`: a last one that has no end is given one."""
    size = block_bytes
    while part.place < part.end and (data := os.pread(part.fd, min(size, part.end - part.place), part.place)):
        cut = data.rfind(b"\n") + 1
        is_all = part.place + len(data) >= part.end
        if cut:
            part.place += cut
            yield data[:cut]
            size = block_bytes
        elif len(data) >= LONGEST_BYTES or (is_all and whole):
            part.place += len(data)
            yield data + b"\n"
        elif is_all:
            return
        else:
            size *= 2


def _backwards(part: _Part, *, whole: bool) -> Iterator[tuple[int, bytes]]:
    """The same from its end back to where it stands, with the place of each piece."""
    end, size = part.end, _STEP_BYTES
    while end > part.place:
        begin = max(part.place, end - size)
        data = os.pread(part.fd, end - begin, begin)
        if begin > part.place:
            cut = data.find(b"\n") + 1
            if not 0 < cut < len(data):  # not one line begins in it
                size *= 2
                continue
            begin, data = begin + cut, data[cut:]
        if end == part.end and not data.endswith(b"\n"):
            data = data + b"\n" if whole else data[: data.rfind(b"\n") + 1]
        yield begin, data
        end, size = begin, _STEP_BYTES


def _place_of(part: _Part, at: bytes) -> int:
    """Where the first line of this time or a later one begins; the first line is earlier."""
    low, high = 0, part.end
    while high - low > _STEP_BYTES:
        middle = (low + high) // 2
        data = os.pread(part.fd, _STEP_BYTES, middle)
        cut = data.find(b"\n") + 1
        found = DATED_LINE.search(data, cut) if cut else None
        if found is not None and found[1] < at:
            low = middle + found.start()
        else:
            high = middle
    while low < part.end:
        data = os.pread(part.fd, _STEP_BYTES * 2, low)
        last = data.rfind(b"\n") + 1
        for found in DATED_LINE.finditer(data):
            if found[1] >= at:
                return low + found.start()
        low += last or len(data)
    return part.end
