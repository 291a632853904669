"""What tells that something happened: the promise that every engine keeps, which one is used, and the silent one.

Rule 1: an engine reports where something happened, as absolute real paths. It knows no patterns and no projects.
Rule 2: it may report too much; where it may have lost something it raises EventsLostError, and never stays silent.
Rule 3: one thread calls `watch` and `wait`; `wake` alone may be called from another.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Set as AbstractSet
from typing import Literal, NamedTuple, Protocol

from procwatch.core.model import WatchSettings


class EventsLostError(Exception):
    """Events may have been lost, for the reason in the text: look at everything and call `watch` again."""


class QueueOverflowError(EventsLostError):
    """More happened at once than the system keeps; the engine itself works on."""


class WatchedFolder(NamedTuple):
    """A real folder whose events are needed. Made again under the same name, it is another one.

    `what`: events of the names in it, or only of those that come and go; or only that the folder itself is moved or
    deleted; or it is a file that has several names, and whatever is written to it through any of them counts.
    """

    real: str
    identity: tuple[int, int]
    generation: int
    what: Literal["names", "entries", "itself", "file"] = "names"


class Events(NamedTuple):
    """Where something happened, as far as the system tells.

    `writing`: those that a process is still writing to; `created`: that one has made, and neither written nor closed.
    """

    places: frozenset[str] = frozenset()
    writing: frozenset[str] = frozenset()
    created: frozenset[str] = frozenset()


class Engine(Protocol):
    """Events of folders: of the names in them, not of what is below."""

    def watch(self, folders: AbstractSet[WatchedFolder]) -> frozenset[str]:
        """Report events of just these folders from now on; nothing is missed meanwhile. Gives those it cannot watch."""
        ...

    def add(self, folder: WatchedFolder) -> bool:
        """Report events of this one too; False: not without `watch`. After EventsLostError it reports of none."""
        ...

    def wait(self, timeout_s: float | None) -> Events:
        """Block until something happened, `wake` was called or the time is over, and say where."""
        ...

    @property
    def tells_all(self) -> bool:
        """Whether the next `wait` tells of all that has happened by then in what it watches: events are not late."""
        ...

    def has_news(self) -> bool:
        """Whether `wait` would come back at once, as far as that is known."""
        ...

    def why_not(self) -> str | None:
        """What limit kept `watch` from watching all of them, and what raises it; None: each was refused by itself."""
        ...

    def wake(self) -> None:
        """Make `wait` come back now, or if nobody waits, the next one at once."""
        ...

    def close(self) -> None:
        """Give back what it holds; no call may follow but `wake`."""
        ...


class Silence:
    """The engine for file systems without events: everything is found by looking at intervals."""

    @property
    def tells_all(self) -> bool:
        """It tells nothing."""
        return False

    def has_news(self) -> bool:
        """Never any."""
        return False

    def __init__(self) -> None:
        self._woken = threading.Event()

    def watch(self, folders: AbstractSet[WatchedFolder]) -> frozenset[str]:
        """Accept anything: nothing is watched, all is looked at."""
        del folders
        return frozenset()

    def add(self, folder: WatchedFolder) -> bool:
        """The same."""
        del folder
        return True

    def wait(self, timeout_s: float | None) -> Events:
        """Sleep until `wake` or the time is over."""
        self._woken.wait(timeout_s)
        self._woken.clear()
        return Events()

    def why_not(self) -> str | None:
        """Nothing is ever refused."""
        return None

    def wake(self) -> None:
        """End the sleep."""
        self._woken.set()

    def close(self) -> None:
        """Nothing is held."""


def limit_reached(setting: str) -> str:
    """What to say where the system grants no more; `setting` is the one to raise."""
    return f"the system's limit on watched folders is reached (fs.inotify.{setting} raises it)"


def engine_for(settings: WatchSettings) -> Engine:
    """The engine that is asked for. Each is imported only where it is used: watchfiles takes 28 ms."""
    name = settings.engine
    if name == "auto" and settings.poll_s is not None:
        name = "poll"
    if name == "auto":
        name = "inotify" if sys.platform == "linux" else "watchfiles"
    if name == "poll":
        return Silence()
    if name == "inotify":
        from procwatch.runtime.inotify import InotifyEngine

        return InotifyEngine()
    from procwatch.runtime.watchfiles_engine import WatchfilesEngine

    return WatchfilesEngine()
