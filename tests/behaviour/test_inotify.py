"""The engine of Linux by itself: which folder a watch stands for, whatever happens to it and to its name."""

from __future__ import annotations

import os
import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.runtime.engines import Events, QueueOverflowError, WatchedFolder
from procwatch.runtime.inotify import InotifyEngine
from tests.rig import obey
from tests.rig.needs import need_linux

DEADLINE_S = 10.0


@pytest.fixture
def engine() -> Iterator[InotifyEngine]:
    need_linux()
    engine = InotifyEngine()
    yield engine
    engine.close()


def folder(path: Path, generation: int = 0) -> WatchedFolder:
    found = path.stat()
    return WatchedFolder(str(path), (found.st_dev, found.st_ino), generation)


def made(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def told(engine: InotifyEngine) -> set[str]:
    """All places told of until now."""
    places: set[str] = set()
    while events := engine.wait(0).places:
        places |= events
    return places


def watches(engine: InotifyEngine) -> list[str]:
    """The kernel's own list."""
    return re.findall(r"^inotify wd:(\S+)", Path(f"/proc/self/fdinfo/{engine._inotify}").read_text(), re.MULTILINE)


def test_what_is_made_written_moved_and_deleted_is_told(engine: InotifyEngine, tmp_path: Path) -> None:
    assert engine.watch({folder(tmp_path)}) == frozenset()
    for name in ("new", os.fsdecode(b"caf\xe9 \n")):
        (tmp_path / name).write_text("x")
        assert told(engine) == {f"{tmp_path}/{name}"}
        (tmp_path / name).rename(tmp_path / "other")
        assert told(engine) == {f"{tmp_path}/{name}", f"{tmp_path}/other"}
        os.utime(tmp_path / "other")
        assert told(engine) == {f"{tmp_path}/other"}
        (tmp_path / "other").unlink()
        assert told(engine) == {f"{tmp_path}/other"}


def test_reading_wakes_nobody(engine: InotifyEngine, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    engine.watch({folder(tmp_path)})
    assert (tmp_path / "file").read_text() == "x"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]
    assert engine.wait(0) == Events()


def test_a_file_counts_as_being_written_until_it_is_closed(engine: InotifyEngine, tmp_path: Path) -> None:
    engine.watch({folder(tmp_path)})
    path = str(tmp_path / "file")
    with (tmp_path / "file").open("w") as file:
        assert engine.wait(DEADLINE_S) == Events(frozenset({path}), created=frozenset({path}))
        file.write("x")
        file.flush()
        (tmp_path / "file").chmod(0o600)
        assert engine.wait(DEADLINE_S) == Events(frozenset({path}), frozenset({path}))
    assert engine.wait(DEADLINE_S) == Events(frozenset({path}))


def test_more_folders_leave_the_old_watches_as_they_are(engine: InotifyEngine, tmp_path: Path) -> None:
    one, two = made(tmp_path / "one"), made(tmp_path / "two")
    engine.watch({folder(one)})
    before = watches(engine)
    (one / "file").touch()
    engine.watch({folder(one), folder(two)})
    assert set(before) < set(watches(engine))
    assert told(engine) == {f"{one}/file"}
    engine.watch({folder(two)})
    assert len(watches(engine)) == 1
    (one / "file").unlink()
    assert told(engine) == set()


def test_the_watch_of_a_renamed_folder_goes_along(engine: InotifyEngine, tmp_path: Path) -> None:
    old, new = made(tmp_path / "old" / "sub"), tmp_path / "new"
    engine.watch({folder(tmp_path), folder(old.parent), folder(old)})
    old.parent.rename(new)
    assert {str(new), str(old.parent)} <= told(engine)
    assert engine.watch({folder(tmp_path), folder(new), folder(new / "sub")}) == frozenset()
    (new / "sub" / "file").touch()
    assert told(engine) == {f"{new}/sub/file"}
    assert len(watches(engine)) == 3


def test_the_name_of_a_renamed_folder_may_get_another_one_at_once(engine: InotifyEngine, tmp_path: Path) -> None:
    src, away = made(tmp_path / "top" / "src"), tmp_path / "away"
    engine.watch({folder(src.parent), folder(src)})
    src.parent.rename(away)
    made(src)
    engine.watch({folder(src.parent), folder(src)})
    told(engine)
    (src / "file").touch()
    (away / "src" / "file").touch()
    assert told(engine) == {f"{src}/file"}


def test_two_names_of_one_folder_are_both_told(engine: InotifyEngine, tmp_path: Path) -> None:
    one, two = made(tmp_path / "one"), tmp_path / ".." / tmp_path.name / "one"
    engine.watch({folder(one), folder(two)})
    (one / "file").touch()
    assert told(engine) == {f"{one}/file", f"{two}/file"}
    engine.watch({folder(two)})
    (one / "file").unlink()
    assert told(engine) == {f"{two}/file"}


def test_a_folder_deleted_and_made_again_is_watched_again(engine: InotifyEngine, tmp_path: Path) -> None:
    src = made(tmp_path / "src")
    for number in range(3):
        engine.watch({folder(tmp_path), folder(src, generation=number)})
        told(engine)
        src.rmdir()
        src.mkdir()
        assert str(src) in told(engine)
    engine.watch({folder(tmp_path), folder(src, generation=3)})
    told(engine)
    (src / "file").touch()
    assert told(engine) == {f"{src}/file"}


def test_a_folder_made_again_is_watched_again_before_its_end_was_read(engine: InotifyEngine, tmp_path: Path) -> None:
    src = made(tmp_path / "src")
    engine.watch({folder(src)})
    src.rmdir()
    src.mkdir()
    engine.watch({folder(src, generation=1)})
    (src / "file").touch()
    assert told(engine) == {f"{src}/file"}
    (src / "file").unlink()
    assert told(engine) == {f"{src}/file"}


def test_what_has_vanished_before_it_was_watched_is_told(engine: InotifyEngine, tmp_path: Path) -> None:
    gone, file, link = (folder(made(tmp_path / name)) for name in ("gone", "file", "link"))
    for one in (gone, file, link):
        shutil.rmtree(one.real)
    Path(file.real).touch()
    Path(link.real).symlink_to(tmp_path)
    assert engine.watch({gone, file, link}) == frozenset()
    assert told(engine) == {gone.real, file.real, link.real}
    assert told(engine) == set()


def test_after_an_overflow_every_watch_is_asked_for_again(engine: InotifyEngine, tmp_path: Path) -> None:
    src = made(tmp_path / "src")
    engine.watch({folder(tmp_path), folder(src)})
    names = [tmp_path / "a", tmp_path / "b"]
    for name in names:
        name.touch()
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for number in range(most + 10):  # the same one twice in a row would be one event
        os.utime(names[number % 2])
    src.rmdir()
    src.mkdir()
    with pytest.raises(QueueOverflowError):
        engine.wait(DEADLINE_S)
    engine.watch({folder(tmp_path), folder(src)})
    told(engine)
    (src / "file").touch()
    assert told(engine) == {f"{src}/file"}


def test_waiting_without_a_limit_ends_when_it_is_woken(engine: InotifyEngine) -> None:
    waiting = threading.Thread(target=engine.wait, args=(None,))
    waiting.start()
    engine.wake()
    waiting.join(DEADLINE_S)
    assert not waiting.is_alive()
    engine.wake()
    assert engine.wait(None) == Events()


def test_waking_what_is_closed_does_nothing(engine: InotifyEngine) -> None:
    engine.watch(set())
    engine.close()
    engine.wake()
    engine.close()


def test_nothing_is_left_open(engine: InotifyEngine, tmp_path: Path) -> None:
    before = obey.descriptors()
    other = InotifyEngine()
    other.watch({folder(tmp_path)})
    assert obey.descriptors() == before + 3  # the instance, what wakes it, and the list of mounts
    other.close()
    assert obey.descriptors() == before
