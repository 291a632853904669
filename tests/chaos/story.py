"""One seed: several lives of procwatch on one project, and what has to hold in each and after it.

Rule 1: what is done is drawn from the seed alone, each move with a chance of its own; only the moment of it is not.
Rule 2: nothing here asserts that anything is quick: what has to come has a deadline that no working machine reaches.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.chaos import lines
from tests.chaos.edits import Diary, Edits
from tests.chaos.expected import Expected
from tests.chaos.life import DEADLINE_S, ENDINGS, KILLS, Life
from tests.chaos.order import illegal
from tests.chaos.project import BUILDS, SERVICES, Project
from tests.chaos.strikes import Strikes
from tests.rig.live import clean_environment

# What no life may show, on the screen or in a line that is no event.
_SUSPICIOUS = (
    "Traceback", "internal error", "watching has failed", "never retrieved", "never awaited", "Warning:",
    "cannot be ended", "Exception ignored", "could not be kept whole",
)  # fmt: skip
# Programs may say what they want.
_OF_A_UNIT = re.compile(rf"\d\d:\d\d:\d\d ({'|'.join((*BUILDS, *SERVICES))}) +\|")
# How much more the supervisor may hold at a later rest than at the first: descriptors, and KiB.
_MORE_DESCRIPTORS, _MORE_KIB = 2, 16 * 1024
# For this long nothing may come any more when all has come to rest.
_REST_S = 1.0
_BROKEN_STATES = (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"version": 1, "builds": {"build.top": {"run": "x"}}}')
# Moves and how often each is made.
_MOVES = {
    "edit": 35,
    "ambush": 20,
    "strike": 20,
    "hook": 7,
    "env": 6,
    "config": 7,
    "wake": 3,
    "freeze": 2,
    "look_away": 2,
}
_PAUSES_S = (0, 0, 0.005, 0.02, 0.1, 0.3, 0.7)


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that happens after a pause; `salt` decides what is left open."""

    kind: str
    pause_s: float
    salt: int


def moves(seed: int, part: str) -> Iterator[Move]:
    """The endless list of moves of one part of a seed's story; it depends on nothing else."""
    rng = random.Random(f"{seed} {part}")
    while True:
        (kind,) = rng.choices(list(_MOVES), list(_MOVES.values()))
        yield Move(kind, rng.choice(_PAUSES_S), rng.getrandbits(32))


