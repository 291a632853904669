"""A slow reader of procwatch's output loses no line; one that stops or goes away holds up nobody."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.rig.live import DEADLINE_S, clean_environment, left_over, write

LINES = 400_000
TOML = f"""
[service.loud]
run = ["python", "-c", "for n in range({LINES}): print(f'{{n:063}}')"]
[service.after]
run = ["python", "-c", "import pathlib, time; pathlib.Path('done').touch()"]
needs = [{{ name = "build.loud" }}]
[build.loud]
run = ["python", "-c", "for n in range({LINES}): print(f'{{n:063}}')"]
"""


def procwatch(project: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "procwatch", "start", "--no-watch"], cwd=project, env=clean_environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_a_slow_reader_gets_every_line_in_order(project: Path) -> None:
    write(project / "watch.toml", TOML)
    with procwatch(project) as process:
        assert process.stdout is not None
        numbers: dict[bytes, list[int]] = {}
        for line in process.stdout:
            if line[-65:-64] == b" " and line[-64:-1].isdigit():
                numbers.setdefault(line[9:-66], []).append(int(line[-64:]))
            assert b"not shown" not in line
        assert process.wait(DEADLINE_S) == 0
    (name,) = numbers
    assert sorted(numbers[name]) == sorted([*range(LINES)] * 2)
    assert left_over(project) == {}


def test_a_reader_that_stops_stops_nobody_and_is_told_what_it_missed(project: Path) -> None:
    write(project / "watch.toml", TOML)
    with procwatch(project) as process:
        assert process.stdout is not None
        done = project / "done"
        while not done.exists():
            assert process.poll() is None
            os.sched_yield()
        output = process.stdout.read()
        assert process.wait(DEADLINE_S) == 0
    assert b"lines not shown" in output


def test_a_reader_that_goes_away_stops_nobody(project: Path) -> None:
    write(project / "watch.toml", TOML)
    with procwatch(project) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 0
    assert (project / "done").exists()
