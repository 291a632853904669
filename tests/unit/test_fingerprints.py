"""What is kept of files for the next start: how much is read then, and that nothing is taken for what it is not."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from procwatch.core.model import Build, Project
from procwatch.runtime import fingerprints, kept
from procwatch.runtime.inputs import Inputs
from procwatch.runtime.stopping import Stop
from procwatch.runtime.walk import Signature

COUNT = 300


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Many files, all of which are old enough to be kept."""
    monkeypatch.setattr(fingerprints, "_COARSEST_CLOCK_NS", -(2**61))
    folder = tmp_path / "shop"
    for number in range(COUNT):
        path = folder / f"src/{number % 7}/{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number:04}")
    let_the_clock_tick(path)
    return folder


def let_the_clock_tick(path: Path) -> None:
    probe, since_ns = path.parents[3] / "probe", path.stat().st_ctime_ns
    probe.touch()
    while probe.stat().st_ctime_ns <= since_ns:
        os.utime(probe)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files whose content is read, as they come."""
    found: list[str] = []
    real = fingerprints.read_content

    def counted(absolute: str, signature: Signature, stop: Stop) -> fingerprints.Content:
        found.append(os.path.basename(absolute))  # noqa: PTH119 - a name may be anything
        return real(absolute, signature, stop)

    monkeypatch.setattr(fingerprints, "read_content", counted)
    return found


def inputs(root: Path, keep: bool = True) -> Inputs:
    build = Build("build.a", "make", watch=("src",))
    project = Project(name="shop", folder=str(root), builds={"build.a": build}, services={})
    return Inputs(project, (), root.parent / "kept" if keep else None)


def digest(root: Path, *, keep: bool = True) -> str:
    """As a start and a stop."""
    made = inputs(root, keep)
    found = made.check("build.a").digest
    made.close()
    return found


def test_the_next_start_reads_no_file_that_is_the_same(root: Path, reads: list[str]) -> None:
    before = digest(root)
    assert len(reads) == COUNT
    reads.clear()
    assert digest(root) == before
    assert reads == []
    assert (root.parent / "kept").stat().st_size < 80 * COUNT


def unseen(path: Path) -> None:
    before = path.stat()
    path.write_text("abcd")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def moved(path: Path) -> None:
    other = path.parents[2] / "other"
    other.write_text("abcd")
    shutil.copystat(path, other)
    other.replace(path)


@pytest.mark.parametrize(
    "change", [lambda path: path.write_text("abcd"), unseen, moved, lambda path: path.touch()],
    ids=["edit", "edit with its time put back", "another file in its place", "touch"],
)  # fmt: skip
def test_it_reads_just_what_looks_different(root: Path, reads: list[str], change: Callable[[Path], object]) -> None:
    digest(root)
    reads.clear()
    change(root / "src/3/10.txt")
    assert digest(root) == digest(root, keep=False)
    assert reads[0] == "10.txt"
    assert len(reads) == 1 + COUNT


def test_what_a_start_does_not_read_stays_known_to_it_only(root: Path, reads: list[str]) -> None:
    before = digest(root)
    shutil.rmtree(root / "src/3")
    assert digest(root) != before
    reads.clear()
    assert digest(root) == digest(root, keep=False)
    assert len(reads) == COUNT - 43  # all of the one that keeps nothing


def test_a_copy_elsewhere_is_read(root: Path, reads: list[str]) -> None:
    before = digest(root)
    shutil.copytree(root, root.parent / "copy")
    reads.clear()
    made = inputs(root.parent / "copy")
    assert made.check("build.a").digest == before
    assert len(reads) == COUNT


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: b"",
        lambda data: data.replace(b"fingerprints 1", b"fingerprints 2"),
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: data + b"x",
        lambda data: os.urandom(len(data)),
    ],
    ids=["half", "nothing", "another version", "a bit", "more", "anything"],
)
def test_what_is_damaged_counts_as_nothing(root: Path, reads: list[str], damage: Callable[[bytes], bytes]) -> None:
    before = digest(root)
    file = root.parent / "kept"
    file.write_bytes(damage(file.read_bytes()))
    reads.clear()
    assert digest(root) == before
    assert len(reads) == COUNT
    reads.clear()
    digest(root)
    assert reads == []


def test_what_cannot_be_written_is_read_at_the_next_start(root: Path, reads: list[str]) -> None:
    (root.parent / "kept.new").mkdir()
    before = digest(root)
    assert digest(root) == before
    assert len(reads) == 2 * COUNT


def test_a_file_that_changed_just_before_it_was_read_is_not_kept(
    root: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fingerprints, "_COARSEST_CLOCK_NS", 2**61)
    before = digest(root)
    reads.clear()
    assert digest(root) == before
    assert len(reads) == COUNT


@pytest.mark.parametrize("name", ["plain", "with space", "new\nline", os.fsdecode(b"caf\xe9"), "a" * 255, "ünï"])
def test_any_name_comes_back(tmp_path: Path, name: str) -> None:
    values = {name: b"1", f"{name}/{name}": b"two", f"../{name}": b"", "x/y/z": b"3" * 100, "x/y/a": b"4"}
    kept.save(tmp_path / "kept", values.items())
    assert kept.load(tmp_path / "kept") == values
