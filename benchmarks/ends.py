"""Subject "ends": what a tool leaves running when it is ended by a signal.

Rule 1: many runs of one tool side by side, as each may take its whole grace; one tool and one signal after the other.
Rule 2: only what the services have started is counted, never the tool itself; a tool that hangs is a remark.
"""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from benchmarks.beacon import Ear
from benchmarks.figures import Result, Row
from benchmarks.peers import Peer
from benchmarks.session import Session
from benchmarks.settings import Bench

HOW = (
    "Four services: a plain one, one that ignores the signals, one with a child in a session of its own, one with a "
    "double-forked child. Processes left of these, and of them only, two seconds after the tool has ended (or has not "
    "for {limit_s:g} s); {ends} runs for each signal. SIGINT and SIGHUP go to the tool's process group, as a terminal "
    "sends them, SIGTERM and SIGKILL to the tool alone"
)
_TAG = "ends"
_KIND = "PROCWATCH_BENCHMARK_KIND"
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
_TO_GROUP = frozenset({signal.SIGINT, signal.SIGHUP})
# What each service's script is; {stay} tells that it runs, and stays until a signal ends it.
_SCRIPTS = {
    "plain": "export {kind}=plain; exec {stay}\n",
    "stubborn": "export {kind}=stubborn; trap '' INT TERM HUP QUIT; exec {stay}\n",
    "session": "{kind}=own-session setsid {stay} & exec {stay}\n",
    "daemon": "({kind}=double-forked setsid {stay} &); exec {stay}\n",
}
_MARKS = 6
_START_S = 60.0
# The longest grace of a tool's defaults is ten seconds.
_LIMIT_S = 15.0
_AFTER_S = 2.0
_LOOK_S = 0.05


def measure(bench: Bench) -> Result:
    """One tool after the other, each with every signal."""
    columns = tuple(f"left by {number.name}" for number in _SIGNALS)
    how = HOW.format(limit_s=_LIMIT_S, ends=bench.settings.ends)
    with Ear(bench.beacon.fifo) as ear:
        rows = tuple(_tool(peer, bench, ear) for peer in bench.peers if peer.run)
    return Result("ends", how, columns, rows, has_ratios=False)


def _tool(peer: Peer, bench: Bench, ear: Ear) -> Row:
    values: dict[str, tuple[float, ...]] = {}
    notes: list[str] = []
    for number in _SIGNALS:
        place = bench.place(f"ends/{peer.name}-{number.name}")
        left, note = run_all(peer, number, place, bench, ear)
        values[f"left by {number.name}"] = tuple(float(sum(kinds.values())) for kinds in left)
        notes += [f"{number.name}: {note}"] if note else []
    return Row(peer.name, values, "; ".join(notes))


def run_all(peer: Peer, number: signal.Signals, place: Path, bench: Bench, ear: Ear) -> tuple[list[Counter[str]], str]:
    """Of each run, how many of each kind were left; and in words what there is to say of them all."""
    assert peer.run is not None
    plan = peer.run(_services(place, bench))
    with ExitStack() as stack:
        sessions: list[Session] = []
        for turn in range(bench.settings.ends):
            (folder := place / str(turn)).mkdir()
            sessions.append(stack.enter_context(bench.run(plan, folder)))
        expected = _MARKS * len(sessions)
        if len(marks := ear.wait(_TAG, _START_S, expected)) < expected:
            ear.drop(_TAG)
            return [], f"only {len(marks)} of {expected} processes within {_START_S:g} s"
        for session in sessions:
            (os.killpg if number in _TO_GROUP else os.kill)(session.process.pid, number)
        hanging = _wait(sessions)
        left = [_kinds(session) for session in sessions]
    return left, in_words(left, hanging)


def _services(place: Path, bench: Bench) -> dict[str, str]:
    """The commands of the services, whose scripts are written."""
    stay = bench.beacon.stay(_TAG)
    for name, script in _SCRIPTS.items():
        (place / f"{name}.sh").write_text(script.format(kind=_KIND, stay=stay))
    return {name: f"sh {place}/{name}.sh" for name in _SCRIPTS}


def _wait(sessions: list[Session]) -> int:
    """Until every tool has ended, and then what it left has had its time; how many tools have not ended."""
    end_s = time.monotonic() + _LIMIT_S
    while (running := sum(session.process.poll() is None for session in sessions)) and time.monotonic() < end_s:
        time.sleep(_LOOK_S)
    end_s = time.monotonic() + _AFTER_S
    while any(_kinds(session) for session in sessions) and time.monotonic() < end_s:
        time.sleep(_LOOK_S)
    return running


def _kinds(session: Session) -> Counter[str]:
    """What lives of one run's services, by kind."""
    found = Counter[str]()
    for pid in session.processes():
        with suppress(OSError):  # it has ended meanwhile
            for one in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if one.startswith(f"{_KIND}=".encode()):
                    found[one.decode().partition("=")[2]] += 1
    return found


def in_words(left: Sequence[Counter[str]], hanging: int) -> str:
    """How many runs hang, and which kinds were left; how often, where that was not in every run."""
    words = [f"{_of(hanging, left)} hang".lstrip()] if hanging else []
    runs = Counter(kind for kinds in left for kind in kinds)
    if len(runs) == len(_SCRIPTS) and min(runs.values()) == len(left):
        return ", ".join([*words, "all kinds"])
    return ", ".join([*words, *(f"{_of(count, left)} {kind}".lstrip() for kind, count in sorted(runs.items()))])


def _of(count: int, left: Sequence[Counter[str]]) -> str:
    return "" if count == len(left) else f"{count} of {len(left)}"
