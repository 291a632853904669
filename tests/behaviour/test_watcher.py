"""Watching: whatever happens to files and folders after `start`, a batch tells of it; nothing else does."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from procwatch.core.messages import FilesChanged
from procwatch.core.model import WatchEngine, WatchSettings
from procwatch.runtime.engines import Engine, Events, EventsLostError, Silence, WatchedFolder, engine_for
from procwatch.runtime.stopping import Stop
from procwatch.runtime.territory import Changes, Territory
from tests.rig.needs import need_linux
from tests.rig.privileges import bound_by_permissions
from tests.rig.watched import (
    DEADLINE_S,
    EVENTS,
    INOTIFY,
    WATCHFILES,
    Run,
    Watched,
    in_own_namespace,
    make,
    play,
    put,
    watching,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("no_net")


@pytest.mark.parametrize(
    ("platform", "settings", "name"),
    [
        ("linux", WatchSettings(), "InotifyEngine"),
        ("darwin", WatchSettings(), "WatchfilesEngine"),
        ("linux", WatchSettings(engine="watchfiles"), "WatchfilesEngine"),
        ("linux", WatchSettings(poll_s=1.0), "Silence"),
        ("linux", WatchSettings(poll_s=1.0, engine="watchfiles"), "WatchfilesEngine"),
        ("linux", WatchSettings(poll_s=1.0, engine="poll"), "Silence"),
    ],
)
def test_the_engine_is_what_was_asked_for(
    platform: str, settings: WatchSettings, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if platform == "linux":
        need_linux()
    monkeypatch.setattr("sys.platform", platform)
    engine = engine_for(settings)
    assert type(engine).__name__ == name
    engine.close()


def test_watchfiles_is_loaded_only_where_it_is_used() -> None:
    need_linux()
    script = (
        "import sys, procwatch.app; from procwatch.runtime.engines import engine_for; "
        "from procwatch.core.model import WatchSettings; engine_for(WatchSettings()); "
        "print('watchfiles' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "False\n"
    )


# --- one save ---------------------------------------------------------------------------------------------------------


def write_plainly(path: Path) -> None:
    path.write_text("new")


def save_like_vim(path: Path) -> None:
    (path.parent / "4913").touch()
    (path.parent / "4913").unlink()
    swap, backup = path.parent / f".{path.name}.swp", path.parent / f"{path.name}~"
    swap.touch()
    path.rename(backup)
    with path.open("w") as file:
        file.write("new")
        file.flush()
        os.fsync(file.fileno())
    backup.unlink()
    swap.unlink()


def save_like_jetbrains(path: Path) -> None:
    new, old = (path.parent / f"{path.name}___jb_{word}___" for word in ("tmp", "old"))
    new.write_text("new")
    path.rename(old)
    new.rename(path)
    old.unlink()


def save_like_emacs(path: Path) -> None:
    (path.parent / f".#{path.name}").symlink_to("someone@somewhere")
    shutil.copy2(path, path.parent / f"{path.name}~")
    path.write_text("new")
    (path.parent / f".#{path.name}").unlink()


def replace_atomically(path: Path) -> None:
    other = path.parent / "other.tmp"
    other.write_text("new")
    other.replace(path)


SAVES = [write_plainly, save_like_vim, save_like_jetbrains, save_like_emacs, replace_atomically]


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("pattern", ["src/*.rs", "src/a.rs"])
def test_a_save_is_one_batch_whatever_the_editor(
    root: Path, save: Callable[[Path], None], pattern: str, run: Run
) -> None:
    path = put(root, "src/a.rs", "old")

    async def body(watched: Watched) -> None:
        for _ in range(2):
            save(path)
            assert await watched.batch() == FilesChanged(("src/a.rs",), {"build.api": ("src/a.rs",)})
        assert (await watched.marker()).paths == ("marker",)

    run(make(root, pattern), body)


def test_a_file_truncated_to_nothing_is_given_time_to_be_written(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    # How long it is given is in test_batches.py; a loaded machine may take as long for the next look.
    monkeypatch.setattr("procwatch.runtime.batches._UNFINISHED_S", DEADLINE_S)
    path = put(root, "src/a.rs", "old")

    async def body(watched: Watched) -> None:
        async def save_slowly() -> None:
            with path.open("w") as file:
                await watched.happens(lambda: watched.watcher._batch._unfinished)
                file.write("new")

        saving = asyncio.ensure_future(save_slowly())
        assert (await watched.batch()).paths == ("src/a.rs",)
        assert path.read_text() == "new"
        await saving
        assert (await watched.marker()).paths == ("marker",)

    run(make(root, "src/*.rs", settings=WatchSettings(max_wait_s=DEADLINE_S)), body)


@INOTIFY
def test_a_slow_save_under_another_name_is_one_batch(root: Path, run: Run) -> None:
    path, other = put(root, "src/a.rs", "old"), root / "src" / "a.rs.new"

    async def body(watched: Watched) -> None:
        batch = watched.watcher._batch
        saved = asyncio.ensure_future(watched.batch())
        with other.open("w") as file:
            file.write("new")
            file.flush()
            await watched.happens(lambda: batch._unfinished)
            assert not saved.done()
        await watched.happens(lambda: not batch._unfinished)
        other.rename(path)
        assert "src/a.rs" in (await saved).paths
        assert (await watched.marker()).paths == ("marker",)

    run(make(root, "src/*", settings=WatchSettings(quiet_s=1.0, max_wait_s=DEADLINE_S)), body)


def test_what_is_written_without_ever_being_closed_is_told(root: Path, run: Run) -> None:
    async def body(watched: Watched) -> None:
        with (root / "a.rs").open("w") as file:
            for _ in range(3):
                file.write("more")
                file.flush()
                assert (await watched.batch()).paths == ("a.rs",)

    run(make(root, "*.rs"), body)


def test_a_file_that_stays_empty_or_gone_is_told_all_the_same(root: Path, run: Run) -> None:
    empty, gone = put(root, "empty.rs"), put(root, "gone.rs")

    async def body(watched: Watched) -> None:
        empty.write_text("")
        gone.unlink()
        await watched.until("empty.rs", "gone.rs")

    run(make(root, "*.rs"), body)


def test_a_touch_of_a_trigger_outside_the_project_is_told(root: Path, tmp_path: Path, run: Run) -> None:
    trigger = tmp_path / "trigger"

    async def body(watched: Watched) -> None:
        trigger.touch()
        assert (await watched.batch()).paths == ("../trigger",)
        os.utime(trigger)
        assert (await watched.batch()).paths == ("../trigger",)

    run(make(root, "../trigger"), body)


def test_a_batch_says_who_reads_what(root: Path, run: Run) -> None:
    async def body(watched: Watched) -> None:
        put(root, "web.toml")
        put(root, ".env")
        batches = await watched.until("web.toml", ".env")
        readers = {name: paths for batch in batches for name, paths in batch.readers.items()}
        assert readers == {"build.api": (".env",), "service.web": (".env",)}
        assert {name for batch in batches for name in batch.touched} == {"service.web"}

    run(make(root), body)


def test_changes_that_concern_nobody_are_dropped(root: Path, run: Run) -> None:
    put(root, "src/a.rs")
    put(root, ".gitignore", "*.log\n")

    async def body(watched: Watched) -> None:
        for name in ("src/a.txt", "src/b.rs.swp", "src/c.log", "other/d.rs", "src/e.bk.rs", ".git/f.rs"):
            put(root, name)
        assert (await watched.marker()).paths == ("marker",)

    run(make(root, "src/**/*.rs", ignore=("*.bk.rs",)), body)


def test_an_edit_right_after_start_is_not_lost(root: Path, run: Run) -> None:
    path = put(root, "src/a.rs")
    for text in map(str, range(10)):

        async def body(watched: Watched, text: str = text) -> None:
            path.write_text(text)
            assert (await watched.batch()).paths == ("src/a.rs",)

        run(make(root, "src/*.rs"), body)


# --- folders that come and go -----------------------------------------------------------------------------------------


def test_files_made_at_once_in_new_folders_are_told(root: Path, run: Run) -> None:
    async def body(watched: Watched) -> None:
        for letter in "abcdefgh":
            name = f"src/{letter}/b/c/d/e/f/g/h/one.rs"
            put(root, name)
            await watched.until(name)
            put(root, name, "again")
            await watched.until(name)

    run(make(root, "src/**/*.rs"), body)


def test_many_files_in_new_folders_are_all_told(root: Path, run: Run) -> None:
    names = [f"src/{number}/b/c/file.rs" for number in range(300)]

    async def body(watched: Watched) -> None:
        for name in names:
            put(root, name)
        await watched.until(*names)

    run(make(root, "src/**/*.rs"), body)


def test_a_folder_moved_in_or_out_stands_for_its_files(root: Path, tmp_path: Path, run: Run) -> None:
    put(tmp_path, "made/deep/a.rs")
    put(root, "src/b.rs")

    async def body(watched: Watched) -> None:
        (tmp_path / "made").rename(root / "src" / "made")
        await watched.until("src/made/deep/a.rs")
        put(root, "src/made/deep/a.rs", "edited")
        await watched.until("src/made/deep/a.rs")
        (root / "src" / "made").rename(tmp_path / "away")
        await watched.until("src/made/deep/a.rs")
        put(tmp_path, "away/deep/a.rs", "unseen")
        assert (await watched.marker()).paths == ("marker",)

    run(make(root, "src/**/*.rs"), body)


def test_a_folder_renamed_and_one_made_in_its_place_are_both_watched(root: Path, run: Run) -> None:
    put(root, "src/old/sub/a.rs")

    async def body(watched: Watched) -> None:
        (root / "src/old").rename(root / "src/new")
        await watched.until("src/old/sub/a.rs", "src/new/sub/a.rs")
        put(root, "src/new/sub/a.rs", "edited")
        await watched.until("src/new/sub/a.rs")
        (root / "src/new").rename(root / "src/newer")
        put(root, "src/new/sub/a.rs", "other")
        await watched.until("src/new/sub/a.rs", "src/newer/sub/a.rs")
        for name in ("src/new/sub/a.rs", "src/newer/sub/a.rs", "src/newer/sub/b.rs"):
            put(root, name, "edited again")
            await watched.until(name)

    run(make(root, "src/**/*.rs"), body)


@pytest.mark.parametrize("doomed", ["src", ".", ".."])
def test_a_folder_deleted_and_made_again_is_still_watched(tmp_path: Path, doomed: str, run: Run) -> None:
    root = tmp_path / "outer" / "shop"
    put(root, "src/a.rs")

    async def body(watched: Watched) -> None:
        for text in ("one", "two"):
            shutil.rmtree((root / doomed).resolve())
            await watched.until("src/a.rs")
            put(root, "src/a.rs", text)
            await watched.until("src/a.rs")
            put(root, "src/a.rs", text + text)
            await watched.until("src/a.rs")

    run(make(root, "src/**/*.rs"), body)


def test_a_folder_replaced_in_an_instant_is_still_watched(root: Path, run: Run) -> None:
    put(root, "src/sub/a.rs")

    async def body(watched: Watched) -> None:
        for text in ("one", "two", "three"):
            shutil.rmtree(root / "src")
            put(root, "src/sub/a.rs", text)
            await watched.until("src/sub/a.rs")
            put(root, "src/sub/b.rs", text)
            await watched.until("src/sub/b.rs")

    run(make(root, "src/**/*.rs"), body)


def test_the_root_may_vanish_while_a_process_is_still_in_it(root: Path, run: Run) -> None:
    put(root, "a.rs")
    with subprocess.Popen(["cat"], cwd=root, stdin=subprocess.PIPE) as inside:

        async def body(watched: Watched) -> None:
            shutil.rmtree(root)
            await watched.until("a.rs")
            put(root, "a.rs", "again")
            await watched.until("a.rs")

        run(make(root, "*.rs"), body)
        assert inside.stdin is not None
        inside.stdin.close()


def test_what_does_not_exist_yet_is_waited_for(root: Path, run: Run) -> None:
    async def body(watched: Watched) -> None:
        put(root, "not/yet/there.txt")
        await watched.until("not/yet/there.txt")
        put(root, "../lib/x/y.rs")
        await watched.until("../lib/x/y.rs")

    run(make(root, "not/yet/there.txt", "../lib/**/*.rs"), body)


def test_files_behind_links_are_told_under_the_links_names(root: Path, tmp_path: Path, run: Run) -> None:
    put(tmp_path, "away/a.rs")
    put(tmp_path, "single/b.rs")
    (root / "lib").symlink_to("../away")
    (root / "c.rs").symlink_to("../single/b.rs")

    async def body(watched: Watched) -> None:
        put(tmp_path, "away/a.rs", "edited")
        await watched.until("lib/a.rs")
        put(tmp_path, "single/b.rs", "edited")
        await watched.until("c.rs")
        replace_atomically(tmp_path / "single" / "b.rs")
        await watched.until("c.rs")
        shutil.rmtree(tmp_path / "away")
        await watched.until("lib/a.rs")
        put(tmp_path, "away/a.rs", "back")
        await watched.until("lib/a.rs")

    run(make(root, "**/*.rs"), body)


def test_a_swapped_link_is_told_with_the_files_behind_it(root: Path, run: Run) -> None:
    put(root, "releases/one/a.txt")
    put(root, "releases/two/a.txt")
    (root / "current").symlink_to("releases/one")

    async def body(watched: Watched) -> None:
        (root / "next").symlink_to("releases/two")
        (root / "next").replace(root / "current")
        await watched.until("current/a.txt")
        put(root, "releases/two/a.txt", "edited")
        await watched.until("current/a.txt")

    run(make(root, "current/*.txt"), body)


def test_an_edited_ignore_file_counts_at_once(root: Path, run: Run) -> None:
    put(root, "gen/a.rs")
    put(root, ".gitignore", "gen\n")

    async def body(watched: Watched) -> None:
        put(root, "gen/a.rs", "unseen")
        assert (await watched.marker()).paths == ("marker",)
        put(root, ".gitignore", "")
        await watched.until("gen/a.rs")
        put(root, "gen/a.rs", "seen")
        await watched.until("gen/a.rs")
        put(root, "gen/.ignore", "a.rs")
        put(root, "b.tmp").rename(root / "gen/b.rs")  # not seen while it is still empty, which would be told twice
        await watched.until("gen/b.rs")
        put(root, "gen/a.rs", "unseen again")
        put(root, "marker", "again")
        assert (await watched.batch()).paths == ("marker",)

    run(make(root, "**/*.rs"), body)


# --- what engines cannot do, or some cannot ---------------------------------------------------------------------------


def test_names_that_are_not_utf8_are_told(root: Path, run: Run) -> None:
    odd = os.fsdecode(b"src/caf\xe9.rs")
    put(root, "src/a.rs")

    async def body(watched: Watched) -> None:
        put(root, odd)
        await watched.until(odd)
        put(root, odd, "again")
        await watched.until(odd)
        put(root, "src/a.rs", "again")
        await watched.until("src/a.rs")

    run(make(root, "src/*.rs"), body)


@WATCHFILES
def test_a_folder_whose_name_is_not_utf8_is_looked_at(root: Path, run: Run) -> None:
    name = os.fsdecode(b"src/caf\xe9/a.rs")
    put(root, name)

    async def body(watched: Watched) -> None:
        put(root, name, "again")
        await watched.until(name)
        assert watched.lines == [
            "some folders cannot be watched, by their permissions or names; 1 folder is looked at every 1 s instead"
        ]

    run(make(root, "src/**/*.rs"), body)


def test_a_folder_without_permission_is_told_and_taken_in_once_it_has_it(root: Path, run: Run) -> None:
    put(root, "src/secret/a.rs")
    (root / "src" / "secret").chmod(0)

    async def body(watched: Watched) -> None:
        await watched.happens(lambda: 'cannot look into "src/secret": permission denied' in watched.lines)
        (root / "src" / "secret").chmod(0o700)
        await watched.until("src/secret/a.rs")

    with bound_by_permissions():
        run(make(root, "src/**/*.rs"), body)


@EVENTS
@pytest.mark.parametrize(("limit", "value"), [("watches", 20), ("instances", 0)])
def test_past_the_systems_limit_the_rest_is_looked_at_and_told(
    root: Path, engine: WatchEngine, limit: str, value: int
) -> None:
    script = """
        import sys
        from pathlib import Path
        from procwatch.core.model import WatchSettings
        from tests.rig.watched import Watched, make, play, put
        root, engine, limit, value = Path(sys.argv[1]), *sys.argv[2:]
        for number in range(40):
            put(root, f"src/{number}/a.rs")
        Path(f"/proc/sys/user/max_inotify_{limit}").write_text(value)
        async def body(watched: Watched) -> None:
            for number in range(40):
                put(root, f"src/{number}/a.rs", "again")
            await watched.until(*(f"src/{number}/a.rs" for number in range(40)))
            print(*watched.lines, sep="\\n")
        play(make(root, "src/**/*.rs", settings=WatchSettings(engine=engine)), body)
    """
    printed = in_own_namespace(script, str(root), engine, limit, str(value))
    assert printed.startswith(
        f"the system's limit on watched folders is reached (fs.inotify.max_user_{limit} raises it); "
    )
    assert printed.count("\n") == 1


@INOTIFY
def test_a_file_system_that_goes_uncovers_what_is_below(root: Path, engine: WatchEngine) -> None:
    script = """
        import subprocess, sys
        from pathlib import Path
        from procwatch.core.model import WatchSettings
        from tests.rig.watched import Watched, make, play, put
        root = Path(sys.argv[1])
        put(root, "src/a.rs", "below")
        subprocess.run(["mount", "-t", "tmpfs", "none", root / "src"], check=True)
        put(root, "src/b.rs", "above")
        async def body(watched: Watched) -> None:
            subprocess.run(["umount", "--lazy", root / "src"], check=True)
            await watched.until("src/a.rs", "src/b.rs")
            put(root, "src/a.rs", "edited")
            await watched.until("src/a.rs")
            print("told")
        play(make(root, "src/*.rs", settings=WatchSettings(engine=sys.argv[2])), body)
    """
    assert in_own_namespace(script, str(root), engine) == "told\n"


@INOTIFY
def test_an_overflow_of_the_systems_queue_loses_nothing(root: Path, run: Run) -> None:
    names = [put(root, f"{letter}.rs") for letter in "ab"]
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())

    async def body(watched: Watched) -> None:
        for turn in range(2):
            with watched.inputs._territory._lock:  # the feed cannot look, and so does not read
                for number in range(most + 10):
                    os.utime(names[number % 2])
                put(root, f"src{turn}/lost.rs")
            await watched.until(f"src{turn}/lost.rs")
            put(root, f"src{turn}/lost.rs", "edited")
            await watched.until(f"src{turn}/lost.rs")
        assert watched.lines == []

    run(make(root, "**/*.rs"), body)


class Lossy:
    """An engine that swallows what it hears, as a full queue of the kernel does."""

    tells_all = False

    def __init__(self, inner: Engine) -> None:
        self.watch, self.add, self.why_not, self.has_news = inner.watch, inner.add, inner.why_not, inner.has_news
        self.wake, self.close = inner.wake, inner.close
        self._inner = inner

    def wait(self, timeout_s: float | None) -> Events:
        heard = self._inner.wait(timeout_s)
        return Events(frozenset(one for one in heard.places if not one.endswith("lost.rs")))


@EVENTS
def test_what_events_did_not_tell_is_found_by_looking_once_more(
    root: Path, engine: WatchEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procwatch.runtime.feed._SWEEP_AFTER_S", 0.2)

    async def body(watched: Watched) -> None:
        put(root, "lost.rs")
        put(root, "told.rs")
        batches = await watched.until("told.rs", "lost.rs")
        assert batches[0].paths == ("told.rs",)

    play(make(root, "*.rs"), body, Lossy(engine_for(WatchSettings(engine=engine))))


@INOTIFY
def test_a_save_comes_before_the_look_at_everything_and_that_is_done_later(
    root: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("procwatch.runtime.feed._SWEEP_AFTER_S", 0.05)
    story: list[str] = []
    real = Territory.sweep

    def sweep(self: Territory, stop: Stop | None = None) -> Changes:
        if not story:
            put(root, "meanwhile.rs")
        try:
            changes = real(self, stop)
        except Exception:
            story.append("gave way")
            raise
        story.append("looked")
        return changes

    monkeypatch.setattr(Territory, "sweep", sweep)

    async def body(watched: Watched) -> None:
        put(root, "first.rs")
        await watched.until("first.rs", "meanwhile.rs")
        await watched.happens(lambda: "looked" in story)
        assert story[0] == "gave way"

    run(make(root, "*.rs"), body)


@INOTIFY
def test_the_look_at_everything_is_not_put_off_for_ever(root: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("procwatch.runtime.feed._SWEEP_AFTER_S", 0.01)
    story: list[str] = []
    real = Territory.sweep

    def sweep(self: Territory, stop: Stop | None = None) -> Changes:
        put(root, f"other{len(story)}.txt")
        story.append("gives way" if stop else "does not")
        return real(self, stop)

    monkeypatch.setattr(Territory, "sweep", sweep)

    async def body(watched: Watched) -> None:
        put(root, "first.rs")
        await watched.happens(lambda: "does not" in story)
        assert story == ["gives way"] * 10 + ["does not"]

    run(make(root, "*.rs", "*.txt"), body)


class Broken(Silence):
    """An engine that always fails."""

    def wait(self, timeout_s: float | None) -> Events:
        raise EventsLostError("no such luck")


def test_an_engine_that_fails_again_and_again_is_given_up_and_told(root: Path) -> None:
    async def body(watched: Watched) -> None:
        await watched.happens(lambda: watched.lines)
        put(root, "a.rs")
        await watched.until("a.rs")
        assert watched.lines == [
            "watching fails again and again (no such luck); everything is looked at every 1 s instead"
        ]

    play(make(root, "*.rs"), body, Broken())


class Faulty(Silence):
    """An engine with a fault in it."""

    def watch(self, folders: AbstractSet[WatchedFolder]) -> frozenset[str]:
        raise ZeroDivisionError


def test_a_fault_in_the_thread_is_raised_where_it_is_seen(root: Path) -> None:
    async def main() -> None:
        async with watching(make(root, "*.rs"), Faulty()):
            raise AssertionError("not reached")

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


# --- when a batch ends ------------------------------------------------------------------------------------------------


def test_constant_writing_does_not_hold_a_batch_open(root: Path, run: Run) -> None:
    path = put(root, "a.rs")

    async def body(watched: Watched) -> None:
        async def write_always() -> None:
            number = 0
            while True:
                path.write_text(str(number := number + 1))
                await asyncio.sleep(0)

        writing = asyncio.ensure_future(write_always())
        for _ in range(3):
            assert (await watched.batch()).paths == ("a.rs",)
        writing.cancel()

    run(make(root, "*.rs", settings=WatchSettings(quiet_s=5.0, max_wait_s=0.1)), body)


def test_gits_lock_holds_a_batch_open(root: Path, run: Run) -> None:
    lock = put(root, ".git/index.lock")

    async def body(watched: Watched) -> None:
        put(root, "a.rs")
        waiting = asyncio.ensure_future(watched.batch())
        batch = watched.watcher._batch
        await watched.happens(lambda: batch.paths)
        past_max_wait_s = batch.began_s + 0.6
        await watched.happens(lambda: batch.ends_at_s() > past_max_wait_s)
        assert not waiting.done()
        put(root, "b.rs")
        await watched.happens(lambda: len(batch.paths) == 2)
        lock.unlink()
        assert (await waiting).paths == ("a.rs", "b.rs")

    run(make(root, "*.rs"), body)


def test_a_lock_that_a_dead_git_has_left_behind_delays_nothing(root: Path, run: Run) -> None:
    lock = put(root, ".git/index.lock")
    os.utime(lock, (1, 1))

    async def body(watched: Watched) -> None:
        put(root, "a.rs")
        assert (await watched.batch()).paths == ("a.rs",)

    run(make(root, "*.rs"), body)


def test_a_batch_that_was_not_taken_is_kept(root: Path, run: Run) -> None:
    async def body(watched: Watched) -> None:
        put(root, "a.rs")
        await watched.happens(lambda: watched.watcher._found)
        taking = asyncio.ensure_future(watched.batch())
        await asyncio.sleep(0)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
        watched._batches = watched.watcher.batches()
        assert (await watched.batch()).paths == ("a.rs",)

    run(make(root, "*.rs", settings=WatchSettings(quiet_s=0.2)), body)


def test_stopping_ends_the_batches(root: Path) -> None:
    async def main() -> None:
        async with watching(make(root, "*.rs")) as watched:
            taking = asyncio.ensure_future(anext(watched.watcher.batches(), None))
            await asyncio.sleep(0)
            await watched.watcher.stop()
            assert await asyncio.wait_for(taking, DEADLINE_S) is None

    asyncio.run(main())
