"""Whatever is done to files: a check that goes by events comes to the same as one that looks at every file."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procwatch.core.model import Build, Need, Project
from procwatch.runtime.engines import engine_for
from procwatch.runtime.feed import Feed, Listener
from procwatch.runtime.inputs import Inputs

FOLDERS = ("a", "a/b", "c", "c/d/e", "../far")
NAMES = ("x.rs", "y.rs", "z.txt")
PATTERNS = ("**/*.rs", "a", "c/**", "a/x.rs", "*/y.rs", "!c/y.rs", "../far", "link/*.rs")

files = st.builds(lambda folder, name: f"{folder}/{name}", st.sampled_from(FOLDERS), st.sampled_from(NAMES))
folders = st.sampled_from(FOLDERS)
steps = st.one_of(
    st.tuples(st.just("write"), files, st.sampled_from(("", "one", "two"))),
    st.tuples(st.just("append"), files, st.just("more")),
    st.tuples(st.just("touch"), files, st.none()),
    st.tuples(st.just("remove"), st.one_of(files, folders), st.none()),
    st.tuples(st.just("move"), st.one_of(files, folders), st.one_of(files, folders)),
    st.tuples(st.just("name"), files, files),
    st.tuples(st.just("link"), st.one_of(files, st.just("link")), st.one_of(files, folders)),
    st.tuples(st.just("ignore"), folders, st.sampled_from(("x.rs", "*.txt", "!y.rs", "b/"))),
    st.tuples(st.just("fill"), folders, st.integers(1, 20)),
)


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def append(root: Path, path: str, text: str) -> None:
    with (root / path).open("a") as file:
        file.write(text)


def touch(root: Path, path: str, _: None) -> None:
    os.utime(root / path)


def remove(root: Path, path: str, _: None) -> None:
    if (root / path).is_dir() and not (root / path).is_symlink():
        shutil.rmtree(root / path)
    else:
        (root / path).unlink()


def move(root: Path, path: str, to: str) -> None:
    (root / path).rename(root / to)


def name(root: Path, path: str, to: str) -> None:
    (root / path).hardlink_to(root / to)


def link(root: Path, path: str, to: str) -> None:
    (root / path).unlink(missing_ok=True)
    (root / path).symlink_to(os.path.relpath(root / to, (root / path).parent))


def ignore(root: Path, folder: str, line: str) -> None:
    write(root, f"{folder}/.gitignore", line + "\n")


def fill(root: Path, folder: str, count: int) -> None:
    for number in range(count):
        write(root, f"{folder}/{number}.rs", "x")


DO: dict[str, Callable[..., None]] = {
    "write": write, "append": append, "touch": touch, "remove": remove, "move": move, "name": name, "link": link,
    "ignore": ignore, "fill": fill,
}  # fmt: skip


@contextmanager
def watching(inputs: Inputs) -> Iterator[None]:
    """As procwatch does, on real events."""
    faults: list[Exception] = []

    def nothing(*_: object) -> None:
        pass

    def failed(error: Exception) -> None:
        faults.append(error)

    feed = Feed(
        inputs, engine_for(inputs.project.watch),
        Listener(nothing, nothing, nothing, failed, nothing, nothing), poll_s=None,
    )  # fmt: skip
    feed.start()
    try:
        yield
    finally:
        feed.stop()
    assert faults == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no engine tells of all, and every file is looked at")
@given(
    st.lists(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2), min_size=1, max_size=3),
    st.lists(st.lists(steps, max_size=4), min_size=1, max_size=6),
)
@settings(max_examples=60, deadline=None)
def test_a_check_that_goes_by_events_comes_to_the_same(
    watched: list[list[str]], rounds: list[list[tuple[str, str, object]]]
) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(os.path.realpath(place), "shop")
        for folder in FOLDERS:
            write(root, f"{folder}/x.rs", folder)
        named = [(f"build.{number}", tuple(patterns)) for number, patterns in enumerate(watched)]
        needs = [(), *((Need(each, restart=True),) for each, _ in named[:-1])]
        # For no file to have names, or links to it, that nobody knows of.
        builds = {"build.all": Build("build.all", "make", watch=("**", "../far"))}
        builds |= {
            each: Build(each, "make", watch=patterns, needs=need)
            for (each, patterns), need in zip(named, needs, strict=True)
        }
        shop = Project("shop", str(root), builds, {})
        inputs = Inputs(shop)
        with watching(inputs):
            inputs.check_all(builds)
            for some in rounds:
                for what, path, more in some:
                    with suppress(OSError, shutil.Error):  # what cannot be done changes nothing
                        DO[what](root, path, more)
                inputs.check_all(builds)  # if it finds something, it may leave what is told later to the next one
                digests = [one.digest for one in inputs.check_all(builds)]
                assert digests == [one.digest for one in Inputs(shop).check_all(builds)]
