"""The tiny program that every tool is made to start, and the FIFO through which it says when it ran."""

from __future__ import annotations

import os
import select
import shlex
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

_HERE = Path(__file__).parent
# One read of the FIFO: all that it holds.
_READ_BYTES = 65536
# Compiling takes a tenth of a second.
_COMPILE_S = 60.0


@dataclass(frozen=True, slots=True)
class Mark:
    """One telling: who, as which process, when (on the beacon's clock)."""

    tag: str
    pid: int
    at_ns: int


def parse_marks(text: bytes) -> tuple[Mark, ...]:
    """Whole lines `TAG PID NANOSECONDS` to marks."""
    return tuple(Mark(tag, int(pid), int(at)) for tag, pid, at in (line.split() for line in text.decode().splitlines()))


@dataclass(frozen=True, slots=True)
class Beacon:
    """Shell commands that tell through one FIFO; `clock` is the clock that their times are of."""

    program: Path
    fifo: Path
    clock: Callable[[], int]
    made_with: str

    def stamp(self, tag: str) -> str:
        """Tell and end."""
        return shlex.join((str(self.program), "stamp", str(self.fifo), tag))

    def stay(self, tag: str) -> str:
        """Tell and stay until a signal comes."""
        return shlex.join((str(self.program), "stay", str(self.fifo), tag))

    def lines(self, tag: str, count: int, first: int = 0) -> str:
        """Tell, print lines of 64 bytes with numbers from `first` on, end."""
        return shlex.join((str(self.program), "lines", str(self.fifo), tag, str(count), str(first)))


def make_beacon(folder: Path) -> Beacon:
    """Compile it where there is a C compiler, else take the shell script."""
    program, fifo = folder / "beacon", folder / "fifo"
    os.mkfifo(fifo)
    if compiler := shutil.which("cc"):
        command = (compiler, "-O2", "-o", program, _HERE / "beacon.c")
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=_COMPILE_S)
        return Beacon(program, fifo, time.monotonic_ns, "C")
    shutil.copy(_HERE / "beacon.sh", program)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return Beacon(program, fifo, time.time_ns, "sh")


class Ear:
    """The reading end of the FIFO; marks are kept until they are asked for."""

    def __init__(self, fifo: Path) -> None:
        # Read and write: no end of file when the last writer goes.
        self._file = os.open(fifo, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._heard: list[Mark] = []
        self._rest = b""

    def __enter__(self) -> Ear:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        os.close(self._file)

    def wait(self, tag: str, timeout_s: float, count: int = 1) -> tuple[Mark, ...]:
        """The first `count` marks of `tag`, taken out; fewer if no more came in time, however many others came."""
        end_s = time.monotonic() + timeout_s
        more = True
        while len(found := [mark for mark in self._heard if mark.tag == tag]) < count and more:
            more = self._listen(end_s - time.monotonic()) and time.monotonic() < end_s
        taken = tuple(found[:count])
        self._heard = [mark for mark in self._heard if mark not in taken]
        return taken

    def drop(self, tag: str) -> int:
        """Forget what has come of `tag` by now; how many there were."""
        self._listen(0)
        kept = [mark for mark in self._heard if mark.tag != tag]
        dropped = len(self._heard) - len(kept)
        self._heard = kept
        return dropped

    def _listen(self, timeout_s: float) -> bool:
        """Take in what comes; false if nothing came in time."""
        if not select.select((self._file,), (), (), max(0.0, timeout_s))[0]:
            return False
        whole, _, self._rest = (self._rest + os.read(self._file, _READ_BYTES)).rpartition(b"\n")
        self._heard.extend(parse_marks(whole))
        return True
