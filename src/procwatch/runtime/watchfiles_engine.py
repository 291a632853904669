"""The system's events through watchfiles (FSEvents on macOS, inotify), which this is the only door to.

Rule 1: it is given single folders, real and existing, and only says where to look.
Rule 2: it looks for events at short steps, also while nothing happens.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Set as AbstractSet

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from procwatch.runtime.engines import Events, EventsLostError, WatchedFolder, limit_reached

# watchfiles looks for events once a step and hands them out after one step without more. Measured from a save to its
# batch, 50 saves among 1,000 files on two shared cores: 8 ms gives 16 ms (p50), 20 ms (p95) and 0.5 to 0.8 % of one
# core while nothing happens; 4 ms: 12 ms and 1.1 %; 12 ms: 24 ms and 0.4 %.
_STEP_MS = 8

# The longest that watchfiles collects while more and more come: shorter than the silence that ends a batch of many.
_COLLECT_MS = 20


class WatchfilesEngine:
    """One set of watches at a time."""

    def __init__(self) -> None:
        self._notify: RustNotify | None = None
        self._pending: set[str] = set()
        self._lost: str | None = None
        self._refused: str | None = None
        self._woken = threading.Event()

    def watch(self, folders: AbstractSet[WatchedFolder]) -> frozenset[str]:
        """Take new watches for all of them, then give back the old ones: nothing is missed in between."""
        paths = frozenset(folder.real for folder in folders)
        # Folders near the project come first: if not all can be watched, those far down are looked at.
        able = sorted((one for one in paths if _can_watch(one)), key=lambda one: (one.count("/"), one))
        notify, count = self._take_watches(able)
        self._give_back()
        self._notify = notify
        return paths - frozenset(able[:count])

    def wait(self, timeout_s: float | None) -> Events:
        """Block until something happened. What came while `watch` was at work comes first."""
        if self._lost is not None:
            reason, self._lost = self._lost, None
            raise EventsLostError(reason)
        if self._pending:
            places, self._pending = frozenset(self._pending), set()
            return Events(places)
        if self._notify is None:
            self._woken.wait(timeout_s)
            self._woken.clear()
            return Events()
        # 0 is "for ever" to watchfiles
        timeout_ms = 0 if timeout_s is None else max(1, round(timeout_s * 1000))
        try:
            found = self._notify.watch(_COLLECT_MS, _STEP_MS, timeout_ms, self._woken)
        except WatchfilesRustInternalError as error:  # a name that is not UTF-8, and it is of no more use after that
            raise EventsLostError(str(error)) from error
        if found == "stop":
            self._woken.clear()
        return Events() if isinstance(found, str) else Events(frozenset(path for _, path in found))

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


def _can_watch(folder: str) -> bool:
    """Whether watchfiles takes the name and the system the folder."""
    try:
        folder.encode()
        # Opened, not asked with access(2): that answers for the real user, and so wrongly where rights were dropped.
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except UnicodeEncodeError:  # watchfiles takes UTF-8 only: such a folder is looked at instead
        return False
    except PermissionError:
        return False
    except OSError:  # gone, or no descriptor is free: let the system say so to the one that watches
        return True
    return True
