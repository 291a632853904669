"""Subject "throughput": processes print many lines; how long until all of them have come out of the tool.

Rule 1: a time counts only if every line has come, once and in order for each process; the remark tells of other runs.
Rule 2: while it is measured nothing is looked for: it is kept when how many bytes had come, and where the last line is
        is found afterwards.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks import idle
from benchmarks.beacon import Ear, Mark
from benchmarks.figures import Result, Row, number
from benchmarks.peers import Peer, Plan
from benchmarks.session import Session
from benchmarks.settings import Bench

_TAG = "talker"
_MANY = 8
_START_S = 30.0
# No byte for so long although a process that prints is still there: no more will come.
_STALLED_S = 8.0
# No byte for so long, and all that printed have ended: all has come.
_QUIET_S = 0.5
# Between looks at a growing file: far below the times that are measured.
_LOOK_S = 0.005
# A tool that takes this long for one run is not asked again: noise does not matter there.
_SLOW_S = 10.0
_RUNS = 3
_READ_BYTES = 1 << 20
# The end of beacon's line: its number and 50 times x.
_LINE = re.compile(rb"L(\d{11}) x{50}$", re.MULTILINE)
MEMORY = "memory of 8 at once, MiB"


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds from the first start to the last line (none came: None), what was wrong with the lines, peak memory."""

    took_s: float | None
    fault: str
    memory_mib: float | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """So many processes at once, to a pipe or else to a file."""

    talkers: int
    is_pipe: bool


_CASES = {
    "to a file, s": _Case(1, is_pipe=False),
    "to a pipe, s": _Case(1, is_pipe=True),
    "8 at once to a file, s": _Case(_MANY, is_pipe=False),
    "8 at once to a pipe, s": _Case(_MANY, is_pipe=True),
}


def measure(bench: Bench) -> Result:
    """In turns, to a file and to a pipe."""
    peers = [peer for peer in bench.peers if peer.run]
    outcomes: dict[str, dict[str, list[Outcome]]] = {peer.name: {column: [] for column in _CASES} for peer in peers}
    with Ear(bench.beacon.fifo) as ear:
        for turn in range(min(_RUNS, bench.settings.repeats)):
            for index, (column, case) in enumerate(_CASES.items()):
                for peer in peers:
                    so_far = outcomes[peer.name][column]
                    if not any((outcome.took_s or 0.0) > _SLOW_S for outcome in so_far):
                        place = bench.place(f"throughput/{peer.name}-{index}-{turn}")
                        so_far.append(_run(peer, case, place, bench, ear))
                        shutil.rmtree(place)  # what has been printed would wait for the disk, and so would others
    rows = tuple(throughput_row(name, by_column, bench.settings.lines) for name, by_column in outcomes.items())
    how = (
        f"One process, or 8 at once, print {bench.settings.lines:,} lines of 64 bytes in all and end; "
        "from the first start; the tools take turns"
    )
    return Result("throughput", how, (*_CASES, MEMORY), rows)


def throughput_row(tool: str, by_sink: Mapping[str, list[Outcome]], lines: int) -> Row:
    """A tool's times by sink, the best speed among them, and whether lines were lost."""
    values = {
        sink: tuple(one.took_s for one in found if one.took_s is not None and not one.fault)
        for sink, found in by_sink.items()
    }
    values[MEMORY] = tuple(one.memory_mib for found in by_sink.values() for one in found if one.memory_mib is not None)
    best_s = min((took_s for sink in by_sink for took_s in values[sink]), default=None)
    speed = f"{number(lines / best_s / 1e6)} M lines/s at best; " if best_s else ""
    return Row(tool, values, speed + verdict([one.fault for found in by_sink.values() for one in found]))


def verdict(faults: list[str]) -> str:
    """One remark on all runs of a tool."""
    bad = [fault for fault in faults if fault]
    return f"{len(bad)} of {len(faults)} runs: {', '.join(sorted(set(bad)))}" if bad else "all there, in order"


def _run(peer: Peer, case: _Case, folder: Path, bench: Bench, ear: Ear) -> Outcome:
    """One run of one tool."""
    assert peer.run is not None
    each = bench.settings.lines // case.talkers
    firsts = [talker * each for talker in range(case.talkers)]
    plan = peer.run({f"t{index}": bench.beacon.lines(_TAG, each, first) for index, first in enumerate(firsts)})
    follow = _through_pipe if case.is_pipe else _through_file
    seen = follow(plan, folder, bench, ear, case.talkers)
    output = (folder / "output").read_bytes()
    lines = [(int(found[1]), found.end()) for found in _LINE.finditer(output)]
    fault = fault_in([line for line, _ in lines], each, case.talkers) or _log_fault(folder, each, case.talkers)
    memory_mib = seen.memory_mib if case.talkers > 1 else None
    if not lines or not seen.marks:
        return Outcome(None, fault, memory_mib)
    ended_ns = next(at_ns for at_ns, size in seen.sizes if size >= lines[-1][1])
    return Outcome((ended_ns - min(mark.at_ns for mark in seen.marks)) / 1e9, fault, memory_mib)


