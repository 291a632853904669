"""The judges of chaos: what is in order passes, and each thing that must not be is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.chaos import lines
from tests.chaos.order import illegal
from tests.chaos.project import Project

SOURCE = ("web", 7)


def event(kind: str, name: str | None = None, run: int = 1, **more: Any) -> dict[str, Any]:
    return {"event": kind, "run": run, **({"name": name} if name else {}), **more}


# A service that needs a build, through a change; then the end.
GOOD = [
    event("build_started", "build.base", 1),
    event("build_succeeded", "build.base", 1),
    event("service_started", "service.storm", 1),
    event("service_ready", "service.storm", 1),
    event("files_changed", names=["build.base"]),
    event("build_started", "build.base", 2),
    event("build_succeeded", "build.base", 2),
    event("service_stopped", "service.storm", 1),
    event("service_started", "service.storm", 2),
    event("service_ready", "service.storm", 2),
    event("service_switched", "service.storm", 2),
    event("stopping"),
    event("service_stopped", "service.storm", 2),
]


def test_what_is_in_order_passes(tmp_path: Path) -> None:
    assert illegal(GOOD, Project.make(tmp_path, 1)) == []


@pytest.mark.parametrize(
    ("place", "added", "words"),
    [
        (0, event("service_started", "service.storm", 1), "started while the last instance is started"),
        (1, event("build_started", "build.base", 2), "started while it runs"),
        (1, event("build_started", "build.left", 1), "started while build.base runs"),
        (2, event("build_succeeded", "build.base", 1), "ended without running"),
        (2, event("build_started", "build.base", 3), "run after 1"),
        (2, event("build_fixed", "build.base", 1), "fixed what was not broken"),
        (2, event("build_started", "build.migrate", 1), "started while service.db is None"),
        (3, event("service_ready", "service.storm", 0), "ready while started"),
        (4, event("service_ready", "service.storm", 1), "ready while ready"),
        (6, event("service_stopped", "service.storm", 0), "end of an older instance than 1"),
        (8, event("service_switched", "service.storm", 1), "switched while retired"),
        (9, event("service_stopped", "service.storm", 1), "end of an older instance than 2"),
        (12, event("build_started", "build.slow", 1), "started after stopping"),
        (13, event("service_started", "service.db", 1), "started after stopping"),
    ],
)
def test_an_event_out_of_order_is_seen(tmp_path: Path, place: int, added: dict[str, Any], words: str) -> None:
    found = illegal([*GOOD[:place], added, *GOOD[place:]], Project.make(tmp_path, 1))
    assert any(words in fault for fault in found), found


def test_a_service_that_is_started_again_for_nothing_is_seen(tmp_path: Path) -> None:
    again = [event(one["event"], "service.storm", run) for run in (3, 4, 5) for one in GOOD[7:10]]
    found = illegal([*GOOD[:10], *again], Project.make(tmp_path, 1))
    assert any("was started 5 times" in fault for fault in found), found


def screen(*numbers: int) -> bytes:
    return b"".join(b"12:00:00 web | @web:7:%d text .\n" % number for number in numbers)


def test_a_whole_screen_passes() -> None:
    assert lines.faults(screen(0, 1, 2), {SOURCE: 3}, complete=True) == []


def test_what_a_killed_process_was_writing_may_be_cut() -> None:
    shown = screen(0, 1) + b"12:00:00 web | @web:7:2 te\n"
    assert lines.faults(shown, {SOURCE: 2}, complete=True) == []
    assert lines.faults(shown + screen(3), {SOURCE: 4}, complete=True) != []


def test_what_asyncio_tells_in_the_midst_of_a_line_cuts_nothing() -> None:
    slow = b"Executing <Handle _SelectorTransport._read_ready() at base.py:1> took 0.123 seconds\n"
    shown = screen(0, 1, 2)
    assert lines.faults(shown[:58] + slow + shown[58:], {SOURCE: 3}, complete=True) == []
    assert lines.faults(shown[:58] + b"another line\n" + shown[58:], {SOURCE: 3}, complete=True) != []


def test_lines_that_are_told_to_be_lost_may_be_missing() -> None:
    told = b"12:00:01 procwatch | 1,002 lines not shown: standard output is not read fast enough\n"
    assert lines.faults(screen(0) + told + screen(1003), {SOURCE: 1004}, complete=True) == []
    assert lines.faults(screen(0) + told + screen(1004), {SOURCE: 1005}, complete=True) != []


@pytest.mark.parametrize("numbers", [(0, 2), (0, 2, 1), (0, 1, 1, 2), (1, 2), (0, 1)])
def test_a_line_that_is_missing_or_not_in_its_place_is_seen(numbers: tuple[int, ...]) -> None:
    assert lines.faults(screen(*numbers), {SOURCE: 3}, complete=True) != []


def test_two_lines_in_one_are_seen() -> None:
    shown = screen(0) + b"12:00:00 web | @web:7:1 te@web:7:2 text .\n"
    assert lines.faults(shown, {SOURCE: 3}, complete=True) != []
