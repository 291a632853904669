"""Notices -> procwatch's own lines: what changed, one summary a batch, and failures that stay in sight.

Rule 1: no clock, task or file: time, timers and writing are handed in.
Rule 2: an error is told at once, and stands last when its batch is over.
Rule 3: what was held back for a better line is told at `settled` at the latest.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from procwatch.core.messages import Notice
from procwatch.frozen import frozen
from procwatch.output import sentences
from procwatch.output.words import changed, duration, listed, printable

# Looking at the inputs takes some ms; by then it is known whether there is anything to do.
CHANGE_HOLD_S = 0.2
# What is not ready so long after its builds is told to be starting.
SUMMARY_HOLD_S = 1.0
# "recalled, one line at most every 30 s" (contract, Failure).
RECALL_S = 30.0
# So that the recall comes after a burst of output, not into it.
RECALL_PAUSE_S = 1.0

_RED, _GREEN, _PLAIN = "\x1b[31m", "\x1b[32m", "\x1b[0m"


class Handle(Protocol):
    """A timer that can be taken back."""

    def cancel(self) -> None:
        """Do not call."""


class Write(Protocol):
    """Where the lines go: `Screen.say`."""

    def __call__(self, line: str, /, *, error: bool) -> None:
        """Write one line; `error`: a failure, a crash, something wrong."""


Later = Callable[[float, Callable[[], None]], Handle]


@frozen
class _Built:
    """A success: when it began and ended, what it lacks, and what stays as it is."""

    duration_s: float
    ended_s: float
    but: str | None
    effect: str | None
    stays: tuple[str, ...]

    @property
    def began_s(self) -> float:
        return self.ended_s - self.duration_s


class _Timer:
    """One timer that is set at most once at a time."""

    def __init__(self, later: Later, act: Callable[[], None]) -> None:
        self._later = later
        self._act = act
        self._handle: Handle | None = None

    def start(self, delay_s: float) -> None:
        """Set it, unless it is set."""
        if self._handle is None:
            self._handle = self._later(delay_s, self._fire)

    def cancel(self) -> None:
        """Take it back."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._act()


class Reporter:
    """Turns notices into lines, in the order of what happened.

    `write(line, error)` gets each line, without time or name, safe for a terminal. `clock` is monotonic seconds,
    `later(delay_s, act)` calls back unless cancelled. `verbosity`: -1 only failures, crashes and errors, 0, 1 every
    notice as a line too. `color`: failures red, successes green.
    """

    def __init__(
        self,
        write: Write,
        clock: Callable[[], float],
        later: Later,
        verbosity: int = 0,
        *,
        color: bool = False,
    ) -> None:
        self._write = write
        self._clock = clock
        self._verbosity = verbosity
        self._color = color
        self._changes = _Changes(self._say, _Timer(later, self._tell_change))
        # With -v every notice has a line of its own.
        say = self._say if verbosity <= 0 else _say_nothing
        self._summary = _Summary(say, clock, _Timer(later, self._tell_summary_if_due))
        self._failures = _Failures(self._warn, clock, _Timer(later, self._recall))
        self._stopping = False

    def notice(self, notice: Notice) -> None:
        """Something happened."""
        self._changes.note(notice)
        self._failures.forget(notice)
        self._summary.note(notice)
        if notice.event in sentences.URGENT:
            self._summary.tell()
            # What is wrong with the configuration is told as at a start: each line by itself.
            lines = sentences.of(notice).split("\n") if notice.event == "config_rejected" else [sentences.of(notice)]
            for line in lines:
                self._warn(line)
            self._failures.note(notice)
        elif notice.event == "stopping":
            self._stop()
        elif self._is_told_at_once(notice):
            self._say(sentences.of(notice))

    def settled(self) -> None:
        """The batch is over: nothing runs, is due or is switching any more."""
        self._changes.tell_all()
        self._summary.tell()
        if not self._stopping:
            self._failures.settle()

    def printed(self) -> None:
        """Output of a process was shown: what stood last no longer does."""
        self._failures.push_away()

    def _is_told_at_once(self, notice: Notice) -> bool:
        """With -v all but what `_changes` tells anyway, else what belongs to no summary."""
        if notice.event == "service_stopped" and notice.reason:
            return True
        return notice.event in sentences.TOLD_AT_ONCE or (self._verbosity > 0 and notice.event != "files_changed")

    def _stop(self) -> None:
        self._changes.tell_all()
        self._summary.tell()
        self._stopping = True
        self._failures.end()
        self._say("stopping")

    def _tell_change(self) -> None:
        self._changes.tell()

    def _tell_summary_if_due(self) -> None:
        self._summary.tell_if_due()

    def _recall(self) -> None:
        self._failures.recall()

    def _say(self, text: str, *, good: bool = False) -> None:
        if self._verbosity < 0:
            return
        self._write(self._shown(text, _GREEN if good else None), error=False)
        self._failures.push_away()

    def _warn(self, text: str) -> None:
        self._write(self._shown(text, _RED), error=True)

    def _shown(self, text: str, tone: str | None) -> str:
        line = printable(text)
        return f"{tone}{line}{_PLAIN}" if tone and self._color else line


