"""Watch the project's files and yield batches of changes.

Rule 1: this is the only door to watchfiles; it is given single folders, real and existing, and only says where to look.
Rule 2: an edit after `start` has returned is yielded, whatever happens to the folder that it is in.
Rule 3: the feed's thread reaches the loop through `_in_loop` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from procwatch.core.messages import FilesChanged
from procwatch.core.model import Project
from procwatch.runtime.batches import Batch
from procwatch.runtime.engines import Engine, EventsLostError, Silence
from procwatch.runtime.feed import Feed, Listener
from procwatch.runtime.inputs import Inputs, Seen

# watchfiles looks for events once a step and hands them out after one step without more. Measured from a save to its
# batch, 50 saves among 1,000 files on two shared cores: 8 ms gives 16 ms (p50), 20 ms (p95) and 0.5 to 0.8 % of one
# core while nothing happens; 4 ms: 12 ms and 1.1 %; 12 ms: 24 ms and 0.4 %.
_STEP_MS = 8

# The longest that watchfiles collects while more and more come; the batch above has its own limit.
_COLLECT_MS = 50

# git's lock counts for so long ("30 s at most", the contract, Change), also reckoned from when it was made: one that a
# dead git has left behind delays nothing.
_LOCK_S = 30.0

# How often a lock that holds a batch open is looked at.
_LOCK_STEP_S = 0.025


class WatchfilesEngine:
    """The system's events through watchfiles (inotify, FSEvents)."""

    def __init__(self) -> None:
        self._notify: RustNotify | None = None
        self._pending: set[str] = set()
        self._lost: str | None = None
        self._refused: str | None = None
        self._woken = threading.Event()

    def watch(self, folders: Collection[str]) -> frozenset[str]:
        """Take new watches for all of them, then give back the old ones: nothing is missed in between."""
        # Folders near the project come first: if not all can be watched, those far down are looked at.
        able = sorted((one for one in folders if _can_watch(one)), key=lambda one: (one.count("/"), one))
        notify, count = self._take_watches(able)
        self._give_back()
        self._notify = notify
        return frozenset(folders) - frozenset(able[:count])

    def wait(self, timeout_s: float | None) -> frozenset[str]:
        """Block until something happened. What came while `watch` was at work comes first."""
        if self._lost is not None:
            reason, self._lost = self._lost, None
            raise EventsLostError(reason)
        if self._pending:
            events, self._pending = frozenset(self._pending), set()
            return events
        if self._notify is None:
            self._woken.wait(timeout_s)
            return frozenset()
        # 0 is "for ever" to watchfiles
        timeout_ms = 0 if timeout_s is None else max(1, round(timeout_s * 1000))
        try:
            found = self._notify.watch(_COLLECT_MS, _STEP_MS, timeout_ms, self._woken)
        except WatchfilesRustInternalError as error:  # a name that is not UTF-8, and it is of no more use after that
            raise EventsLostError(str(error)) from error
        return frozenset() if isinstance(found, str) else frozenset(path for _, path in found)

    def why_not(self) -> str | None:
        """What the system said to the last `watch`."""
        return self._refused or "some folders cannot be watched, by their permissions or names"

    def wake(self) -> None:
        """Make `wait` come back within one step, now and from now on."""
        self._woken.set()

    def close(self) -> None:
        """Give back the watches."""
        if self._notify is not None:
            self._notify.close()
            self._notify = None

    def _take_watches(self, folders: list[str]) -> tuple[RustNotify | None, int]:
        """Watches for as many of these as the system grants, the first ones."""
        self._refused = None
        count = len(folders)
        while count:
            try:
                return RustNotify(folders[:count], False, False, 0, False, False), count  # noqa: FBT003 - its signature
            except FileNotFoundError as error:
                raise EventsLostError("a folder vanished while it was being watched") from error
            except (OSError, WatchfilesRustInternalError) as error:
                count = self._retry_with(count, error)
        return None, 0

    def _retry_with(self, count: int, error: Exception) -> int:
        """How many to try next. The old watches count against the same limit: first they go, then half of the new."""
        if self._notify is not None:
            self._give_back()
            return count
        if not isinstance(error, PermissionError):
            setting = "max_user_instances" if "open files" in str(error) else "max_user_watches"
            self._refused = f"the system's limit on watched folders is reached (fs.inotify.{setting} raises it)"
        return count // 2

    def _give_back(self) -> None:
        """End the old watches, and keep what they had seen."""
        if self._notify is None:
            return
        try:
            found = self._notify.watch(1, 1, 1, None)
        except WatchfilesRustInternalError as error:
            self._lost = str(error)
        else:
            self._pending |= set() if isinstance(found, str) else {path for _, path in found}
        self.close()


def _can_watch(folder: str) -> bool:
    """Whether watchfiles takes the name and the system the folder."""
    try:
        folder.encode()
        # Opened, not asked with access(2): that answers for the real user, and so wrongly where rights were dropped.
        os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except UnicodeEncodeError:  # watchfiles takes UTF-8 only: such a folder is looked at instead
        return False
    except PermissionError:
        return False
    except OSError:  # gone, or no descriptor is free: let the system say so to the one that watches
        return True
    return True


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
        )
        used = engine or (WatchfilesEngine() if self._settings.poll_s is None else Silence())
        self._feed = Feed(inputs, used, listener, self._settings.poll_s)
        self._batch = Batch(self._settings)
        self._found: deque[Seen] = deque()
        self._news = asyncio.Event()
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
            batch, self._batch = self._batch, Batch(self._settings)
            yield batch.message()

    async def stop(self) -> None:
        """End the watching, and `batches` with it."""
        self._is_stopped = True
        self._news.set()
        await asyncio.to_thread(self._feed.stop)

    async def _complete(self) -> bool:
        """Wait until the batch has something in it and ends; False when stopped."""
        while not self._is_stopped:
            now_s = time.monotonic()
            while self._found:
                self._batch.add(self._found.popleft(), now_s)
            self._raise_fault()
            if self._batch.is_empty:
                await self._wait_for_news(None)
            elif (left_s := self._batch.ends_at_s() - now_s) > 0:
                await self._wait_for_news(left_s)
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

    def _on_fault(self, error: Exception) -> None:
        self._fault = error
        self._news.set()

    def _raise_fault(self) -> None:
        if self._fault is not None:
            raise self._fault
