"""Fixtures for tests with a real procwatch; each fails if a process is left behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.rig.live import Live, left_over

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
        os.sched_yield()
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"left behind: {left}"
