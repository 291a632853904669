"""One tool running in a folder and a session of its own, and its end with all that it has started.

Rule 1: what was started carries a mark in its environment; it is found by that and ended by its id, never by name.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NamedTuple

from benchmarks.peers import SOURCE, Plan, search_path

_MARK = "PROCWATCH_BENCHMARK_SESSION"
# The beginning of every mark that this run of the benchmarks gives.
_RUN = uuid.uuid4().hex
# An outer procwatch; what would colour the output of one tool and not of another; and Python's own switches:
# PYTHONDONTWRITEBYTECODE makes tools in Python compile all their modules at every start, PYTHONUNBUFFERED slows output.
_NOT_PASSED_ON = ("PROCWATCH", "FORCE_COLOR", "NO_COLOR", "CLICOLOR", "PORT", "PYTHON", "CARGO_TARGET_DIR")
# After Ctrl-C; what then still runs is killed.
_GRACE_S = 5.0
# For one command; far more than any takes that works.
CALL_S = 30.0
# For what is killed to be gone; a loaded machine may need a moment.
_KILL_S = 10.0
# Between looks at a session that is ending; it costs no measurement.
_LOOK_S = 0.02
_EMPTY_LOOKS = 2


@dataclass(frozen=True, slots=True)
class Session:
    """A running tool; `began_ns` is when it was started, on the clock that was asked for."""

    process: subprocess.Popen[bytes]
    mark: str
    folder: Path
    began_ns: int

    def processes(self) -> tuple[int, ...]:
        """Every live process that carries the mark."""
        return _marked(self.mark)

    def end(self) -> None:
        """Ctrl-C, grace, then SIGKILL to whatever is left."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_S)
        _kill_all(self._unended)

    def _unended(self) -> set[int]:
        """The tool itself, until it has been waited for, and all that carries the mark."""
        itself = {self.process.pid} if self.process.poll() is None else set()
        return itself.union(self.processes())


@contextmanager
def sweeping() -> Iterator[None]:
    """At the end kill what this run has started and no session has ended: a signal may come in the midst of a start."""
    try:
        yield
    finally:
        _kill_all(lambda: set(_marked(_RUN)))


def prepare(folder: Path, plan: Plan) -> None:
    """Make the plan's files, and the source that is saved."""
    for name, text in {SOURCE: "fn main() {}\n", **plan.files}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is the same for all sessions: the clock of `began_ns`, and where tools in Python keep compiled modules."""

    clock: Callable[[], int]
    bytecode: Path


@contextmanager
def running(
    plan: Plan, folder: Path, around: Surroundings, stdout: int | IO[bytes] = subprocess.DEVNULL
) -> Iterator[Session]:
    """Start the tool in `folder`, made ready before; nothing of it is left at the end."""
    prepare(folder, plan)
    mark = f"{_RUN}-{uuid.uuid4().hex}"
    program = shutil.which(plan.command[0], path=search_path()) or plan.command[0]
    env = environment({_MARK: mark, "PYTHONPYCACHEPREFIX": str(around.bytecode)})
    # Errors are kept in the folder: the first thing to look at when a tool does nothing.
    with _input(folder, plan) as stdin, (folder / "stderr").open("wb") as errors, _heard_signals():
        began_ns = around.clock()
        process = subprocess.Popen(
            (program, *plan.command[1:]), cwd=folder, env=env, stdin=stdin, stdout=stdout, stderr=errors,
            start_new_session=True,
        )  # fmt: skip
    session = Session(process, mark, folder, began_ns)
    try:
        yield session
    finally:
        session.end()


class Call(NamedTuple):
    """How a command has ended."""

    status: int
    took_ms: float


def call(
    words: Sequence[str], folder: Path, around: Surroundings, more: Mapping[str, str], limit_s: float = CALL_S
) -> Call:
    """Run a command to its end, and keep what it prints in `folder`. One that takes too long is killed: -9."""
    program = shutil.which(words[0], path=search_path()) or words[0]
    env = environment({_MARK: f"{_RUN}-call", "PYTHONPYCACHEPREFIX": str(around.bytecode), **more})
    with (folder / "answer").open("wb") as answer:
        began_ns = time.monotonic_ns()
        process = subprocess.Popen(
            (program, *words[1:]), cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=answer, stderr=answer
        )
        try:
            _wait_for(process, limit_s)
            took_ms = (time.monotonic_ns() - began_ns) / 1e6
        finally:
            process.kill()
    return Call(process.wait(), took_ms)


def _wait_for(process: subprocess.Popen[bytes], limit_s: float) -> None:
    """Until it ends, at most so long. Popen's own wait with a limit looks only every 50 ms."""
    ended = os.pidfd_open(process.pid)
    try:
        select.select((ended,), (), (), limit_s)
    finally:
        os.close(ended)


@contextmanager
def _heard_signals() -> Iterator[None]:
    """Let what is started meanwhile hear Ctrl-C and a hang-up, although this program may have been told to ignore them.

    A shell makes its background jobs ignore SIGINT, nohup SIGHUP; all programs below inherit that, and many never end.
    """
    ignored = [number for number in (signal.SIGINT, signal.SIGHUP) if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, lambda *_: None)  # a handler is not inherited, "ignore" is
    try:
        yield
    finally:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)


def _input(folder: Path, plan: Plan) -> IO[bytes]:
    if not plan.stdin:
        return Path(os.devnull).open("rb")
    (folder / "stdin").write_text(plan.stdin)
    return (folder / "stdin").open("rb")


def environment(more: Mapping[str, str]) -> dict[str, str]:
    """This environment without what would change a tool's ways."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_NOT_PASSED_ON)}
    return {**kept, "PATH": search_path(), **more}


def _marked(mark: str) -> tuple[int, ...]:
    """Every live process whose mark begins so."""
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return tuple(int(entry.name) for entry in entries if _is_marked(entry, f"{_MARK}={mark}".encode()))


def _is_marked(entry: Path, begin: bytes) -> bool:
    try:
        if not any(one.startswith(begin) for one in (entry / "environ").read_bytes().split(b"\0")):
            return False
        return (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False  # it has ended, or is another user's


def _kill_all(find: Callable[[], set[int]]) -> None:
    """Kill in rounds: each finds what was started during the one before.

    Two looks in a row must find nothing: in the midst of exec(2) a process shows no environment.
    """
    end_s, looks = time.monotonic() + _KILL_S, 0
    while looks < _EMPTY_LOOKS:
        left = find()
        if left and time.monotonic() > end_s:
            raise RuntimeError(f"processes that cannot be ended: {left}")
        for pid in left:
            _kill(pid)
        looks = 0 if left else looks + 1
        time.sleep(_LOOK_S)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # it was faster
