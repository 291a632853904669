"""File systems that come and go below, above and beside what is watched, in a mount namespace of the test's own."""

from __future__ import annotations

from pathlib import Path

import pytest

from procwatch.core.model import WatchEngine
from tests.rig.needs import need_linux
from tests.rig.watched import in_own_namespace

pytestmark = pytest.mark.usefixtures("no_net")

# watchfiles says nothing of mounts: there they are found with the next look at everything, one second after a change.
HEARS_OF_MOUNTS = pytest.mark.parametrize("engine", ["inotify", "poll"], indirect=True)

HEAD = """
import os, subprocess, sys
from pathlib import Path
from procwatch.core.model import WatchSettings
from tests.rig.watched import Watched, make, play, put
import procwatch.runtime.feed
procwatch.runtime.feed._SWEEP_AFTER_S = 100
root, engine = Path(sys.argv[1]), sys.argv[2]
settings = WatchSettings(engine=engine, poll_s=0.02 if engine == "poll" else None)
def mount(*args):
    subprocess.run(["mount", *args], check=True)
def umount(*args):
    subprocess.run(["umount", *args], check=True)
"""


def told(root: Path, engine: WatchEngine, script: str) -> None:
    """Run a script that prints "told" once everything has been."""
    need_linux()
    assert in_own_namespace(HEAD + script, str(root), engine) == "told\n"


@HEARS_OF_MOUNTS
def test_a_mount_that_covers_a_folder_and_goes_again(root: Path, engine: WatchEngine) -> None:
    told(
        root,
        engine,
        """
put(root, "src/a.rs", "below")
async def body(watched: Watched) -> None:
    for turn in range(2):
        mount("-t", "tmpfs", "none", root / "src")
        await watched.until("src/a.rs")
        put(root, "src/b.rs", "above")
        await watched.until("src/b.rs")
        put(root, "src/new/c.rs", "above")
        await watched.until("src/new/c.rs")
        umount("--lazy", root / "src")
        await watched.until("src/a.rs", "src/b.rs", "src/new/c.rs")
        put(root, "src/a.rs", f"edited {turn}")
        await watched.until("src/a.rs")
    print("told")
play(make(root, "src/**/*.rs", settings=settings), body)
""",
    )


@HEARS_OF_MOUNTS
def test_a_mount_over_the_root_or_a_folder_above_it(root: Path, engine: WatchEngine) -> None:
    told(
        root / "a b" / "shop",
        engine,
        """
put(root, "src/a.rs", "below")
async def body(watched: Watched) -> None:
    for covered in (root, root.parent, root.parent.parent):
        mount("-t", "tmpfs", "none", covered)
        await watched.until("src/a.rs")
        put(root, "src/a.rs", "above")
        await watched.until("src/a.rs")
        put(root, "src/a.rs", "above, edited")
        await watched.until("src/a.rs")
        umount("--lazy", covered)
        await watched.until("src/a.rs")
        put(root, "src/a.rs", f"edited below {covered}")
        await watched.until("src/a.rs")
    print("told")
play(make(root, "src/*.rs", settings=settings), body)
""",
    )


def test_a_bind_mount_that_is_there_at_the_start_is_one_folder_under_two_names(root: Path, engine: WatchEngine) -> None:
    told(
        root,
        engine,
        """
put(root, "src/deep/a.rs")
put(root.parent, "away/b.rs")
for name in ("again", "away"):
    (root / name).mkdir()
mount("--bind", root / "src", root / "again")
mount("--bind", root.parent / "away", root / "away")
async def body(watched: Watched) -> None:
    put(root, "src/deep/a.rs", "edited")
    await watched.until("again/deep/a.rs", "src/deep/a.rs")
    put(root, "again/deep/a.rs", "through the other one")
    await watched.until("again/deep/a.rs", "src/deep/a.rs")
    put(root, "again/new/c.rs")
    await watched.until("again/new/c.rs", "src/new/c.rs")
    put(root.parent, "away/b.rs", "outside")
    await watched.until("away/b.rs")
    print("told")
play(make(root, "src/**/*.rs", "again/**/*.rs", "away/*.rs", settings=settings), body)
""",
    )


@HEARS_OF_MOUNTS
def test_a_bind_mount_that_comes_later(root: Path, engine: WatchEngine) -> None:
    told(
        root,
        engine,
        """
put(root.parent, "away/b.rs")
(root / "src" / "lib").mkdir(parents=True)
async def body(watched: Watched) -> None:
    mount("--bind", root.parent / "away", root / "src" / "lib")
    await watched.until("src/lib/b.rs")
    put(root.parent, "away/b.rs", "edited")
    await watched.until("src/lib/b.rs")
    umount(root / "src" / "lib")
    await watched.until("src/lib/b.rs")
    put(root.parent, "away/b.rs", "unseen")
    assert (await watched.marker()).paths == ("marker",)
    print("told")
play(make(root, "src/**/*.rs", settings=settings), body)
""",
    )


@pytest.mark.parametrize("engine", ["inotify"], indirect=True)
def test_a_file_system_that_others_may_write_to_is_looked_at_as_well(root: Path, engine: WatchEngine) -> None:
    script = """
from procwatch.runtime import mounts
from procwatch.runtime.engines import Events, engine_for
from tests.behaviour.test_watcher import Lossy
mounts.REMOTE = frozenset({"tmpfs"})
put(root, "src/here.rs")
(root / "lib").mkdir()
mount("-t", "tmpfs", "none", root / "lib")
put(root, "lib/lost.rs")
async def body(watched: Watched) -> None:
    put(root, "lib/told.rs")
    assert (await watched.batch()).paths == ("lib/told.rs",)
    put(root, "lib/lost.rs", "as from another machine")
    await watched.until("lib/lost.rs")
    put(root, "lib/new/lost.rs", "as from another machine")
    await watched.until("lib/new/lost.rs")
    assert watched.lines == [
        "of files on tmpfs the system tells only what is done on this machine; 1 folder is looked at every 1 s instead"
    ], watched.lines
    print("told")
play(make(root, "**/*.rs", settings=settings), body, Lossy(engine_for(settings)))
"""
    told(root, engine, script)
