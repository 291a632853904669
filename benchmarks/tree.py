"""Subject "tree": what a large tree of files costs, ignored or not: start, save, memory, and a build that writes.

Rule 1: a tree is made once, and moved into the folder of one tool after the other.
Rule 2: all that the build of a tool does is to tell that it runs: what is measured is the tool's own.
"""

from __future__ import annotations

import json
import shutil
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.beacon import Ear
from benchmarks.figures import Result, Row
from benchmarks.idle import Cost, cost, field_kib
from benchmarks.peers import SOURCE, Peer, Plan
from benchmarks.session import Session
from benchmarks.settings import Bench
from procwatch.control.client import connect
from procwatch.errors import ProcwatchError

WATCHES, BUILDS = "start -> watches, ms", "start -> first build, ms"
SAVE, SERVICE = "save -> build, ms", "save -> new service, ms"
LONGEST, PSS = "longest answer, ms", "PSS, MiB"
IDLE, WAKES, WRITING = "idle, %", "wake-ups a second", "processor of a build's writes, s"
_COLUMNS = (WATCHES, BUILDS, SAVE, SERVICE, LONGEST, PSS, IDLE, WAKES, WRITING)
# The others have no word for it, and no socket to ask.
_REFERENCE = "procwatch"

# 90 of 100 are in a folder that an ignore file names, and that tools with a list of their own leave out too.
_FILES_IN_A_FOLDER = 20
_FOLDERS_IN_A_FOLDER = 20
_IGNORED = "node_modules"
_TEXT = "export const x = 1;\n" * 25
_MANY = 1_000_000

_START_S = 60.0
_SAVES = 5
_SAVE_S = 30.0
# Between a save's build and the next save, and before idling: the look at everything that follows comes in it.
_SETTLE_S = 2.0
_QUICK_SETTLE_S = 0.2
# In a tree of 100,000 files procwatch looks once more at all of them, for a second, and so late that this is 5 %.
_REST_S = 30.0
_ASK_EVERY_S = 0.001


@dataclass(frozen=True, slots=True)
class _Tree:
    """So many files, and how many of a hundred are ignored."""

    files: int
    ignored: int

    @property
    def name(self) -> str:
        return f"{self.files:,} files, {self.ignored} % ignored" if self.files else "no files"


def measure(bench: Bench) -> Result:
    """One tree after the other, and each to one tool after the other."""
    largest = max(bench.settings.files)
    trees = [_Tree(0, 0), _Tree(largest, 90), *(_Tree(files, 0) for files in bench.settings.files)]
    rows: list[Row] = []
    with Ear(bench.beacon.fifo) as ear:
        for tree in trees:
            made = _make(bench.place(f"tree/{tree.files}-{tree.ignored}"), tree)
            for peer in (peer for peer in bench.peers if peer.watch):
                if peer.name == _REFERENCE or tree.files == largest:
                    rows += _of_peer(peer, tree, made, bench, ear)
            shutil.rmtree(made)
    how = (
        "One tool after the other in the same tree, of which it watches all that is not ignored; procwatch first in a "
        f"folder that it does not know, then once more; {_SAVES} saves, idle over {bench.settings.idle_s:g} s, then "
        f"{bench.settings.writes:,} files are written into an ignored folder. A start counts until the first build "
        'runs; "watches": a service that needs nothing runs'
    )
    return Result("tree", how, _COLUMNS, tuple(rows + _estimates(rows, bench)), has_ratios=False)


