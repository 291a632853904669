"""Whole trees that appear, move and go while a project runs: not one file of them is missed, on any engine."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from procwatch.core.model import WatchEngine, WatchSettings
from tests.behaviour.conftest import Start
from tests.rig.live import Live, write
from tests.rig.watched import Run, Watched, make

TOML = """
[watch]
engine = "{engine}"
{poll}

[build.app]
run = '''
cp src/main.rs last && find src -type f | sort > built && cat "$PROCWATCH_CHANGED_JSON" >> changed
'''
watch = ["src/**"]
"""

FILES, FOLDERS = 600, 150


class Built:
    """A running project on one engine, and what its build has seen."""

    def __init__(self, project: Path, start: Start, engine: WatchEngine) -> None:
        self.project = project
        write(project / "watch.toml", TOML.format(engine=engine, poll='poll = "50ms"' if engine == "poll" else ""))
        if not (project / "src").exists():
            write(project / "src/main.rs", "main")
        self.live: Live = start()
        self.live.wait("build_succeeded")

    def changed(self) -> set[str]:
        """All paths that the runs of the build were told of."""
        text, at, paths = (self.project / "changed").read_text(), 0, set[str]()
        with suppress(json.JSONDecodeError):  # the last one is being written
            while at < len(text):
                told, at = json.JSONDecoder().raw_decode(text, at)
                paths.update(told)
        return paths

    def has_seen(self, names: Iterable[str], *, gone: Iterable[str] = ()) -> None:
        """Wait until it was told of all of these, and has run with what is there now."""
        wanted, there = {*names, *gone}, {*names, "src/main.rs"}

        def is_right() -> bool:
            built = set((self.project / "built").read_text(errors="surrogateescape").split("\n"))
            return there <= built and built.isdisjoint(gone) and wanted <= self.changed()

        try:
            self.live.until(is_right, "a build of the last state")
        except AssertionError as error:
            raise AssertionError(f"{len(wanted - self.changed())} of {len(wanted)} missed: {error}") from None
        (self.project / "changed").write_text("")


@pytest.fixture
def built(project: Path, start: Start, engine: WatchEngine) -> Built:
    return Built(project, start, engine)


def tree(folder: Path, count: int = FILES, folders: int = FOLDERS) -> list[str]:
    """Files in folders three deep; their paths below `folder`."""
    places = [number % folders for number in range(count)]
    names = [f"{place % 6}/{place % 30}/{place}/{number}.rs" for number, place in enumerate(places)]
    for name in names:
        write(folder / name, name)
    return names


def below(top: str, names: Iterable[str]) -> list[str]:
    return [f"{top}/{name}" for name in names]


def test_three_hundred_folders_with_a_file_written_at_once_are_all_built(built: Built) -> None:
    names = [f"src/{number}/b/c/file.rs" for number in range(300)]
    for name in names:
        write(built.project / name, name)
    built.has_seen(names)


def test_a_tree_that_is_copied_unpacked_moved_and_deleted_is_built_each_time(built: Built) -> None:
    away = built.project.parent / "away"
    names = tree(away)
    with tarfile.open(built.project.parent / "away.tar", "w") as tar:
        tar.add(away, "unpacked")
    src = built.project / "src"
    subprocess.run(["cp", "-r", away, src / "copied"], check=True)
    built.has_seen(below("src/copied", names))
    subprocess.run(["tar", "xf", built.project.parent / "away.tar", "-C", src], check=True)
    built.has_seen(below("src/unpacked", names))
    away.rename(src / "moved")
    built.has_seen(below("src/moved", names))
    (src / "moved").rename(src / "renamed")
    built.has_seen(below("src/renamed", names), gone=below("src/moved", names))
    (src / "renamed").rename(away)
    built.has_seen([], gone=below("src/renamed", names))
    shutil.rmtree(src / "copied")
    built.has_seen([], gone=below("src/copied", names))


def test_a_file_replaced_a_thousand_times_ends_with_the_last_content(built: Built) -> None:
    source, last = built.project / "src/main.rs", built.project / "last"
    for number in range(1000):
        write(source.with_name("main.tmp"), f"save {number}").replace(source)
    built.live.until(lambda: last.read_text() == "save 999", "the last content")


# So many in one project: the other engines look at all folders again for each new one.
ROUNDS: dict[WatchEngine, int] = {"inotify": 300, "watchfiles": 100, "poll": 100}


@pytest.mark.long
@pytest.mark.usefixtures("no_net")
def test_each_of_three_hundred_new_folders_with_a_file_is_told(root: Path, run: Run, engine: WatchEngine) -> None:
    async def body(watched: Watched) -> None:
        for number in range(ROUNDS[engine]):
            os.makedirs(watched.root / f"src/{number}/b/c")  # noqa: PTH103
            (watched.root / f"src/{number}/b/c/file.rs").write_text("x")
            await watched.until(f"src/{number}/b/c/file.rs")

    for part in range(300 // ROUNDS[engine] if engine != "poll" else 1):
        (root / f"{part}/src").mkdir(parents=True)
        # Without that quiet time each would be taken for more of the same burst, and waited for longer.
        run(make(root / str(part), "src/**/*.rs", settings=WatchSettings(quiet_s=0.001)), body)


def test_a_project_that_is_moved_away_for_a_while_goes_on_when_it_is_back(built: Built) -> None:
    away = built.project.parent / "away"
    for turn in ("one", "two"):
        mark = built.live.mark()
        built.project.rename(away)
        built.live.wait("files_changed", after=mark)
        away.rename(built.project)
        name = f"src/{turn}.rs"
        write(built.project / name, turn)
        built.has_seen([name])
        # A build looks for itself; with polling, what is away again before the next look has never been back.
        built.live.until(lambda: any(name in each["paths"] for each in built.live.seen("files_changed")), name)  # noqa: B023
    write(built.project / "src/main.rs", "last")
    built.live.until(lambda: (built.project / "last").read_text() == "last", "the last content")
