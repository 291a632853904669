"""Subject "idle": what a tool costs that has ten services and nothing to do.

Rule 1: only the tool's own processes count: all that it has started, without the services themselves.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.beacon import Ear
from benchmarks.figures import Result, Row
from benchmarks.peers import Peer
from benchmarks.session import Session
from benchmarks.settings import Bench

HOW = (
    "Ten services that wait for a signal; one tool after the other, its own processes only "
    "(PSS shares a page among all that map it, RSS counts it in full)"
)
PROCESSES, PSS, RSS, PROCESSOR, WAKES = "processes", "PSS, MiB", "RSS, MiB", "processor, %", "wake-ups a second"
_COLUMNS = (PROCESSES, PSS, RSS, PROCESSOR, WAKES)
_SERVICES = 10
_TAG = "idle"
_DEADLINE_S = 60.0
# What a start leaves to do (probes, collecting garbage) is not idling.
_SETTLE_S = 3.0
_SETTLE_PART = 0.2  # of the time measured, if that is less: for the quick version


@dataclass(frozen=True, slots=True)
class Cost:
    """What processes have used until now."""

    busy_ns: int
    wakes: int


def measure(bench: Bench) -> Result:
    """One tool after the other."""
    with Ear(bench.beacon.fifo) as ear:
        rows = tuple(_idle(peer, bench, ear) for peer in bench.peers if peer.run)
    return Result("idle", f"{HOW}, over {bench.settings.idle_s:g} s", _COLUMNS, rows)


def _idle(peer: Peer, bench: Bench, ear: Ear) -> Row:
    assert peer.run is not None
    services = {f"s{number}": bench.beacon.stay(_TAG) for number in range(_SERVICES)}
    with bench.run(peer.run(services), bench.place(f"idle/{peer.name}")) as session:
        marks = ear.wait(_TAG, _DEADLINE_S, _SERVICES)
        if len(marks) < _SERVICES:
            return Row(peer.name, note=f"only {len(marks)} of {_SERVICES} services within {_DEADLINE_S:g} s")
        time.sleep(min(_SETTLE_S, _SETTLE_PART * bench.settings.idle_s))
        try:
            values = _values(_own(session, {mark.pid for mark in marks}), bench.settings.idle_s)
        except (FileNotFoundError, ProcessLookupError):
            return Row(peer.name, note="one of its processes or threads has ended meanwhile")
        return Row(peer.name, {column: (value,) for column, value in zip(_COLUMNS, values, strict=True)})


def _values(own: tuple[int, ...], idle_s: float) -> tuple[float, ...]:
    before, began_ns = cost(own), time.monotonic_ns()
    time.sleep(idle_s)
    after, took_ns = cost(own), time.monotonic_ns() - began_ns
    return (
        float(len(own)), field_kib(own, "smaps_rollup", "Pss") / 1024, field_kib(own, "smaps_rollup", "Rss") / 1024,
        100 * (after.busy_ns - before.busy_ns) / took_ns, 1e9 * (after.wakes - before.wakes) / took_ns,
    )  # fmt: skip


def _own(session: Session, services: set[int]) -> tuple[int, ...]:
    return tuple(pid for pid in session.processes() if pid not in services)


def cost(pids: tuple[int, ...]) -> Cost:
    """Processor time and voluntary context switches of all threads, as the scheduler counts them.

    utime and stime of /proc/PID/stat are in ticks of 10 ms, which over 15 s is as much as what is measured.
    """
    tasks = [task for pid in pids for task in Path(f"/proc/{pid}/task").iterdir()]
    busy_ns = sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)
    return Cost(busy_ns, sum(_field((task / "status").read_text(), "voluntary_ctxt_switches") for task in tasks))


def field_kib(pids: tuple[int, ...], file: str, name: str) -> int:
    """The sum of a field of /proc/PID/`file` that is in KiB."""
    return sum(_field(Path(f"/proc/{pid}/{file}").read_text(), name) for pid in pids)


def _field(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    if found is None:
        raise ValueError(f"no {name} in {text!r}")
    return int(found[1])
