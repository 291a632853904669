"""`procwatch logs`: what has been printed, with and without a procwatch that runs, and what comes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from procwatch.core.model import LogPolicy
from procwatch.output.events import stamp
from procwatch.output.logfile import LogFile
from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, Live, clean_environment, write

NOON_S = 1_769_860_800.0
SHOWN = re.compile(rb"^\d\d:\d\d:\d\d +(\w+) +\| (.*)\n", re.MULTILINE)


def logs(folder: Path, *args: str, status: int = 0, env: dict[str, str] | None = None) -> bytes:
    """What it prints."""
    done = subprocess.run(
        [sys.executable, "-m", "procwatch", "logs", *args], cwd=folder, capture_output=True, timeout=DEADLINE_S,
        env={**clean_environment(), **(env or {})}, stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def line(at_s: float, text: bytes) -> bytes:
    return stamp(NOON_S + at_s).encode() + b" " + text + b"\n"


def log(project: Path, name: str, *lines: bytes) -> Path:
    return write(project / f".procwatch/logs/{name}", b"".join(lines))


def shown(output: bytes) -> list[tuple[str, str]]:
    found = SHOWN.findall(output)
    assert len(found) == output.count(b"\n")
    return [(name.decode(), text.decode(errors="replace")) for name, text in found]


@pytest.fixture
def two(project: Path) -> Path:
    """A project whose api has written two files and whose build one, and whose watch.toml is wrong."""
    write(project / "watch.toml", "[service.api\n")
    log(project, "service.api.log.1", line(0, b"a1"), line(2, b"a2"))
    log(project, "service.api.log", line(4, b"a3"), line(6, b"a4 \x1b[31mre\x1b[2Jd\x1b[0m \xff"))
    log(project, "build.api.log", line(1, b"b1"), line(5, b"b2"))
    return project


# --- what has been printed -------------------------------------------------------------------------------------------


def test_all_is_merged_by_time_also_where_watch_toml_is_wrong_or_gone(two: Path) -> None:
    first = logs(two)
    last = "a4 \x1b[31mre\x1b[2Jd\x1b[0m \ufffd"
    assert [text for _, text in shown(first)] == ["a1", "b1", "a2", "a3", "b2", last]
    assert first.endswith(b" | a4 \x1b[31mre\x1b[2Jd\x1b[0m \xff\n")
    (two / "watch.toml").unlink()
    write(two / "deep/below/file", "")
    assert logs(two / "deep/below") == first
    assert shown(logs(two, "build.api")) == [("api", "b1"), ("api", "b2")]


def test_the_time_is_that_of_the_line_in_this_time_zone(two: Path) -> None:
    at_s = time.strftime("%H:%M:%S", time.localtime(NOON_S + 1)).encode()
    assert logs(two, "build.api").startswith(at_s + b" api")


def test_the_last_lines_are_counted_over_all(two: Path) -> None:
    assert [text for _, text in shown(logs(two, "-n", "3", "--grep", "[ab]"))][:2] == ["a3", "b2"]
    assert logs(two, "-n", "0") == b""
    assert logs(two, "-n", "1", "--no-prefix", "build.api") == b"b2\n"


def test_only_lines_that_match_without_their_colours(two: Path) -> None:
    assert logs(two, "--no-prefix", "--grep", r"^a4 red .$") == b"a4 \x1b[31mre\x1b[2Jd\x1b[0m \xff\n"
    assert logs(two, "--no-prefix", "--grep", r"1$", "-n", "1") == b"b1\n"
    assert b'"(" is not a regular expression' in logs(two, "--grep", "(", status=2)


def test_from_a_moment_on(two: Path) -> None:
    at = stamp(NOON_S + 4).replace("Z", "+00:00")
    assert logs(two, "--no-prefix", "--since", at, "-n", "2").splitlines()[0] == b"b2"
    assert logs(two, "--no-prefix", "--since", at).splitlines()[0] == b"a3"
    assert logs(two, "--no-prefix", "--since", "0s") == b""
    assert b'"soon" is no moment' in logs(two, "--since", "soon", status=2)


def test_json_has_an_object_a_line(two: Path) -> None:
    found = [json.loads(text) for text in logs(two, "--json", "-n", "2").splitlines()]
    assert found[0] == {"at": stamp(NOON_S + 5), "name": "build.api", "line": "b2"}
    assert found[1]["line"].endswith("\\xff")
    assert b"exclude each other" in logs(two, "--json", "--no-prefix", status=2)


def test_an_unknown_name_is_told_with_a_suggestion(two: Path) -> None:
    assert b'there is no log of "appi"; did you mean "api"?' in logs(two, "appi", status=2)
    write(two / "watch.toml", '[service.worker]\nrun = "true"\n')
    assert b'did you mean "worker"?' in logs(two, "wroker", status=2)
    assert logs(two, "worker") == b""
    assert b"there is no watch.toml" in logs(two.parent, status=2)


def test_torn_lines_and_lines_without_a_time_are_shown(project: Path) -> None:
    write(project / "watch.toml", "")
    log(project, "service.old.log", b"no time\n", b"none either\n")
    log(project, "service.api.log", b"rest of a long one\n", line(0, b"a1"), b"alien\n", line(3, b"a2"), b"2026-01-3")
    log(project, "service.odd.log", b"9999-99-99T99:99:99.999Z odd\n")
    os.mkfifo(project / ".procwatch/logs/service.pipe.log")
    texts = logs(project, "api", "--no-prefix").splitlines()
    assert texts == [b"rest of a long one", b"a1", b"alien", b"a2", b"2026-01-3"]
    assert {text for _, text in shown(logs(project))} >= {"no time", "none either", "odd", "alien"}


def test_names_and_colours_are_those_of_the_project_as_it_was_started(project: Path, start: Start) -> None:
    toml = """
