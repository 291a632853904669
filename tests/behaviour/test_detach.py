"""`start -d`: the caller goes on as soon as it runs, and nothing of the caller's is held."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.runtime.detach import is_asked
from tests.rig.live import DEADLINE_S, before_the_next_look, clean_environment, left_over, supervisor_of, write
from tests.rig.obey import alive
from tests.rig.sample import free_port
from tests.rig.served import SERVER, waiting

PROCWATCH = f"{sys.executable} -m procwatch"
TOML = """
[build.api]
run = "echo building; test ! -e broken"
watch = ["src"]
[service.db]
run = "exec sleep 1000"
[service.api]
run = "echo up; exec sleep 1000"
needs = ["build.api", "service.db"]
"""


def sh(project: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in which `procwatch` is procwatch; both outputs are pipes, which must have an end."""
    return subprocess.run(
        ["/bin/sh", "-c", f'procwatch() {{ {PROCWATCH} "$@"; }}; {script}'], cwd=project, env=clean_environment(),
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=DEADLINE_S,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def ended(project: Path) -> Iterator[None]:
    write(project / "watch.toml", TOML)
    write(project / "src", "1")
    yield
    sh(project, "procwatch stop")
    assert not left_over(project)


def guardian(project: Path) -> int:
    return int((project / ".procwatch/lock").read_text())


def until(found: object, what: str) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not found():  # type: ignore[operator]
        assert time.monotonic() < end_s, f"{what} did not come"
        before_the_next_look()


def test_it_returns_when_it_runs_and_answers_and_holds_no_pipe(project: Path) -> None:
    done = sh(project, "procwatch start -d | cat; procwatch wait api && procwatch status")
    assert done.returncode == 0, done.stderr
    assert "runs in the background (process" in done.stdout
    assert done.stdout.count(" ready ") >= 2


def test_who_comes_when_it_has_returned_waits_and_is_not_refused(project: Path) -> None:
    handed, passed = free_port(), free_port()
    wait = 'run = "until [ -e go ]; do sleep 0.02; done"\n'
    run = f"run = ['{sys.executable}', '{SERVER}']\nneeds = ['build.app']\n"
    write(project / "version", "first")
    write(
        project / "watch.toml",
        f"[build.app]\n{wait}[service.one]\nlisten = ['127.0.0.1:{handed}']\n{run}"
        f"[service.two]\nproxy = '127.0.0.1:{passed}'\n{run}[service.three]\nlisten = ['three.sock']\n{run}",
    )
    begun = sh(project, "procwatch start -d | cat")
    assert begun.stderr == ""
    with socket.socket(socket.AF_UNIX) as third:
        third.connect(str(project / "three.sock"))
        asked = [waiting(port, "/") for port in (handed, passed)]
        for port in (handed, passed):
            socket.create_connection(("127.0.0.1", port), DEADLINE_S).close()
        write(project / "go", "")
        for thread, got in asked:
            thread.join(DEADLINE_S)
            assert got[0].startswith("first")


def test_it_is_in_a_session_of_its_own_and_holds_nothing_of_the_callers(project: Path) -> None:
    write(project / "other", "")
    assert sh(project, "exec 7< other; procwatch start -d").returncode == 0
    first = guardian(project)
    for pid in (first, supervisor_of(first)):
        assert os.getsid(pid) == first
        assert Path(f"/proc/{pid}/fd/0").readlink() == Path(f"/proc/{pid}/fd/2").readlink() == Path("/dev/null")
        assert not [fd for fd in Path(f"/proc/{pid}/fd").iterdir() if fd.readlink().name == "other"]


def test_its_own_lines_are_in_a_log_file(project: Path) -> None:
    log = project / ".procwatch/logs/procwatch.log"
    assert sh(project, "procwatch start -d && procwatch wait api").returncode == 0
    until(lambda: "build.api succeeded" in log.read_text(), "the first success")
    write(project / "broken", "")
    write(project / "src", "2")
    until(lambda: "build.api failed (exit 1)" in log.read_text(), "the failure")
    assert "building" not in log.read_text()
    assert "building" in (project / ".procwatch/logs/build.api.log").read_text()


def test_what_keeps_it_from_starting_is_told_as_without_it(project: Path) -> None:
    assert sh(project, "procwatch start -d").returncode == 0
    twice = sh(project, "procwatch start -d")
    assert (twice.returncode, twice.stdout) == (4, "")
    assert "already runs for this project" in twice.stderr
    assert sh(project, "procwatch stop").returncode == 0
    write(project / "watch.toml", "[service.api]\nrum = 'x'\n")
    plain, detached = sh(project, "procwatch start"), sh(project, "procwatch start -d")
    assert (detached.returncode, detached.stderr) == (plain.returncode, plain.stderr)
    assert (detached.returncode, "rum" in detached.stderr) == (2, True)


def test_a_warning_is_told_to_the_caller_too(project: Path) -> None:
    write(project / "watch.toml", TOML + 'stdin = "open"\nport = 1\n')
    (project / ".procwatch").mkdir()
    (project / ".procwatch/state.json").write_text("{")
    assert "state.json cannot be read" in sh(project, "procwatch start -d").stdout


def test_an_interrupted_start_leaves_nothing(project: Path) -> None:
    write(project / "Procfile", "x: sleep 1\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "procwatch", "start", "-d"], cwd=project, env=clean_environment(),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    until(lambda: process.poll() is not None or children.read_text(), "the child")
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) in {0, 130, -2}
    if process.returncode:
        assert not left_over(project)


def test_last_words_go_to_the_log_if_it_is_killed(project: Path) -> None:
    assert sh(project, "procwatch start -d && procwatch wait api").returncode == 0
    first = guardian(project)
    os.kill(supervisor_of(first), signal.SIGKILL)
    until(lambda: not alive(first), "the end")
    last = (project / ".procwatch/logs/procwatch.log").read_text().splitlines()[-1]
    assert last.endswith("Z procwatch was killed by SIGKILL; what it had started has been ended")


def test_names_are_started_in_what_runs_already(project: Path) -> None:
    assert sh(project, "procwatch start -d db").returncode == 0
    done = sh(project, "procwatch start -d api")
    assert done.returncode == 0
    assert "service.api started: ready" in done.stdout


def test_d_and_json_exclude_each_other_and_d_stands_alone(project: Path) -> None:
    for options in ("-d --json", "-vd"):
        done = sh(project, f"procwatch start {options}")
        assert done.returncode == 2
        assert "-d" in done.stderr


def test_a_service_that_is_left_out_counts_as_there(project: Path) -> None:
    assert sh(project, "procwatch start -d --except db && procwatch wait api").returncode == 0
    status = sh(project, "procwatch status").stdout.splitlines()
    assert status[2].split()[:2] == ["service.db", "stopped"]
    assert "left out by --except" in status[2]
    assert sh(project, "procwatch start db").returncode == 0
    assert sh(project, "procwatch restart api").returncode == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--except nobody", "there is no service or group"),
        ("--except build.api", "--except leaves out services"),
        ("db --except db", "leaves nothing to start"),
    ],
)
def test_what_cannot_be_left_out_is_told(project: Path, options: str, words: str) -> None:
    done = sh(project, f"procwatch start {options}")
    assert done.returncode == 2
    assert words in done.stderr


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("start -d", True), ("-f x.toml start api --detach", True), ("start --except db -d", True),
        ("start", False), ("start -f -d", False), ("start -- -d", False), ("run -- npm start -d", False),
        ("check -d", False), ("-f start check -d", False), ("-d start", False),
    ],
)  # fmt: skip
def test_only_a_start_with_d_is_detached(line: str, asked: bool) -> None:
    assert is_asked(line.split()) is asked
