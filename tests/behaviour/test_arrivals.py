"""What comes into a folder is told, by the system or by looking, also when the folder goes and comes back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from procwatch.runtime import arrivals as module
from procwatch.runtime.arrivals import Arrivals
from tests.rig.live import DEADLINE_S, write


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="Linux only")
def test_the_file_is_named(tmp_path: Path) -> None:
    write(tmp_path / "logs/one", "1")
    arrivals = Arrivals(tmp_path / "logs")
    assert arrivals.wait(0.0) == frozenset()
    write(tmp_path / "logs/two", "2")
    assert arrivals.wait(DEADLINE_S) == frozenset({"two"})


@pytest.mark.skipif(not hasattr(os, "eventfd"), reason="Linux only")
def test_a_folder_that_goes_and_comes_back_is_watched_again(tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    arrivals = Arrivals(folder)
    assert arrivals.wait(0.0) is None
    write(folder / "one", "1")
    assert arrivals.wait(0.0) is None
    for _ in range(3):
        shutil.rmtree(folder)
        while arrivals.wait(DEADLINE_S) is not None:
            pass
        write(folder / "two", "2")
        while arrivals.wait(0.1) is None:
            pass
        with (folder / "two").open("a") as file:
            file.write("3")
        assert arrivals.wait(DEADLINE_S) == frozenset({"two"})


def test_where_the_system_tells_nothing_everything_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_engine", lambda: None)
    arrivals = Arrivals(tmp_path / "logs")
    assert arrivals.wait(DEADLINE_S) is None
