"""A day's work in a terminal, from start to stop, as a person sees it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import write
from tests.rig.needs import need_commands
from tests.rig.tmux import Tmux

TOML = """
[build.app]
run = "python -m py_compile app.py"
watch = ["app.py"]

[service.web]
run = ["python", "app.py"]
tty = true
needs = ["build.app"]
stop = { grace = "2s" }
"""
APP = """
import time
answer = {}
print("serving", answer)
breakpoint()
print("the answer was", answer)
time.sleep(1000)
"""
OWN, SHELL = 0, 1


@pytest.fixture
def tmux(project: Path, start: Start) -> Iterator[Tmux]:
    """Two windows: one for procwatch, one to work in. (`start` sees that nothing is left.)"""
    need_commands("tmux")
    made = Tmux(project)
    made.open()
    yield made
    made.close()


def test_a_session(project: Path, tmux: Tmux) -> None:
    write(project / "watch.toml", TOML)
    write(project / "app.py", APP.format("41"))
    tmux.type(OWN, "procwatch start", "Enter")
    tmux.shows(OWN, "web       | serving 41", "service.web started")

    tmux.type(SHELL, "procwatch status", "Enter")
    tmux.shows(SHELL, "build.app", "fresh", "service.web", "ready")

    write(project / "app.py", "an error\n")
    tmux.shows(OWN, "SyntaxError", "build.app failed (exit 1)", "service.web stays on run 1")

    tmux.type(SHELL, "procwatch why web", "Enter")
    tmux.shows(SHELL, "service.web: ready, outdated", "build.app failed (exit 1)", after="why web")

    write(project / "app.py", APP.format("42"))
    tmux.shows(OWN, "web       | serving 42", "build.app fixed", "service.web restarted")

    tmux.type(SHELL, "procwatch attach web", "Enter")
    tmux.shows(SHELL, "ctrl-] detaches", "serving 42", "(Pdb)", after="attach web")
    tmux.type(SHELL, "answer = 43", "Enter")
    tmux.type(SHELL, "continue", "Enter")
    tmux.shows(SHELL, "the answer was 43", after="attach web")
    tmux.shows(OWN, "web       | the answer was 43")
    tmux.type(SHELL, "", "C-]")
    tmux.shows(SHELL, "detached; service.web goes on", after="attach web")

    # Line editing and echo work again: the terminal is as it was.
    tmux.type(SHELL, "echo back agaim", "BSpace")
    tmux.type(SHELL, "n $((6 * 7))", "Enter")
    tmux.shows(SHELL, "back again 42", after="detached")

    write(project / "watch.toml", TOML.replace("needs =", "neeeds ="))
    tmux.shows(OWN, 'watch.toml:9:1: service "web": unknown key "neeeds"; did you mean "needs"?')
    tmux.type(SHELL, "procwatch reload; echo status $?", "Enter")
    tmux.shows(SHELL, 'did you mean "needs"?', "status 2", after="procwatch reload")
    tmux.type(SHELL, "procwatch status web", "Enter")
    tmux.shows(SHELL, "service.web  ready  2", after="status web")

    tmux.type(SHELL, "procwatch stop; echo status $?", "Enter")
    tmux.shows(SHELL, "status 0", after="procwatch stop")
    tmux.type(OWN, "echo status $?", "Enter")
    tmux.shows(OWN, "status 0", after="stopping")
