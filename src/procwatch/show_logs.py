"""`procwatch logs`: choose the log files, show what they hold, follow them.

Rule 1: it needs no supervisor, and nothing heavy is imported: no click, no pydantic, no asyncio.
Rule 2: what comes while it is looked at is shown the next time: nothing is skipped, nothing shown twice.
"""

from __future__ import annotations

import json
import os
import resource
import select
import sys
import time
from collections.abc import Collection, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from procwatch.errors import ExitCode, UsageError, printable
from procwatch.logged import Logged, logged, unit_of, units_in
from procwatch.options import LogOptions
from procwatch.output.events import stamp
from procwatch.output.grep import Grep
from procwatch.output.past import BLOCK_BYTES, Past
from procwatch.output.prefix import Prefixes, wants_color
from procwatch.output.runs import Run, merged, without_first
from procwatch.output.shown import AsJson, Bare, Form, Prefixed
from procwatch.remembered import Memory, Remembered
from procwatch.streams import is_terminal, write_all

_OUT = 1
# What -f begins with, as with `tail` and `journalctl`.
_FOLLOWED_LINES = 10
# What is read of all logs together at once.
_MOST_BYTES = 16 * 1024 * 1024
_LEAST_BLOCK_BYTES = 16 * 1024
# The fastest process fills a file of 10 MiB in some 20 ms.
_HOLD_S = 0.01
# How often a supervisor is asked for what it keeps in memory.
_ASK_S = 0.2


def show(options: LogOptions) -> int:
    """Show what the options ask for; the exit status."""
    if options.as_json and not options.prefix:
        raise UsageError("--json and --no-prefix exclude each other")
    grep = None if options.grep is None else Grep(options.grep)
    since = None if options.since is None else _moment(options.since)
    _raise_limit()
    what = logged(options.names, options.file)
    view = _View(what, options, grep)
    lines = options.lines
    if options.follow and lines is None and since is None:
        lines = _FOLLOWED_LINES
    waiter = None
    if options.follow:
        from procwatch.runtime.arrivals import Arrivals  # noqa: PLC0415 - only needed here

        waiter = Arrivals(what.folder)
    view.begin(since, lines)
    if waiter is None:
        _tell_missing(what, view.remembered)
        return ExitCode.DONE
    files = None  # what came between the first look and the waiter too
    while True:
        view.go_on(files)
        _see_reader()
        files = waiter.wait(_ASK_S if view.remembered else 1.0)


