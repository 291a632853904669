"""Watching through symbolic links, hard links and mounts: what stands behind a name is told under that name."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from tests.rig.watched import Run, Watched, make, put

pytestmark = pytest.mark.usefixtures("no_net")


def swap(link: Path, target: str) -> None:
    """As `ln -sfn` does it: never is there no link."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(target)
    new.replace(link)


def test_a_link_to_a_file_follows_what_it_is_swapped_to(root: Path, run: Run) -> None:
    for name in ("one/a.txt", "two/a.txt", "three/a.txt"):
        put(root.parent, name)
    (root / "a.rs").symlink_to("../one/a.txt")

    async def body(watched: Watched) -> None:
        for name in ("two", "three", "one"):
            swap(root / "a.rs", f"../{name}/a.txt")
            await watched.until("a.rs")
            put(root.parent, f"{name}/a.txt", f"edited in {name}")
            await watched.until("a.rs")

    run(make(root, "*.rs"), body)


def test_a_link_to_a_folder_outside_follows_what_it_is_swapped_to(root: Path, run: Run) -> None:
    for name in ("one/deep/a.rs", "two/deep/a.rs", "two/b.rs"):
        put(root.parent, name)
    (root / "lib").symlink_to("../one")

    async def body(watched: Watched) -> None:
        for turn, name in enumerate(("two", "one", "two")):
            swap(root / "lib", f"../{name}")
            await watched.until("lib/deep/a.rs", "lib/b.rs")
            put(root.parent, f"{name}/deep/a.rs", f"edited {turn}")
            await watched.until("lib/deep/a.rs")
            put(root.parent, f"{name}/new/deep/{turn}.rs")
            await watched.until(f"lib/new/deep/{turn}.rs")

    run(make(root, "**/*.rs"), body)


def test_links_that_lead_to_nothing_are_followed_once_there_is_something(root: Path, run: Run) -> None:
    (root / "lib").symlink_to("../far/away/lib")
    (root / "a.rs").symlink_to("../far/a.txt")

    async def body(watched: Watched) -> None:
        for turn in ("one", "two"):
            put(root.parent, "far/away/lib/b.rs", turn)
            await watched.until("lib/b.rs")
            put(root.parent, "far/away/lib/b.rs", turn + turn)
            await watched.until("lib/b.rs")
            put(root.parent, "far/a.txt", turn)
            await watched.until("a.rs")
            put(root.parent, "far/a.txt", turn + turn)
            await watched.until("a.rs")
            await watched.watcher_looks()
            shutil.rmtree(root.parent / "far")
            await watched.until("lib/b.rs", "a.rs")
            await watched.watcher_looks()

    run(make(root, "**/*.rs"), body)


def test_every_link_on_the_way_counts(root: Path, run: Run) -> None:
    for name in ("one", "two"):
        put(root.parent, f"{name}/lib/a.rs", name)
        put(root.parent, f"{name}/b.txt", name)
    (root.parent / "current").symlink_to("one")
    (root / "lib").symlink_to("../current/lib")
    (root / "b.rs").symlink_to("../current/b.txt")

    async def body(watched: Watched) -> None:
        for turn, name in enumerate(("two", "one", "two")):
            swap(root.parent / "current", name)
            await watched.until("lib/a.rs", "b.rs")
            put(root.parent, f"{name}/lib/a.rs", f"edited {turn}")
            await watched.until("lib/a.rs")
            put(root.parent, f"{name}/b.txt", f"edited {turn}")
            await watched.until("b.rs")

    run(make(root, "**/*.rs"), body)


def test_of_two_links_to_one_folder_the_other_stands_for_it_when_one_goes(root: Path, run: Run) -> None:
    put(root.parent, "away/a.rs")
    for name in ("one", "two"):
        (root / name).symlink_to("../away")

    async def body(watched: Watched) -> None:
        put(root.parent, "away/a.rs", "edited")
        await watched.until("one/a.rs")
        (root / "one").unlink()
        await watched.until("one/a.rs", "two/a.rs")
        put(root.parent, "away/a.rs", "edited again")
        await watched.until("two/a.rs")

    run(make(root, "**/*.rs"), body)


