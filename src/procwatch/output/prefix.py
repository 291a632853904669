"""What stands before each line: time, name and colour, in honcho's form; the only door to honcho's colours."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from itertools import islice
from typing import Protocol

from honcho import colour

from procwatch.errors import UsageError

# The name under which procwatch's own lines stand.
OWN_NAME = "procwatch"
_OWN_STYLE = "1"
_OWN_ERROR_STYLE = "1;31"
_HUES = 12


def wants_color(environ: Mapping[str, str], *, terminal: bool) -> bool:
    """Whether to colour: NO_COLOR wins, then FORCE_COLOR, then whether there is a terminal that shows it.

    Either counts when it is not empty (no-color.org, force-color.org), but FORCE_COLOR=0 and =false force nothing.
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR", "") not in {"", "0", "false"}:
        return True
    return terminal and environ.get("TERM") != "dumb"


def terminal_size(fds: Iterable[int]) -> tuple[int, int] | None:
    """Lines and columns of the first of these that is a terminal and knows its size; None if none does."""
    for fd in fds:
        with suppress(OSError):  # it is none, or it is closed
            columns, lines = os.get_terminal_size(fd)
            if columns and lines:
                return lines, columns
    return None


class Named(Protocol):
    """What has a prefix: a unit."""

    @property
    def short(self) -> str:
        """Its name there."""

    @property
    def color(self) -> str | None:
        """The name of its colour, if it has one of its own."""


class Prefixes:
    """The prefix of every name: `12:00:01 api       | `, padded to the widest, the time in whole seconds.

    A build and a service of one short name share a colour; colours go by the order of `units`, and a `color` of their
    own beats that.
    """

    def __init__(self, units: Iterable[Named] = (), *, color: bool, now: Callable[[], float] = time.time) -> None:
        self._color = color
        self._now = now
        self._palette = tuple(islice(colour.get_colours(), _HUES))
        self._styles: dict[str, str] = {}
        self._places: dict[str, int] = {}
        self._second = -1
        self._made: dict[str, bytes] = {}
        self.declare(units)

    def declare(self, units: Iterable[Named]) -> None:
        """These are the units from now on; the colours of those that were there before stay theirs."""
        styles = {OWN_NAME: _OWN_STYLE}
        for unit in units:
            self._register(styles, unit.short, unit.color)
        self._styles = styles
        self._width = max(map(len, styles))
        self._made.clear()

    @property
    def width(self) -> int:
        """How many columns a prefix takes."""
        return len(self._text("", 0.0))

    def of(self, name: str) -> bytes:
        """The prefix of `name` (a short one) at this moment."""
        now_s = self._now()
        if int(now_s) != self._second:
            self._second = int(now_s)
            self._made.clear()
        made = self._made.get(name)
        if made is None:
            if name not in self._styles:
                self._register(self._styles, name, None)
            made = self._made[name] = self._make(name, self._styles[name], now_s)
        return made

    def at(self, name: str, at_s: float) -> bytes:
        """The prefix of `name` at another moment; from any thread."""
        return self._make(name, self._styles.get(name, _OWN_STYLE), at_s)

    def own(self, *, error: bool = False) -> bytes:
        """The prefix of procwatch's own lines; from any thread."""
        return self._make(OWN_NAME, _OWN_ERROR_STYLE if error else _OWN_STYLE, self._now())

    def _register(self, styles: dict[str, str], name: str, override: str | None) -> None:
        place = self._places.setdefault(name, len(self._places))
        if override is not None:
            styles[name] = _code(override)
        else:
            styles.setdefault(name, self._palette[place % len(self._palette)])

    def _make(self, name: str, style: str, now_s: float) -> bytes:
        text = self._text(name, now_s)
        return (f"\x1b[0m\x1b[{style}m{text}\x1b[0m" if self._color else text).encode()

    def _text(self, name: str, now_s: float) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(now_s))
        return f"{clock} {name.ljust(self._width)} | "


def _code(name: str) -> str:
    """The SGR parameters of a colour by honcho's name for it."""
    names = [*colour.ANSI_COLOURS, *(f"intense_{plain}" for plain in colour.ANSI_COLOURS)]
    if name not in names:
        raise UsageError(f'log.color: there is no colour "{name}"; colours are: {", ".join(names)}')
    return str(getattr(colour, name))
