"""A slow reader of procwatch's output loses no line; one that stops or goes away holds up nobody and no log file."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.rig.live import DEADLINE_S, clean_environment, left_over, wait_for_file, write

LINES = 400_000
TALKS = f"for n in range({LINES}): print(f'{{n:063}}')"
SHOWN = re.compile(rb"^\d\d:\d\d:\d\d (\w+) +\| (\d{63})$", re.MULTILINE)
MISSED = re.compile(rb"procwatch \| ([\d,]+) lines not shown: standard output is not read fast enough")
# What is in no queue of procwatch's and in no pipe when a reader stops at once: far below what is printed.
ON_THE_WAY_BYTES = 11 * 1024 * 1024
# Some 45 MiB without any output; 25 MB to 70 MB of it go by.
MOST_MEMORY_KIB = 80 * 1024


def toml(log: str = "", kinds: str = "build service") -> str:
    """Units that print at once, and a service that leaves `done` when the build has ended."""
    talkers = "".join(f'[{kind}.{kind[0]}loud]\nrun = ["python", "-c", "{TALKS}"]\n{log}\n' for kind in kinds.split())
    after = 'run = ["python", "-c", "import pathlib; pathlib.Path(\'done\').touch()"]'
    return f'{talkers}\n[service.after]\n{after}\nneeds = ["build.bloud"]\n[defaults.service]\nrestart = "never"\n'


@contextmanager
def procwatch(project: Path, text: str) -> Iterator[subprocess.Popen[bytes]]:
    write(project / "watch.toml", text)
    with subprocess.Popen(
        [sys.executable, "-m", "procwatch", "start", "--no-watch"], cwd=project, env=clean_environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        yield process
        assert process.wait(DEADLINE_S) == 0
    assert left_over(project) == {}


def read_after_the_end_of_the_build(project: Path, process: subprocess.Popen[bytes]) -> bytes:
    """Everything, read only when the services that wait for the build have been started; and memory has not grown."""
    assert process.stdout is not None
    wait_for_file(project / "done", process)
    (supervisor,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    peak = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{supervisor}/status").read_text())
    assert peak
    assert int(peak[1]) < MOST_MEMORY_KIB
    return process.stdout.read()


def numbers(output: bytes) -> dict[str, list[int]]:
    """The lines' numbers by the name before them, in order."""
    found: dict[str, list[int]] = {}
    for name, number in SHOWN.findall(output):
        found.setdefault(name.decode(), []).append(int(number))
    return found


def logged(project: Path, name: str) -> list[int]:
    """The lines' numbers in the log files of a unit, from old to new."""
    files = sorted((project / ".procwatch/logs").glob(f"{name}.log*"), reverse=True)
    content = b"".join(file.read_bytes() for file in files)
    lines = re.findall(rb"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (\d{63})$", content, re.MULTILINE)
    assert len(lines) == content.count(b"\n")
    return [int(line) for line in lines]


def test_a_slow_reader_gets_every_line_in_order(project: Path) -> None:
    with procwatch(project, toml()) as process:
        assert process.stdout is not None
        lines = list(process.stdout)  # line by line, which is slower than they are made
    assert not any(b"not shown" in line for line in lines)
    every = list(range(LINES))
    assert numbers(b"".join(lines)) == {"bloud": every, "sloud": every}


def test_a_reader_that_stops_and_goes_on_gets_every_line_from_the_log_files(project: Path) -> None:
    with procwatch(project, toml()) as process:
        output = read_after_the_end_of_the_build(project, process)
    assert b"not shown" not in output
    every = list(range(LINES))
    assert numbers(output) == {"bloud": every, "sloud": every}
    assert len(output) > 2 * ON_THE_WAY_BYTES
    assert logged(project, "service.sloud") == every
    assert numbers(output.partition(b"build.bloud succeeded")[0])["bloud"] == every


def test_what_has_been_rotated_away_meanwhile_is_counted_in_one_line_where_it_was(project: Path) -> None:
    with procwatch(project, toml('log = { max_size = "1MiB", keep = 2 }', "build")) as process:
        output = read_after_the_end_of_the_build(project, process)
    (shown,) = numbers(output).values()
    (missed,) = MISSED.findall(output)
    count = int(missed.replace(b",", b""))
    assert len(shown) + count == LINES
    gap = next(place for place, number in enumerate(shown) if number != place)
    assert shown[gap:] == list(range(gap + count, LINES))
    before, _, after = output.partition(missed)
    assert numbers(before) == {"bloud": shown[:gap]}
    assert numbers(after) == {"bloud": shown[gap:]}


def test_without_a_log_file_what_finds_no_room_is_counted(project: Path) -> None:
    with procwatch(project, toml("log = { file = false }", "build")) as process:
        output = read_after_the_end_of_the_build(project, process)
    (shown,) = numbers(output).values()
    (missed,) = MISSED.findall(output)
    assert len(shown) + int(missed.replace(b",", b"")) == LINES
    assert shown == list(range(len(shown)))
    assert not (project / ".procwatch/logs").exists() or not list((project / ".procwatch/logs").glob("build*"))


def test_a_reader_that_goes_away_stops_nobody_and_no_log_file(project: Path) -> None:
    with procwatch(project, toml()) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    assert (project / "done").exists()
    assert logged(project, "build.bloud") == list(range(LINES))
    assert logged(project, "service.sloud") == list(range(LINES))
