"""Subject "control": how long a command takes that asks a running tool, while builds run.

Rule 1: all tools run the whole time, each with the same services and the same builds, and are asked in turn.
Rule 2: what is measured is what a user or a script waits for: from the start of the command's process to its end.
Rule 3: a time counts only if the command has ended with 0 and told what it was asked for.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.beacon import Ear
from benchmarks.figures import REFERENCE, Result, Row
from benchmarks.peers import PAUSE_S, SOURCE, Peer, Plan
from benchmarks.settings import Bench
from procwatch.control.client import connect

HOW = (
    "Ten services, and a build of some 50 ms that prints {lines:,} lines, again and again. From the start of the "
    "command to its end (over one connection: from the request to the answer), in turns: {calls:,} times `status`, "
    "{few} times the others"
)
STATUS, LOGS, WHY = "status, ms", "logs -n 10, ms", "why s0, ms"
RESTART, TAB = "restart --no-wait s0, ms", "tab key, ms"
OVER_ONE_CONNECTION, FLOOR = f"{REFERENCE}, over one connection", "python -c pass"
_NAMES = tuple(f"s{number}" for number in range(10))
_TAG = "control"
_START_S = 60.0
_AGAIN_S = 0.1
_LINES = 1000
# Of a shell's loop; with what stands around it some 50 ms.
_ROUNDS = 50_000
# As often as the others build, with the time of a build in it: a save during one would stop it.
_SAVE_EVERY_S = PAUSE_S + 0.08
_FEW = 20
# What the script of `procwatch completion bash` runs.
_COMPLETION = {"_PROCWATCH_COMPLETE": "bash_complete", "COMP_WORDS": f"{REFERENCE} restart s", "COMP_CWORD": "2"}

# Asks once; milliseconds, or None if there was no right answer.
_Question = Callable[[], float | None]


@dataclass(slots=True)
class _Rows:
    """The times of each row and column, what has failed, and how many builds there were during `status`."""

    times: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    builds: Counter[str] = field(default_factory=Counter)

    def ask(self, column: str, questions: Mapping[str, _Question], turns: int, ear: Ear) -> None:
        """Ask in turns; the first one counts for nothing."""
        for turn in range(1 + turns):
            for name, question in questions.items():
                took_ms = question()
                if turn and took_ms is None:
                    self.failed[name] += 1
                elif turn and took_ms is not None:
                    self.times.setdefault(name, {}).setdefault(column, []).append(took_ms)
                builds = ear.drop(_tag(name))  # each time: a full FIFO would hold the builds
                self.builds[name] += builds if column == STATUS else 0

    def row(self, name: str) -> Row:
        """As it is shown."""
        notes = [f"{self.builds[name]:,} builds meanwhile"] if self.builds[name] else []
        notes += [f"{self.failed[name]:,} calls without an answer"] if self.failed[name] else []
        times = self.times.get(name, {})
        return Row(name, {column: tuple(values) for column, values in times.items()}, ", ".join(notes))


def measure(bench: Bench) -> Result:
    """Start all, ask in turns, end all."""
    rows, calls, few = _Rows(), bench.settings.calls, min(_FEW, bench.settings.calls)
    found: dict[str, _Question] = {}
    silent: list[Row] = []
    with Ear(bench.beacon.fifo) as ear, ExitStack() as stack:
        for peer in (peer for peer in bench.peers if peer.control):
            question = _start(peer, bench, ear, stack)
            if question is None:
                silent.append(Row(peer.name, note=f"no answer within {_START_S:g} s"))
            else:
                found[peer.name] = question
        floor = _command((sys.executable, "-c", "pass"), bench.place("control/floor"), bench)
        own = bench.folder / "control" / REFERENCE
        if REFERENCE in found:
            found = {REFERENCE: found[REFERENCE], OVER_ONE_CONNECTION: _over_one_connection(own, stack), **found}
            _save_again_and_again(own / SOURCE, bench, stack)
        rows.ask(STATUS, {**found, FLOOR: floor}, calls, ear)
        if REFERENCE in found:
            for column, question in _others(own, bench).items():
                rows.ask(column, {REFERENCE: question, FLOOR: floor}, few, ear)
    how = HOW.format(lines=_LINES, calls=calls, few=few)
    shown = tuple(rows.row(name) for name in [*found, FLOOR])
    return Result("control", how, (STATUS, LOGS, WHY, RESTART, TAB), (*shown, *silent), percent=99)


def _tag(name: str) -> str:
    return f"{_TAG}.{name}"


def _start(peer: Peer, bench: Bench, ear: Ear, stack: ExitStack) -> _Question | None:
    """Start the tool; how it is asked, as soon as it has the right answer."""
    assert peer.control is not None
    services = {name: bench.beacon.stay(_TAG) for name in _NAMES}
    spin = f"i=0; while [ $i -lt {_ROUNDS} ]; do i=$((i + 1)); done"
    asked = peer.control(services, f"{bench.beacon.lines(_tag(peer.name), _LINES)}; {spin}")
    folder = bench.place(f"control/{peer.name}")
    stack.enter_context(bench.run(asked.plan, folder))
    ear.wait(_TAG, _START_S, len(_NAMES))
    question = _command(asked.status, folder, bench, _NAMES)
    end_s = time.monotonic() + _START_S
    while question() is None:
        if time.monotonic() > end_s:
            return None
        time.sleep(_AGAIN_S)
    return question


def _command(
    words: tuple[str, ...], folder: Path, bench: Bench, told: tuple[str, ...] = (), env: Mapping[str, str] | None = None
) -> _Question:
    """A command that is to end with 0 and to print all of `told`."""

    def ask() -> float | None:
        status, took_ms = bench.call(words, folder, env or {})
        answer = (folder / "answer").read_text(errors="replace")
        return took_ms if status == 0 and all(one in answer for one in told) else None

    return ask


def _over_one_connection(folder: Path, stack: ExitStack) -> _Question:
    """The request of `status` alone, without the start of a process."""
    client = stack.enter_context(connect(folder))

    def ask() -> float | None:
        began_ns = time.monotonic_ns()
        answer = client.call("status", {})
        took_ms = (time.monotonic_ns() - began_ns) / 1e6
        return took_ms if len(answer["units"]) == len(_NAMES) + 1 else None

    return ask


def _save_again_and_again(source: Path, bench: Bench, stack: ExitStack) -> None:
    """Until the end."""
    loop = f"n=0; while :; do n=$((n + 1)); echo $n > {shlex.quote(str(source))}; sleep {_SAVE_EVERY_S}; done"
    stack.enter_context(bench.run(Plan(("sh", "-c", loop)), bench.place("control/saves")))


def _others(folder: Path, bench: Bench) -> dict[str, _Question]:
    """The other commands, by column."""
    return {
        LOGS: _command((REFERENCE, "logs", "-n", "10"), folder, bench, ("app",)),
        WHY: _command((REFERENCE, "why", "s0"), folder, bench, ("service.s0",)),
        RESTART: _command((REFERENCE, "restart", "--no-wait", "s0"), folder, bench, ("service.s0",)),
        TAB: _command((REFERENCE,), folder, bench, _NAMES, _COMPLETION),
    }
