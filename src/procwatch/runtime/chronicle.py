"""What has happened lately, for whoever asks later, and for those who follow it as it happens.

Rule 1: bounded: the oldest is forgotten; a follower that does not take what it is sent is dropped.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from procwatch.core import messages as msg
from procwatch.core.model import Terminal
from procwatch.output.events import as_data
from procwatch.runtime.outputs import FAILURES
from procwatch.runtime.parts import Audience, Output

# Some hours of work, and under a megabyte.
_KEPT = 1000

# Takes an event; False when it is not there any more.
Follower = Callable[[dict[str, Any]], bool]


class Display(Audience, Protocol):
    """Where the user sees what happens."""

    def publish(self, notice: msg.Notice, event: Mapping[str, Any]) -> None:
        """Something happened; `event`: its fields, as `--json` prints them."""


class Chronicle:
    """Passes on to the user's display what the engine tells, and keeps the events: each has one time everywhere."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._events: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._failures: dict[str, dict[str, Any]] = {}
        self._followers: list[Follower] = []

    def past(self, count: int) -> list[dict[str, Any]]:
        """The last events, oldest first."""
        return list(self._events)[-count:] if count else []

    def of(self, name: str, count: int) -> list[dict[str, Any]]:
        """The last events of one unit (its full name), oldest first."""
        return [event for event in self._events if event.get("name") == name][-count:]

    def failure(self, name: str) -> dict[str, Any]:
        """The last thing that went wrong with a unit (its full name) since it was well; empty if nothing did."""
        return self._failures.get(name, {})

    def follow(self, follower: Follower) -> None:
        """Hand every event from now on to this one, until it gives False."""
        self._followers.append(follower)

    # --- as the engine sees it: a World ------------------------------------------------------------------------------

    def output(self, name: str, mode: Terminal) -> Output:
        """A new channel for one process of a unit."""
        return self._display.output(name, mode)

    def publish(self, notice: msg.Notice, tail: list[bytes]) -> None:
        """Something happened."""
        event = as_data(notice, time.time(), tail)
        self._display.publish(notice, event)
        self._events.append(event)
        if notice.name is not None:
            if notice.event in FAILURES:
                self._failures[notice.name] = event
            elif notice.event in {"build_succeeded", "build_fixed", "service_ready"}:
                self._failures.pop(notice.name, None)
        if self._followers:
            self._followers = [follower for follower in self._followers if follower(event)]

    def planned(self, holds: Mapping[str, str], *, at_rest: bool) -> None:
        """A plan was made."""
        self._display.planned(holds, at_rest=at_rest)

    def report(self, line: str) -> None:
        """A line for the user that is no event."""
        self._display.report(line)
