"""Tell where file systems are mounted and unmounted (Linux): a mount hides folders, and none of them has an event."""

from __future__ import annotations

import os
import re

_Mount = tuple[str, str]


class Mounts:
    """The list of mounts, whose descriptor polls as POLLPRI after each change. Raises OSError where there is none."""

    def __init__(self) -> None:
        self.descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._known = self._read()

    def changed(self) -> frozenset[str]:
        """Where something was mounted or unmounted since the last call."""
        before, self._known = self._known, self._read()
        return frozenset(point for _, point in before ^ self._known)

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self.descriptor)

    def _read(self) -> frozenset[_Mount]:
        """Number and folder of each: the fields 1 and 5 of proc_pid_mountinfo(5)."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        text = b"".join(iter(lambda: os.read(self.descriptor, 65_536), b""))
        fields = [line.split(b" ", 5) for line in text.splitlines()]
        return frozenset((os.fsdecode(each[0]), _unescaped(each[4])) for each in fields)


def _unescaped(name: bytes) -> str:
    """Blanks and backslashes of a name stand there as octal numbers."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), name))