class _Say(Protocol):
    def __call__(self, text: str, *, good: bool = False) -> None: ...


def _say_nothing(text: str, *, good: bool = False) -> None:
    """It has been said."""


class _Changes:
    """Which files changed, and what follows: held a moment, because the answer may be that nothing does."""

    def __init__(self, say: _Say, timer: _Timer) -> None:
        self._say = say
        self._timer = timer
        self._change: Notice | None = None
        self._skipped: dict[str, Notice] = {}

    def note(self, notice: Notice) -> None:
        """A change begins a new line; a build that has nothing to do is part of one; all else ends the wait."""
        if notice.event == "files_changed":
            self.tell_all()
            self._change = notice
            self._timer.start(CHANGE_HOLD_S)
        elif notice.event == "build_skipped" and notice.name is not None:
            self._skipped[notice.name] = notice
            if self._change and set(self._change.names) <= self._skipped.keys():
                self.tell_all()
        else:
            self.tell()

    def tell(self) -> None:
        """Something follows from the change, or it takes long to know."""
        change, self._change = self._change, None
        self._timer.cancel()
        if change is None:
            return
        busy = [name for name in change.names if name not in self._skipped]
        if busy:
            self._say(f"{changed(change.paths)}: {listed(busy)}")

    def tell_all(self) -> None:
        """What has nothing to do as well: for the change that waits, or on its own."""
        change = self._change
        self.tell()
        skipped, self._skipped = self._skipped, {}
        if not skipped:
            return
        by_reason: dict[str, list[str]] = {}
        for name, notice in skipped.items():
            by_reason.setdefault(notice.reason or "unchanged", []).append(name)
        why = "; ".join(f"{listed(names)}: {reason}" for reason, names in by_reason.items())
        paths = change.paths if change else next((n.paths for n in skipped.values() if n.paths), ())
        self._say(f"{changed(paths)}: nothing to do ({why})" if paths else f"nothing to do ({why})")


class _Summary:
    """Builds that succeeded and services that came up, gathered into one line."""

    def __init__(self, say: _Say, clock: Callable[[], float], timer: _Timer) -> None:
        self._say = say
        self._clock = clock
        self._timer = timer
        self._running: set[str] = set()
        self._built: dict[str, _Built] = {}
        self._starting: dict[str, bool] = {}  # name -> whether that has been told
        self._up: dict[str, str] = {}
        self._fixed: list[str] = []
        self._ready_runs: dict[str, int | None] = {}
        self._known: set[str] = set()

    def note(self, notice: Notice) -> None:
        """Gather; the line comes with `tell`."""
        name = notice.name or ""
        match notice.event:
            case "build_started":
                self._running.add(name)
            case "build_succeeded":
                self._running.discard(name)
                took_s = notice.duration_s or 0.0
                self._built[name] = _Built(took_s, self._clock(), notice.reason, notice.effect, notice.names)
                self._timer.cancel()
                self._timer.start(SUMMARY_HOLD_S)
            case "build_fixed":
                self._fixed.append(sentences.of(notice))
            case "build_failed" | "build_cancelled":
                self._running.discard(name)
            case "service_started":
                self._starting[name] = False
                self._timer.start(SUMMARY_HOLD_S)
            case "service_ready" | "service_switched":
                self._note_up(name, notice)
            case "service_stopped" | "service_crashed" | "not_ready" | "verify_failed":
                self._starting.pop(name, None)

    def _note_up(self, name: str, notice: Notice) -> None:
        """Ready, and after a switch the two notices of one instance; or told to reload, which has a reason."""
        if notice.event == "service_switched" and notice.reason:
            self._up[name] = f"{name} reloaded ({notice.reason})"
        elif notice.event == "service_ready" or self._ready_runs.get(name) != notice.run:
            verb = "restarted" if name in self._known else "started"
            self._up[name] = f"{name} {verb} (ready in {duration(notice.duration_s or 0.0)})"
            self._ready_runs[name] = notice.run
            self._known.add(name)
        self._starting.pop(name, None)
        self._timer.start(SUMMARY_HOLD_S)

    def tell_if_due(self) -> None:
        """After a while: not yet if there is nothing but successes, and more builds are running."""
        if self._up or self._starting or not self._running:
            self.tell()

    def tell(self) -> None:
        """All that was gathered."""
        self._timer.cancel()
        services = list(self._up.values())
        services += [f"{name} is starting" for name, told in self._starting.items() if not told]
        built, up, fixed = self._built, self._up, self._fixed
        self._built, self._up, self._fixed = {}, {}, []
        self._starting = dict.fromkeys(self._starting, True)
        head = _succeeded(built) if built else ""
        line = ": ".join(part for part in (head, ", ".join(services)) if part)
        stays = dict.fromkeys(one.effect for one in built.values() if one.effect and up.keys().isdisjoint(one.stays))
        if line:
            self._say("; ".join((line, *stays)), good=True)
        for sentence in fixed:
            self._say(sentence, good=True)


