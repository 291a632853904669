"""The keys of a foreground `start`, and the terminal's modes before, meanwhile and after."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig.live import left_over, supervisor_of, write
from tests.rig.terminal import Terminal

START = (sys.executable, "-m", "procwatch", "start")
TOML = """
[build.api]
run = "echo run >> runs; echo building"
watch = ["src"]
[service.api]
run = "echo start >> starts; echo serving; exec sleep 1000"
needs = ["build.api"]
"""
On = Callable[..., Terminal]


@pytest.fixture
def on_terminal(project: Path) -> Iterator[On]:
    write(project / "watch.toml", TOML)
    write(project / "src", "1")
    opened: list[Terminal] = []

    def begin(*command: str) -> Terminal:
        opened.append(Terminal(command or START, project))
        return opened[-1]

    yield begin
    for terminal in opened:
        terminal.close()
    assert not left_over(project)


def count(file: Path) -> int:
    return len(file.read_text().split()) if file.exists() else 0


def test_r_runs_the_builds_again_though_nothing_has_changed(project: Path, on_terminal: On) -> None:
    terminal = on_terminal()
    terminal.shows("service.api started")
    terminal.type("r")
    terminal.shows("(the same content)")
    assert (count(project / "runs"), count(project / "starts")) == (2, 1)


def test_r_restarts_the_services_where_there_is_no_build(project: Path, on_terminal: On) -> None:
    write(project / "watch.toml", '[service.api]\nrun = "echo start >> starts; exec sleep 1000"\n')
    terminal = on_terminal()
    terminal.shows("service.api started")
    terminal.type("r")
    terminal.shows("service.api restarted")


def test_p_pauses_and_goes_on(project: Path, on_terminal: On) -> None:
    terminal = on_terminal()
    terminal.shows("service.api started")
    terminal.type("p")
    terminal.shows("paused: changes are collected")
    write(project / "src", "2")
    terminal.shows("build.api is paused")
    assert count(project / "runs") == 1
    terminal.type("p")
    terminal.until(lambda: count(project / "starts") == 2, "the change")


def test_c_clears_and_enter_makes_an_empty_line(on_terminal: On) -> None:
    terminal = on_terminal()
    terminal.shows("service.api started")
    mark = terminal.mark()
    terminal.type("\rc")
    terminal.shows("\r\n\x1b[H\x1b[2J", after=mark)


def test_q_quits_in_order_and_the_terminal_is_as_before(on_terminal: On) -> None:
    terminal = on_terminal()
    terminal.shows("service.api started")
    assert terminal.is_raw()
    terminal.type("q")
    terminal.shows("stopping")
    assert terminal.ended() == 0
    assert terminal.is_plain()


@pytest.mark.parametrize("victim", ["supervisor", "guardian"])
def test_the_terminal_is_as_before_if_procwatch_is_killed(project: Path, on_terminal: On, victim: str) -> None:
    terminal = on_terminal("bash", "--norc", "--noprofile", "-i")
    terminal.type(f"{' '.join(START)}\r")
    terminal.shows("service.api started")
    terminal.until(terminal.is_raw, "single keys")
    (guardian,) = children(terminal.process.pid)
    mark = terminal.mark()
    os.kill(supervisor_of(guardian) if victim == "supervisor" else guardian, signal.SIGKILL)
    terminal.shows("\x1b[?2004h", after=mark)  # the shell reads again
    terminal.until(lambda: not left_over(project), "the end of all")
    terminal.type("echo the end of $?\r")
    terminal.shows("the end of 137\r\n", after=mark)
    terminal.type("exec stty -a\r")
    terminal.shows(" icanon")
    terminal.shows(" echo ")
    terminal.ended()


def test_in_the_background_it_is_not_stopped_and_takes_no_key(project: Path, on_terminal: On) -> None:
    terminal = on_terminal("bash", "--norc", "--noprofile", "-i")
    terminal.type(f"{' '.join(START)} &\r")
    terminal.shows("service.api started")
    terminal.type("echo rrrr\r")
    terminal.shows("rrrr\r\n")
    (guardian,) = children(terminal.process.pid)
    assert "T" not in (state(guardian), state(supervisor_of(guardian)))
    assert count(project / "runs") == 1
    terminal.type("fg\r")
    terminal.until(terminal.is_raw, "single keys")
    terminal.until(lambda: foreground(guardian), "the foreground")
    terminal.type("r")
    terminal.until(lambda: count(project / "runs") > 1, "another run")
    terminal.type("\x1a")
    terminal.until(lambda: state(supervisor_of(guardian)) == "T", "its being stopped")
    mark = terminal.mark()
    terminal.type("fg\r")
    terminal.until(lambda: state(supervisor_of(guardian)) != "T", "its going on")
    terminal.until(terminal.is_raw, "single keys")
    terminal.type("p")
    terminal.shows("paused", after=mark)
    terminal.type("q")
    # Until the end procwatch takes what is typed.
    terminal.until(lambda: not Path(f"/proc/{guardian}").exists(), "the end")
    assert not left_over(project)
    terminal.type("exit 7\r")
    assert terminal.ended() == 7


# What the shell's taking back of the terminal between `is_foreground` and the setting of modes looks like.
SET_TOO_LATE = """
import pathlib, termios
from procwatch.runtime.keys import set_in_foreground
pathlib.Path("was_set").write_text(str(set_in_foreground(0, termios.tcgetattr(0))))
"""


def test_setting_modes_when_the_shell_has_just_taken_the_terminal_is_refused_and_stops_nothing(
    project: Path, on_terminal: On
) -> None:
    write(project / "late.py", SET_TOO_LATE)
    terminal = on_terminal("bash", "--norc", "--noprofile", "-i")
    terminal.type(f"{sys.executable} late.py &\r")
    terminal.until(lambda: (project / "was_set").is_file() and (project / "was_set").read_text(), "an answer")
    assert (project / "was_set").read_text() == "False"
    terminal.type("exit 7\r")
    assert terminal.ended() == 7


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def foreground(pid: int) -> bool:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return fields[2] == fields[5]
