"""See to it that `.procwatch` is there while procwatch runs: `git clean -fdx` removes it, with the lock and the socket.

The lock file shows it: its inode has an event (Linux) when its name is removed, and none in all other work. Where there
is no inotify, or no more of it, the file is looked at every second.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
from collections.abc import Callable

from procwatch.errors import RefusedError
from procwatch.runtime.store import Store

# <sys/inotify.h>: a name less (the file itself lives on, as it is open), or another place.
_ATTRIB, _MOVE_SELF = 0x4, 0x800

# Whoever removes a folder fails at something new in it: so long it is left to him. And how often it is tried again.
_PAUSE_S, _RETRY_S = 0.5, 1.0


class OwnFolder:
    """`restored` is called when the folder and the lock were made anew, `report` gets what keeps them from it."""

    def __init__(self, store: Store, restored: Callable[[], None], report: Callable[[str], None]) -> None:
        self._store = store
        self._restored = restored
        self._report = report
        self._loop = asyncio.get_running_loop()
        self._libc: ctypes.CDLL | None = None
        self._inotify = -1
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Begin; what was removed before is found too."""
        if sys.platform == "linux":
            self._libc = ctypes.CDLL(None, use_errno=True)
            self._inotify = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._inotify >= 0:
            self._loop.add_reader(self._inotify, self._heard)
            self._watch_lock()
        self._look()

    def close(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._inotify >= 0:
            self._loop.remove_reader(self._inotify)
            os.close(self._inotify)

    def _watch_lock(self) -> None:
        """Have events of the file that is the lock now; those of the one before end with that."""
        if self._libc is not None and self._inotify >= 0:
            self._libc.inotify_add_watch(self._inotify, os.fsencode(self._store.lock_file), _ATTRIB | _MOVE_SELF)

    def _heard(self) -> None:
        os.read(self._inotify, 4096)
        self._look_in(_PAUSE_S)

    def _look_in(self, delay_s: float) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(delay_s, self._look)

    def _look(self) -> None:
        self._timer = None
        try:
            is_restored = self._store.restore()
        except RefusedError as error:
            self._report(f"{self._store.folder} was removed, and cannot be had again: {error}")
            return
        except OSError:  # the project itself has gone, or something is still at work
            self._look_in(_RETRY_S)
            return
        if is_restored:
            self._watch_lock()
            self._restored()
        if self._inotify < 0:
            self._look_in(_RETRY_S)