def _succeeded(built: dict[str, _Built]) -> str:
    """`build.api succeeded in 1.3 s`; of several, from the first one's begin to the last one's end."""
    if len(built) == 1:
        took_s = next(iter(built.values())).duration_s
    else:
        took_s = max(one.ended_s for one in built.values()) - min(one.began_s for one in built.values())
    lacks = "; ".join(dict.fromkeys(one.but for one in built.values() if one.but))
    return f"{listed(sorted(built))} succeeded in {duration(took_s)}{f' ({lacks})' if lacks else ''}"


@dataclass(slots=True)
class _Failure:
    notice: Notice
    failed_s: float
    is_new: bool = True


class _Failures:
    """Builds that have failed and not succeeded since: kept in sight."""

    def __init__(self, warn: Callable[[str], None], clock: Callable[[], float], timer: _Timer) -> None:
        self._warn = warn
        self._clock = clock
        self._timer = timer
        self._standing: dict[str, _Failure] = {}
        self._running: set[str] = set()
        self._is_pushed = False
        self._shown_s = 0.0
        self._ended = False

    def forget(self, notice: Notice) -> None:
        """A success ends it, and another definition; while it runs again, its next outcome is what counts."""
        name = notice.name or ""
        if notice.event == "build_started":
            self._running.add(name)
        elif notice.event in {"build_succeeded", "build_failed", "build_cancelled"}:
            self._running.discard(name)
        over = (name,) if notice.event in {"build_succeeded", "build_fixed"} else ()
        for each in notice.names if notice.event == "config_reloaded" else over:
            self._standing.pop(each, None)
            if not self._standing:
                self._timer.cancel()

    def note(self, notice: Notice) -> None:
        """An error line was just written."""
        if notice.event != "build_failed" or notice.name is None:
            self.push_away()
            return
        self._standing.pop(notice.name, None)
        self._standing[notice.name] = _Failure(notice, self._clock())
        self._show()

    def push_away(self) -> None:
        """Something else now stands below."""
        if not self._standing or self._ended:
            return
        self._is_pushed = True
        self._timer.start(max(RECALL_PAUSE_S, self._shown_s + RECALL_S - self._clock()))

    def settle(self) -> None:
        """The end of a batch: its failures stand last."""
        new = [failure for failure in self._standing.values() if failure.is_new]
        if new and self._is_pushed:
            for failure in new:
                self._warn(sentences.of(failure.notice))
            self._show()
        for failure in new:
            failure.is_new = False

    def recall(self) -> None:
        """One line for all that stand, unless they run again just now."""
        waiting = [failure for name, failure in self._standing.items() if name not in self._running]
        if not waiting or not self._is_pushed:
            return
        now_s = self._clock()
        self._warn(sentences.recall([(failure.notice, now_s - failure.failed_s) for failure in waiting]))
        self._show()

    def end(self) -> None:
        """Procwatch stops: no more reminders."""
        self._ended = True
        self._timer.cancel()

    def _show(self) -> None:
        self._is_pushed = False
        self._shown_s = self._clock()
        self._timer.cancel()
