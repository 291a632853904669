"""What tells that something happened: the promise that every engine keeps, and the one that knows nothing by itself.

Rule 1: an engine reports where something happened, as absolute real paths. It knows no patterns and no projects.
Rule 2: it may report too much; where it may have lost something it raises EventsLostError, and never stays silent.
Rule 3: one thread calls `watch` and `wait`; `wake` alone may be called from another.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Protocol


class EventsLostError(Exception):
    """Events may have been lost, for the reason in the text: look at everything and call `watch` again."""


class Engine(Protocol):
    """Events of folders: of the names in them, not of what is below."""

    def watch(self, folders: Collection[str]) -> frozenset[str]:
        """Report events of just these folders from now on; nothing is missed meanwhile. Gives those it cannot watch."""
        ...

    def wait(self, timeout_s: float | None) -> frozenset[str]:
        """Block until something happened, `wake` was called or the time is over, and say where."""
        ...

    def why_not(self) -> str | None:
        """Why `watch` could not watch all of them, and what would help, in the user's words."""
        ...

    def wake(self) -> None:
        """Make `wait` come back now and from now on: the end is near."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class Silence:
    """The engine for file systems without events: everything is found by looking at intervals."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    def watch(self, folders: Collection[str]) -> frozenset[str]:
        """Accept anything: nothing is watched, all is looked at."""
        del folders
        return frozenset()

    def wait(self, timeout_s: float | None) -> frozenset[str]:
        """Sleep until `wake` or the time is over."""
        self._woken.wait(timeout_s)
        return frozenset()

    def why_not(self) -> str | None:
        """Nothing is ever refused."""
        return None

    def wake(self) -> None:
        """End the sleep."""
        self._woken.set()

    def close(self) -> None:
        """Nothing is held."""
