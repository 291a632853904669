"""Copies of what a build has made, on real file systems."""

from __future__ import annotations

import asyncio
import fcntl
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from procwatch.core.model import Build
from procwatch.runtime import copying, releases
from procwatch.runtime.copying import Copied, OutputsError, copy_outputs, is_there
from procwatch.runtime.places import Base
from procwatch.runtime.releases import ReleaseStore
from procwatch.runtime.stopping import Stop, Stopped
from tests.rig.live import DEADLINE_S, write

Copy = Callable[..., tuple[Path, Copied]]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A folder in which a build has made things."""
    folder = tmp_path / "made"
    program = write(folder / "out/bin/app", "#!/bin/sh\necho app\n")
    program.chmod(0o750)
    os.utime(program, ns=(1_500_000_000_000_000_001, 1_500_000_000_000_000_002))
    write(folder / "out/empty", "")
    write(folder / "out/big", os.urandom(3_000_000))
    (folder / "out/link").symlink_to("bin/app")
    (folder / "out/nowhere").symlink_to("/no/such/file")
    (folder / "out/hollow").mkdir(mode=0o711)
    os.utime(folder / "out/hollow", ns=(5, 1_400_000_000_000_000_000))
    return folder


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Copy:
    """Copy some of it; the second copy knows the first."""
    done: list[tuple[Path, Copied]] = []

    def go(*outputs: str, stop: Stop | None = None) -> tuple[Path, Copied]:
        target = tmp_path / f"copy{len(done)}"
        target.mkdir()
        before, known = (done[-1][0], done[-1][1].files) if done else (None, {})
        copied = copy_outputs(Base(str(made)), outputs, target, before=before, known=known, stop=stop or Stop())
        done.append((target, copied))
        return done[-1]

    return go


def test_files_folders_and_links_are_the_same_with_their_modes_and_times(made: Path, copy: Copy) -> None:
    target, copied = copy("out")
    for path in sorted((made / "out").rglob("*")):
        twin = target / path.relative_to(made)
        before, after = path.lstat(), twin.lstat()
        assert (before.st_mode, before.st_mtime_ns) == (after.st_mode, after.st_mtime_ns), path
        if path.is_symlink():
            assert path.readlink() == twin.readlink()
        elif path.is_file():
            assert path.read_bytes() == twin.read_bytes()
            assert before.st_ino != after.st_ino, "nothing is shared with what the next build writes"
    assert os.access(target / "out/bin/app", os.X_OK)
    assert set(copied.files) == {"out/bin/app", "out/empty", "out/big"}


def test_paths_patterns_and_braces_take_in_what_they_name(made: Path, copy: Copy) -> None:
    write(made / "dist/a.js", "a")
    write(made / "dist/deep/b.js", "b")
    write(made / "dist/b.css", "c")
    target, copied = copy("dist/**/*.js", "out/{big,empty}")
    found = sorted(str(path.relative_to(target)) for path in target.rglob("*") if path.is_file())
    assert found == ["dist/a.js", "dist/deep/b.js", "out/big", "out/empty"]
    assert set(copied.digests) == {"dist/**/*.js", "out/{big,empty}"}


def test_what_is_missing_is_told_by_its_name(made: Path, copy: Copy) -> None:
    assert is_there(Base(str(made)), "out/*")
    for output in ("out/none", "none/*.js"):
        assert not is_there(Base(str(made)), output)
        with pytest.raises(OutputsError, match=f'"{output[:4]}.*" is missing'):
            copy_outputs(Base(str(made)), [output], made, before=None, known={}, stop=Stop())


@pytest.mark.parametrize(
    ("change", "is_other"),
    [
        (lambda folder: write(folder / "out/empty", "x"), True),
        (lambda folder: (folder / "out/empty").chmod(0o700), True),
        (lambda folder: (folder / "out/empty").rename(folder / "out/other"), True),
        (lambda folder: (folder / "out/hollow").rmdir(), True),
        (lambda folder: ((folder / "out/link").unlink(), (folder / "out/link").symlink_to("big")), True),
        (lambda folder: os.utime(folder / "out/empty"), False),
        (lambda folder: write(folder / "out/bin/app", "#!/bin/sh\necho app\n"), False),
    ],
)
def test_content_decides_whether_two_copies_are_the_same(
    made: Path, copy: Copy, change: Callable[[Path], object], is_other: bool
) -> None:
    _, first = copy("out")
    change(made)
    _, second = copy("out")
    assert (first.digests != second.digests) == is_other


def test_what_has_stayed_the_same_is_shared_between_copies_only(made: Path, copy: Copy, tmp_path: Path) -> None:
    first, _ = copy("out")
    if _can_share_blocks(tmp_path):
        pytest.skip("here each copy is a file of its own, and costs nothing")
    write(made / "out/empty", "not any more")
    second, _ = copy("out")
    same = {path: (first / path).samefile(second / path) for path in ("out/bin/app", "out/big", "out/empty")}
    assert same == {"out/bin/app": True, "out/big": True, "out/empty": False}
    os.utime(made / "out/big")
    third, _ = copy("out")
    assert not (second / "out/big").samefile(third / "out/big"), "its time is another"
    assert not (made / "out/big").samefile(third / "out/big")


def _can_share_blocks(folder: Path) -> bool:
    with write(folder / "a", "a").open("rb") as origin, (folder / "b").open("wb") as twin:
        try:
            fcntl.ioctl(twin.fileno(), copying._FICLONE, origin.fileno())
        except OSError:
            return False
        return True


def test_where_the_kernel_shares_blocks_that_is_done_and_nothing_is_linked(
    made: Path, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system with reflinks, played: what is asked of the kernel is told, and done by copying."""
    asked: list[int] = []

    def ioctl(target: int, request: int, source: int) -> int:
        asked.append(request)
        return os.sendfile(target, source, 0, 1 << 30)

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    first, copied = copy("out")
    second, again = copy("out")
    assert set(asked) == {0x40049409}
    assert len(asked) == 6
    assert copied.digests == again.digests
    assert (second / "out/big").read_bytes() == (made / "out/big").read_bytes()
    assert not (first / "out/big").samefile(second / "out/big")


