"""Ignore files and git: a rule counts from the moment that it is there, and what git does is told once it is done."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from procwatch.core.model import WatchEngine
from tests.behaviour.conftest import Start
from tests.behaviour.test_watching_trees import Built
from tests.rig.live import write
from tests.rig.needs import need_commands
from tests.rig.watched import Run, Watched, make, put

pytestmark = pytest.mark.usefixtures("no_net")


async def nothing_came(watched: Watched, turn: str) -> None:
    """The next batch is that of a marker."""
    put(watched.root, "marker", turn)
    assert (await watched.batch()).paths == ("marker",)


def test_a_new_nested_ignore_file_counts_at_once(root: Path, run: Run) -> None:
    put(root, "src/gen/a.rs")

    async def body(watched: Watched) -> None:
        put(root, "src/gen/.gitignore", "*.rs\n")
        put(root, "src/gen/a.rs", "unseen")
        put(root, "src/gen/b.rs")
        await nothing_came(watched, "made")
        (root / "src/gen/.gitignore").rename(root / "src/.gitignore")
        put(root, "src/gen/a.rs", "unseen still")
        await nothing_came(watched, "moved up")
        (root / "src/.gitignore").rename(root / "gitignore")
        await watched.until("src/gen/a.rs", "src/gen/b.rs")
        (root / "gitignore").replace(root / "src/gen/.gitignore")
        put(root, "src/gen/a.rs", "unseen again")
        await nothing_came(watched, "moved back")
        (root / "src/gen/.gitignore").unlink()
        await watched.until("src/gen/a.rs", "src/gen/b.rs")

    run(make(root, "src/**/*.rs"), body)


def test_an_ignore_file_that_comes_with_its_folder_counts_at_once(root: Path, tmp_path: Path, run: Run) -> None:
    (root / "src").mkdir()

    async def body(watched: Watched) -> None:
        for turn in ("one", "two"):
            put(tmp_path, "gen/sub/a.rs")
            put(tmp_path, "gen/sub/keep.rs")
            put(tmp_path, "gen/sub/.gitignore", "*.rs\n!keep.rs\n")
            (tmp_path / "gen").rename(root / "src/gen")
            assert (await watched.batch()).paths == ("src/gen/sub/keep.rs",)
            put(root, "src/gen/sub/a.rs", "unseen")
            await nothing_came(watched, turn)
            (root / "src/gen").rename(tmp_path / "gen")
            await watched.until("src/gen/sub/keep.rs")
            (tmp_path / "gen/sub/.gitignore").unlink()
            (tmp_path / "gen").rename(root / "src/gen")
            await watched.until("src/gen/sub/a.rs", "src/gen/sub/keep.rs")
            shutil.rmtree(root / "src/gen")
            await watched.until("src/gen/sub/a.rs", "src/gen/sub/keep.rs")

    run(make(root, "src/**/*.rs"), body)


def test_the_exclude_file_counts_at_once_in_a_worktree_too(root: Path, tmp_path: Path, run: Run) -> None:
    put(tmp_path, "main/.git/worktrees/shop/commondir", "../..\n")
    put(root, ".git", f"gitdir: {tmp_path}/main/.git/worktrees/shop\n")
    exclude = put(tmp_path, "main/.git/info/exclude", "")
    put(root, "a.rs")

    async def body(watched: Watched) -> None:
        exclude.write_text("*.rs\n")
        put(root, "a.rs", "unseen")
        await nothing_came(watched, "excluded")
        exclude.write_text("")
        await watched.until("a.rs")

    run(make(root, "*.rs"), body)


def test_an_ignore_file_that_is_a_link_counts_and_its_target_at_the_next_look(root: Path, run: Run) -> None:
    rules = put(root.parent, "rules", "a.rs\n")
    (root / ".gitignore").symlink_to(rules)
    put(root, "a.rs")

    async def body(watched: Watched) -> None:
        put(root, "a.rs", "unseen")
        await nothing_came(watched, "linked")
        rules.write_text("")
        await watched.watcher_looks()
        put(root, "a.rs", "seen")
        await watched.until("a.rs")

    run(make(root, "*.rs"), body)


def test_what_git_keeps_for_itself_is_no_change(root: Path, run: Run) -> None:
    need_commands("git")
    put(root, "a.rs")

    def git(*args: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *args]
        subprocess.run(command, cwd=root, check=True, capture_output=True)

    git("init", "-q")
    git("add", "a.rs")

    async def body(watched: Watched) -> None:
        git("commit", "-qm", "one")
        git("status")
        git("branch", "other")
        git("tag", "v1")
        git("gc", "-q")
        git("checkout", "-q", "other")  # the same content
        await nothing_came(watched, "git")

    run(make(root, "**"), body)


class Repository(Built):
    """A project in a repository with two branches, `main` and `other`, that differ in many files."""

    def __init__(self, project: Path, start: Start, engine: WatchEngine, count: int) -> None:
        self.names = [f"src/{number % 20}/{number}.rs" for number in range(count)]
        self.folder = project
        write(project / ".gitignore", "/built\n/changed\n/last\n/watch.toml\n.procwatch\n.git*\n")
        self.git("init", "-q", "-b", "main")
        self.fill("one")
        self.git("checkout", "-q", "-b", "other")
        self.fill("two")
        self.git("checkout", "-q", "main")
        super().__init__(project, start, engine)

    def git(self, *args: str) -> None:
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "gc.auto=0", *args]
        subprocess.run(command, cwd=self.folder, check=True, capture_output=True)

    def fill(self, text: str) -> None:
        """Commit this text as the content of all files."""
        for name in self.names:
            write(self.folder / name, text)
        write(self.folder / "src/main.rs", text)
        self.git("add", ".")
        self.git("commit", "-qm", text)

    def is_built(self, text: str) -> None:
        """Wait until it was told of all files, and has run with this text."""
        last = self.folder / "last"
        self.live.until(lambda: last.read_text() == text and {*self.names} <= self.changed(), f"{text!r} built")
        (self.folder / "changed").write_text("")


def test_checkout_stash_and_rebase_end_with_a_build_of_what_is_there(
    project: Path, start: Start, engine: WatchEngine
) -> None:
    need_commands("git")
    built = Repository(project, start, engine, 200)
    built.git("checkout", "-q", "other")
    built.is_built("two")
    built.git("checkout", "-q", "main")
    built.is_built("one")
    for name in (*built.names, "src/main.rs"):
        write(project / name, "mine")
    built.is_built("mine")
    built.git("stash", "-q")
    built.is_built("one")
    built.git("stash", "pop", "-q")
    built.is_built("mine")
    built.git("checkout", "-q", ".")
    built.is_built("one")
    write(project / "src/extra.rs", "extra")
    built.git("add", ".")
    built.git("commit", "-qm", "extra")
    built.git("rebase", "-q", "other")
    built.is_built("two")
    built.git("reset", "-q", "--hard", "HEAD~2")
    built.is_built("one")
