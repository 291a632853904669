"""The Linux kernel's events, through inotify(7): nothing runs until one comes.

Rule 1: a watch belongs to a folder itself (its inode), not to its name: it goes along when the folder is renamed, and
two names of one folder share it. So paths are put on new watches before old ones are taken from them.
Rule 2: one instance for life; folders are added and removed by difference, and what is watched stays so meanwhile.
Rule 3: names are bytes that are decoded as the system decodes file names: any name works.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import select
import struct
import termios
from collections.abc import Collection, Iterator
from collections.abc import Set as AbstractSet
from threading import Lock

from procwatch.runtime.engines import Events, EventsLostError, QueueOverflowError, WatchedFolder, limit_reached
from procwatch.runtime.mounts import Mounts

# <sys/inotify.h>. Reads and opens are left out: a build that reads its sources wakes nobody.
_MODIFY, _ATTRIB, _CLOSE_WRITE = 0x2, 0x4, 0x8
_MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_Q_OVERFLOW, _IGNORED = 0x4000, 0x8000
_ONLYDIR, _DONT_FOLLOW, _EXCL_UNLINK, _MASK_ADD = 0x01000000, 0x02000000, 0x04000000, 0x20000000
_SELF = _DELETE_SELF | _MOVE_SELF | _DONT_FOLLOW
_MASKS = {
    "names": _MODIFY | _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _EXCL_UNLINK
    | _SELF | _ONLYDIR,
    # The same folder may be watched under another path for its names.
    "entries": _ATTRIB | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _SELF | _ONLYDIR | _MASK_ADD,
    "itself": _SELF | _ONLYDIR | _MASK_ADD,
    "file": _MODIFY | _ATTRIB | _CLOSE_WRITE | _SELF,
}  # fmt: skip

# wd, mask, cookie, length of the name that follows, which is filled up with zero bytes.
_HEADER = struct.Struct("iIII")

# No more watches or memory: those that come after will not be granted either.
_LIMITS = {errno.ENOSPC: "max_user_watches", errno.ENOMEM: "max_user_watches"}

# What does not stand there any more, or not as a folder: events of the folder above, or a look, tell what became of it.
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}


class InotifyEngine:
    """One inotify instance and what its watches stand for. Raises OSError if not even one descriptor is free."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._wake: int | None = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._wake, select.POLLIN)
        self._wake_lock = Lock()
        self._mounts: Mounts | None = None
        self._inotify: int | None = None
        self._watched: dict[str, WatchedFolder] = {}
        self._watches: dict[str, int] = {}
        self._paths: dict[int, set[str]] = {}
        self._pending: set[str] = set()
        self._refused: str | None = None

    def watch(self, folders: AbstractSet[WatchedFolder]) -> frozenset[str]:
        """Take watches for the new ones, then give back those of the others."""
        self._refused = None
        left = self._add([folder for folder in folders if self._watched.get(folder.real) != folder])
        if self._drop(folders) and left:  # there is room again
            left = self._add(left)
        return frozenset(folder.real for folder in left) | self._changed_from_elsewhere(folders)

    def add(self, folder: WatchedFolder) -> bool:
        """Take a watch for it. Where no more are granted all are given back: `watch` begins with those that matter."""
        if not self._open():
            return False
        code = self._take(folder)
        if code in _LIMITS:
            self._drop(frozenset())
            raise EventsLostError(limit_reached(_LIMITS[code]))
        return not code

    def wait(self, timeout_s: float | None) -> Events:
        """Block until something happened, or something had vanished when it was to be watched."""
        vanished, self._pending = frozenset(self._pending), set()
        limit_ms = 0 if vanished else None if timeout_s is None else timeout_s * 1000
        ready = {descriptor for descriptor, _ in self._poll.poll(limit_ms)}
        if self._wake is not None and self._wake in ready:
            os.eventfd_read(self._wake)
        moved = self._mounts.changed() if self._mounts is not None and self._mounts.descriptor in ready else frozenset()
        if self._inotify is None or self._inotify not in ready:
            return Events(moved | vanished)
        heard = self._take_in(_read(self._inotify))
        return Events(heard.places | moved | vanished, heard.writing, heard.created)

    @property
    def tells_all(self) -> bool:
        """The kernel queues an event before the call that it is of returns; it tells nothing of others' machines."""
        return self._refused is None and self._mounts is not None

    def has_news(self) -> bool:
        """Whether anything is queued."""
        return bool(self._pending or self._poll.poll(0))

    def why_not(self) -> str | None:
        """What the system said to the last `watch`."""
        return self._refused

    def wake(self) -> None:
        """Make `wait` come back now, or if nobody waits, the next one at once."""
        with self._wake_lock:  # once closed, its number may be another's
            if self._wake is not None:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Give back the watches."""
        if self._inotify is not None:
            os.close(self._inotify)
            self._inotify = None
        if self._mounts is not None:
            self._mounts.close()
            self._mounts = None
        with self._wake_lock:
            if self._wake is not None:
                os.close(self._wake)
                self._wake = None

    # --- watches -----------------------------------------------------------------------------------------------------

    def _add(self, folders: Collection[WatchedFolder]) -> list[WatchedFolder]:
        """Watch these; gives those that the system would not let us watch."""
        # Folders near the project come first: if not all can be watched, those far down are looked at.
        waiting = sorted(folders, key=lambda one: (one.real.count("/"), one))
        if not self._open():
            return waiting
        left: list[WatchedFolder] = []
        for index, folder in enumerate(waiting):
            code = self._take(folder)
            if code in _LIMITS:
                self._refused = limit_reached(_LIMITS[code])
                return left + waiting[index:]
            if code in _GONE:
                self._vanished(folder.real)
            elif code:
                left.append(folder)
        return left

    def _take(self, folder: WatchedFolder) -> int:
        """One watch; what the system said if it did not grant it."""
        watch = self._libc.inotify_add_watch(self._inotify, os.fsencode(folder.real), _MASKS[folder.what])
        if watch < 0:
            return ctypes.get_errno()
        self._put(folder, watch)
        return 0

    def _changed_from_elsewhere(self, folders: AbstractSet[WatchedFolder]) -> set[str]:
        """Those on file systems that others may write to: what they do there has no event here."""
        kinds = self._mounts.remote() if self._mounts is not None else {}
        found = {folder.real: kinds[folder.identity[0]] for folder in folders if folder.identity[0] in kinds}
        if found and self._refused is None:
            self._refused = f"of files on {min(found.values())} the system tells only what is done on this machine"
        return set(found)

    def _open(self) -> bool:
        """Have an instance; the number of those is limited too."""
        if self._inotify is None:
            descriptor = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            if descriptor < 0:
                self._refused = _why_no_instance(ctypes.get_errno())
                return False
            self._inotify = descriptor
            self._poll.register(descriptor, select.POLLIN)
            with contextlib.suppress(OSError):  # without /proc a mount is found only by looking at everything
                self._mounts = Mounts()
                self._poll.register(self._mounts.descriptor, select.POLLPRI)
        return True

    def _put(self, folder: WatchedFolder, watch: int) -> None:
        """This path stands for that watch from now on; it may have stood for another, and the watch for others."""
        if self._watches.get(folder.real, watch) != watch:
            self._take_off(folder.real)
        self._watched[folder.real] = folder
        self._watches[folder.real] = watch
        self._paths.setdefault(watch, set()).add(folder.real)

    def _vanished(self, path: str) -> None:
        """Nothing can be watched there any more: the next `wait` tells of it."""
        if path in self._watches:
            self._take_off(path)
        self._pending.add(path)

    def _drop(self, folders: AbstractSet[WatchedFolder]) -> bool:
        """Give back the watches of all others; whether there were any."""
        wanted = {folder.real for folder in folders}
        unwanted = [path for path in self._watches if path not in wanted]
        for path in unwanted:
            self._take_off(path)
        return bool(unwanted)

    def _take_off(self, path: str) -> None:
        """A path does not stand for its watch any more; a watch without any is given back."""
        self._watched.pop(path, None)
        watch = self._watches.pop(path)
        paths = self._paths[watch]
        paths.discard(path)
        if not paths:
            del self._paths[watch]
            self._libc.inotify_rm_watch(self._inotify, watch)  # fails where the folder has gone, and the watch with it

    # --- events ------------------------------------------------------------------------------------------------------

    def _take_in(self, data: bytes) -> Events:
        places: set[str] = set()
        writing: set[str] = set()
        created: set[str] = set()
        lost = False
        for watch, mask, name in _events(data):
            lost = lost or bool(mask & _Q_OVERFLOW)
            found = [f"{path if path != '/' else ''}/{name}" if name else path for path in self._paths.get(watch, ())]
            places.update(found)
            if not mask & _ATTRIB:
                writing.difference_update(found)
                created.difference_update(found)
            if mask & _MODIFY:
                writing.update(found)
            elif mask & _CREATE:
                created.update(found)
            if mask & _IGNORED:
                self._forget(watch)
        if lost:
            self._watched.clear()  # any watch may have ended unseen: the next `watch` asks for each again
            raise QueueOverflowError("more happened than the system's queue of events holds")
        return Events(frozenset(places), frozenset(writing), frozenset(created))

    def _forget(self, watch: int) -> None:
        """The kernel has ended this watch: the folder was deleted, or its file system unmounted."""
        for path in self._paths.pop(watch, ()):
            del self._watches[path]
            self._watched.pop(path, None)


def _read(descriptor: int) -> bytes:
    """All that is queued now, and not what comes while it is read: whoever writes all the time cannot hold us here."""
    size = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.FIONREAD, size)
    return os.read(descriptor, size[0]) if size[0] else b""


def _events(data: bytes) -> Iterator[tuple[int, int, str]]:
    """Watch, mask and name of each event; no name: the folder itself."""
    start = 0
    while start < len(data):
        watch, mask, _, length = _HEADER.unpack_from(data, start)
        start += _HEADER.size
        yield watch, mask, os.fsdecode(data[start : start + length].rstrip(b"\0"))
        start += length


def _why_no_instance(code: int) -> str:
    if code == errno.EMFILE and _has_free_descriptor():
        return limit_reached("max_user_instances")
    return f"the system does not tell of changes ({os.strerror(code).lower()})"


def _has_free_descriptor() -> bool:
    """Whether it is not this process's own limit: the kernel gives one code for both."""
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
