"""Subject "saves": from a save until the build starts, and until the new service has started.

Rule 1: all tools run the whole time and are saved to in turn (ABAB...), so that noise meets all of them alike.
"""

from __future__ import annotations

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.beacon import Ear
from benchmarks.figures import Result, Row
from benchmarks.peers import SOURCE, Peer
from benchmarks.settings import Bench

BUILD, SERVICE = "save -> build starts, ms", "save -> new service has started, ms"
HOW = "Every tool runs in a folder of its own all the time; saves go to one tool after the other, in turns"
# For the first start; a cold npm takes seconds.
_START_S = 30.0
# modd's back-off goes beyond eight seconds; what takes longer than this is counted as missed.
_MISSED_S = 15.0
# A tool that has missed so many saves one after the other has gone deaf: the others' turns go on without it.
_DEAF_AFTER = 3
# After a tool's new service has started and before the next tool's turn: its own afterwork (readiness, log lines).
_AFTERWORK_S = 0.25
# From a tool's last start until it is saved to again; only waited for if the others' turns have not taken as long.
_SETTLE_S = 1.0
# Added at random to each pause, so that no tool's own rhythm meets that of the saves.
_JITTER_S = 0.1


@dataclass(slots=True)
class _Track:
    """One tool on its way through the saves; times in milliseconds."""

    peer: Peer
    source: Path
    builds: list[float] = field(default_factory=list)
    services: list[float] = field(default_factory=list)
    missed: int = 0
    missed_in_a_row: int = 0
    extra: int = 0
    free_at_s: float = 0.0

    def forget(self) -> None:
        """Start counting anew."""
        self.builds, self.services, self.missed, self.extra = [], [], 0, 0

    @property
    def is_deaf(self) -> bool:
        return self.missed_in_a_row >= _DEAF_AFTER

    @property
    def tags(self) -> tuple[str, str]:
        return f"{self.peer.name}.build", f"{self.peer.name}.service"


def measure(bench: Bench) -> Result:
    """Start all, save in turns, end all."""
    rows: list[Row] = []
    with Ear(bench.beacon.fifo) as ear, ExitStack() as stack:
        tracks: list[_Track] = []
        for peer in (peer for peer in bench.peers if peer.watch):
            track = _Track(peer, bench.place(f"saves/{peer.name}") / SOURCE)
            if _start(track, bench, ear, stack):
                tracks.append(track)
            else:
                rows.append(Row(peer.name, note=f"does not start within {_START_S:g} s"))
        chance = random.Random(3)
        for number in range(1 + bench.settings.saves):
            for track in (track for track in tracks if not track.is_deaf):
                time.sleep(max(_AFTERWORK_S, track.free_at_s - time.monotonic()) + chance.uniform(0, _JITTER_S))
                _save(track, number, bench, ear)
                if number == 0:
                    track.forget()  # a tool's first turn loads what the others find loaded
        rows = [_row(track, bench.settings.saves) for track in tracks] + rows
    return Result("saves", HOW, (BUILD, SERVICE), tuple(rows))


def _start(track: _Track, bench: Bench, ear: Ear, stack: ExitStack) -> bool:
    """Start the tool and wait for its first service."""
    assert track.peer.watch is not None
    build, service = track.tags
    plan = track.peer.watch(bench.beacon.stamp(build), bench.beacon.stay(service))
    stack.enter_context(bench.run(plan, track.source.parent.parent))
    started = bool(ear.wait(service, _START_S))
    ear.drop(build)
    track.free_at_s = time.monotonic() + _SETTLE_S
    return started


def _save(track: _Track, number: int, bench: Bench, ear: Ear) -> None:
    """One save: write the file, wait for both marks."""
    build, service = track.tags
    # What came since the last turn: starts that no save has asked for.
    track.extra += ear.drop(service) + ear.drop(build)
    saved_ns = bench.beacon.clock()
    track.source.write_text(f"fn main() {{ {number} }}\n")
    built = ear.wait(build, _MISSED_S)
    served = ear.wait(service, _MISSED_S) if built else ()
    track.free_at_s = time.monotonic() + _SETTLE_S
    if not built or not served:
        track.missed += 1
        track.missed_in_a_row += 1
        return
    track.missed_in_a_row = 0
    track.builds.append((built[0].at_ns - saved_ns) / 1e6)
    track.services.append((served[0].at_ns - saved_ns) / 1e6)


def _row(track: _Track, saves: int) -> Row:
    notes = [f"{track.missed} of {saves} saves without a start in {_MISSED_S:g} s"] if track.missed else []
    notes += [f"not asked again after {_DEAF_AFTER} in a row"] if track.is_deaf else []
    notes += [f"{track.extra} starts too many"] if track.extra else []
    return Row(track.peer.name, {BUILD: tuple(track.builds), SERVICE: tuple(track.services)}, ", ".join(notes))
