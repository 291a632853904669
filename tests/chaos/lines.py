"""Whether every line that the programs have printed is on the screen: whole, in order, none twice; or counted as lost.

Rule 1: a line begins with `@name:process:number ` and ends with ` .`; only the last one of a killed process may be cut.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from tests.chaos.project import QUIET

_MARK = re.compile(rb"@([a-z_.]+):(\d+):(\d+) ")
# With `-X dev` asyncio tells of each slow step past procwatch's own output, and so also in the midst of a line.
_SLOW = re.compile(rb"Executing <[^\n]*> took \d+\.\d+ seconds\r?\n")
_LOST = re.compile(rb"([\d,]+) lines? not shown")

Source = tuple[str, int]


def printed(root: Path, life: int) -> dict[Source, int]:
    """How many lines each process of a life has surely handed over, by name and process id."""
    found = {}
    for path in (root / f"record/printed/{life}").glob("*"):
        name, _, pid = path.name.rpartition(".")
        found[name, int(pid)] = int(path.read_bytes() or b"0")
    return found


def faults(screen: bytes, expected: Mapping[Source, int], *, complete: bool) -> list[str]:
    """What is wrong with a screen. `complete`: everything had time to come, until the last line."""
    shown, found = _read(_SLOW.sub(b"", screen))
    missing = 0
    for source, numbers in shown.items():
        missing += (numbers[-1] + 1) - len(set(numbers))
        if numbers != sorted(set(numbers)):
            found.append(f"lines of {source} are not in order, or come twice: {_around(numbers)}")
    if complete:
        for source, count in expected.items():
            last = shown[source][-1] + 1 if source in shown else 0
            if source[0] not in QUIET:
                missing += max(0, count - last)
    told = sum(int(one.replace(b",", b"")) for one in _LOST.findall(screen))
    if missing > told:
        gaps = {source: (len(shown.get(source, ())), count) for source, count in expected.items()}
        short = {source: pair for source, pair in gaps.items() if pair[0] < pair[1] and source[0] not in QUIET}
        found.append(f"{missing} lines are missing, {told} are told to be; shown and printed: {short}")
    return found


def _read(screen: bytes) -> tuple[dict[Source, list[int]], list[str]]:
    """The numbers of each source in order, and what is wrong with single lines."""
    shown: dict[Source, list[int]] = defaultdict(list)
    cut: dict[Source, int] = {}
    found = []
    for line in screen.split(b"\n"):
        marks = _MARK.findall(line)
        if len(marks) > 1:
            found.append(f"two lines in one: {line[:300]!r}")
        if not marks:
            continue
        source, number = (marks[0][0].decode(), int(marks[0][1])), int(marks[0][2])
        if source in cut:
            found.append(f"line {cut[source]} of {source} was cut, and line {number} came after it")
        if not line.rstrip(b"\r").endswith(b" ."):
            cut[source] = number
        shown[source].append(number)
    return shown, found


def _around(numbers: list[int]) -> list[int]:
    """The numbers where the order is broken first."""
    place = next(i for i, (one, other) in enumerate(pairwise(numbers)) if other <= one)
    return numbers[max(0, place - 2) : place + 4]
