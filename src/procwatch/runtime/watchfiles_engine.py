"""The system's events through watchfiles (FSEvents on macOS, inotify), which this is the only door to.

Rule 1: it is given single folders, real and existing, and only says where to look.
Rule 2: it looks for events at short steps, also while nothing happens; for folders moved or deleted as a whole, of
which only that counts, once a second.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from collections.abc import Set as AbstractSet

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from procwatch.runtime.engines import Events, EventsLostError, WatchedFolder, limit_reached

# watchfiles looks for events once a step and hands them out after one step without more. Measured from a save to its
# batch, 50 saves among 1,000 files on two shared cores: 8 ms gives 16 ms (p50), 20 ms (p95) and 0.5 to 0.8 % of one
# core while nothing happens; 4 ms: 12 ms and 1.1 %; 12 ms: 24 ms and 0.4 %.
_STEP_MS = 8

# The longest that watchfiles collects while more and more come: shorter than the silence that ends a batch of many.
_COLLECT_MS = 20

# How often it is looked whether the folders above all that is watched are still the same.
_ABOVE_S = 1.0


class WatchfilesEngine:
    """One set of watches at a time."""

    def __init__(self) -> None:
        self._notify: RustNotify | None = None
        self._pending: set[str] = set()
        self._lost: str | None = None
        self._refused: str | None = None
        self._woken = threading.Event()
        self._names: dict[str, list[str]] = {}
        self._above: dict[str, tuple[int, int]] = {}
        self._looked_s = 0.0

    def watch(self, folders: AbstractSet[WatchedFolder]) -> frozenset[str]:
        """Take new watches for all of them, then give back the old ones: nothing is missed in between."""
        self._above = {folder.real: folder.identity for folder in folders if folder.what == "itself"}
        names: dict[tuple[int, int], list[str]] = {}
        # Folders near the project come first: if not all can be watched, those far down are looked at.
        for folder in sorted(folders, key=lambda one: (one.real.count("/"), one.real)):
            if folder.what != "itself":
                names.setdefault(folder.identity, []).append(folder.real)
        able = [each[0] for each in names.values() if _can_watch(each[0])]
        notify, count = self._take_watches(able)
        self._give_back()
        self._notify = notify
        granted = set(able[:count])
        # Of a folder with several names (a bind mount) it tells under one: the others are meant as well.
        self._names = {each[0]: each for each in names.values() if len(each) > 1}
        return frozenset(one for each in names.values() if each[0] not in granted for one in each)

    def add(self, folder: WatchedFolder) -> bool:
        """Nothing can be added: each set of watches is made as a whole."""
        del folder
        return False

    @property
    def tells_all(self) -> bool:
        """Events are collected in a thread of its own, and FSEvents comes late in any case."""
        return False

    def wait(self, timeout_s: float | None) -> Events:
        """Block until something happened. What came while `watch` was at work comes first."""
        if self._lost is not None:
            reason, self._lost = self._lost, None
            raise EventsLostError(reason)
        if self._pending:
            places, self._pending = frozenset(self._pending), set()
            return Events(places)
        if moved := self._moved():
            return Events(moved)
        wait_s = _ABOVE_S if timeout_s is None else min(timeout_s, _ABOVE_S)
        if self._notify is None:
            self._woken.wait(wait_s)
            self._woken.clear()
            return Events()
        try:
            found = self._notify.watch(_COLLECT_MS, _STEP_MS, max(1, round(wait_s * 1000)), self._woken)
        except WatchfilesRustInternalError as error:  # a name that is not UTF-8, and it is of no more use after that
            raise EventsLostError(str(error)) from error
        if found == "stop":
            self._woken.clear()
        return Events() if isinstance(found, str) else Events(self._under_all_names(path for _, path in found))

    def has_news(self) -> bool:
        """What its thread has collected is not known before `wait`."""
        return False

    def _under_all_names(self, paths: Iterable[str]) -> frozenset[str]:
        if not self._names:
            return frozenset(paths)
        every: set[str] = set()
        for path in paths:
            folder, _, name = path.rpartition("/")
            every.update(self._names.get(path, (path,)), (f"{one}/{name}" for one in self._names.get(folder, ())))
        return frozenset(every)

    def why_not(self) -> str | None:
        """What the system said to the last `watch`."""
        return self._refused

    def wake(self) -> None:
        """Make `wait` come back within one step, or if nobody waits, the next one at once."""
        self._woken.set()

    def close(self) -> None:
        """Give back the watches."""
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def _moved(self) -> frozenset[str]:
        """Those folders above all others that are not what they were, if it is time to look; each is told once."""
        now_s = time.monotonic()
        if now_s < self._looked_s + _ABOVE_S:
            return frozenset()
        self._looked_s = now_s
        moved = frozenset(real for real, identity in self._above.items() if _identity(real) != identity)
        for real in moved:
            del self._above[real]
        return moved

    def _take_watches(self, folders: list[str]) -> tuple[RustNotify | None, int]:
        """Watches for as many of these as the system grants, the first ones."""
        self._refused = None
        count = len(folders)
        while count:
            try:
                return RustNotify(folders[:count], False, False, 0, False, False), count  # noqa: FBT003 - its signature
            except FileNotFoundError as error:
                raise EventsLostError("a folder vanished while it was being watched") from error
            except (OSError, WatchfilesRustInternalError) as error:
                count = self._retry_with(count, error)
        return None, 0

    def _retry_with(self, count: int, error: Exception) -> int:
        """How many to try next. The old watches count against the same limit: first they go, then half of the new."""
        if self._notify is not None:
            self._give_back()
            return count
        if not isinstance(error, PermissionError):
            setting = "max_user_instances" if "open files" in str(error) else "max_user_watches"
            self._refused = limit_reached(setting)
        return count // 2

    def _give_back(self) -> None:
        """End the old watches, and keep what they had seen."""
        if self._notify is None:
            return
        try:
            found = self._notify.watch(1, 1, 1, None)
        except WatchfilesRustInternalError as error:
            self._lost = str(error)
        else:
            self._pending |= set() if isinstance(found, str) else {path for _, path in found}
        self.close()


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116
    except OSError:
        return None
    return (found.st_dev, found.st_ino)


def _can_watch(path: str) -> bool:
    """Whether watchfiles takes the name and the system the folder or file."""
    try:
        path.encode()
        # Opened, not asked with access(2): that answers for the real user, and so wrongly where rights were dropped.
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except UnicodeEncodeError:  # watchfiles takes UTF-8 only: such a folder is looked at instead
        return False
    except PermissionError:
        return False
    except OSError:  # gone, or no descriptor is free: let the system say so to the one that watches
        return True
    return True
