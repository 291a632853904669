"""Descriptors that this process was given: whether one is a terminal, and how all of something is written to it."""

from __future__ import annotations

import os
import select


def is_terminal(fd: int) -> bool:
    """Whether it is one; a closed one is none."""
    try:
        return os.isatty(fd)
    except OSError:  # it is closed
        return False


def write_all(fd: int, data: bytes) -> None:
    """Write all of it, however long that takes."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:  # somebody else has made the shared descriptor non-blocking
            select.select([], [fd], [])
