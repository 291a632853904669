"""What happens to processes: signals to services, builds, hooks and their children; procwatch stands still.

Rule 1: whom a strike is meant for is drawn by role, so that the same seed means the same one; it may not be there.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

from tests.chaos import program
from tests.chaos.edits import Diary, Edits
from tests.chaos.life import Life
from tests.chaos.project import BUILDS, SERVICES

_SIGNALS = (
    signal.SIGTERM, signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV,
    signal.SIGUSR1, signal.SIGPIPE, signal.SIGABRT, signal.SIGALRM, signal.SIGSTOP, signal.SIGSTOP,
)  # fmt: skip
_ROLES = (
    *(f"service.{name}" for name in SERVICES), *(f"service.{name}" for name in SERVICES),
    "service.cache+child", "service.worker+child", "service.storm+child", "hidden", "daemon",
    *(f"build.{name}" for name in BUILDS), *(f"build.{name}" for name in BUILDS),
)  # fmt: skip
# Where an ambush waits: the moments at which most is decided.
_MOMENTS = (
    "build_started", "build_succeeded", "build_cancelled", "build_failed", "service_started", "service_ready",
    "service_stopped", "service_crashed", "files_changed",
)  # fmt: skip
_AMBUSH_S = 0.6


class Strikes:
    """Strikes at one life of procwatch."""

    def __init__(self, life: Life, edits: Edits, diary: Diary) -> None:
        self._life = life
        self._edits = edits
        self._diary = diary

    def strike(self, rng: random.Random) -> None:
        """A signal to whoever plays a role just now."""
        role, number, which = rng.choice(_ROLES), rng.choice(_SIGNALS), rng.random()
        there = [pid for name, pid in program.alive(self._life.root) if name == role]
        self._diary.note(f"{number.name} to {role}{'' if there else ' (nobody)'}")
        if there:
            _send(there[int(which * len(there))], number)

    def wake(self, _rng: random.Random | None = None) -> None:
        """All that stands still goes on."""
        self._diary.note("whatever stands still goes on")
        for _, pid in program.alive(self._life.root):
            _send(pid, signal.SIGCONT)

    def freeze(self, rng: random.Random) -> None:
        """The supervisor, or the guardian, stands still for a moment."""
        whom, time_s = rng.choice(["supervisor", "guardian"]), rng.choice([0.1, 0.5, 1.5])
        pid = self._life.supervisor() if whom == "supervisor" else self._life.process.pid
        self._diary.note(f"the {whom} stands still for {time_s:g} s")
        if pid is not None:
            _send(pid, signal.SIGSTOP)
            time.sleep(time_s)
            _send(pid, signal.SIGCONT)

    def look_away(self, rng: random.Random) -> None:
        """Nobody reads the terminal for a moment, while more is printed than procwatch keeps."""
        time_s = rng.choice([0.5, 1.5, 2.5])
        self._diary.note(f"nobody reads for {time_s:g} s")
        self._life.look_away(time_s)
        self._edits.configure("web", "deafening")

    def ambush(self, rng: random.Random) -> None:
        """Wait for the next event of a kind, and do at once what hurts most there."""
        kind = rng.choice(_MOMENTS)
        delay_s = rng.choice([0, 0, 0.002, 0.01, 0.03])
        what = rng.choice(["good", "good", "broken", "kill", "kill", "config", "revert", "same", "touch"])
        build, number = rng.choice(BUILDS), rng.choice(_SIGNALS)
        seen = len(self._life.events)
        met: list[str] = []

        def comes() -> bool:
            events = self._life.events[seen:]
            met.extend(str(event.get("name")) for event in events if event["event"] == kind)
            return bool(met)

        if not self._life.until(comes, _AMBUSH_S, look_s=0.001):
            self._diary.note(f"an ambush for {kind} meets nobody")
            return
        time.sleep(delay_s)
        self._diary.note(f"at {kind} of {met[0]}:")
        if what == "config":
            self._edits.config(rng)
        elif what == "kill":
            self._kill(met[0], number)
        else:
            self._edits.by_name(what, met[0].partition(".")[2] if met[0].startswith("build.") else build, rng)

    def _kill(self, name: str, number: signal.Signals) -> None:
        self._diary.note(f"  {number.name} to {name}")
        for role, pid in program.alive(self._life.root):
            if role == name:
                _send(pid, number)


def _send(pid: int, number: int) -> None:
    """To a process of the ledger, or to procwatch itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)
