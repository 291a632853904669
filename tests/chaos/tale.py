"""What all stories of chaos have in common: moves drawn from a seed, lives of procwatch, faults, and how they are told.

Rule 1: what is done is drawn from the seed alone, each move with a chance of its own; only the moment of it is not.
Rule 2: nothing here asserts that anything is quick: what has to come has a deadline that no working machine reaches.
"""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tests.chaos.edits import Diary
from tests.chaos.life import BOTH, ENDINGS, KILLS, Life

# What no life may show, on the screen or in a line that is no event.
_SUSPICIOUS = (
    "Traceback", "internal error", "watching has failed", "never retrieved", "never awaited", "Warning:",
    "cannot be ended", "Exception ignored", "could not be kept whole",
)  # fmt: skip
# How much more memory the supervisor may hold at a later rest than at the first, in KiB.
_MORE_KIB = 16 * 1024
_PAUSES_S = (0, 0, 0.005, 0.02, 0.1, 0.3, 0.7)


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that happens after a pause; `salt` decides what is left open."""

    kind: str
    pause_s: float
    salt: int


def moves(seed: int, part: str, often: Mapping[str, int]) -> Iterator[Move]:
    """The endless list of moves of one part of a seed's story; `often`: how often each is made. Depends on no more."""
    rng = random.Random(f"{seed} {part}")
    while True:
        (kind,) = rng.choices(list(often), list(often.values()))
        yield Move(kind, rng.choice(_PAUSES_S), rng.getrandbits(32))


class Tale:
    """Play one seed in an empty folder; `faults` is what did not hold.

    A story says which `moves` it makes and how often, who its `units` are, and what its acts are. `more_descriptors`:
    how many more the supervisor may hold at a later rest than at the first.
    """

    name: str
    moves: ClassVar[Mapping[str, int]]
    units: tuple[str, ...]
    more_descriptors = 2

    def __init__(self, seed: int, folder: Path, listen: Callable[[str], None] = lambda _line: None) -> None:
        self.seed = seed
        self.diary = Diary(listen)
        self.faults: list[str] = []
        self.lives: list[Life] = []
        self.usages: list[tuple[int, int]] = []
        self._rng = random.Random(f"{seed} {self.name}")
        self.root = folder / "project"
        self.root.mkdir(parents=True)

    def play(self, seconds: float) -> list[str]:
        """All of it, with so many seconds of chaos in it; what did not hold."""
        raise NotImplementedError

    def play_briefly(self, seconds: float) -> list[str]:
        """One round and one start again, with so many seconds of chaos in them; what did not hold."""
        raise NotImplementedError

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

    def _start(self) -> Life:
        self.lives.append(Life(self.root, len(self.lives) + 1, dev=self.seed % 3 == 0))
        return self.lives[-1]

    def _rage(self, part: str, seconds: float, perform: Mapping[str, Callable[[random.Random], None]]) -> None:
        """Moves, one after the other, until the time is over."""
        life = self.lives[-1]
        end_s = time.monotonic() + seconds
        for move in moves(self.seed, part, self.moves):
            if time.monotonic() > end_s or life.process.poll() is not None:
                return
            perform[move.kind](random.Random(move.salt))
            time.sleep(move.pause_s)

    def _end(self, how: str) -> None:
        """End this life, and judge it."""
        life = self.lives[-1]
        self.diary.note(f"the end: {how}")
        is_killed = how in (*KILLS, BOTH)
        self._fault("end", life.kill(how) if is_killed else life.end(how))
        self.diary.note("it has ended")
        self._judge(life, complete=not is_killed and how != "terminal closes")

    def _an_end(self) -> str:
        return self._rng.choice([*ENDINGS, *KILLS])

    # --- what has to hold --------------------------------------------------------------------------------------------

    def _judge(self, life: Life, *, complete: bool) -> None:
        """What no life may show; `complete`: it has ended in order, with somebody there to read what it said."""
        self._fault("events", [f"no event: {line!r}" for line in life.junk])
        told = bytes(life.screen).decode(errors="replace").splitlines()
        of_a_unit = re.compile(rf"\d\d:\d\d:\d\d ({'|'.join(self.units)}) +\|")  # programs may say what they want
        own = [line for line in told if not of_a_unit.search(line)]
        self._fault("words", [line[:300] for line in own if any(word in line for word in _SUSPICIOUS)])
        with suppress(FileNotFoundError):
            self._fault("must never be", (life.root / "record/violations").read_text().splitlines())
        if complete:
            left = life.root.glob(".procwatch/changed-*")
            self._fault("left in .procwatch", [path.name for path in left])

    def _look_at_usage(self, life: Life) -> None:
        """At a rest: what it holds now, beside what it held at the first one."""
        self.usages.append(_least_usage(life))
        (descriptors, kib), (later, later_kib) = self.usages[0], self.usages[-1]
        if later > descriptors + self.more_descriptors or later_kib > kib + _MORE_KIB:
            self._fault("usage (descriptors, KiB)", [f"grows: {self.usages}"])

    def _fault(self, where: str, found: list[str]) -> None:
        told = [f"life {len(self.lives)}, {where}: {one}" for one in found]
        self.faults += [one for one in told if one not in self.faults]

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
