"""One seed: several lives of procwatch on one project, and what has to hold in each and after it."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from tests.chaos import lines
from tests.chaos.edits import Edits
from tests.chaos.expected import Expected
from tests.chaos.life import DEADLINE_S, ENDINGS, Life
from tests.chaos.order import illegal
from tests.chaos.project import BUILDS, SERVICES, Project
from tests.chaos.strikes import Strikes
from tests.chaos.tale import Tale
from tests.rig.live import clean_environment

# For this long nothing may come any more when all has come to rest.
_REST_S = 1.0
_BROKEN_STATES = (b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"version": 1, "builds": {"build.top": {"run": "x"}}}')


class Story(Tale):
    """Edits, kills and restarts."""

    name = "story"
    moves: ClassVar[Mapping[str, int]] = {
        "edit": 35, "ambush": 20, "strike": 20, "hook": 7, "env": 6, "config": 7, "wake": 3, "freeze": 2,
        "look_away": 2,
    }  # fmt: skip
    units = (*BUILDS, *SERVICES)

    def __init__(self, seed: int, folder: Path, listen: Callable[[str], None] = lambda _line: None) -> None:
        super().__init__(seed, folder, listen)
        self._project = Project.make(self.root, seed)
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

    # --- the lives ---------------------------------------------------------------------------------------------------

    def _first(self, seconds: float, rounds: int) -> None:
        """Rounds of chaos, each of which comes to rest."""
        life = self._start()
        if rounds > 1 and self._rng.random() < 0.5:
            self._come_right("at the first start", new=True)
        for number in range(1, rounds + 1):
            self._chaos(f"round {number}", seconds / rounds)
            if self._rng.random() < 0.5:
                self._come_to_rest_as_it_is()
            self._come_right(f"after round {number}", new=self._rng.random() < 0.6)
            if rounds > 1 and not self.faults:
                self._look_at_usage(life)
        if rounds > 1:
            self._second_supervisor_is_refused()
        self._end(self._an_end())

    def _second(self, seconds: float) -> None:
        """Nothing was edited since: nothing runs that need not; then chaos, and an end in the midst of it."""
        life = self._start()
        self._await_well("at the second start")
        for event in life.events:
            if event["event"] == "build_started" and not self._project.runs_at_start(event["name"].partition(".")[2]):
                self._fault("ran at a start without an edit", [str(event)])
            if event["event"] == "service_crashed":
                self._fault("crashed at a start without chaos", [str(event)])
        self._chaos("end", seconds)
        if self._rng.random() < 0.5:
            Strikes(life, self._edits, self.diary).wake()
        self._end(self._an_end())

    def _third(self, seconds: float) -> None:
        """What was interrupted, forgotten or edited meanwhile comes right."""
        if self._rng.random() < 0.2:
            self.diary.note("state.json is broken")
            (self._project.root / ".procwatch/state.json").write_bytes(self._rng.choice(_BROKEN_STATES))
        if self._rng.random() < 0.5:
            for number in range(3):
                self._edits.any(random.Random(f"{self.seed} between {number}"))
        self._start()
        self._chaos("again", seconds)
        self._come_right("in the third life", new=self._rng.random() < 0.5)
        self._end(self._rng.choice(list(ENDINGS)))

    def _fourth(self) -> None:
        """One that does not come far."""
        self._start()
        time.sleep(self._rng.choice([0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.7, 1.0, 1.5]))
        # Its terminal is open and its signals are at their defaults until it is up: these are heard at any moment.
        self._end(self._rng.choice(["SIGINT", "SIGTERM", "SIGHUP", "Ctrl-C", "Ctrl-C twice"]))

    # --- chaos -------------------------------------------------------------------------------------------------------

    def _chaos(self, part: str, seconds: float) -> None:
        strikes = Strikes(self.lives[-1], self._edits, self.diary)
        perform: dict[str, Callable[[random.Random], None]] = {
            "edit": self._edits.any, "hook": self._edits.hook, "env": self._edits.env, "config": self._edits.config,
            "ambush": strikes.ambush, "strike": strikes.strike, "wake": strikes.wake, "freeze": strikes.freeze,
            "look_away": strikes.look_away,
        }  # fmt: skip
        self._rage(part, seconds, perform)

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

    def _judge(self, life: Life, *, complete: bool) -> None:
        super()._judge(life, complete=complete)
        self._fault("events", illegal(life.events, self._project))
        printed = lines.printed(life.root, life.number)
        self._fault("output", lines.faults(bytes(life.screen), printed, complete=complete))

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