def test_a_link_that_a_pattern_names_is_followed_under_its_own_name(root: Path, run: Run) -> None:
    put(root, "src/a.rs")
    put(root, "src/deep/b.rs")
    (root / "lib").symlink_to("src")

    async def body(watched: Watched) -> None:
        put(root, "src/a.rs", "edited")
        await watched.until("src/a.rs", "lib/a.rs")
        put(root, "src/deep/b.rs", "edited")
        await watched.until("src/deep/b.rs", "lib/deep/b.rs")
        put(root, "src/new/deep/c.rs")
        await watched.until("src/new/deep/c.rs", "lib/new/deep/c.rs")

    run(make(root, "src/**/*.rs", "lib/**/*.rs"), body)


def test_links_in_circles_and_to_the_root_of_all_end(root: Path, run: Run) -> None:
    put(root, "src/a.rs")
    (root / "src" / "up").symlink_to("..")
    (root / "src" / "self").symlink_to("self")
    (root / "ping").symlink_to("pong")
    (root / "pong").symlink_to("ping")
    (root / "all").symlink_to("/")
    (root / "beside").symlink_to("../..")

    async def body(watched: Watched) -> None:
        assert len(watched.inputs.folders()) < 10
        put(root, "src/a.rs", "edited")
        assert (await watched.batch()).paths == ("src/a.rs",)
        (root / "pong").unlink()
        put(root, "pong/b.rs")
        await watched.until("pong/b.rs")
        put(root, "pong/b.rs", "edited")
        await watched.until("pong/b.rs")

    run(make(root, "**/*.rs"), body)


def test_a_link_to_the_root_of_all_is_followed_where_a_pattern_names_it(root: Path, run: Run) -> None:
    away = put(root.parent, "away/a.rs")
    (root / "all").symlink_to("/")

    async def body(watched: Watched) -> None:
        away.write_text("edited")
        assert (await watched.batch()).paths == (f"all{away}",)

    run(make(root, f"all{away.parent}/*.rs"), body)


def test_what_is_written_through_another_hard_link_is_told(root: Path, run: Run) -> None:
    put(root, "src/a.rs")
    os.link(root / "src" / "a.rs", root / "src" / "b.rs")
    os.link(root / "src" / "a.rs", root.parent / "c")

    async def body(watched: Watched) -> None:
        put(root, "src/a.rs", "through the first")
        await watched.until("src/a.rs", "src/b.rs")
        put(root.parent, "c", "through the one outside")
        await watched.until("src/a.rs", "src/b.rs")
        put(root, "src/new.rs")
        await watched.until("src/new.rs")
        os.link(root / "src" / "new.rs", root.parent / "d")  # no folder has an event of that
        put(root, "src/new.rs", "so it is known from the next one on")
        await watched.until("src/new.rs")
        put(root.parent, "d", "outside")
        await watched.until("src/new.rs")
        replaced = put(root, "src/other.tmp")
        replaced.replace(root / "src" / "a.rs")
        await watched.until("src/a.rs")
        put(root.parent, "c", "outside, again")
        await watched.until("src/b.rs")

    run(make(root, "src/*.rs"), body)


def test_a_root_that_is_a_link_is_the_folder_behind_it(root: Path, run: Run) -> None:
    real = root.parent / "real"
    root.rename(real)
    root.symlink_to("real")
    put(real, "src/a.rs")

    async def body(watched: Watched) -> None:
        put(real, "src/a.rs", "edited")
        assert (await watched.batch()).paths == ("src/a.rs",)
        put(root, "src/a.rs", "edited through the link")
        assert (await watched.batch()).paths == ("src/a.rs",)
        put(root.parent, "other/src/a.rs")
        swap(root, "other")
        put(root, "src/a.rs", "in the other one")
        put(real, "src/a.rs", "edited once more")
        assert (await watched.batch()).paths == ("src/a.rs",)

    run(make(root, "src/*.rs"), body)


@pytest.mark.parametrize("ups", [0, 1, 2, 3])
def test_a_root_that_is_moved_away_and_back_is_still_watched(tmp_path: Path, ups: int, run: Run) -> None:
    root = tmp_path / "a" / "b" / "c" / "shop"
    moved = [root, *root.parents][ups]
    put(root, "src/a.rs")

    async def body(watched: Watched) -> None:
        for turn in ("one", "two"):
            moved.rename(tmp_path / "away")
            await watched.until("src/a.rs")
            (tmp_path / "away").rename(moved)
            await watched.until("src/a.rs")
            put(root, "src/a.rs", turn)
            await watched.until("src/a.rs")
            put(root, f"src/new/{turn}.rs")
            await watched.until(f"src/new/{turn}.rs")

    run(make(root, "src/**/*.rs"), body)
