"""Whatever ends procwatch, and however hard, nothing that it has started is left."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from procwatch.runtime import census
from tests.behaviour.conftest import Start
from tests.rig.live import DEADLINE_S, Live, before_the_next_look, clean_environment, left_over, supervisor_of, write
from tests.rig.obey import alive

# Writes down who it is, and stays.
NOTE = "echo $$ >> pids; exec sleep 1000\n"
# A plain service, one that ignores the stop signals, ones whose children hide (in a session of their own, without
# parents, without an environment), and what a successful build leaves.
TOML = """
[service.plain]
run = "exec sh note"
[service.stubborn]
run = 'echo $$ >> pids; trap "" INT TERM HUP; while :; do sleep 1000; done'
[service.hiding]
run = "setsid sh note & (setsid sh -c '(setsid sh note &)' &) ; (env -i setsid sh note &) ; exec sh note"
[build.daemon]
run = "(setsid sh note &)"
watch = ["src"]
"""
PROCESSES = 7
STUBBORN = """
[service.stubborn]
run = 'trap "" INT TERM HUP; while :; do sleep 1000; done'
stop = { grace = "200ms" }
[service.hiding]
run = "(setsid sleep 1000 &); exec sleep 1000"
"""
# "everything it started ends within two seconds" (contract, Stop), and a good deal more for a loaded machine.
ENDS_WITHIN_S = 10.0


def pids(project: Path) -> list[int]:
    file = project / "pids"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def running(project: Path, start: Start) -> Live:
    write(project / "watch.toml", TOML)
    write(project / "note", NOTE)
    write(project / "src/a", "1")
    live = start()
    live.until(lambda: len(pids(project)) == PROCESSES, "all processes")
    return live


def ends(condition: Callable[[], bool]) -> None:
    """Wait until all is gone."""
    end_s = time.monotonic() + ENDS_WITHIN_S
    while not condition():
        assert time.monotonic() < end_s
        before_the_next_look()


@pytest.fixture(autouse=True)
def nothing_is_left(project: Path) -> Iterator[None]:
    yield
    left = [pid for pid in pids(project) if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.mark.parametrize("_time", range(3))
def test_a_supervisor_that_is_killed_leaves_nothing(project: Path, start: Start, _time: int) -> None:
    live = running(project, start)
    os.kill(live.supervisor(), signal.SIGKILL)
    assert live.ended() == 137
    assert not [pid for pid in pids(project) if alive(pid)]
    assert live.stderr() == "procwatch was killed by SIGKILL; what it had started has been ended\n"


@pytest.mark.parametrize("_time", range(3))
def test_a_guardian_that_is_killed_leaves_nothing(project: Path, start: Start, _time: int) -> None:
    live = running(project, start)
    supervisor = live.supervisor()
    live.process.kill()
    assert live.ended() == 137
    ends(lambda: not alive(supervisor))
    assert not [pid for pid in pids(project) if alive(pid)]


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
def test_a_signal_to_either_ends_both_and_leaves_nothing(
    project: Path, start: Start, number: signal.Signals, code: int
) -> None:
    live = running(project, start)
    os.kill(live.process.pid if number != signal.SIGTERM else live.supervisor(), number)
    time_s = time.monotonic()
    live.until(lambda: time.monotonic() > time_s + 0.3 or live.process.poll() is not None, "the moment after")
    if live.process.poll() is None:
        live.process.send_signal(signal.SIGINT)  # the stubborn one has a grace of ten seconds
    assert live.ended() == code
    assert not [pid for pid in pids(project) if alive(pid)]


def test_what_its_shell_had_started_before_it_is_none_of_its_business(project: Path) -> None:
    """As in a container: `sh -c 'agent & exec procwatch start'`."""
    write(project / "watch.toml", '[service.web]\nrun = "touch up; exec sleep 1000"\n')
    script = f"sleep 1000 & echo $! > agent; exec {sys.executable} -m procwatch start"
    procwatch = subprocess.Popen(["sh", "-c", script], cwd=project, env=clean_environment(), stdout=subprocess.DEVNULL)
    ends((project / "up").exists)
    agent = int((project / "agent").read_text())
    os.kill(supervisor_of(procwatch.pid, agent), signal.SIGKILL)
    assert procwatch.wait(DEADLINE_S) == 137
    assert alive(agent)
    os.kill(agent, signal.SIGKILL)
    assert not left_over(project)


@contextmanager
def procwatch_of(project: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """procwatch as a program is to start it; if the test fails it is killed, and so all below it."""
    process = subprocess.Popen(
        [sys.executable, *command], cwd=project, env=clean_environment(),
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.kill()
        process.wait()


# Starts procwatch with what a careless program hands on: signals that are ignored, signals that are blocked.
CARELESS = """
import os, signal, sys
for number in (signal.SIGINT, signal.SIGCHLD):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP})
os.execv(sys.executable, [sys.executable, "-m", "procwatch", "start", *sys.argv[1:]])
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_its_parent_had_ignored_or_blocked_are_heard(project: Path, number: signal.Signals) -> None:
    write(project / "watch.toml", '[service.web]\nrun = "touch up; exec sleep 1000"\n')
    with procwatch_of(project, "-c", CARELESS) as procwatch:
        ends((project / "up").exists)
        procwatch.send_signal(number)
        assert procwatch.wait(DEADLINE_S) == 128 + number
    assert not left_over(project)


