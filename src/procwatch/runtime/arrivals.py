"""Wait until something comes into the files of one folder, which may not be there yet, go and come back.

Rule 1: what happens between two calls of `wait` is told by the second one.
Rule 2: where the system tells of nothing it is looked at often: that costs a few microseconds for each file.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path

from procwatch.runtime.engines import Engine, EventsLostError, WatchedFolder

# What a reader does not notice.
_LOOK_S = 0.1
# A process that prints line by line wakes nobody more often than that.
_GATHER_S = 0.005


class Arrivals:
    """What comes into `folder` from now on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._engine = _engine()
        self._watched: WatchedFolder | None = None
        self._watch()

    def wait(self, timeout_s: float) -> frozenset[str] | None:
        """The files in which something happened, none if nothing has; None: look at all of them."""
        if self._engine is None or self._watched is None:
            time.sleep(_LOOK_S)
            self._watch()
            return None
        try:
            places = self._engine.wait(timeout_s).places
        except EventsLostError:
            self._watched = None
            self._watch()
            return None
        if (not places or self._watched.real in places) and self._watch():
            return None
        if places:
            time.sleep(_GATHER_S)
        return frozenset(place.rpartition("/")[2] for place in places)

    def _watch(self) -> bool:
        """Watch the folder that stands there now; whether it is another one than before, or none."""
        if self._engine is None:
            return True
        now = None
        with suppress(OSError):
            found = self._folder.stat()
            generation = self._watched.generation if self._watched else 0
            now = WatchedFolder(str(self._folder.resolve()), (found.st_dev, found.st_ino), generation)
        if now is not None and now == self._watched:
            return False
        now = now and now._replace(generation=now.generation + 1)
        refused = self._engine.watch(frozenset() if now is None else {now})
        self._watched = None if refused else now
        return True


def _engine() -> Engine | None:
    """None where only looking helps."""
    if sys.platform != "linux":
        return None
    from procwatch.runtime.inotify import InotifyEngine  # noqa: PLC0415 - Linux only

    try:
        return InotifyEngine()
    except OSError:
        return None
