"""The services that run on terminals: what each has printed lately, how large its terminal is, and who looks on.

Rule 1: what belongs to a service outlives its instances; a terminal does not.
Rule 2: a terminal is as large as the smallest of those that look on, so that each of them sees all of it; without any,
        as the room that procwatch's own screen has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from procwatch.core.model import Exit
from procwatch.output.controls import ControlFilter
from procwatch.runtime.terminal import Size, Terminal

# A screen full of text: a prompt that waits, and what led to it.
RECENT_BYTES = 4096


class Viewer(Protocol):
    """Somebody who looks on, from one instance to the next."""

    @property
    def size(self) -> Size | None:
        """Of the terminal on which it is seen; None where that does not matter."""

    def printed(self, data: bytes) -> None:
        """The service has printed this."""

    def began(self, run: int, pid: int) -> None:
        """The next instance runs."""

    def ended(self, run: int, exit_: Exit) -> None:
        """Nothing of the instance is left."""


class _Place:
    """What is known of one service; `is_cut`: it has printed more than what is kept as `recent`."""

    def __init__(self) -> None:
        self.run = 0
        self.terminal: Terminal | None = None
        self.recent = b""
        self.is_cut = False
        self.viewers: list[Viewer] = []

    def printed(self, data: bytes) -> None:
        """Keep the end of it, and show it to everybody."""
        kept = self.recent + data[-RECENT_BYTES:]
        self.is_cut = self.is_cut or len(self.recent) + len(data) > RECENT_BYTES
        self.recent = kept[-RECENT_BYTES:]
        for viewer in tuple(self.viewers):
            viewer.printed(data)


class Terminals:
    """By the full names of the services. `room` is what procwatch's own screen has."""

    def __init__(self, room: Callable[[], Size]) -> None:
        self._room = room
        self._places: dict[str, _Place] = {}

    # --- instances ---------------------------------------------------------------------------------------------------

    def size(self, name: str) -> Size:
        """How large the terminal of a service is, or is to be."""
        sizes = [viewer.size for viewer in self._place(name).viewers if viewer.size is not None]
        if not sizes:
            return self._room()
        return Size(min(size.rows for size in sizes), min(size.columns for size in sizes))

    def began(self, name: str, run: int, pid: int, terminal: Terminal) -> None:
        """An instance runs on this terminal."""
        place = self._places[name] = self._place(name)
        place.run, place.terminal, place.recent, place.is_cut = run, terminal, b"", False
        terminal.on_output = place.printed
        for viewer in tuple(place.viewers):
            viewer.began(run, pid)

    def ended(self, name: str, run: int, exit_: Exit) -> None:
        """The instance has ended, or could not be started."""
        place = self._place(name)
        if place.run == run:
            place.terminal = None
        for viewer in tuple(place.viewers):
            viewer.ended(run, exit_)

    # --- viewers -----------------------------------------------------------------------------------------------------

    def recent(self, name: str) -> bytes:
        """Text and colours of what the newest instance has printed last, as it is to be seen on a terminal.

        Without what would move the cursor, or ask the terminal a question whose answer would now be typed.
        """
        place = self._place(name)
        start = place.recent.find(b"\n") + 1 if place.is_cut else 0
        return ControlFilter().feed(place.recent[start:]).replace(b"\n", b"\r\n")

    def run(self, name: str) -> int:
        """The number of the newest instance; 0 if there was none."""
        return self._place(name).run

    def add(self, name: str, viewer: Viewer) -> None:
        """Show the service to this one too."""
        place = self._places[name] = self._place(name)
        place.viewers.append(viewer)
        self.fit(name)

    def remove(self, name: str, viewer: Viewer) -> None:
        """It looks on no more."""
        self._place(name).viewers.remove(viewer)
        self.fit(name)

    async def type(self, name: str, data: bytes) -> None:
        """Type into what runs; returns when that has room for it. While nothing runs it is lost."""
        if (terminal := self._place(name).terminal) is not None:
            await terminal.type(data)

    def fit(self, name: str) -> None:
        """The size of somebody's terminal has changed."""
        if (terminal := self._place(name).terminal) is not None:
            terminal.resize(self.size(name))

    def fit_all(self) -> None:
        """The size of procwatch's own terminal has changed."""
        for name in self._places:
            self.fit(name)

    def _place(self, name: str) -> _Place:
        return self._places.get(name) or _Place()