def test_it_ends_by_itself_where_its_parent_had_ignored_the_ends_of_children(project: Path) -> None:
    write(project / "watch.toml", '[build.a]\nrun = "true"\nwatch = ["src"]\n')
    with procwatch_of(project, "-c", CARELESS, "--no-watch") as procwatch:
        assert procwatch.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("turn", range(12))
def test_an_early_signal_ends_both_and_leaves_nothing(project: Path, turn: int) -> None:
    """While it imports, before and after it has its handlers, while the first processes start; to one or to both."""
    write(project / "watch.toml", STUBBORN)
    number = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)[turn % 3]
    with procwatch_of(project, "-m", "procwatch", "start") as procwatch:
        ends(lambda: bool(census.descendants(procwatch.pid)))
        since_s = time.monotonic()
        ends(lambda: time.monotonic() > since_s + turn * 0.02)
        supervisor = supervisor_of(procwatch.pid)
        # The guardian last: it would pass the signal on, and the supervisor could have ended before it gets its own.
        for pid in (supervisor, procwatch.pid) if turn % 2 else (procwatch.pid,):
            os.kill(pid, number)
        assert procwatch.wait(DEADLINE_S) in {128 + number, -number}
        assert not alive(supervisor)
    assert not left_over(project)


def in_terminal(project: Path) -> tuple[subprocess.Popen[bytes], int]:
    """procwatch as the only program of a terminal; the terminal's other end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "procwatch", "start"], cwd=project, env=clean_environment(),
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    return process, ours


@pytest.mark.parametrize(("ending", "code"), [("key", 130), ("closed", 129)])
def test_the_terminals_ctrl_c_and_its_end_are_one_signal_for_both(project: Path, ending: str, code: int) -> None:
    write(
        project / "watch.toml", '[service.web]\nrun = "exec sleep 1000"\nhooks = { pre_stop = "echo stop >> stops" }\n'
    )
    process, terminal = in_terminal(project)
    output = b""
    while b"started" not in output:
        output += os.read(terminal, 4096)
    if ending == "key":
        os.write(terminal, b"\x03")
        while b"stopping" not in output:
            output += os.read(terminal, 4096)
    os.close(terminal)
    assert process.wait(DEADLINE_S) in {code, -(code - 128)}
    ends(lambda: not left_over(project))
    assert (project / "stops").read_text() == "stop\n"