def test_where_the_kernel_cannot_copy_files_are_read(made: Path, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "copy_file_range")
    target, _ = copy("out")
    assert (target / "out/big").read_bytes() == (made / "out/big").read_bytes()


def test_a_file_that_is_written_to_all_the_time_is_not_taken(
    made: Path, copy: Copy, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = os.copy_file_range

    def and_meanwhile(source: int, target: int, count: int) -> int:
        with (made / "out/big").open("ab") as file:
            file.write(b"more")
        return kept(source, target, count)

    monkeypatch.setattr(os, "copy_file_range", and_meanwhile)
    with pytest.raises(OutputsError, match='"out/big" is still being written'):
        copy("out/big")


def test_sockets_and_pipes_are_left_out(made: Path, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(made / "out/pipe")
    monkeypatch.chdir(made)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("out/socket")
        target, _ = copy("out")
    assert not (target / "out/pipe").exists()
    assert not (target / "out/socket").exists()


def test_folders_that_may_not_be_written_are_copied(made: Path, copy: Copy) -> None:
    (made / "out/bin").chmod(0o555)
    target, _ = copy("out")
    assert stat.S_IMODE((target / "out/bin").stat().st_mode) == 0o555
    for folder in (made, target):
        (folder / "out/bin").chmod(0o755)


def test_it_stops_soon_when_asked_to(copy: Copy) -> None:
    stop = Stop()
    stop.set()
    with pytest.raises(Stopped):
        copy("out", stop=stop)


def test_one_that_is_given_up_twice_is_waited_for_all_the_same(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a change, and then by the end of everything."""
    begun, go_on = Event(), Event()

    def copy_slowly(*_args: object, stop: Stop, **_more: object) -> Copied:
        begun.set()
        assert stop.wait(DEADLINE_S)
        assert go_on.wait(DEADLINE_S)
        raise Stopped

    async def story() -> None:
        store = ReleaseStore(made, tmp_path / ".procwatch", pytest.fail)
        making = asyncio.create_task(store.make(Build("build.app", "make", outputs=("out",))))
        await asyncio.to_thread(begun.wait, DEADLINE_S)
        for _ in range(2):
            making.cancel()
            for _ in range(5):
                await asyncio.sleep(0)
        assert not making.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await making
        assert not list((tmp_path / ".procwatch/releases/app").iterdir())

    monkeypatch.setattr(releases, "copy_outputs", copy_slowly)
    try:
        asyncio.run(story())
    finally:
        go_on.set()