@dataclass(slots=True)
class _Seen:
    """What was seen of a run: when how many bytes had come, who printed, and the tool's memory at its peak."""

    sizes: list[tuple[int, int]]
    marks: tuple[Mark, ...] = ()
    memory_mib: float | None = None

    def is_over(self, session: Session, ear: Ear, talkers: int, silent_s: float) -> bool:
        """After a silence: whether all has come, or no more will."""
        self.marks += ear.wait(_TAG, 0.0, talkers - len(self.marks))
        gone = len(self.marks) == talkers and not any(_is_alive(mark.pid) for mark in self.marks)
        if not gone and session.process.poll() is None and silent_s < (_STALLED_S if self.marks else _START_S):
            return False
        self.memory_mib = _peak_mib(session, {mark.pid for mark in self.marks})
        return True


def _through_file(plan: Plan, folder: Path, bench: Bench, ear: Ear, talkers: int) -> _Seen:
    seen = _Seen([(0, 0)])
    with (folder / "output").open("wb") as file, bench.run(plan, folder, file) as session:
        grown_s = time.monotonic()
        while (silent_s := time.monotonic() - grown_s) < _QUIET_S or not seen.is_over(session, ear, talkers, silent_s):
            size = os.fstat(file.fileno()).st_size
            if size != seen.sizes[-1][1]:
                seen.sizes.append((bench.beacon.clock(), size))
                grown_s = time.monotonic()
            time.sleep(_LOOK_S)
    seen.sizes.append((bench.beacon.clock(), (folder / "output").stat().st_size))
    return seen


def _through_pipe(plan: Plan, folder: Path, bench: Bench, ear: Ear, talkers: int) -> _Seen:
    seen, parts = _Seen([(0, 0)]), []
    read, write = os.pipe()
    try:
        with os.fdopen(write, "wb") as file, bench.run(plan, folder, file) as session:
            file.close()  # the tool alone holds the writing end: its end is the end of the file
            since_s = time.monotonic()
            while True:
                if not select.select((read,), (), (), _QUIET_S)[0]:
                    if seen.is_over(session, ear, talkers, time.monotonic() - since_s):
                        break
                    continue
                parts.append(os.read(read, _READ_BYTES))
                since_s = time.monotonic()
                seen.sizes.append((bench.beacon.clock(), seen.sizes[-1][1] + len(parts[-1])))
                if not parts[-1]:
                    seen.is_over(session, ear, talkers, 0.0)
                    break
    finally:
        os.close(read)
    (folder / "output").write_bytes(b"".join(parts))
    return seen


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def _peak_mib(session: Session, talkers: set[int]) -> float | None:
    """PSS of the tool's own processes now, and by how much the RSS of each has been more: about the peak of the PSS."""
    own = tuple(pid for pid in session.processes() if pid not in talkers)
    try:
        more = idle.field_kib(own, "status", "VmHWM") - idle.field_kib(own, "status", "VmRSS")
        return (idle.field_kib(own, "smaps_rollup", "Pss") + more) / 1024 if own else None
    except (OSError, ValueError):
        return None  # one of them has just ended


def fault_in(numbers: list[int], each: int, talkers: int = 1) -> str:
    """What is wrong with the numbers of the lines that came; "" where each talker's are there, once and in order."""
    lines = each * talkers
    lost = lines - len(set(numbers))
    if lost:
        return f"{lost:,} of {lines:,} lines lost"
    following = [talker * each for talker in range(talkers)]
    for line in numbers:
        talker = line // each
        if talker >= talkers or following[talker] != line:
            return "all lines there, but not each once and in order"
        following[talker] += 1
    return ""


def _log_fault(folder: Path, each: int, talkers: int) -> str:
    """The same of procwatch's log files, where they are large enough for all: those of many, not of one."""
    logs = folder / ".procwatch" / "logs"
    if talkers == 1 or not logs.is_dir():
        return ""
    numbers: list[int] = []
    for name in sorted(path.name for path in logs.glob("*.log")):
        for path in sorted(logs.glob(f"{name}*"), reverse=True):
            numbers += [int(line) for line in _LINE.findall(path.read_bytes())]
    fault = fault_in(numbers, each, talkers)
    return f"in the log files {fault}" if fault else ""
