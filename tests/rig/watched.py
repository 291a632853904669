"""A running watcher on a real folder, and what it has yielded; tests run it on every engine."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import pytest

from procwatch.core.messages import FilesChanged
from procwatch.core.model import Build, Project, Service, WatchSettings
from procwatch.runtime.engines import Engine
from procwatch.runtime.inputs import Inputs
from procwatch.runtime.watcher import Watcher

DEADLINE_S = 10.0

# A test runs on every engine, unless it says that it needs events, or one of these.
EVENTS = pytest.mark.parametrize("engine", ["inotify", "watchfiles"], indirect=True)
INOTIFY = pytest.mark.parametrize("engine", ["inotify"], indirect=True)
WATCHFILES = pytest.mark.parametrize("engine", ["watchfiles"], indirect=True)


class Watched:
    """A running watcher and what it has yielded."""

    def __init__(self, root: Path, watcher: Watcher, inputs: Inputs, lines: list[str]) -> None:
        self.root = root
        self.watcher = watcher
        self.inputs = inputs
        self.lines = lines
        self._batches = watcher.batches()

    async def batch(self) -> FilesChanged:
        """The next batch, under the deadline."""
        async with asyncio.timeout(DEADLINE_S):
            return await anext(self._batches)

    async def until(self, *paths: str) -> list[FilesChanged]:
        """All batches up to the one with which all of these paths have been told."""
        missing, batches = set(paths), list[FilesChanged]()
        while missing:
            try:
                batches.append(await self.batch())
            except TimeoutError:
                raise AssertionError(f"not told: {sorted(missing)}, after {batches}") from None
            missing -= set(batches[-1].paths)
        return batches

    async def happens(self, condition: Callable[[], object]) -> None:
        """Let the loop turn until the watcher has come so far."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():  # noqa: ASYNC110 - looks at the inside of the watcher, which has no event for it
                await asyncio.sleep(0)

    async def watcher_looks(self) -> None:
        """Have it look at everything: what it knew only from events must last."""
        looking = asyncio.ensure_future(self.watcher.take_in())
        async with asyncio.timeout(DEADLINE_S):
            while not looking.done():
                taking = asyncio.ensure_future(anext(self._batches))
                await asyncio.wait({looking, taking}, return_when=asyncio.FIRST_COMPLETED)
                taking.cancel()
                await asyncio.gather(taking, return_exceptions=True)
                self._batches = self.watcher.batches()

    async def marker(self) -> FilesChanged:
        """The next batch after a marker was written: for "nothing came before it"."""
        put(self.root, "marker")
        return await self.batch()


def put(root: Path, name: str, text: str = "x") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def make(root: Path, *watch: str, settings: WatchSettings | None = None, ignore: tuple[str, ...] = ()) -> Project:
    api = Build("build.api", "make", watch=(*watch, "marker"), ignore=ignore)
    web = Service("service.web", "run", watch=("web.toml",))
    used = settings or WatchSettings()
    return Project("shop", str(root), {api.name: api}, {web.name: web}, watch=used, env_files=(".env",))


@asynccontextmanager
async def watching(project: Project, engine: Engine | None = None) -> AsyncIterator[Watched]:
    lines: list[str] = []
    inputs = Inputs(project)
    watcher = Watcher(project, inputs, report=lines.append, engine=engine)
    await watcher.start()
    try:
        yield Watched(Path(project.folder), watcher, inputs, lines)
    finally:
        await watcher.stop()


Body = Callable[[Watched], Awaitable[None]]


def play(project: Project, body: Body, engine: Engine | None = None) -> None:
    """Run the body of a test with a watcher."""

    async def main() -> None:
        async with watching(project, engine) as watched:
            await body(watched)

    asyncio.run(main())


class Run(Protocol):
    def __call__(self, project: Project, body: Body, /) -> None: ...


def in_own_namespace(script: str, *args: str) -> str:
    """What a script prints that is root in a user and a mount namespace of its own."""
    command = ["unshare", "-Urm", sys.executable, "-c", textwrap.dedent(script), *args]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2], timeout=3 * DEADLINE_S
    )
    if "unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stderr == ""
    return done.stdout
