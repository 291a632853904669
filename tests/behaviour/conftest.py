"""Fixtures for tests with a real procwatch, each fails if a process is left behind; and for those of its watcher."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from procwatch.core.model import Project, WatchEngine
from tests.rig import watched
from tests.rig.live import Live, before_the_next_look, left_over
from tests.rig.needs import need_linux

Start = Callable[..., Live]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """An empty project's folder."""
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


@pytest.fixture
def start(project: Path) -> Iterator[Start]:
    """Start procwatch in `project`; at the end every one is stopped, and nothing may be left."""
    started: list[Live] = []

    def begin(*args: str, **more: object) -> Live:
        started.append(Live(project, *args, **more))  # type: ignore[arg-type]
        return started[-1]

    yield begin
    for live in started:
        live.close()
    _nothing_is_left(project)


def _nothing_is_left(folder: Path) -> None:
    """What was killed may need a moment to go; after two seconds it is a leak."""
    end_s = time.monotonic() + 2.0
    while (left := left_over(folder)) and time.monotonic() < end_s:
        before_the_next_look()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"left behind: {left}"


@pytest.fixture
def no_net(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put off the look that finds what events did not tell: here events alone must do."""
    monkeypatch.setattr("procwatch.runtime.feed._SWEEP_AFTER_S", 10 * watched.DEADLINE_S)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return folder


@pytest.fixture(params=["inotify", "watchfiles", "poll"])
def engine(request: pytest.FixtureRequest) -> WatchEngine:
    name: WatchEngine = request.param
    if name == "inotify":
        need_linux()
    return name


@pytest.fixture
def run(engine: WatchEngine) -> watched.Run:
    """`play` on the engine of this test."""

    def play_on_it(project: Project, body: watched.Body) -> None:
        watch = replace(project.watch, engine=engine, poll_s=0.02 if engine == "poll" else None)
        watched.play(replace(project, watch=watch), body)

    return play_on_it