[groups]
web = ["api"]
[service.first]
run = "echo one; exec sleep 1000"
[service.api]
run = "echo two; exec sleep 1000"
"""
    write(project / "watch.toml", toml)
    live = start(json_events=False, env={"FORCE_COLOR": "1"})
    live.shows("one")
    live.shows("two")
    coloured = logs(project, env={"FORCE_COLOR": "1"})
    live.stop()
    wanted = [text for text in bytes(live.output).splitlines() if text.endswith((b"one", b"two"))]
    assert [text[11:] for text in sorted(coloured.splitlines())] == [text[11:] for text in sorted(wanted)]
    write(project / "watch.toml", "[broken")
    assert shown(logs(project, "web")) == [("api", "two")]


def test_after_procwatch_was_killed_all_is_there(project: Path, start: Start) -> None:
    write(project / "watch.toml", '[service.api]\nrun = "echo last words; exec sleep 1000"\n')
    live = start()
    live.wait("service_ready")
    live.until(lambda: (project / ".procwatch/logs/service.api.log").exists(), "a log file")
    os.kill(live.supervisor(), signal.SIGKILL)
    live.ended()
    assert logs(project, "--no-prefix") == b"last words\n"


def test_a_reader_that_has_seen_enough_is_no_failure(project: Path) -> None:
    write(project / "watch.toml", "")
    log(project, "service.api.log", *(line(number, b"x" * 1000) for number in range(1000)))
    shell = f'{sys.executable} -m procwatch logs | head -n 1; echo "${{PIPESTATUS[@]}}" >&2'
    done = subprocess.run(
        ["bash", "-c", shell], cwd=project, capture_output=True, env=clean_environment(), timeout=DEADLINE_S, check=True
    )
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b"141 0\n"


def test_without_a_log_file_it_is_remembered_by_the_procwatch_that_runs(project: Path, start: Start) -> None:
    write(project / "say", "one\n")
    write(project / "watch.toml", """
