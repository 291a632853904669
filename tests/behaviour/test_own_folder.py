"""Somebody removes `.procwatch` while procwatch runs, as `git clean -fdx` does: it goes on, and can be reached."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from procwatch.runtime import own_folder
from procwatch.runtime.store import Store
from tests.behaviour.conftest import Start
from tests.behaviour.test_control_commands import Done
from tests.behaviour.test_releases import running
from tests.rig.live import DEADLINE_S, write


def test_a_removed_own_folder_is_made_again_with_all_that_runs_need_of_it(project: Path, start: Start) -> None:
    live = running(project, start)
    own, first = project / ".procwatch", live.seen("service_ready")[-1]["pid"]
    mark = live.mark()
    shutil.rmtree(project / "out")
    shutil.rmtree(own.rename(project / "gone"))  # in two steps: something may be written there at this very moment

    live.wait("build_succeeded", "build.app", after=mark)  # for there to be a release again
    assert "is made again" in live.stderr()
    assert (own / ".gitignore").read_text() == "*\n"
    assert Done(project, "start").status == 4
    assert f"ready  1    {first}" in Done(project, "status", "web").out
    assert "build.app" in (own / "state.json").read_text()
    assert not live.seen("service_stopped")

    os.kill(first, signal.SIGKILL)
    live.wait("service_ready", after=mark)
    write(project / "version", "two\n")
    live.wait("service_switched", after=mark)
    assert live.stop() == 130
    assert (project / "started").read_text() == "one {0}/1/out/app\none {0}/2/out/app\ntwo {0}/3/out/app\n".format(
        own / "releases/app"
    )


def test_where_there_is_no_inotify_it_is_looked_at(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_folder, "sys", SimpleNamespace(platform="other"))
    monkeypatch.setattr(own_folder, "_RETRY_S", 0.01)

    async def main() -> None:
        store, restored = Store(project, print), asyncio.Event()
        store.open()
        watched = own_folder.OwnFolder(store, restored.set, print)
        watched.watch()
        shutil.rmtree(store.folder)
        async with asyncio.timeout(DEADLINE_S):
            await restored.wait()
        assert store.lock_file.exists()
        watched.close()
        store.close()

    asyncio.run(main())