def _make(place: Path, tree: _Tree) -> Path:
    """The folder that is watched."""
    top = place / "src"
    top.mkdir()
    (place / SOURCE).write_text("fn main() {}\n")
    for index in range(tree.files // _FILES_IN_A_FOLDER):
        above = top / _IGNORED if index % 100 < tree.ignored else top
        folder = above / f"p{index // _FOLDERS_IN_A_FOLDER}" / f"d{index}"
        folder.mkdir(parents=True)
        for file in range(_FILES_IN_A_FOLDER):
            (folder / f"f{file}.rs").write_text(_TEXT)
    return top


def _of_peer(peer: Peer, tree: _Tree, made: Path, bench: Bench, ear: Ear) -> Iterator[Row]:
    place = bench.place(f"tree/{peer.name}-{tree.files}-{tree.ignored}")
    with _moved(made, place / "src"):
        (place / ".gitignore").write_text(f"{_IGNORED}/\n")
        (place / ".git").mkdir()  # tools heed the ignore file of a repository only
        for again in ("", ", again") if peer.name == _REFERENCE else ("",):
            name = f"{peer.name}, {tree.name}{again}"
            try:
                values = _once(peer, place, bench, ear)
                if again and peer.name == _REFERENCE:
                    values = {**values, LONGEST: (_longest_ms(peer, place, bench, ear),)}
            except _NothingCameError as error:
                yield Row(name, note=str(error))
                return
            yield Row(name, values)


@contextmanager
def _moved(made: Path, to: Path) -> Iterator[None]:
    made.rename(to)
    try:
        yield
    finally:
        to.rename(made)


class _NothingCameError(Exception):
    """A tool has not started in time, or not seen a save."""


def _once(peer: Peer, place: Path, bench: Bench, ear: Ear) -> Mapping[str, tuple[float, ...]]:
    values: dict[str, tuple[float, ...]] = {}
    settle_s = _settle_s(bench)
    with _running(peer, place, bench, ear) as session:
        for column, kind in ((BUILDS, "build"), *(((WATCHES, "early"),) if peer.name == _REFERENCE else ())):
            began_ns = _wait(ear, f"{peer.name}.{kind}", _START_S, "start")
            values[column] = ((began_ns - session.began_ns) / 1e6,)
        _wait(ear, f"{peer.name}.service", _START_S, "start")
        values[SAVE], values[SERVICE] = zip(*(_save_ms(peer, place, bench, ear) for _ in range(_SAVES)), strict=True)
        time.sleep(settle_s)
        return {**values, **_costs(session, place, bench, settle_s)}


@contextmanager
def _running(peer: Peer, place: Path, bench: Bench, ear: Ear) -> Iterator[Session]:
    try:
        with bench.run(_plan(peer, bench), place) as session:
            yield session
    finally:
        for kind in ("build", "service", "early"):
            ear.drop(f"{peer.name}.{kind}")


def _settle_s(bench: Bench) -> float:
    return min(_SETTLE_S, max(_QUICK_SETTLE_S, 0.2 * bench.settings.idle_s))


def _save_ms(peer: Peer, place: Path, bench: Bench, ear: Ear) -> tuple[float, float]:
    """Let the tool rest, save, and wait for the build and for the service."""
    time.sleep(_settle_s(bench))
    ear.drop(f"{peer.name}.build")
    ear.drop(f"{peer.name}.service")
    saved_ns = bench.beacon.clock()
    (place / SOURCE).write_text(f"fn main() {{ {saved_ns} }}\n")
    built_ns, served_ns = (_wait(ear, f"{peer.name}.{kind}", _SAVE_S, "save") for kind in ("build", "service"))
    return (built_ns - saved_ns) / 1e6, (served_ns - saved_ns) / 1e6


def _longest_ms(peer: Peer, place: Path, bench: Bench, ear: Ear) -> float:
    """Of all answers from a start until it rests after a save; in a run of its own, for asking takes time."""
    with _running(peer, place, bench, ear), _asking(place) as asking:
        _wait(ear, f"{peer.name}.service", _START_S, "start")
        _save_ms(peer, place, bench, ear)
        time.sleep(_settle_s(bench))
        return asking.end_ms()


def _costs(session: Session, place: Path, bench: Bench, settle_s: float) -> Mapping[str, tuple[float, ...]]:
    """Of the tool's own processes: what its service is does nothing."""
    time.sleep(min(_REST_S, 2 * bench.settings.idle_s))
    own = tuple(pid for pid in session.processes() if not _is_beacon(pid, bench))
    pss = field_kib(own, "smaps_rollup", "Pss") / 1024
    before, idle_s = cost(own), bench.settings.idle_s
    time.sleep(idle_s)
    idle = _since(before, own)
    before = cost(own)
    for index in range(bench.settings.writes // _FILES_IN_A_FOLDER):
        folder = place / "src" / _IGNORED / "made" / str(index)
        folder.mkdir(parents=True)
        for file in range(_FILES_IN_A_FOLDER):
            (folder / f"f{file}.rs").write_text("x")
    time.sleep(settle_s)
    writing = _since(before, own)
    shutil.rmtree(place / "src" / _IGNORED / "made", ignore_errors=True)
    used = {IDLE: idle.busy_ns / idle_s / 1e7, WAKES: idle.wakes / idle_s, WRITING: writing.busy_ns / 1e9}
    return {PSS: (pss,), **{column: (value,) for column, value in used.items()}}


def _since(before: Cost, own: tuple[int, ...]) -> Cost:
    now = cost(own)
    return Cost(now.busy_ns - before.busy_ns, now.wakes - before.wakes)


def _is_beacon(pid: int, bench: Bench) -> bool:
    with suppress(OSError):
        return str(bench.beacon.program).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return True


def _plan(peer: Peer, bench: Bench) -> Plan:
    assert peer.watch is not None
    plan = peer.watch(bench.beacon.stamp(f"{peer.name}.build"), bench.beacon.stay(f"{peer.name}.service"))
    if peer.name != _REFERENCE:
        return plan
    early = f"\n[service.early]\nrun = {json.dumps('exec ' + bench.beacon.stay(f'{peer.name}.early'))}\n"
    return Plan(plan.command, {"watch.toml": plan.files["watch.toml"] + early}, plan.stdin)


def _wait(ear: Ear, tag: str, timeout_s: float, after: str) -> int:
    """When it has told, on the beacon's clock."""
    marks = ear.wait(tag, timeout_s)
    if not marks:
        raise _NothingCameError(f"nothing within {timeout_s:g} s of a {after}")
    return marks[0].at_ns


# --- how long the loop stands still ----------------------------------------------------------------------------------


class _Asking:
    """Asks procwatch how everything stands, over and over, from when it can be asked; keeps the longest answer."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._longest_s = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def end_ms(self) -> float:
        """Ask no more; the longest that an answer has taken."""
        self._is_over.set()
        self._thread.join()
        return self._longest_s * 1e3

    def _run(self) -> None:
        while not self._is_over.is_set():
            with suppress(ProcwatchError), connect(self._place) as client:
                while not self._is_over.wait(_ASK_EVERY_S):
                    began_s = time.perf_counter()
                    client.call("status", {})
                    self._longest_s = max(self._longest_s, time.perf_counter() - began_s)
            self._is_over.wait(_ASK_EVERY_S)


@contextmanager
def _asking(place: Path) -> Iterator[_Asking]:
    asking = _Asking(place)
    try:
        yield asking
    finally:
        asking.end_ms()


# --- more files than anybody has -------------------------------------------------------------------------------------


def _estimates(rows: list[Row], bench: Bench) -> list[Row]:
    """What a million files would cost by the slope of those that have been measured."""
    fewest, most = min(bench.settings.files), max(bench.settings.files)
    found = {row.tool: row for row in rows}
    made: list[Row] = []
    for peer in bench.peers:
        ends = [found.get(f"{peer.name}, {_Tree(files, 0).name}") for files in (fewest, most)]
        if fewest == most or not all(end and end.values for end in ends):
            continue
        low, high = (end.values for end in ends if end)
        values = {
            column: (_at_many(statistics.median(low[column]), statistics.median(high[column]), fewest, most),)
            for column in (WATCHES, BUILDS, SAVE, SERVICE, PSS)
            if column in low and column in high
        }
        note = f"by the slope from {fewest:,} to {most:,}"
        made.append(Row(f"{peer.name}, {_MANY:,} files (estimate)", values, note))
    return made


def _at_many(low: float, high: float, fewest: int, most: int) -> float:
    return high + (high - low) / (most - fewest) * (_MANY - most)