class Story:
    """Play one seed in an empty folder; `faults` is what did not hold."""

    def __init__(self, seed: int, folder: Path, listen: Callable[[str], None] = lambda _line: None) -> None:
        self.seed = seed
        self.diary = Diary(listen)
        self.faults: list[str] = []
        self.lives: list[Life] = []
        self.usages: list[tuple[int, int]] = []
        self._rng = random.Random(f"{seed} story")
        root = folder / "project"
        root.mkdir(parents=True)
        self._project = Project.make(root, seed)
        self._expected = Expected(self._project)
        self._edits = Edits(self._project, self.diary)
        self._edits.calm(new=True)

    def play(self, seconds: float) -> list[str]:
        """All of it, with so many seconds of chaos in it; what did not hold."""
        return self._play(
            lambda: self._first(seconds / 2, rounds=2),
            lambda: self._second(seconds / 4),
            lambda: self._third(seconds / 4),
            self._fourth,
        )

    def play_briefly(self, seconds: float) -> list[str]:
        """One round and one start again, with so many seconds of chaos in them; what did not hold."""
        return self._play(lambda: self._first(seconds / 2, rounds=1), lambda: self._third(seconds / 2))

    def _play(self, *acts: Callable[[], None]) -> list[str]:
        try:
            for act in acts:
                self.diary.note(f"--- life {len(self.lives) + 1}")
                act()
                if self.faults:
                    break  # what follows would only be a consequence
        finally:
            for life in self.lives:
                life.clear_away()
        return self.faults

    # --- the lives ---------------------------------------------------------------------------------------------------

    def _first(self, seconds: float, rounds: int) -> None:
        """Rounds of chaos, each of which comes to rest."""
        life = self._start()
        if rounds > 1 and self._rng.random() < 0.5:
            self._come_right("at the first start", new=True)
        for number in range(1, rounds + 1):
            self._rage(f"round {number}", seconds / rounds)
            if self._rng.random() < 0.5:
                self._come_to_rest_as_it_is()
            self._come_right(f"after round {number}", new=self._rng.random() < 0.6)
            if rounds > 1 and not self.faults:
                self.usages.append(_least_usage(life))
        if rounds > 1:
            self._second_supervisor_is_refused()
            self._judge_usage()
        self._end(self._rng.choice([*ENDINGS, *KILLS]))

    def _second(self, seconds: float) -> None:
        """Nothing was edited since: nothing runs that need not; then chaos, and an end in the midst of it."""
        life = self._start()
        self._await_well("at the second start")
        for event in life.events:
            if event["event"] == "build_started" and not self._project.runs_at_start(event["name"].partition(".")[2]):
                self._fault("ran at a start without an edit", [str(event)])
            if event["event"] == "service_crashed":
                self._fault("crashed at a start without chaos", [str(event)])
        self._rage("end", seconds)
        if self._rng.random() < 0.5:
            Strikes(life, self._edits, self.diary).wake()
        self._end(self._rng.choice([*ENDINGS, *KILLS]))

    def _third(self, seconds: float) -> None:
        """What was interrupted, forgotten or edited meanwhile comes right."""
        if self._rng.random() < 0.2:
            self.diary.note("state.json is broken")
            (self._project.root / ".procwatch/state.json").write_bytes(self._rng.choice(_BROKEN_STATES))
        if self._rng.random() < 0.5:
            for number in range(3):
                self._edits.any(random.Random(f"{self.seed} between {number}"))
        self._start()
        self._rage("again", seconds)
        self._come_right("in the third life", new=self._rng.random() < 0.5)
        self._end(self._rng.choice(list(ENDINGS)))

    def _fourth(self) -> None:
        """One that does not come far."""
        self._start()
        time.sleep(self._rng.choice([0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5]))
        # Its terminal is open and its signals are at their defaults until it is up: these are heard at any moment.
        self._end(self._rng.choice(["SIGINT", "SIGTERM", "SIGHUP", "Ctrl-C", "Ctrl-C twice"]))

    def _start(self) -> Life:
        self.lives.append(Life(self._project.root, len(self.lives) + 1, dev=self.seed % 3 == 0))
        return self.lives[-1]

    # --- chaos -------------------------------------------------------------------------------------------------------

    def _rage(self, part: str, seconds: float) -> None:
        """Moves, one after the other, until the time is over."""
        life = self.lives[-1]
        strikes = Strikes(life, self._edits, self.diary)
        perform: dict[str, Callable[[random.Random], None]] = {
            "edit": self._edits.any, "hook": self._edits.hook, "env": self._edits.env, "config": self._edits.config,
            "ambush": strikes.ambush, "strike": strikes.strike, "wake": strikes.wake, "freeze": strikes.freeze,
            "look_away": strikes.look_away,
        }  # fmt: skip
        end_s = time.monotonic() + seconds
        for move in moves(self.seed, part):
            if time.monotonic() > end_s or life.process.poll() is not None:
                return
            perform[move.kind](random.Random(move.salt))
            time.sleep(move.pause_s)

    # --- coming to rest ----------------------------------------------------------------------------------------------

    def _come_to_rest_as_it_is(self) -> None:
        """Nothing is made good: what is not at the newest content has a reason, and that has been told."""
        life = self.lives[-1]
        Strikes(life, self._edits, self.diary).wake()
        if not life.until(lambda: not self._expected.unexplained(life)):
            self._fault("at rest", self._expected.unexplained(life) or ["it has ended by itself"])
        self.diary.note("all is explained")

    def _come_right(self, when: str, *, new: bool) -> None:
        """All is made good: then all gets there. A touch that came while a run failed is made once more."""
        life = self.lives[-1]
        Strikes(life, self._edits, self.diary).wake()
        self._edits.calm(new=new)
        touched_s = dict.fromkeys(BUILDS, time.time())

        def is_well() -> bool:
            for name in self._expected.spent(life, touched_s):
                self._edits.by_name("touch", name, self._rng)
                touched_s[name] = time.time()
            return not self._expected.not_well(life)

        life.until(is_well)
        self._await_well(when)

    def _await_well(self, when: str) -> None:
        """All is as the files want it, while nothing comes any more."""
        life = self.lives[-1]
        if not life.until(lambda: life.quiet_s() > _REST_S and not self._expected.not_well(life)):
            ended = f"it does not come to rest; exit status: {life.process.poll()}"
            self._fault(when, self._expected.not_well(life) or [ended])
        self.diary.note(f"all is well {when}")

    # --- what has to hold --------------------------------------------------------------------------------------------

    def _end(self, how: str) -> None:
        """End this life, and judge it."""
        life = self.lives[-1]
        self.diary.note(f"the end: {how}")
        self._fault("end", life.kill(how) if how in KILLS else life.end(how))
        self.diary.note("it has ended")
        self._judge(life, complete=how not in KILLS and how != "terminal closes")

    def _judge(self, life: Life, *, complete: bool) -> None:
        """What no life may show; `complete`: it has ended in order, with somebody there to read what it said."""
        self._fault("events", illegal(life.events, self._project))
        self._fault("events", [f"no event: {line!r}" for line in life.junk])
        printed = lines.printed(life.root, life.number)
        self._fault("output", lines.faults(bytes(life.screen), printed, complete=complete))
        told = bytes(life.screen).decode(errors="replace").splitlines()
        own = [line for line in told if not _OF_A_UNIT.search(line)]
        self._fault("words", [line[:300] for line in own if any(word in line for word in _SUSPICIOUS)])
        with suppress(FileNotFoundError):
            self._fault("must never be", (life.root / "record/violations").read_text().splitlines())
        if complete:
            left = life.root.glob(".procwatch/changed-*")
            self._fault("left in .procwatch", [path.name for path in left])

    def _second_supervisor_is_refused(self) -> None:
        command = [sys.executable, "-m", "procwatch", "start"]
        refused = subprocess.run(
            command,
            cwd=self._project.root,
            env=clean_environment(),
            capture_output=True,
            check=False,
            timeout=DEADLINE_S,
        )
        if refused.returncode != 4 or b"Traceback" in refused.stderr:
            self._fault("a second supervisor", [f"exit {refused.returncode}: {refused.stderr!r}"])

    def _judge_usage(self) -> None:
        if len(self.usages) < 2:
            return
        (descriptors, kib), (later, later_kib) = self.usages[0], self.usages[-1]
        if later > descriptors + _MORE_DESCRIPTORS or later_kib > kib + _MORE_KIB:
            self._fault("usage (descriptors, KiB)", [f"grows: {self.usages}"])

    def _fault(self, where: str, found: list[str]) -> None:
        self.faults += [f"life {len(self.lives)}, {where}: {one}" for one in found]

    def tell(self) -> list[str]:
        """The whole story, in the order of time: what was done, and what procwatch told."""
        told = [(at_s, f"        * {text}") for at_s, text in self.diary.entries]
        for life in self.lives:
            for event in life.events:
                more = {
                    key: value for key, value in event.items() if key not in ("_s", "at", "output", "event", "name")
                }
                told.append(
                    (event["_s"], f"  {life.number} {event['event']} {event.get('name', '')} {json.dumps(more)}")
                )
        since_s = told[0][0] if told else 0.0
        return [f"{at_s - since_s:8.3f} {text}" for at_s, text in sorted(told, key=lambda entry: entry[0])]


def _least_usage(life: Life) -> tuple[int, int]:
    """The least of several looks: a probe or a check that is just under way counts for nothing."""
    looks = []
    for _ in range(10):
        with suppress(OSError):  # it has just ended, which is told elsewhere
            looks.append(life.usage())
        time.sleep(0.05)
    return min(looks, default=(0, 0))
