"""Subject "startup": from the tool's start until the first and the last of N services have started."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from benchmarks.beacon import Ear
from benchmarks.figures import Result, Row
from benchmarks.peers import Peer
from benchmarks.settings import Bench

HOW = (
    "The same Procfile for each (others: the same commands, in the tool's own file or words); the tools take turns. "
    "procwatch is started again in a folder that it knows, and, in a row of its own, in a new one"
)
# Keeps in its folder what makes the next start faster.
_REMEMBERS = "procwatch"
_IN_A_NEW_FOLDER = f"{_REMEMBERS}, in a new folder"
_TAG = "startup"
# For all of the services.
_DEADLINE_S = 60.0


def measure(bench: Bench) -> Result:
    """Every tool, every number of services, so many times, in turns."""
    peers = [peer for peer in bench.peers if peer.run]
    counts = bench.settings.services
    names = [name for peer in peers for name in (peer.name, *([_IN_A_NEW_FOLDER] if peer.name == _REMEMBERS else ()))]
    values: dict[str, dict[str, list[float]]] = {name: {_column(count): [] for count in counts} for name in names}
    notes: dict[str, str] = {}
    with Ear(bench.beacon.fifo) as ear:
        for peer in peers:
            _start(peer, 1, bench.place(f"startup/{peer.name}-warm-up"), bench, ear)  # Python compiles, caches fill
        for turn in range(bench.settings.repeats):
            for count in counts:
                for peer in peers:
                    place = bench.place(f"startup/{peer.name}-{count}-{turn}")
                    for name in (_IN_A_NEW_FOLDER, peer.name) if peer.name == _REMEMBERS else (peer.name,):
                        took_ms = _start(peer, count, place, bench, ear)
                        if took_ms is None:
                            notes[name] = f"not all {count} within {_DEADLINE_S:g} s"
                        else:
                            values[name][_column(count)].append(took_ms)
    rows = (Row(name, _frozen(values[name].items()), notes.get(name, "")) for name in names)
    return Result("startup", HOW, tuple(_column(count) for count in counts), tuple(rows))


def _column(count: int) -> str:
    return "first of 1, ms" if count == 1 else f"all of {count}, ms"


def _frozen(items: Iterable[tuple[str, list[float]]]) -> dict[str, tuple[float, ...]]:
    return {column: tuple(values) for column, values in items}


def _start(peer: Peer, count: int, place: Path, bench: Bench, ear: Ear) -> float | None:
    """Milliseconds from exec to the last service's mark; none if they did not all start."""
    assert peer.run is not None
    services = {f"s{number}": bench.beacon.stay(_TAG) for number in range(count)}
    with bench.run(peer.run(services), place) as session:
        marks = ear.wait(_TAG, _DEADLINE_S, count)
    ear.drop(_TAG)
    return (max(mark.at_ns for mark in marks) - session.began_ns) / 1e6 if len(marks) == count else None
