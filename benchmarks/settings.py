"""How much is measured, and on which tools."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL
from typing import IO

from benchmarks.beacon import Beacon
from benchmarks.peers import Peer, Plan
from benchmarks.session import CALL_S, Call, Session, Surroundings, call, running


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asks for; `quick` makes each a small one."""

    saves: int = 30
    lines: int = 1_000_000
    repeats: int = 5
    services: tuple[int, ...] = (1, 10, 100)
    idle_s: float = 15.0
    ends: int = 25
    switches: int = 9
    restarts: int = 100
    calls: int = 1_000
    load_s: float = 1.0
    download: int = 1 << 30
    files: tuple[int, ...] = (25_000, 50_000, 100_000)
    writes: int = 50_000


QUICK = Settings(
    saves=3,
    lines=20_000,
    repeats=1,
    services=(1, 10),
    idle_s=2.0,
    ends=1,
    switches=2,
    restarts=2,
    calls=3,
    load_s=0.2,
    download=1 << 26,
    files=(200, 400),
    writes=100,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """What every subject is given: settings, the installed tools, the beacon, a folder to work in."""

    settings: Settings
    peers: tuple[Peer, ...]
    beacon: Beacon
    folder: Path

    def run(self, plan: Plan, folder: Path, stdout: int | IO[bytes] = DEVNULL) -> AbstractContextManager[Session]:
        """A tool for the length of a `with`; `began_ns` is on the beacon's clock."""
        return running(plan, folder, self._around, stdout)

    def call(self, words: Sequence[str], folder: Path, env: Mapping[str, str], limit_s: float = CALL_S) -> Call:
        """One command of a tool, from its start to its end; what it prints is in `folder`, as "answer"."""
        return call(words, folder, self._around, env, limit_s)

    @property
    def _around(self) -> Surroundings:
        return Surroundings(self.beacon.clock, self.folder / "bytecode")

    def place(self, name: str) -> Path:
        """A new folder."""
        (made := self.folder / name).mkdir(parents=True)
        return made


def machine(beacon: Beacon) -> dict[str, str]:
    """What the figures depend on; nothing that names this machine."""
    return {
        "processors": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "beacon": beacon.made_with,
        "load at the start": f"{os.getloadavg()[0]:.1f}",
    }
