"""`at_start = "changed"`: whatever happened while procwatch did not run, a build runs if its content is another."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.behaviour.conftest import Start
from tests.rig.live import Live, left_over, wait_for_file, write

TOML = """
[build.app]
run = "cat src/a.txt > built"
watch = ["src/**"]
at_start = "changed"
"""
HOUR_S = 3600


@pytest.fixture
def built(project: Path, start: Start) -> Path:
    """The source of a project whose build has succeeded, and whose procwatch has ended."""
    write(project / "watch.toml", TOML)
    source = write(project / "src/a.txt", "one\n")
    older = write(project / "older", "old\n")
    os.utime(older, (time.time() - HOUR_S,) * 2)
    live = start()
    live.wait("build_succeeded", "build.app")
    assert live.stop() == 130
    let_the_clock_tick(source)
    return source


def let_the_clock_tick(path: Path) -> None:
    """Wait until what is written gets another time than this file has: kernels stamp with a clock of some ms."""
    probe, since_ns = path.parent.parent / "probe", path.stat().st_ctime_ns
    while write(probe, "").stat().st_ctime_ns <= since_ns:
        os.sched_yield()


def edit(path: Path, text: str) -> None:
    path.write_text(text)


def edit_unseen(path: Path) -> None:
    """Another content of the same size, with the times put back: what `touch -r` does."""
    before = path.stat()
    path.write_text("two\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_mtime_ns, path.stat().st_size) == (before.st_mtime_ns, before.st_size)


def edit_in(path: Path, offset_s: float) -> None:
    """An edit while the clock is wrong."""
    path.write_text("two\n")
    os.utime(path, (time.time() + offset_s,) * 2)


def touch_in(path: Path, offset_s: float) -> None:
    os.utime(path, (time.time() + offset_s,) * 2)


def write_again(path: Path) -> None:
    path.unlink()
    path.write_text("one\n")


def link_in_its_place(path: Path) -> None:
    path.unlink()
    path.symlink_to("../older")


def edit_and_take_back(path: Path) -> None:
    path.write_text("two\n")
    path.write_text("one\n")


def older(path: Path) -> Path:
    return path.parent.parent / "older"


CHANGES: dict[str, Callable[[Path], object]] = {
    "an edit": lambda path: edit(path, "two\n"),
    "an edit with the time put back": edit_unseen,
    "an edit with a time to come": lambda path: edit_in(path, HOUR_S),
    "an edit with a time long gone": lambda path: edit_in(path, -HOUR_S),
    "an older file copied over it": lambda path: shutil.copy2(older(path), path),
    "an older file moved over it": lambda path: older(path).replace(path),
    "a link in its place": link_in_its_place,
    "another file beside it": lambda path: write(path.parent / "b.txt", "one\n"),
    "another name": lambda path: path.rename(path.with_name("b.txt")),
}
NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a touch": lambda path: path.touch(),
    "a time to come": lambda path: touch_in(path, HOUR_S),
    "a time long gone": lambda path: touch_in(path, -HOUR_S),
    "the same written anew": write_again,
    "an edit taken back": edit_and_take_back,
    "other rights": lambda path: path.chmod(0o600),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_meanwhile_is_built(built: Path, start: Start, change: str) -> None:
    CHANGES[change](built)
    live = start()
    ended = live.until(lambda: live.seen("build_succeeded") or live.seen("build_failed"), "the end of the build")
    assert not live.seen("build_skipped")
    if ended[-1]["event"] == "build_succeeded":
        assert (built.parent.parent / "built").read_text() == built.read_text()
    else:
        assert change == "another name"


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_holds_the_same_is_not_built(built: Path, start: Start, change: str) -> None:
    NO_CHANGES[change](built)
    live = start()
    assert live.wait("build_skipped", "build.app")["reason"] == "the same content as in run 1"
    assert not live.seen("build_started")


def test_an_edit_with_a_time_to_come_is_seen_at_every_start(built: Path, start: Start) -> None:
    far = time.time() + HOUR_S
    for text in ("two\n", "six\n"):
        built.write_text(text)
        os.utime(built, (far, far))
        live = start()
        live.wait("build_succeeded", "build.app")
        assert live.stop() == 130
        assert (built.parent.parent / "built").read_text() == text
        let_the_clock_tick(built)


def test_a_checkout_of_older_files_is_built(project: Path, start: Start) -> None:
    write(project / "watch.toml", TOML)
    source = write(project / "src/a.txt", "one\n")
    git(project, "init", "-q")
    git(project, "add", "src")
    git(project, "commit", "-qm", "one")
    edit(source, "two\n")
    git(project, "commit", "-qam", "two")
    live = start()
    live.wait("build_succeeded", "build.app")
    assert live.stop() == 130
    for commit, text in (("HEAD~1", "one\n"), ("-", "two\n")):
        git(project, "checkout", "-q", commit)
        live = start()
        live.wait("build_succeeded", "build.app")
        assert live.stop() == 130
        assert (project / "built").read_text() == text


def git(folder: Path, *words: str) -> None:
    env = {**os.environ, "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main")
    subprocess.run(("git", *who, *words), cwd=folder, env=env, check=True, capture_output=True)


def killed_in_a_build(project: Path, start: Start, *, edited: bool) -> Path:
    """The source of a project that was built from "one" and killed while it was built from "two"."""
    write(project / "watch.toml", TOML.replace("cat src/a.txt > built", "cp src/a.txt built; . ./more"))
    source = write(project / "src/a.txt", "one\n")
    more = write(project / "more", "")
    live = start()
    live.wait("build_succeeded", "build.app")
    more.write_text("touch begun; exec sleep 1000")
    edit(source, "two\n")
    wait_for_file(project / "begun", live.process)
    if edited:
        edit(source, "six\n")
    os.kill(live.supervisor(), signal.SIGKILL)
    live.ended()
    live.until(lambda: not left_over(project), "the end of all that was started")
    more.write_text("")
    return source


def test_an_edit_during_a_build_that_was_killed_with_procwatch_is_built(project: Path, start: Start) -> None:
    killed_in_a_build(project, start, edited=True)
    for end in ("build_succeeded", "build_skipped"):
        live = start()
        live.wait(end, "build.app")
        assert live.stop() == 130
        assert (project / "built").read_text() == "six\n"


def test_content_that_was_built_before_a_killed_build_is_built_again(project: Path, start: Start) -> None:
    """The killed run may have disturbed what the earlier success had written."""
    edit(killed_in_a_build(project, start, edited=False), "one\n")
    live = start()
    live.wait("build_succeeded", "build.app")
    assert (project / "built").read_text() == "one\n"


@pytest.mark.parametrize(
    ("damage", "is_told"),
    [
        (lambda text: text[: len(text) // 2], True),
        (lambda text: "", True),
        (lambda text: text.replace('"version": 1', '"version": 999'), False),
        (lambda text: "null", False),
    ],
    ids=["half", "nothing", "version", "null"],
)
def test_a_state_that_cannot_be_used_counts_as_none(
    built: Path, start: Start, damage: Callable[[str], str], is_told: bool
) -> None:
    state = built.parent.parent / ".procwatch/state.json"
    state.write_text(damage(state.read_text()))
    live = start()
    live.wait("build_succeeded", "build.app")
    assert live.stop() == 130
    assert ("state.json cannot be read" in live.stderr()) == is_told
    start().wait("build_skipped", "build.app")


def test_a_state_that_cannot_be_written_is_told_and_every_start_builds(built: Path, start: Start) -> None:
    folder = built.parent.parent / ".procwatch"
    (folder / "state.json").unlink()
    (folder / "state.new").mkdir()  # where it is drafted; rights would not stop root
    for _ in range(2):
        live = start()
        live.wait("build_succeeded", "build.app")
        assert live.stop() == 130
        assert "what builds succeeded with is not kept" in live.stderr()


@pytest.mark.parametrize("edited", [False, True])
def test_a_copied_project_builds_what_is_other_there(built: Path, tmp_path: Path, edited: bool) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(built.parent.parent, copy)
    if edited:
        edit_unseen(copy / "src/a.txt")
    live = Live(copy)
    try:
        live.wait("build_succeeded" if edited else "build_skipped", "build.app")
        assert (copy / "built").read_text() == (copy / "src/a.txt").read_text()
    finally:
        live.close()


def test_a_project_that_was_moved_is_not_built_again(built: Path, tmp_path: Path) -> None:
    moved = built.parent.parent.rename(tmp_path / "moved")
    live = Live(moved)
    try:
        live.wait("build_skipped", "build.app")
    finally:
        live.close()


def test_the_state_is_small_however_many_files_there_are(project: Path, start: Start) -> None:
    """It is read before anything starts: what is known of files is kept beside it."""
    write(project / "watch.toml", TOML)
    for number in range(1000):
        write(project / f"src/{number}.txt", "x")
    write(project / "src/a.txt", "one\n")
    live = start()
    live.wait("build_succeeded", "build.app")
    assert live.stop() == 130
    state = project / ".procwatch/state.json"
    assert json.loads(state.read_text())["builds"]["build.app"]["clean"] is True
    assert state.stat().st_size < 1000
