"""Tell content from content: hash files, and read again only those that may have changed.

Rule 1: a file is read again if its signature differs, if it had an event since, or if it changed so shortly before it
was read that a later change may not show.
Rule 2: only regular files are opened: a pipe would wait for ever. What cannot be read is a content of its own.
Rule 3: what is kept on disk saves time and decides nothing: without it everything is read.
"""

from __future__ import annotations

import os
import stat
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from io import FileIO
from itertools import chain
from pathlib import Path
from threading import Lock
from typing import NamedTuple, NewType

from procwatch.runtime import kept
from procwatch.runtime.stopping import NEVER, Stop
from procwatch.runtime.walk import COARSE_CLOCK_NS, Signature, marks
from procwatch.sums import blake2b

# What is read of a file at once.
_READ_BYTES = 256 * 1024

_DIGEST_BYTES = 16

# What a file held, when that was read, after how many events, and the signature that it had then; packed for the same
# reason as that.
Reading = NewType("Reading", bytes)
_HEAD = struct.Struct(f"<{_DIGEST_BYTES}sqI")
# Behind the digest, up to the times with which the signature begins.
_TIMES = struct.Struct("<qIqq")

# What is kept was read at least so long after the last change: the coarsest file system, FAT, knows even seconds only.
_COARSEST_CLOCK_NS = 2_100_000_000
# It counts as read long after: that it was has been seen to when it was written.
_KEPT_READ_NS = 2**62

# Kept anew when so many readings are not, and so large a part of all: the next start can read the others.
_WORTH_KEEPING = 256
_WORTH_KEEPING_PART = 16
# Between two times, so that a project in which everything changes all the time is not held up by that.
_KEEP_EVERY_S = 10.0


class Content(NamedTuple):
    """What a file held: a digest of it, or why it could not be read."""

    digest: bytes
    problem: str | None = None


def digest_of(reading: Reading) -> bytes:
    """The digest of the content."""
    return reading[:_DIGEST_BYTES]


def signature_of(reading: Reading) -> Signature:
    """The signature that the file had."""
    return Signature(reading[_HEAD.size :])


