"""Tell where file systems are mounted and unmounted, and of what kind they are (Linux).

A mount hides folders, and none of them has an event. What is mounted from elsewhere may be changed from there, and that
has no event either.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

# Kinds of file systems (the field "type" of mountinfo) whose files others may change, unseen by this kernel: from other
# machines, from the host of a virtual machine, or by whatever program a fuse file system stands for.
REMOTE = frozenset({
    "9p", "afs", "ceph", "cifs", "drvfs", "fuse", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4", "orangefs", "prl_fs",
    "smb3", "smbfs", "vboxsf", "virtiofs", "vmhgfs",
})  # fmt: skip


class _Mount(NamedTuple):
    number: bytes
    device: bytes
    point: bytes
    kind: str


class Mounts:
    """The list of mounts, whose descriptor polls as POLLPRI after each change. Raises OSError where there is none."""

    def __init__(self) -> None:
        self.descriptor = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        self._known = self._read()

    def changed(self) -> frozenset[str]:
        """Where something was mounted or unmounted since the last call."""
        before, self._known = self._known, self._read()
        return frozenset(_unescaped(mount.point) for mount in before ^ self._known)

    def remote(self) -> dict[int, str]:
        """The devices (st_dev) whose files others may change unseen, and what kind of file system each is."""
        found = {}
        for mount in self._known:
            if mount.kind in REMOTE or mount.kind.startswith("fuse."):
                major, _, minor = mount.device.partition(b":")
                found[os.makedev(int(major), int(minor))] = mount.kind
        return found

    def close(self) -> None:
        """Give back the descriptor."""
        os.close(self.descriptor)

    def _read(self) -> frozenset[_Mount]:
        """See proc_pid_mountinfo(5): number, parent, device, root and folder of each, and after a dash its kind."""
        os.lseek(self.descriptor, 0, os.SEEK_SET)
        text = b"".join(iter(lambda: os.read(self.descriptor, 65_536), b""))
        found = set[_Mount]()
        for line in text.splitlines():
            number, _, device, _, point, rest = line.split(b" ", 5)
            kind = rest.partition(b" - ")[2].partition(b" ")[0]
            found.add(_Mount(number, device, point, os.fsdecode(kind)))
        return frozenset(found)


def _unescaped(name: bytes) -> str:
    """Blanks and backslashes of a name stand there as octal numbers."""
    return os.fsdecode(re.sub(rb"\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), name))
