"""A check after a save looks only at what was saved, and comes to the same as one that looks at everything."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from procwatch.core.model import Build, Need, Project
from procwatch.runtime.contents import Checked
from procwatch.runtime.engines import Events
from procwatch.runtime.inputs import Inputs

NAMES = tuple(f"src/{number % 5}/{number}.txt" for number in range(30))


def write(root: Path, name: str, text: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text)


def project(root: Path) -> Project:
    builds = (
        Build("build.a", "make", watch=("src", "more")),
        Build("build.b", "make", watch=("src",), needs=(Need("build.a", restart=True),)),
    )
    return Project(name="shop", folder=str(root), builds={one.name: one for one in builds}, services={})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    for name in NAMES:
        write(folder, name, name)
    return folder


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The folders that are listed, as they come."""
    found: list[str] = []
    real = os.scandir

    def counted(path: str) -> Iterator[os.DirEntry[str]]:
        found.append(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", counted)
    return found


def anew(root: Path, name: str = "build.a") -> str:
    return Inputs(project(root)).check(name).digest


def checked(inputs: Inputs, *events: str, name: str = "build.a") -> Checked:
    """A check after these events."""
    inputs.readers(events)
    return inputs.check(name)


def test_after_a_save_only_what_was_saved_is_looked_at(root: Path, listed: list[str]) -> None:
    inputs = Inputs(project(root))
    inputs.check("build.a")
    for text in ("one", "two"):
        write(root, "src/1/1.txt", text)
        listed.clear()
        found = checked(inputs, "src/1/1.txt", "src/1/1.txt.tmp")
        assert (listed, found.changed, found.touched) == ([], ("src/1/1.txt",), True)
        assert found.digest == anew(root)


def test_what_no_event_has_told_of_is_found_when_there_is_no_news(root: Path, listed: list[str]) -> None:
    inputs = Inputs(project(root))
    inputs.check("build.a")
    write(root, "src/1/1.txt", "told")
    write(root, "src/2/2.txt", "not told")
    assert checked(inputs, "src/1/1.txt").changed == ("src/1/1.txt",)
    listed.clear()
    found = inputs.check("build.a")
    assert listed
    assert found.changed == ("src/2/2.txt",)
    assert found.digest == anew(root)


def new(root: Path) -> tuple[str, ...]:
    write(root, "src/1/new.txt", "new")
    return ("src/1/new.txt",)


def gone(root: Path) -> tuple[str, ...]:
    (root / "src/1/1.txt").unlink()
    return ("src/1/1.txt",)


def touched(root: Path) -> tuple[str, ...]:
    os.utime(root / "src/1/1.txt", ns=(1, 1))
    return ("src/1/1.txt",)


def folder(root: Path) -> tuple[str, ...]:
    (root / "src/1/1.txt").unlink()
    write(root, "src/1/1.txt/inner.txt", "inner")
    return ("src/1/1.txt", "src/1/1.txt/inner.txt")


def many(root: Path) -> tuple[str, ...]:
    for name in NAMES:
        write(root, name, "other")
    return NAMES


def renamed(root: Path) -> tuple[str, ...]:
    (root / "src/1").rename(root / "src/9")
    return tuple(name for name in NAMES if name.startswith("src/1/"))


def linked(root: Path) -> tuple[str, ...]:
    (root / "more").symlink_to("elsewhere")
    write(root, "elsewhere/a.txt", "far")
    return ("more/a.txt",)


def ignored(root: Path) -> tuple[str, ...]:
    write(root, "src/.gitignore", "2.txt\n")
    return ("src/.gitignore",)


@pytest.mark.parametrize("change", [new, gone, touched, folder, many, renamed, linked, ignored])
def test_after_anything_else_all_is_looked_at(
    root: Path, listed: list[str], change: Callable[[Path], tuple[str, ...]]
) -> None:
    inputs = Inputs(project(root))
    inputs.check("build.a")
    events = change(root)
    listed.clear()
    found = checked(inputs, *events)
    assert listed
    assert found.digest == anew(root)


def watched(root: Path, caught_up: bool = True) -> Inputs:
    """Checked once, and told of events from now on; `caught_up`: whether those tell of all."""
    inputs = Inputs(project(root))
    inputs.learn()
    inputs.trust(lambda: caught_up)
    inputs.check("build.a")
    return inputs


def told(inputs: Inputs, root: Path, *paths: str) -> Checked:
    """A check after events of these."""
    inputs.look(Events(frozenset(str(root / path) for path in paths)))
    return inputs.check("build.a")


def test_where_events_tell_of_all_nothing_else_is_looked_at(root: Path, listed: list[str]) -> None:
    inputs = watched(root)
    before = inputs.check("build.a")
    assert listed
    listed.clear()
    assert inputs.check("build.a") == before
    assert listed == []


def none(_root: Path) -> tuple[str, ...]:
    return ()


@pytest.mark.parametrize("change", [none, new, gone, touched])
def test_where_events_tell_of_all_what_comes_and_goes_is_not_looked_for(
    root: Path, listed: list[str], change: Callable[[Path], tuple[str, ...]]
) -> None:
    inputs = watched(root)
    events = change(root)
    listed.clear()
    found = told(inputs, root, *events)
    assert listed == []
    assert found.digest == anew(root)
    assert found.changed == (() if change in {none, touched} else events)
    assert found.touched == (change is not none)


@pytest.mark.parametrize("change", [new, gone, touched, folder, many, renamed, linked, ignored])
@pytest.mark.parametrize("caught_up", [False, True])
def test_whatever_changes_it_comes_to_the_same(
    root: Path, caught_up: bool, change: Callable[[Path], tuple[str, ...]]
) -> None:
    inputs = watched(root, caught_up)
    events = change(root)
    found = told(inputs, root, *events, "src", "src/1", "src/9", "more")
    assert found.digest == anew(root)
    assert inputs.check("build.a") == Checked(found.digest, ())


def test_where_events_may_be_late_all_is_looked_at(root: Path, listed: list[str]) -> None:
    inputs = watched(root, caught_up=False)
    write(root, "src/2/2.txt", "not told")
    listed.clear()
    assert inputs.check("build.a").changed == ("src/2/2.txt",)
    assert listed


def test_what_another_build_has_made_is_told_by_events_unless_it_is_declared(root: Path, listed: list[str]) -> None:
    builds = [Build("build.made", "make", outputs=("made",)), Build("build.a", "make", watch=("more",))]
    builds += [
        Build(f"build.{name}", "make", watch=("src",), needs=(Need(need, restart=True),))
        for name, need in (("declared", "build.made"), ("told", "build.a"))
    ]
    shop = Project("shop", str(root), {one.name: one for one in builds}, {})
    write(root, "made", "one")
    inputs = Inputs(shop)
    inputs.learn()
    inputs.trust(lambda: True)
    inputs.check_all(shop.builds)
    write(root, "src/1/1.txt", "told")
    write(root, "src/new.txt", "told")
    write(root, "made", "not told")
    inputs.look(Events(frozenset({str(root / "src/1/1.txt"), str(root / "src/new.txt")})))
    listed.clear()
    assert inputs.check("build.told").changed == ("src/1/1.txt", "src/new.txt")
    assert listed == []
    assert inputs.check("build.declared").changed == ("made", "src/1/1.txt", "src/new.txt")
    assert listed


def test_a_file_that_could_not_be_read_is_tried_again_without_an_event(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = watched(root)

    def refused(*_: object) -> int:
        raise OSError(errno.EMFILE, "too many open files")

    before = inputs.check("build.a").digest
    write(root, "src/1/1.txt", "other")
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        assert told(inputs, root, "src/1/1.txt").digest != before
    assert inputs.check("build.a").digest == anew(root)


def test_a_build_that_needs_another_looks_at_all_that_it_may_have_made(root: Path, listed: list[str]) -> None:
    inputs = Inputs(project(root))
    inputs.check("build.b")
    write(root, "src/1/1.txt", "told")
    write(root, "src/2/2.txt", "made, and not told yet")
    listed.clear()
    assert checked(inputs, "src/1/1.txt", name="build.b").changed == ("src/1/1.txt", "src/2/2.txt")
    assert listed


def test_another_project_looks_at_all(root: Path, listed: list[str]) -> None:
    inputs = Inputs(project(root))
    inputs.check("build.a")
    other = inputs.renewed(project(root), ())
    write(root, "src/1/1.txt", "other")
    listed.clear()
    assert checked(other, "src/1/1.txt").changed == ("src/1/1.txt",)
    assert listed


def test_many_saves_one_after_the_other_come_to_the_same(root: Path) -> None:
    inputs = Inputs(project(root))
    first = inputs.check("build.a").digest
    for turn, name in enumerate(NAMES[:20]):
        write(root, name, f"turn {turn}")
        assert checked(inputs, name).digest == anew(root)
    for name in NAMES[:20]:
        write(root, name, name)
        last = checked(inputs, name).digest
    assert last == first
    shutil.rmtree(root / "src/1")
    assert inputs.check("build.a").digest == anew(root)
