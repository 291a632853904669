"""Subject "throughput": one process prints many lines; how long until all of them have come out of the tool.

Rule 1: a time counts only if every line has come, once and in order; the remark tells of the other runs.
"""

from __future__ import annotations

import os
import re
import select
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.beacon import Ear, Mark
from benchmarks.figures import Result, Row, number
from benchmarks.peers import Peer, Plan
from benchmarks.session import Session
from benchmarks.settings import Bench

_TAG = "talker"
_START_S = 30.0
# No byte for so long: no more will come.
_STALLED_S = 8.0
# Between looks at a growing file: far below the times that are measured.
_LOOK_S = 0.005
# A tool that takes this long for one run is not asked again: noise does not matter there.
_SLOW_S = 10.0
_RUNS = 3
_READ_BYTES = 1 << 20
# The end of beacon's line: its number and 50 times x.
_LINE = re.compile(rb"L(\d{11}) x{50}$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Seconds from the talker's start to its last line (none came: None), and what was wrong with the lines."""

    took_s: float | None
    fault: str


def measure(bench: Bench) -> Result:
    """In turns, to a file and to a pipe."""
    peers = [peer for peer in bench.peers if peer.run]
    outcomes: dict[str, dict[str, list[Outcome]]] = {peer.name: {sink: [] for sink in _SINKS} for peer in peers}
    with Ear(bench.beacon.fifo) as ear:
        for turn in range(min(_RUNS, bench.settings.repeats)):
            for sink, run in _SINKS.items():
                for peer in peers:
                    so_far = outcomes[peer.name][sink]
                    if not any((outcome.took_s or 0.0) > _SLOW_S for outcome in so_far):
                        so_far.append(
                            run(peer, bench.place(f"throughput/{peer.name}-{run.__name__}-{turn}"), bench, ear)
                        )
    rows = tuple(throughput_row(name, by_sink, bench.settings.lines) for name, by_sink in outcomes.items())
    how = (
        f"One process prints {bench.settings.lines:,} lines of 64 bytes and ends; from its start; the tools take turns"
    )
    return Result("throughput", how, tuple(_SINKS), rows)


def throughput_row(tool: str, by_sink: Mapping[str, list[Outcome]], lines: int) -> Row:
    """A tool's times by sink, the best speed among them, and whether lines were lost."""
    values = {
        sink: tuple(one.took_s for one in found if one.took_s is not None and not one.fault)
        for sink, found in by_sink.items()
    }
    best_s = min((took_s for found in values.values() for took_s in found), default=None)
    speed = f"{number(lines / best_s / 1e6)} M lines/s at best; " if best_s else ""
    return Row(tool, values, speed + verdict([one.fault for found in by_sink.values() for one in found]))


def verdict(faults: list[str]) -> str:
    """One remark on all runs of a tool."""
    bad = [fault for fault in faults if fault]
    return f"{len(bad)} of {len(faults)} runs: {', '.join(sorted(set(bad)))}" if bad else "all there, in order"


def _talk(peer: Peer, bench: Bench) -> Plan:
    assert peer.run is not None
    return peer.run({"talker": bench.beacon.lines(_TAG, bench.settings.lines)})


def _to_file(peer: Peer, folder: Path, bench: Bench, ear: Ear) -> Outcome:
    target = folder / "output"
    with target.open("wb") as file, bench.run(_talk(peer, bench), folder, file) as session:
        marks = ear.wait(_TAG, _START_S)
        ended_ns = _until_written(session, target, _last_line(bench), bench.beacon.clock)
    return _judge(target.read_bytes(), bench.settings.lines, marks, ended_ns)


def _until_written(session: Session, target: Path, last: bytes, clock: Callable[[], int]) -> int:
    """When the file has the last line, the tool has ended or no more comes; the time of the last growth."""
    size, grown_ns, since_s = 0, clock(), time.monotonic()
    while True:
        over = session.process.poll() is not None
        if (now := target.stat().st_size) != size:
            size, grown_ns, since_s = now, clock(), time.monotonic()
        if over or last in _tail(target) or time.monotonic() - since_s > _STALLED_S:
            return grown_ns
        time.sleep(_LOOK_S)


def _tail(target: Path) -> bytes:
    with target.open("rb") as file:
        file.seek(max(0, target.stat().st_size - 4096))
        return file.read()


def _to_pipe(peer: Peer, folder: Path, bench: Bench, ear: Ear) -> Outcome:
    read, write = os.pipe()
    try:
        with os.fdopen(write, "wb") as file, bench.run(_talk(peer, bench), folder, file):
            file.close()  # the tool alone holds the writing end: its end is the end of the file
            output, ended_ns = _drain(read, _last_line(bench), bench.beacon.clock)
            marks = ear.wait(_TAG, 0.0)
    finally:
        os.close(read)
    return _judge(output, bench.settings.lines, marks, ended_ns)


def _drain(read: int, last: bytes, clock: Callable[[], int]) -> tuple[bytes, int]:
    """All that comes until the last line, the end of the file or silence; and when the last of it came."""
    parts: list[bytes] = []
    came_ns = clock()
    while select.select((read,), (), (), _STALLED_S if parts else _START_S)[0] and (part := os.read(read, _READ_BYTES)):
        parts.append(part)
        came_ns = clock()
        if last in b"".join(parts[-2:]):
            break
    return b"".join(parts), came_ns


def _last_line(bench: Bench) -> bytes:
    return b"L%011d %s\n" % (bench.settings.lines - 1, b"x" * 50)


def _judge(output: bytes, lines: int, marks: tuple[Mark, ...], ended_ns: int) -> Outcome:
    numbers = [int(found) for found in _LINE.findall(output)]
    took_s = (ended_ns - marks[0].at_ns) / 1e9 if numbers and marks else None
    return Outcome(took_s, fault_in(numbers, lines))


def fault_in(numbers: list[int], lines: int) -> str:
    """What is wrong with the numbers of the lines that came; "" where they are 0, 1, 2, ..."""
    if numbers == list(range(lines)):
        return ""
    lost = lines - len(set(numbers))
    return f"{lost:,} of {lines:,} lines lost" if lost else "all lines there, but not each once and in order"


# Where the tool's standard output goes, by the column that shows it.
_SINKS = {"to a file, s": _to_file, "to a pipe, s": _to_pipe}
