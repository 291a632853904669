"""Watch the project's files and yield batches of changes.

Rule 1: an edit after `start` has returned is yielded, whatever happens to the folder that it is in.
Rule 2: the feed's thread reaches the loop through `_in_loop` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable

from procwatch.core.messages import FilesChanged
from procwatch.core.model import Project
from procwatch.runtime.batches import Batch, Restless, lag_s
from procwatch.runtime.engines import Engine, engine_for
from procwatch.runtime.feed import Feed, Listener
from procwatch.runtime.inputs import Inputs, Seen

# git's lock counts for so long ("30 s at most", the contract, Change), also reckoned from when it was made: one that a
# dead git has left behind delays nothing.
_LOCK_S = 30.0

# How often a lock that holds a batch open is looked at.
_LOCK_STEP_S = 0.025

# The same of the feed's thread, which is about to tell of more.
_LOOK_STEP_S = 0.002


class Watcher:
    """Batches of changes of what the project's units read. `report` gets lines for the user, in the loop."""

    def __init__(
        self, project: Project, inputs: Inputs, *, report: Callable[[str], None], engine: Engine | None = None
    ) -> None:
        self._settings = project.watch
        self._inputs = inputs
        self._report = report
        listener = Listener(
            armed=lambda: self._in_loop(self._on_armed),
            found=lambda seen: self._in_loop(self._on_found, seen),
            tell=lambda line: self._in_loop(report, line),
            failed=lambda error: self._in_loop(self._on_fault, error),
            looked=lambda: self._in_loop(self._on_looked),
            renewed=lambda: self._in_loop(self._on_renewed),
        )
        self._feed = Feed(inputs, engine or engine_for(self._settings), listener, self._settings.poll_s)
        self._batch = Batch(self._settings, Restless(lag_s(self._settings)))
        self._ended = self._batch
        self._found: deque[Seen] = deque()
        self._news = asyncio.Event()
        # Those who wait for a look at everything, and those for whom that has come and a batch is still to end.
        self._looking: list[asyncio.Future[None]] = []
        self._looked: list[asyncio.Future[None]] = []
        # Whoever has given it another project.
        self._renewing: list[asyncio.Future[None]] = []
        self._is_armed = False
        self._is_stopped = False
        self._fault: Exception | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Return when every folder is watched: no edit from now on is missed."""
        self._loop = asyncio.get_running_loop()
        self._feed.start()
        while not self._is_armed and self._fault is None:
            await self._wait_for_news(None)
        self._raise_fault()

    async def batches(self) -> AsyncIterator[FilesChanged]:
        """Each batch of changes that concerns a unit, until `stop`. A batch that is not taken is kept."""
        while await self._complete():
            self._ended, self._batch = self._batch, self._batch.next(self._settings)
            yield self._ended.message()

    def is_moving(self, name: str) -> bool:
        """Whether what this unit reads is changing right now, and more is likely to come."""
        return self._batch.concerns(name) or self._ended.has_cut_short(name, time.monotonic())

    async def take_in(self) -> None:
        """Return when all that had been written before this call has been given by `batches`, and taken."""
        if self._loop is None or self._is_stopped:
            return
        taken: asyncio.Future[None] = self._loop.create_future()
        self._looking.append(taken)
        self._feed.look()
        await taken

    async def use(self, project: Project, inputs: Inputs) -> None:
        """Go by a changed project; return when all of it is watched. No edit is lost on the way, and no batch."""
        if self._loop is None or self._is_stopped:
            return
        before, after = self._settings, project.watch
        is_same_engine = (before.engine, before.poll_s) == (after.engine, after.poll_s)
        engine = None if is_same_engine else engine_for(after)
        self._settings, self._inputs = after, inputs
        renewed: asyncio.Future[None] = self._loop.create_future()
        self._renewing.append(renewed)
        self._feed.use(inputs, engine, after.poll_s)
        await renewed

    async def stop(self) -> None:
        """End the watching, and `batches` with it."""
        self._is_stopped = True
        self._news.set()
        self._let_go()
        await asyncio.to_thread(self._feed.stop)

    async def _complete(self) -> bool:
        """Wait until the batch has something in it and ends; False when stopped."""
        while not self._is_stopped:
            now_s = time.monotonic()
            while self._found:
                self._batch.add(self._found.popleft(), now_s)
            self._raise_fault()
            if self._batch.is_empty:
                _release(self._looked)
                await self._wait_for_news(None)
            elif (left_s := self._batch.ends_at_s() - now_s) > 0:
                await self._wait_for_news(left_s)
            elif self._feed.is_looking and self._batch.is_to_wait(now_s):
                await self._wait_for_news(_LOOK_STEP_S)
            elif now_s < self._batch.began_s + _LOCK_S and self._is_locked():
                self._batch.hold(now_s)
                await self._wait_for_news(_LOCK_STEP_S)
            else:
                return True
        return False

    def _is_locked(self) -> bool:
        """Whether git is at work: what it changes belongs together, however long it takes."""
        folder = self._inputs.git_folder()
        try:
            return folder is not None and time.time() < os.stat(f"{folder}/index.lock").st_mtime + _LOCK_S  # noqa: PTH116
        except OSError:  # no lock
            return False

    async def _wait_for_news(self, timeout_s: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._news.wait()
        self._news.clear()

    def _in_loop(self, call: Callable[..., None], *args: object) -> None:
        if self._loop is not None:
            # A loop that has closed without `stop` has nobody left to be told.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(call, *args)

    def _on_armed(self) -> None:
        self._is_armed = True
        self._news.set()

    def _on_found(self, seen: Seen) -> None:
        self._found.append(seen)
        self._news.set()

    def _on_looked(self) -> None:
        self._looked += self._looking
        self._looking = []
        self._news.set()

    def _on_renewed(self) -> None:
        _release(self._renewing)

    def _on_fault(self, error: Exception) -> None:
        self._fault = error
        self._news.set()
        self._let_go()

    def _let_go(self) -> None:
        """Nothing that somebody waits for comes any more."""
        for waiting in (self._looking, self._looked, self._renewing):
            _release(waiting)

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault


def _release(waiting: list[asyncio.Future[None]]) -> None:
    for one in waiting:
        if not one.done():
            one.set_result(None)
    waiting.clear()
