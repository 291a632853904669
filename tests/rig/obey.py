"""Real processes for tests: a stage to run them on, a sink that tells of output as it comes, and nothing left behind.

A child tells by its output what it has come to; a test waits for that under one deadline and never sleeps.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import shlex
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from procwatch.core.model import Command, StopPolicy
from procwatch.runtime import census
from procwatch.runtime.spawn import Process, Spec, start
from procwatch.runtime.tree import Forest

T = TypeVar("T")
# Generous, for a machine that is shared: no test comes near it unless it is broken.
DEADLINE_S = 30.0
# A child that says "up" and takes no notice of SIGTERM. It ends by itself long after every test.
STUBBORN = "trap '' TERM; echo up; while :; do sleep 300; done"
QUICK = StopPolicy(grace_s=0.2)
PATIENT = StopPolicy(grace_s=DEADLINE_S)


def python(code: str) -> str:
    """A shell command that runs this Python program in place of the shell."""
    return f"exec {shlex.quote(sys.executable)} -S -u -c {shlex.quote(code)}"


def hears(name: str, answer: str, *, stays: bool = False) -> str:
    """A shell command whose program says "up" and its id, and answers each such signal, at the first with its end.

    The signal is blocked and waited for: a handler could be called just before the program goes to sleep.
    """
    return python(f"""
import os, signal
signals = {{signal.{name}}}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
os.write(1, b"up\\npid %d\\n" % os.getpid())
again = True
while again:
    signal.sigwait(signals)
    os.write(1, b"{answer}\\n")
    again = {stays}
""")


@dataclass
class Recorder:
    """A sink that keeps everything; `finished` has each `failed` it was finished with."""

    data: bytearray = field(default_factory=bytearray)
    finished: list[bool] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def text(self) -> str:
        return self.data.decode(errors="replace")

    def feed(self, data: bytes, /) -> None:
        self.data.extend(data)
        self._news.set()

    def finish(self, failed: bool = False) -> None:
        self.finished.append(failed)

    def pids(self) -> list[int]:
        """The ids that children have printed as `pid 123`."""
        return [int(line.split()[1]) for line in self.text.splitlines() if line.startswith("pid ")]

    async def until(self, text: str, times: int = 1) -> None:
        """Wait until this has been printed so many times."""
        while self.text.count(text) < times:
            self._news.clear()
            await self._news.wait()


@dataclass
class Stage:
    """A forest, a folder and what the forest told."""

    folder: Path
    told: list[str] = field(default_factory=list)
    forest: Forest = field(init=False)

    def __post_init__(self) -> None:
        self.forest = Forest(self.told.append)

    def spec(self, command: Command, **changes: Any) -> Spec:
        """A command in the stage's folder, with a plain environment."""
        env = {"PATH": os.environ["PATH"], "PROCWATCH_NAME": "build.test"}
        return replace(Spec(command, ("/bin/sh", "-c"), self.folder, env), **changes)

    def start(self, command: Command, **changes: Any) -> tuple[Process, Recorder]:
        """Start a command and record what it prints."""
        sink = Recorder()
        return start(self.spec(command, **changes), sink.feed, self.forest), sink


def play(folder: Path, scene: Callable[[Stage], Awaitable[T]]) -> T:
    """Run a scene with real processes under the deadline."""

    async def within_deadline() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await scene(Stage(folder))

    return asyncio.run(within_deadline())


def nothing_left() -> Iterator[None]:
    """The body of a fixture that every scene needs: adopts orphans, and fails a test that leaves a process behind."""
    census.become_subreaper()
    yield
    # Orphans of other tests are not ours to adopt (prctl(2): PR_SET_CHILD_SUBREAPER off).
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)
    left = [f"{pid} ({census.command_name(pid)})" for pid in descendants(os.getpid())]
    for entry in left:
        os.kill(int(entry.split()[0]), 9)
    assert left == [], "the test left processes behind"


def descendants(root: int) -> list[int]:
    """The live processes below this one, zombies left out."""
    seen = asyncio.run(census.scan())
    found = {root}
    while more := {one.pid for one in seen.values() if one.parent in found and one.pid not in found}:
        found |= more
    return sorted(pid for pid in found - {root} if not seen[pid].zombie)


def alive(pid: int) -> bool:
    """Whether this process exists and is no zombie."""
    seen = census.look_up(pid)
    return seen is not None and not seen.zombie


def descriptors() -> int:
    """How many descriptors this process has open."""
    gc.collect()  # those of an earlier test, which nobody holds any more, must not go meanwhile
    return len(list(Path("/proc/self/fd").iterdir()))