[service.ghost]
run = "printf 'b\\\\303\\\\266\\\\377\\\\n'; exec tail -n +1 -f say"
log = { file = false }
[service.api]
run = "echo api; exec sleep 1000"
""")  # fmt: skip
    live = start(json_events=False)
    live.shows("| one")
    live.shows("| api")
    with following(project, "-f") as follower:
        follower.shows("| one\n")
        with (project / "say").open("a") as file:
            file.write("two\n")
        follower.shows("| two\n")
    assert logs(project, "ghost", "--no-prefix") == b"b\xc3\xb6\xff\none\ntwo\n"
    assert {name for name, _ in shown(logs(project))} == {"api", "ghost"}
    assert logs(project, "ghost", "--no-prefix", "-n", "1") == b"two\n"
    live.stop()
    done = subprocess.run(
        [sys.executable, "-m", "procwatch", "logs", "ghost"], cwd=project, capture_output=True, text=True,
        env=clean_environment(), timeout=DEADLINE_S, check=True,
    )  # fmt: skip
    assert "the output of service.ghost is kept in no file (log.file = false), and no procwatch runs" in done.stderr


# --- what comes ------------------------------------------------------------------------------------------------------


@contextmanager
def following(project: Path, *args: str) -> Iterator[Live]:
    live = Live(project, *args, json_events=False, command="logs")
    try:
        yield live
    finally:
        assert live.stop() == 130
        assert live.stderr() == ""
        live.close()


def numbers(live: Live) -> list[int]:
    return [int(found) for found in re.findall(rb"\| (\d+)\n", bytes(live.output))]


def append(file: LogFile, begin: int, end: int) -> None:
    data = b"".join(line(number / 1000, b"%063d" % number) for number in range(begin, end))
    file.append(data, end - begin)


def test_what_comes_is_shown_through_rotations_and_deletions(project: Path) -> None:
    write(project / "watch.toml", "")
    file = LogFile(project / ".procwatch/logs/service.api.log", LogPolicy(8 * 1024, 3))
    append(file, 0, 30)
    with following(project, "-f") as live:
        live.until(lambda: numbers(live) == list(range(20, 30)), "the last ten")
        place = 30
        for count in (1, 200, 5, 100, 250, 1):
            append(file, place, place + count)
            place += count
            live.shows(f" | {place - 1:063}\n")
        shutil.rmtree(project / ".procwatch")
        append(file, place, place + 5)
        live.until(lambda: numbers(live)[-1] == place + 4, "a new folder's")
        os.truncate(file.path, 0)
        append(file, place + 5, place + 6)
        live.until(lambda: numbers(live)[-1] == place + 5, "what comes after it was emptied")
    file.close()
    assert numbers(live) == list(range(20, place + 6))


def test_a_service_that_comes_later_and_a_line_that_is_not_ended_yet(project: Path) -> None:
    write(project / "watch.toml", "")
    log(project, "service.api.log", line(0, b"api"))
    with following(project, "-f") as live:
        live.shows("| api\n")
        path = log(project, "service.new.log", line(0, b"new"), stamp(NOON_S).encode() + b" unfini")
        live.shows("| new\n")
        with path.open("ab") as file:
            file.write(b"shed\n")
        live.shows("| unfinished\n")
    assert live.text().count("\n") == 3


def test_how_much_was_rotated_away_before_it_could_be_read_is_told(project: Path) -> None:
    write(project / "watch.toml", "")
    file = LogFile(project / ".procwatch/logs/service.api.log", LogPolicy(8 * 1024, 1))
    append(file, 0, 1)
    with following(project, "-f") as live:
        live.until(lambda: numbers(live) == [0], "the first")
        os.kill(live.process.pid, signal.SIGSTOP)
        append(file, 1, 1001)
        os.kill(live.process.pid, signal.SIGCONT)
        live.until(lambda: numbers(live)[-1] == 1000, "the last")
    file.close()
    told = re.search(r"service\.api: (?:([\d,]+) bytes are|some of it may) not", live.text())
    seen = numbers(live)
    assert told, live.text()
    if told[1]:  # the file system keeps notes
        assert int(told[1].replace(",", "")) == (1001 - len(seen)) * (25 + 64)
    gap = next(place for place, number in enumerate(seen) if place != number)
    assert seen[gap:] == list(range(seen[gap], 1001))


def test_at_full_speed_through_rotations_no_line_is_lost(project: Path, start: Start) -> None:
    count = 300_000
    write(project / "watch.toml", f"""
[service.api]
run = ["python", "-c", "for n in range({count}): print(f'{{n:063}}')"]
restart = "never"
log = {{ max_size = "1MiB", keep = 1000, terminal = "none" }}
""")  # fmt: skip
    (project / ".procwatch/logs").mkdir(parents=True)
    with following(project, "-f") as live:
        start().wait("service_stopped")
        live.until(lambda: bytes(live.output[-70:]).rstrip().endswith(b"%063d" % (count - 1)), "the last line")
    assert numbers(live) == list(range(count))


def test_several_are_followed_with_a_name_only_those(project: Path) -> None:
    write(project / "watch.toml", "")
    api = log(project, "service.api.log", line(0, b"old"))
    with following(project, "-f", "api", "-n", "1") as live:
        live.shows("| old\n")
        log(project, "service.other.log", line(0, b"other"))
        with api.open("ab") as file:
            file.write(line(1, b"more"))
        live.shows("| more\n")
    assert "other" not in live.text()


def test_a_reader_of_what_comes_that_goes_away_ends_it(project: Path) -> None:
    write(project / "watch.toml", "")
    log(project, "service.api.log", line(0, b"one"))
    process = subprocess.Popen(
        [sys.executable, "-m", "procwatch", "logs", "-f"], cwd=project, env=clean_environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(DEADLINE_S) == 141
        assert process.stderr.read() == b""