def _raise_limit() -> None:
    """Have as many descriptors as are allowed: each unit takes one, or one for each of its files."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(OSError, ValueError):  # macOS has a lower limit than it tells
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _moment(text: str) -> bytes:
    from procwatch.output.moment import moment  # noqa: PLC0415 - only needed here

    return stamp(moment(text, time.time())).encode()


class _View:
    """The logs that are shown, each with its number, and how they are."""

    def __init__(self, what: Logged, options: LogOptions, grep: Grep | None) -> None:
        self._folder = what.folder
        self._all = not options.names
        self._follow = options.follow
        self._grep = grep
        self._names: list[str] = []
        self._pasts: list[Past | Remembered] = []
        self._numbers: dict[str, int] = {}
        # The units without a log file, whose output a supervisor remembers, and when it is asked again.
        self.remembered: dict[str, int] = {}
        self._memory = Memory(what.folder.parent.parent)
        self._ask_s = 0.0
        self._unit_names = frozenset(what.units)
        self._as_json = options.as_json
        terminal = is_terminal(_OUT)
        self._prefixes = _prefixes(what, terminal=terminal)
        form: Form = Bare(terminal=terminal)
        if options.as_json:
            form = AsJson(self._names)
        elif options.prefix:
            form = Prefixed(self._names, self._prefixes, terminal=terminal)
        self._form = form
        for unit in what.units:
            self._add(unit)

    def begin(self, since: bytes | None, lines: int | None) -> None:
        """Show what there is: from a moment on, the last so many lines."""
        skipped = 0
        self._remember()
        for past in self._pasts:
            past.look()
            if since is not None:
                past.go_to_moment(since)
        if lines is not None:
            count = _lines_in if self._grep is None else self._grep.count
            found = sum(past.go_back(lines, count, unfinished=not self._follow) for past in self._pasts)
            skipped = max(0, found - lines)
        self._show(range(len(self._pasts)), skipped)

    def go_on(self, files: frozenset[str] | None) -> None:
        """Show what has come in these files; None: in any."""
        found = units_in(self._folder) if files is None else [unit for file in files if (unit := unit_of(file))]
        for unit in found:
            if self._all and unit not in self._numbers:
                self._add(unit)
        changed = {self._numbers[unit] for unit in (self._numbers if files is None else found) if unit in self._numbers}
        if time.monotonic() >= self._ask_s:
            self._remember()
            changed |= {*self.remembered.values()}
        numbers = sorted(changed)
        for number in numbers:
            self._pasts[number].look()
        self._show(numbers, 0)

    def _remember(self) -> None:
        """Learn which units' output a supervisor remembers."""
        for unit in self._memory.names():
            if unit not in self.remembered and (self._all or unit in self._unit_names):
                self.remembered[unit] = len(self._names)
                self._names.append(unit)
                self._pasts.append(Remembered(self._memory, unit, partial(self._tell_lost, unit)))
        self._ask_s = time.monotonic() + _ASK_S

    def _add(self, unit: str) -> None:
        self._numbers[unit] = len(self._names)
        self._names.append(unit)
        self._pasts.append(Past(self._folder / f"{unit}.log", partial(self._tell_lost, unit)))

    def _show(self, numbers: list[int] | range, skipped: int) -> None:
        block_bytes = max(_LEAST_BLOCK_BYTES, min(BLOCK_BYTES, _MOST_BYTES // max(1, len(numbers))))
        logs = [self._runs(number, block_bytes) for number in numbers]
        next_s = time.monotonic() + _HOLD_S
        for portion in without_first(skipped, merged(logs)):
            placed = [(numbers[index], run) for index, run in portion] if len(numbers) < len(self._names) else portion
            write_all(_OUT, self._form(placed))
            if self._follow and time.monotonic() >= next_s:
                for number in numbers:
                    self._pasts[number].hold()
                next_s = time.monotonic() + _HOLD_S

    def _runs(self, number: int, block_bytes: int) -> Iterator[list[Run]]:
        runs = self._pasts[number].runs(block_bytes, unfinished=not self._follow)
        return runs if self._grep is None else self._grep.filtered(runs)

    def _tell_lost(self, unit: str, count: int | None) -> None:
        """In the form of the other lines, as far as that has a place for it."""
        much = "some of it may not be" if count is None else f"{count:,} bytes are not"
        told = f"{unit}: {much} shown: this is not read fast enough, and what kept them has gone"
        if self._as_json:
            event = {"at": stamp(time.time()), "event": "lines_lost", "name": unit, "reason": told}
            write_all(_OUT, json.dumps(event).encode() + b"\n")
        elif isinstance(self._form, Prefixed):
            write_all(_OUT, self._prefixes.own(error=True) + told.encode() + b"\n")
        else:
            _complain(told)


class _Named(NamedTuple):
    """A unit of which only the log file is known."""

    short: str
    color: str | None = None


def _prefixes(what: Logged, *, terminal: bool) -> Prefixes:
    """As `start` has them: widths and colours go by all units of the project."""
    known = what.project.units if what.project else {}
    found = [_Named(unit.partition(".")[2]) for unit in what.units if unit not in known]
    return Prefixes([*known.values(), *found], color=wants_color(os.environ, terminal=terminal))


def _lines_in(data: bytes) -> int:
    return data.count(b"\n")


def _see_reader() -> None:
    """Raise BrokenPipeError if nobody reads any more (`| head`), also while nothing is printed."""
    poll = select.poll()
    poll.register(_OUT, 0)
    if any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0)):
        raise BrokenPipeError


def _tell_missing(what: Logged, remembered: Collection[str]) -> None:
    """Say on standard error which logs there are none of, and why."""
    there = {*units_in(what.folder), *remembered}
    missing = [unit for unit in what.units if unit not in there]
    for unit in missing:
        if not what.is_kept(unit):
            _complain(f"the output of {unit} is kept in no file (log.file = false), and no procwatch runs")
    if missing and not there:
        _complain(f"there are no log files in {what.folder} yet")


def _complain(told: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"procwatch: {printable(told)}\n")
