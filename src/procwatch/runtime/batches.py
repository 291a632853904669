"""Decide when changes that belong together are complete: one batch for one save, and one for one checkout.

Rule 1: no clock and no file: the time comes in, the time to end comes out.
Rule 2: a batch never waits longer than `max_wait_s` after its first change, except for git's lock.
Rule 3: a path that changes all the time holds up nobody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from procwatch.core.messages import FilesChanged
from procwatch.core.model import WatchSettings
from procwatch.runtime.inputs import Seen

# "auto" quiet: silence in seconds that ends a batch of up to so many files. A file that is still open holds the batch
# open in any case (inotify tells), so what counts is the pause from closing one to the next: a rename to its own name,
# or the next file of a "save all". Measured with Python, node (also as VS Code saves, with a sync), sed -i and sh, 20
# times each: 0.02 to 0.22 ms (p50), 0.93 ms at most; with five others at work on two cores p95 was 6 ms, and then a
# build is stopped and runs again. From the third file on there is more to come: formatters, checkouts, generators.
# The clock of the loop's timers goes by whole milliseconds, upwards.
_QUIET_S = ((2, 0.001), (20, 0.03))
# Also where another file changes so soon after the batch before (something writes one file after the other, slowly),
# and where git was at work: between the commits of a rebase it has no lock.
_QUIET_MANY_S = 0.1

# A file just truncated, or moved away to be written anew, is given so long ("100 ms", the contract, Change): vim with a
# backup and VS Code truncate or rename, write, and sync, which takes a slow disk tens of milliseconds.
_UNFINISHED_S = 0.1

# A path changes all the time once it has done so for so long without a pause: then others are not held up by it. The
# user is told after a while longer: not of somebody who types in an editor that saves at every key.
_RESTLESS_S, _TELL_S = 3.0, 10.0
_PAUSE_S = 1.0
# So is a folder in which ever new files change: longer than archives and generators usually take.
_TELL_FOLDER_S = 30.0

# Where files are looked at at intervals, silence is a look that finds nothing new: so many intervals are enough for it.
_POLLS = 1.25


class Restless:
    """Which paths change all the time. `lag_s`: how late a change may be seen."""

    def __init__(self, lag_s: float = 0.0) -> None:
        self._pause_s = _PAUSE_S + lag_s
        # Of each path that has changed lately: since when it has done so without a pause, and the last time.
        self._times_s: dict[str, tuple[float, float]] = {}
        self._pruned_s = 0.0

    def note(self, paths: Collection[str], now_s: float) -> None:
        """These have changed."""
        if now_s > self._pruned_s + self._pause_s:
            self._times_s = {path: one for path, one in self._times_s.items() if now_s <= one[1] + self._pause_s}
            self._pruned_s = now_s
        for path in paths:
            self._prolong(path, now_s)
        for folder in {_folder(path) for path in paths if path not in self}:
            self._prolong(folder, now_s)

    def _prolong(self, path: str, now_s: float) -> None:
        since_s, last_s = self._times_s.get(path, (now_s, now_s))
        self._times_s[path] = (since_s if now_s <= last_s + self._pause_s else now_s, now_s)

    def __contains__(self, path: str) -> bool:
        """Whether it does."""
        return self._lasts(path, _RESTLESS_S)

    def to_tell(self, paths: Iterable[str]) -> tuple[str, ...]:
        """Those of these that the user is to be told of, and with a slash at the end folders of these."""
        files = {path for path in paths if self._lasts(path, _TELL_S)}
        folders = {folder for path in paths if (folder := _folder(path)) and self._lasts(folder, _TELL_FOLDER_S)}
        return tuple(sorted(files | folders))

    def _lasts(self, path: str, for_s: float) -> bool:
        since_s, last_s = self._times_s.get(path, (0.0, 0.0))
        return last_s - since_s >= for_s


class Batch:
    """Changes that will be told together. Times are seconds of one clock; `began_s` is that of the first change.

    `before`: the batch before this one, which may be the beginning of the same burst.
    """

    def __init__(self, settings: WatchSettings, restless: Restless | None = None, before: Batch | None = None) -> None:
        self._settings = settings
        self._restless = restless or Restless()
        self._before = before
        self.paths: set[str] = set()
        self._readers: dict[str, set[str]] = {}
        self._touched: dict[str, set[str]] = {}
        self._definitions: set[str] = set()
        self._unfinished: dict[str, float] = {}
        # What came of it that is not restless: that alone says when it ends. The paths of all batches of this burst.
        self._calm: set[str] = set()
        self._concerned: set[str] = set()
        self._burst: set[str] = set()
        self._is_continued = False
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
        for path in seen.unfinished & (self._calm or self.paths):
            self._unfinished.setdefault(path, now_s)
        if not seen.readers.paths:
            return
        if self.is_empty:
            self.began_s = self._first_s = now_s
        self._restless.note(seen.readers.paths, now_s)
        calm = {path for path in seen.readers.paths if path not in self._restless}
        self._count(calm, now_s)
        self.paths.update(seen.readers.paths)
        self._definitions |= seen.readers.definitions
        for mine, theirs in ((self._readers, seen.readers.readers), (self._touched, seen.readers.touched)):
            for name, paths in theirs.items():
                mine.setdefault(name, set()).update(paths)
                if not calm.isdisjoint(paths):
                    self._concerned.add(name)
        for path in seen.readers.paths:
            if path in seen.unfinished and (path in calm or not self._calm):
                self._unfinished.setdefault(path, now_s)
            else:
                self._unfinished.pop(path, None)

    def _count(self, calm: set[str], now_s: float) -> None:
        """Of a look's paths these say when the batch ends; where nothing else is in it, the others do."""
        if calm or not self._calm:
            self._last_s = now_s
        if calm and not self._calm:
            self._unfinished.clear()  # of what nobody waits for any more
            if self._before is not None:
                self._join(self._before, calm)
                self._before = None
        self._calm |= calm
        self._burst |= calm

    def _join(self, before: Batch, calm: set[str]) -> None:
        """Other files so soon after those of the batch before are of the same burst."""
        if self._last_s <= before._last_s + self._at_least(_QUIET_MANY_S) and calm - before._burst:
            self._is_continued = True
            self._burst = before._burst

    def ends_at_s(self) -> float:
        """When the batch ends if nothing more is added."""
        ends = [self._last_s + self._quiet_s(), *(since + _UNFINISHED_S for since in self._unfinished.values())]
        return min(max(ends), self._latest_s)

    @property
    def _latest_s(self) -> float:
        return self._first_s + self._settings.max_wait_s

    def is_to_wait(self, now_s: float) -> bool:
        """Whether it may still wait for more, though it would be complete."""
        return now_s < self._latest_s

    def concerns(self, name: str) -> bool:
        """Whether something has changed that this unit reads, but what changes all the time."""
        return name in self._concerned

    def has_cut_short(self, name: str, now_s: float) -> bool:
        """Whether it had to end, though what this unit reads may be about to change further."""
        return self.concerns(name) and now_s < self._last_s + self._quiet_s()

    def message(self) -> FilesChanged:
        """The batch as the planner is told of it."""
        readers, touched = (
            {name: tuple(sorted(paths)) for name, paths in each.items()} for each in (self._readers, self._touched)
        )
        restless = self._restless.to_tell(self.paths)
        return FilesChanged(tuple(sorted(self.paths)), readers, touched, frozenset(self._definitions), restless)

    def next(self, settings: WatchSettings) -> Batch:
        """The batch after this one."""
        return Batch(settings, self._restless, self if self._calm else self._before)

    def hold(self, now_s: float) -> None:
        """Git holds it open, and may go on: a rebase is many commits. Times are reckoned from now; `began_s` stays."""
        self._first_s = self._last_s = now_s
        self._is_continued = True

    def _quiet_s(self) -> float:
        if self._settings.quiet_s is not None:
            return self._settings.quiet_s
        if self._is_continued:
            return self._at_least(_QUIET_MANY_S)
        many = len(self._calm or self.paths)
        quiet_s = next((quiet_s for most, quiet_s in _QUIET_S if many <= most), _QUIET_MANY_S)
        return quiet_s if many <= _QUIET_S[0][0] else self._at_least(quiet_s)

    def _at_least(self, quiet_s: float) -> float:
        return max(quiet_s, lag_s(self._settings))


def _folder(path: str) -> str:
    """The folder of a path with a slash at the end, unlike any path of a file; of the project's own folder nothing."""
    return "".join(path.rpartition("/")[:2])


def lag_s(settings: WatchSettings) -> float:
    """How much later than it happens a change may be seen."""
    is_polling = settings.engine in {"auto", "poll"} and settings.poll_s is not None
    return _POLLS * (settings.poll_s or 0.0) if is_polling else 0.0