class Fingerprints:
    """The content of files by their paths. Safe in several threads: at worst a file is read twice.

    `absolute`: a path for the system. `file`: where readings are kept for the next time. `stop`: nothing is read then.
    """

    def __init__(self, absolute: Callable[[str], str], file: Path | None = None, stop: Stop = NEVER) -> None:
        self._absolute = absolute
        self._stop = stop
        self._readings: dict[str, Reading] = {}
        self._events: dict[str, int] = {}
        self._file = file
        self._lock = Lock()
        self._earlier: dict[str, Reading] | None = None if file else {}
        self._unkept = 0
        self._kept_at_s = 0.0

    def note_events(self, paths: Iterable[str]) -> None:
        """These files had an event: whatever their signatures say, they are read again."""
        for path in paths:
            self._events[path] = self._events.get(path, 0) + 1

    def events(self, path: str) -> int:
        """How many events the file has had."""
        return self._events.get(path, 0)

    def read(self, path: str, signature: Signature) -> tuple[Reading, str | None]:
        """What a file of this signature holds, and why it could not be read. Raises Stopped."""
        event = self._events.get(path, 0)
        known = self._readings.get(path) or self._recall(path)
        if known is not None and known[_HEAD.size :] == signature and _is_good(known, event):
            return known, None
        read_ns = time.time_ns()
        self._stop.look()
        content = read_content(self._absolute(path), signature, self._stop)
        reading = Reading(_HEAD.pack(content.digest, read_ns, event) + signature)
        if content.problem is None:  # else it is tried again: no descriptor was free, or a disk had a bad moment
            self._readings[path] = reading
            self._unkept += 1
        return reading, content.problem

    def forget(self, paths: Iterable[str]) -> None:
        """These files are gone."""
        for path in paths:
            self._readings.pop(path, None)

    def keep(self, *, at_the_end: bool = False) -> None:
        """Write what is known for the next start, if it is worth while. May take its time."""
        if self._file is None or self._unkept < max(_WORTH_KEEPING, len(self._readings) // _WORTH_KEEPING_PART):
            return
        if not at_the_end and time.monotonic() < self._kept_at_s + _KEEP_EVERY_S:
            return
        if self._lock.acquire(blocking=at_the_end):
            try:
                self._write(self._file, with_earlier=not at_the_end)
            finally:
                self._lock.release()

    def _recall(self, path: str) -> Reading | None:
        """What was known of a file when procwatch ran before; read when it is first asked for."""
        if self._earlier is None:
            with self._lock:
                if self._earlier is None and self._file is not None:
                    found = kept.load(self._file)
                    self._earlier = {path: _recalled(bare) for path, bare in found.items()}
        found_here = (self._earlier or {}).pop(path, None)
        if found_here is not None:
            self._readings[path] = found_here
        return found_here

    def _write(self, file: Path, *, with_earlier: bool) -> None:
        """What nobody has asked for, of files that are gone or of builds left out, goes at the end."""
        # Only names are listed: 100,000 pairs would be as many things to search for garbage.
        paths = [path for path in [*self._readings] if _is_worth_keeping(self._readings.get(path))]
        earlier = [*(self._earlier or ())] if with_earlier else []
        self._unkept = len(self._readings) - len(paths)
        kept.save(file, chain(_of(self._readings, paths), _of(self._earlier or {}, earlier)))
        self._kept_at_s = time.monotonic()


def _is_good(reading: Reading, event: int) -> bool:
    """Whether a file that looks as it did holds what it did."""
    read_ns, then, mtime_ns, ctime_ns = _TIMES.unpack_from(reading, _DIGEST_BYTES)
    return bool(then == event and max(mtime_ns, ctime_ns) < read_ns - COARSE_CLOCK_NS)


def _of(readings: Mapping[str, Reading], paths: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """What is still known of these, without when it was read."""
    for path in paths:
        reading = readings.get(path)
        if reading is not None:
            yield path, digest_of(reading) + signature_of(reading)


def _is_worth_keeping(reading: Reading | None) -> bool:
    if reading is None:  # forgotten meanwhile
        return False
    read_ns, _, mtime_ns, ctime_ns = _TIMES.unpack_from(reading, _DIGEST_BYTES)
    return bool(max(mtime_ns, ctime_ns) < read_ns - _COARSEST_CLOCK_NS)


def _recalled(bare: bytes) -> Reading:
    return Reading(_HEAD.pack(bare[:_DIGEST_BYTES], _KEPT_READ_NS, 0) + bare[_DIGEST_BYTES:])


def read_content(absolute: str, signature: Signature, stop: Stop = NEVER) -> Content:
    """What a file holds now. Raises Stopped in the midst of a large one."""
    mode, size = marks(signature).mode, marks(signature).size
    if not stat.S_ISREG(mode):
        return Content(_sum(f"kind {stat.S_IFMT(mode):o}"))
    try:
        # Non-blocking: between the look and this the file may have become a pipe.
        descriptor = os.open(absolute, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return Content(_sum("not a file any more"))
            return Content(_sum_of(descriptor, size, stop))
        finally:
            os.close(descriptor)
    except FileNotFoundError:  # gone meanwhile: the event of that is still to come
        return Content(_sum("missing"))
    except OSError as error:
        return Content(_sum("unreadable"), (error.strerror or "read error").lower())


def _sum(text: str) -> bytes:
    """In place of a content."""
    return blake2b(text.encode(), digest_size=_DIGEST_BYTES, person=b"no content").digest()


def _sum_of(descriptor: int, size: int, stop: Stop) -> bytes:
    """Of all that a file holds, which is about so much."""
    total = blake2b(digest_size=_DIGEST_BYTES)
    if size < _READ_BYTES:  # a large buffer takes longer to make than a small file to read
        while data := os.read(descriptor, size + 1):
            total.update(data)
        return total.digest()
    with FileIO(descriptor, closefd=False) as file:
        buffer = memoryview(bytearray(_READ_BYTES))
        while count := file.readinto(buffer):
            total.update(buffer[:count])
            stop.look()
    return total.digest()
