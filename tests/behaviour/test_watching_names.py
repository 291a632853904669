"""Watching whatever a file or folder is called, and whoever may look into it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from procwatch.core.model import WatchEngine
from tests.behaviour.conftest import Start
from tests.behaviour.test_watching_trees import Built
from tests.rig.live import write
from tests.rig.privileges import bound_by_permissions
from tests.rig.watched import Run, Watched, make, put

pytestmark = pytest.mark.usefixtures("no_net")

NAMES = [
    "two words", " blanks ", "new\nline", "tab\t", 'quote"s\'', "back\\slash", "-dash", "$HOME `id`", "[ab]", "a*b?",
    "{a,b}", "#hash", "!mark", "..dots", "~tilde", "caf\u00e9", "cafe\u0301", "\u65e5\u672c", "\x1b[31m", "n" * 200,
]  # fmt: skip
NOT_UTF8 = os.fsdecode(b"caf\xe9")


@pytest.mark.parametrize("form", ["{}.rs", "{}/deep/a.rs", "deep/{}/a.rs"])
def test_any_name_is_told(root: Path, form: str, run: Run) -> None:
    paths = [f"src/{form.format(name)}" for name in NAMES]

    async def body(watched: Watched) -> None:
        for text in ("new", "saved"):
            for path in paths:
                put(root, path, text)
            await watched.until(*paths)
        for path in paths:
            (root / path).unlink()
        await watched.until(*paths)
        for path in paths:
            put(root, path, "again")
        await watched.until(*paths)
        shutil.rmtree(root / "src")
        await watched.until(*paths)

    run(make(root, "src/**/*.rs"), body)


def test_any_name_reaches_the_build_as_it_is(project: Path, start: Start, engine: WatchEngine) -> None:
    built = Built(project, start, engine)
    paths = [f"src/{name}.rs" for name in NAMES if "\n" not in name]  # the list of this build is lines
    for path in paths:
        write(project / path, "x")
    built.has_seen(paths)
    write(project / "src/new\nline.rs", "x")
    built.live.until(lambda: "src/new\nline.rs" in built.changed(), "the name in the file of changed paths")


def test_a_name_that_is_not_utf8_reaches_the_build_as_bytes(project: Path, start: Start, engine: WatchEngine) -> None:
    toml = f"""
        [watch]
        engine = "{engine}"
        [build.app]
        run = 'printf %s "$PROCWATCH_CHANGED" > changed'
        watch = ["src/**"]
    """
    write(project / "watch.toml", toml)
    write(project / "src/a.rs", "x")
    live = start()
    live.wait("build_succeeded")
    write(project / f"src/{NOT_UTF8}.rs", "x")
    live.until(lambda: (project / "changed").read_bytes() == b"src/caf\xe9.rs", "the name in PROCWATCH_CHANGED")


def test_names_that_differ_in_case_are_different_files(root: Path, run: Run) -> None:
    put(root, "src/a.rs")
    if (root / "src/A.rs").exists():
        pytest.skip("this file system does not tell upper from lower case")

    async def body(watched: Watched) -> None:
        (root / "src/a.rs").rename(root / "src/A.rs")
        await watched.until("src/a.rs", "src/A.rs")
        put(root, "src/A.rs", "saved")
        assert (await watched.batch()).paths == ("src/A.rs",)
        (root / "src").rename(root / "Src")
        await watched.until("src/A.rs")
        (root / "Src").rename(root / "src")
        await watched.until("src/A.rs")
        put(root, "src/A.RS", "another ending")
        assert (await watched.marker()).paths == ("marker",)

    run(make(root, "src/*.rs"), body)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100], ids=oct)
def test_a_folder_that_loses_its_permissions_and_gets_them_back(root: Path, mode: int, run: Run) -> None:
    put(root, "src/secret/deep/a.rs")
    told = 'cannot look into "src/secret'

    async def body(watched: Watched) -> None:
        for text in ("one", "two"):
            (root / "src/secret").chmod(mode)
            await watched.until("src/secret/deep/a.rs")
            await watched.happens(lambda: any(line.startswith(told) for line in watched.lines))
            (root / "src/secret").chmod(0o700)
            await watched.until("src/secret/deep/a.rs")
            put(root, "src/secret/deep/a.rs", text)
            await watched.until("src/secret/deep/a.rs")

    with bound_by_permissions():
        run(make(root, "src/**/*.rs"), body)


def test_of_a_folder_that_may_be_entered_but_not_listed_named_files_are_told(root: Path, run: Run) -> None:
    put(root, "secret/a.rs")
    (root / "secret").chmod(0o100)

    async def body(watched: Watched) -> None:
        os.utime(root / "secret/a.rs")
        await watched.until("secret/a.rs")

    with bound_by_permissions():
        run(make(root, "secret/a.rs"), body)


def test_a_file_that_becomes_a_folder_or_a_link_and_back_is_told(root: Path, run: Run) -> None:
    path = put(root, "src/a.rs")
    other = put(root.parent, "other")

    async def body(watched: Watched) -> None:
        for _ in range(2):
            path.unlink()
            put(root, "src/a.rs/b.rs")
            await watched.until("src/a.rs", "src/a.rs/b.rs")
            put(root, "src/a.rs/b.rs", "saved")
            await watched.until("src/a.rs/b.rs")
            shutil.rmtree(path)
            path.symlink_to(other)
            await watched.until("src/a.rs", "src/a.rs/b.rs")
            other.write_text("saved")
            await watched.until("src/a.rs")
            path.unlink()
            path.write_text("file")
            await watched.until("src/a.rs")

    run(make(root, "src/**/*.rs"), body)


def test_a_file_truncated_to_nothing_and_written_again_is_told_with_its_last_content(root: Path, run: Run) -> None:
    path = put(root, "a.rs", "old")

    async def body(watched: Watched) -> None:
        os.truncate(path, 0)
        await watched.until("a.rs")
        path.write_text("new")
        await watched.until("a.rs")
        os.truncate(path, 0)
        path.write_text("newer")
        batch = await watched.batch()
        assert batch.paths == ("a.rs",)
        assert path.read_text() == "newer"
        assert (await watched.marker()).paths == ("marker",)

    run(make(root, "*.rs"), body)
