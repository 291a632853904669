"""Decide when changes that belong together are complete: one batch for one save, and one for one checkout.

Rule 1: no clock and no file: the time comes in, the time to end comes out.
Rule 2: a batch never waits longer than `max_wait_s` after its first change, except for git's lock.
"""

from __future__ import annotations

from procwatch.core.messages import FilesChanged
from procwatch.core.model import WatchSettings
from procwatch.runtime.inputs import Seen

# "auto" quiet: silence in seconds that ends a batch of up to so many files. A file that is still open holds the batch
# open in any case (inotify tells), so what counts is the pause from closing one to the next: a rename to its own name,
# or the next file of a "save all". Measured with Python, node (also as VS Code saves, with a sync), sed -i and sh, 20
# times each: 0.02 to 0.22 ms (p50), 0.93 ms at most; with five others at work on two cores p95 was 6 ms, and then a
# build is stopped and runs again. From the third file on there is more to come: formatters, checkouts, generators.
_QUIET_S = ((2, 0.002), (20, 0.03))
_QUIET_MANY_S = 0.1

# A file just truncated, or moved away to be written anew, is given so long ("100 ms", the contract, Change): vim with a
# backup and VS Code truncate or rename, write, and sync, which takes a slow disk tens of milliseconds.
_UNFINISHED_S = 0.1


class Batch:
    """Changes that will be told together. Times are seconds of one clock; `began_s` is that of the first change."""

    def __init__(self, settings: WatchSettings) -> None:
        self._settings = settings
        self.paths: set[str] = set()
        self._readers: dict[str, set[str]] = {}
        self._touched: dict[str, set[str]] = {}
        self._definitions: set[str] = set()
        self._unfinished: dict[str, float] = {}
        self.began_s = 0.0
        self._first_s = 0.0
        self._last_s = 0.0

    @property
    def is_empty(self) -> bool:
        """Whether nothing in it concerns any unit."""
        return not self.paths

    def add(self, seen: Seen, now_s: float) -> None:
        """Take in what a look found."""
        for path in seen.closed & self._unfinished.keys():
            del self._unfinished[path]
            self._last_s = now_s  # a file that was written under another name is moved to its own only now
        for path in seen.unfinished & self.paths:
            self._unfinished.setdefault(path, now_s)
        if not seen.readers.paths:
            return
        if self.is_empty:
            self.began_s = self._first_s = now_s
        self._last_s = now_s
        self.paths.update(seen.readers.paths)
        self._definitions |= seen.readers.definitions
        for mine, theirs in ((self._readers, seen.readers.readers), (self._touched, seen.readers.touched)):
            for name, paths in theirs.items():
                mine.setdefault(name, set()).update(paths)
        for path in seen.readers.paths:
            if path in seen.unfinished:
                self._unfinished.setdefault(path, now_s)
            else:
                self._unfinished.pop(path, None)

    def ends_at_s(self) -> float:
        """When the batch ends if nothing more is added."""
        ends = [self._last_s + self._quiet_s(), *(since + _UNFINISHED_S for since in self._unfinished.values())]
        return min(max(ends), self._first_s + self._settings.max_wait_s)

    def message(self) -> FilesChanged:
        """The batch as the planner is told of it."""
        readers, touched = (
            {name: tuple(sorted(paths)) for name, paths in each.items()} for each in (self._readers, self._touched)
        )
        return FilesChanged(tuple(sorted(self.paths)), readers, touched, frozenset(self._definitions))

    def hold(self, now_s: float) -> None:
        """Something holds it open: its times are reckoned from now. `began_s` stays."""
        self._first_s = self._last_s = now_s

    def _quiet_s(self) -> float:
        if self._settings.quiet_s is not None:
            return self._settings.quiet_s
        return next((quiet_s for most, quiet_s in _QUIET_S if len(self.paths) <= most), _QUIET_MANY_S)
