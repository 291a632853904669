"""Tell content from content: hash files, and read again only those that may have changed.

Rule 1: a file is read again if its signature differs, if it had an event since, or if it changed so shortly before it
was read that a later change may not show.
Rule 2: only regular files are opened: a pipe would wait for ever. What cannot be read is a content of its own.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from io import FileIO

from procwatch.frozen import frozen
from procwatch.runtime.walk import COARSE_CLOCK_NS, Signature
from procwatch.sums import blake2b

# What is read of a file at once.
_READ_BYTES = 256 * 1024


@frozen
class Content:
    """What a file held: a digest of it, or why it could not be read."""

    digest: bytes
    problem: str | None = None


@frozen
class _Reading:
    signature: Signature
    event: int
    read_ns: int
    content: Content


class Fingerprints:
    """The content of files by their paths. Safe in several threads: at worst a file is read twice."""

    def __init__(self) -> None:
        self._readings: dict[str, _Reading] = {}
        self._events: dict[str, int] = {}

    def note_events(self, paths: Iterable[str]) -> None:
        """These files had an event: whatever their signatures say, they are read again."""
        for path in paths:
            self._events[path] = self._events.get(path, 0) + 1

    def events(self, path: str) -> int:
        """How many events the file has had."""
        return self._events.get(path, 0)

    def read(self, path: str, absolute: str, signature: Signature) -> Content:
        """The content of a file that has this signature."""
        event = self.events(path)
        known = self._readings.get(path)
        if known is not None and known.signature == signature and known.event == event and _is_settled(known):
            return known.content
        started_ns = time.time_ns()
        content = read_content(absolute, signature)
        if content.problem is None:  # else it is tried again: no descriptor was free, or a disk had a bad moment
            self._readings[path] = _Reading(signature, event, started_ns, content)
        return content


def _is_settled(reading: _Reading) -> bool:
    changed_ns = max(reading.signature.mtime_ns, reading.signature.ctime_ns)
    return changed_ns < reading.read_ns - COARSE_CLOCK_NS


def _sum_of(file: FileIO) -> bytes:
    """Of all that the file holds from here on."""
    total = blake2b(digest_size=16)
    buffer = memoryview(bytearray(_READ_BYTES))
    while count := file.readinto(buffer):
        total.update(buffer[:count])
    return total.digest()


def read_content(absolute: str, signature: Signature) -> Content:
    """What a file holds now."""
    if not stat.S_ISREG(signature.mode):
        return Content(f"kind {stat.S_IFMT(signature.mode):o}".encode())
    try:
        # Non-blocking: between the look and this the file may have become a pipe.
        descriptor = os.open(absolute, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                return Content(b"not a file any more")
            return Content(_sum_of(file))
    except FileNotFoundError:  # gone meanwhile: the event of that is still to come
        return Content(b"missing")
    except OSError as error:
        return Content(b"unreadable", (error.strerror or "read error").lower())
