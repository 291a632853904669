"""The lock, what is remembered, and a folder that cannot be written."""

from __future__ import annotations

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from procwatch.core.messages import Remember, RememberService
from procwatch.core.state import Remembered, RememberedService
from procwatch.errors import RefusedError
from procwatch.runtime.store import Store


def opened(folder: Path, told: list[str] | None = None) -> Store:
    store = Store(folder, told.append if told is not None else lambda line: None)
    store.open()
    return store


def test_a_second_supervisor_is_refused_and_told_who_is_there(tmp_path: Path) -> None:
    first = opened(tmp_path)
    with pytest.raises(RefusedError, match=f"process {os.getpid()}"):
        opened(tmp_path)
    first.close()
    opened(tmp_path).close()


def test_the_folder_is_private_and_ignored_by_git(tmp_path: Path) -> None:
    opened(tmp_path).close()
    assert stat.S_IMODE((tmp_path / ".procwatch").stat().st_mode) == 0o700
    assert (tmp_path / ".procwatch/.gitignore").read_text() == "*\n"


def test_what_is_remembered_is_there_at_the_next_start(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.remember(Remember("build.api", "K", clean=True, run=7))
    store.close()
    store = opened(tmp_path)
    assert store.remembered() == {"build.api": Remembered("K", clean=True, run=7)}
    store.close()


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[]", b'{"version": 1, "builds": {"build.a": 3}}', b"[" * 9999]
)
def test_a_damaged_state_counts_as_none(tmp_path: Path, content: bytes) -> None:
    opened(tmp_path).close()
    (tmp_path / ".procwatch/state.json").write_bytes(content)
    store = opened(tmp_path)
    assert store.remembered() == {}
    store.close()


def test_where_nothing_can_be_written_it_is_told_once_and_the_work_goes_on(tmp_path: Path) -> None:
    (tmp_path / ".procwatch").write_text("a file is in the way")
    told: list[str] = []
    store = opened(tmp_path, told)
    store.remember(Remember("build.api", "K", clean=True, run=1))
    store.remember(Remember("build.api", "L", clean=True, run=2))
    path = store.changed_file("build.api", 1, ("a",))
    assert path is not None
    assert path.read_text() == '["a"]'
    store.close()
    assert not path.exists()
    assert len(told) == 1
    assert "cannot be written" in told[0]


def test_what_a_service_can_go_back_to_is_there_at_the_next_start(tmp_path: Path) -> None:
    store = opened(tmp_path)
    sets = ((("build.a", 1), ("build.b", 3)), (("build.a", 2), ("build.b", 3)))
    store.remember_service(RememberService("service.web", sets, sets[0]))
    store.remember_service(RememberService("service.db", (), ()))
    store.remember(Remember("build.a", "K", clean=True, run=7, release=2))
    store.close()
    store = opened(tmp_path)
    assert store.remembered_services() == {"service.web": RememberedService(sets, sets[0])}
    assert store.remembered()["build.a"].release == 2
    store.remember_service(RememberService("service.web", (), ()))
    assert store.remembered_services() == {}
    store.close()


@pytest.mark.parametrize("entry", [3, {}, {"history": [3], "pinned": {}}, {"history": [], "pinned": {"build.a": "x"}}])
def test_a_damaged_memory_of_a_service_counts_as_none(tmp_path: Path, entry: object) -> None:
    opened(tmp_path).close()
    content = {"version": 1, "builds": {}, "services": {"service.web": entry}}
    (tmp_path / ".procwatch/state.json").write_text(json.dumps(content))
    store = opened(tmp_path)
    assert store.remembered_services() == {}
    store.close()


def test_a_folder_that_was_removed_is_made_again_with_all_that_is_known(tmp_path: Path) -> None:
    told: list[str] = []
    store = opened(tmp_path, told)
    assert not store.restore()
    store.remember(Remember("build.api", "K", clean=True, run=7))
    shutil.rmtree(store.folder)
    store.write()
    assert not store.folder.exists()
    assert store.restore()
    assert "build.api" in (store.folder / "state.json").read_text()
    with pytest.raises(RefusedError):
        opened(tmp_path)
    shutil.rmtree(store.folder)
    other = opened(tmp_path)
    with pytest.raises(RefusedError):
        store.restore()
    assert told == []
    store.close()
    other.close()


def test_while_a_project_is_away_what_is_known_waits_for_its_return(tmp_path: Path) -> None:
    told: list[str] = []
    (tmp_path / "shop").mkdir()
    store = opened(tmp_path / "shop", told)
    (tmp_path / "shop").rename(tmp_path / "away")
    store.remember(Remember("build.api", "K", clean=False, run=7))
    assert store.changed_file("build.api", 7, ("a",)) is None
    with pytest.raises(FileNotFoundError):
        store.restore()
    (tmp_path / "away").rename(tmp_path / "shop")
    assert not store.restore()
    store.close()
    assert "build.api" in (store.folder / "state.json").read_text()
    assert told == []
