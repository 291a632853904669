"""What the engine tells -> text or JSON on standard output.

Rule 1: with `--json` standard output carries events and nothing else. Output of processes, and procwatch's own words,
        then go to standard error if that is a terminal; a report goes there in any case.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from procwatch.core.messages import Notice
from procwatch.core.model import LogPolicy, Project, Terminal
from procwatch.frozen import frozen
from procwatch.output.channel import Channel
from procwatch.output.events import as_json
from procwatch.output.logs import Logs
from procwatch.output.prefix import Prefixes, terminal_size, wants_color
from procwatch.output.report import Handle, Reporter
from procwatch.output.ring import Ring
from procwatch.output.screen import Screen
from procwatch.streams import is_terminal

# The log of procwatch's own words, where they go to a log; units' logs have a kind in their names.
OWN_LOG = "procwatch"

# How long the end of procwatch waits for a reader that is slow but not gone.
_CLOSE_S = 5.0
# The same for a disk, which is waited for longer, as nothing is to be lost.
_LOGS_CLOSE_S = 10.0

# Lines and columns where no terminal tells: those that programs expect then.
DEFAULT_SIZE = (24, 80)
# A program that draws tables needs some, even if its lines are broken then.
_LEAST_COLUMNS = 20


class Loop(Protocol):
    """As much of asyncio's loop as is needed here."""

    def call_later(self, delay_s: float, callback: Callable[[], None], /) -> Handle:
        """Call back in so many seconds."""

    def call_soon_threadsafe(self, callback: Callable[[], None], /) -> object:
        """Call back on the loop's thread; from any thread."""


@frozen
class Look:
    """How to tell: `verbosity` is -1 (quiet), 0 or 1; `clear` clears the screen at each batch of changes.

    `detached`: procwatch's own words go to a log file, and until `leave_caller` to the screen as well. `answers`: with
    `as_json` standard output has not the events, but what `answer` is given.
    """

    as_json: bool = False
    verbosity: int = 0
    clear: bool = False
    detached: bool = False
    answers: bool = False


class Console:
    """One place that knows where output, events and words go."""

    def __init__(
        self,
        project: Project,
        look: Look,
        environ: Mapping[str, str],
        loop: Loop,
        log_folder: Path,
    ) -> None:
        self._look = look
        self._log_policies: dict[str, LogPolicy | None] = {}
        self._loop = loop
        self._told: deque[str] = deque()
        self.logs = Logs(log_folder, self._tell_soon)
        # The last output of units without a log file, by their full names.
        self.rings: dict[str, Ring] = {}
        self._fd = 2 if look.as_json else 1
        self._own_log = self.logs.of(OWN_LOG, LogPolicy()) if look.detached else None
        self._has_caller = True
        self.color = not look.detached and wants_color(environ, terminal=is_terminal(self._fd))
        self._prefixes = Prefixes(color=self.color)
        self.screen = Screen(self._fd, self._prefixes)
        self._events = Screen(1, self._prefixes) if look.as_json else None
        self._silent = look.detached or (look.as_json and not self.screen.terminal)
        self._reporter = Reporter(self._say, time.monotonic, loop.call_later, look.verbosity, color=self.color)
        self.screen.on_output = self._reporter.printed
        self._told_holds: dict[str, str] = {}
        self._affected: frozenset[str] = frozenset()
        self._declare(project)

    def _declare(self, project: Project) -> None:
        """Names, colours and log files; those of units that are gone are kept for their last words."""
        self._log_policies |= {unit.name: unit.log for unit in project.units.values()}
        self._prefixes.declare(project.units.values())

    def use(self, project: Project) -> None:
        """Go by a changed project: for processes that begin from now on. ProcwatchError as `begin`."""
        self._declare(project)
        self._begin_logs()

    def begin(self) -> None:
        """Have what is needed to write; ProcwatchError where the system refuses it."""
        for screen in (self._events, self.screen):
            if screen is not None:
                screen.begin()
        self._begin_logs()

    def _begin_logs(self) -> None:
        if self._own_log or any(self._log_policies.values()):
            self.logs.begin()

    def output(self, name: str, mode: Terminal) -> Channel:
        """A channel for one process of a unit (its full name)."""
        policy = self._log_policies[name]
        log = self.logs.of(name, policy) if policy else None
        ring = None if policy else self.rings.setdefault(name, Ring())
        return Channel(self.screen, name.partition(".")[2], "none" if self._silent else mode, log, ring)

    def publish(self, notice: Notice, event: Mapping[str, Any]) -> None:
        """Tell of an event; `event`: its fields, as `--json` prints them."""
        if notice.event == "files_changed":
            self._affected = frozenset(notice.names)
            if self._look.clear:
                self.screen.clear()
        if self._events is not None and not self._look.answers:
            self._events.plain(as_json(event))
        self._reporter.notice(notice)

    def planned(self, holds: Mapping[str, str], *, at_rest: bool) -> None:
        """At rest, the batch is summed up; what still waits says for what, once, and what a change did not move why."""
        if not at_rest:
            return
        self._reporter.settled()
        waits = {name: hold for name, hold in holds.items() if hold.startswith("waits")}
        told = {name: hold for name, hold in waits.items() if self._told_holds.get(name) != hold}
        told |= {name: hold for name, hold in holds.items() if name in self._affected}
        if self._look.verbosity >= 0:
            for name, hold in told.items():
                self._say(f"{name} {hold}" if name in waits else f"{name} is {hold}")
        self._told_holds, self._affected = waits, frozenset()

    def room(self) -> tuple[int, int]:
        """Lines and columns that output has on procwatch's own terminal, behind the prefix; without one 24 and 80."""
        size = terminal_size((self._fd, 0, 1, 2))
        if size is None:
            return DEFAULT_SIZE
        return size[0], max(_LEAST_COLUMNS, size[1] - self._prefixes.width)

    def report(self, line: str) -> None:
        """Words that are no event: a warning, a hook that failed."""
        if self._own_log:
            self._own_log.put(self, line.encode("utf-8", "backslashreplace") + b"\n")
        if self._has_caller:
            self.screen.say(line, error=True)

    def answer(self, line: str) -> None:
        """What a program has asked for, where it wants that as JSON."""
        if self._events is not None:
            self._events.plain(line)

    def say(self, line: str) -> None:
        """Words that are no event, and nothing is wrong."""
        self._say(line)

    def leave_caller(self, line: str) -> None:
        """Say a last thing to whoever waits for a detached start; from now on nobody reads standard output."""
        if self._look.verbosity >= 0:
            self.screen.say(line)
        self._has_caller = False
        self.screen.close(_CLOSE_S)

    def close(self) -> None:
        """Write what is left: the logs first, as the screen may have to show what is only there."""
        written = self.logs.close(_LOGS_CLOSE_S)
        self._tell()
        if not written:
            self.report(f"the log files could not be written within {_LOGS_CLOSE_S:g} s; they lack what came last")
        for screen in (self._events, self.screen):
            if screen is not None:
                screen.close(_CLOSE_S)

    def _tell_soon(self, line: str) -> None:
        """From any thread."""
        self._told.append(line)
        with suppress(RuntimeError):  # the loop has ended: `close` tells it
            self._loop.call_soon_threadsafe(self._tell)

    def _tell(self) -> None:
        while self._told:
            self.report(self._told.popleft())

    def _say(self, line: str, error: bool = False) -> None:  # as the Reporter calls it
        if self._own_log:
            self._own_log.put(self, line.encode("utf-8", "backslashreplace") + b"\n")
        elif not self._silent:
            self.screen.say(line, error)
