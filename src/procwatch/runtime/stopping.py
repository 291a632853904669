"""What is done in a thread takes as long as the disk does: who ends it asks it to stop, and it looks for that.

Rule 1: whoever works for long looks between two steps of 50 ms of a slow disk: a file, a folder, some MB of a large
file.
"""

from __future__ import annotations

from threading import Event


class Stopped(Exception):  # noqa: N818 - nothing is wrong
    """Nobody waits any more for what was being done."""


class Stop(Event):
    """Set, once, to stop all who have it."""

    def look(self) -> None:
        """Raise Stopped if it is set."""
        if self.is_set():
            raise Stopped


# For those whom nobody stops.
NEVER = Stop()
