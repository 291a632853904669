"""Read the configuration again when its files have changed, or somebody asks, and have the engine go by it.

Rule 1: what is wrong changes nothing; it is told in the words of a start, once.
Rule 2: files are watched by the new rules before the planner hears of the new project: no edit falls in between.
Rule 3: one reading at a time, and none in the loop's thread.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import ParamSpec, TypeVar

from procwatch.config.recall import Declared, Request, read_again, remember
from procwatch.core import messages as msg
from procwatch.core import names
from procwatch.core.model import Project
from procwatch.core.planner import taking_part
from procwatch.core.reload import difference
from procwatch.errors import ConfigError, ProcwatchError
from procwatch.frozen import frozen
from procwatch.output.worker import NO_THREAD
from procwatch.runtime import descriptors
from procwatch.runtime.engine import Engine
from procwatch.runtime.parts import Parts
from procwatch.runtime.sockets import how_many
from procwatch.runtime.watcher import Watcher

# "read when it has been stable for 200 ms" (contract, Errors).
STABLE_S = 0.2

_NOTHING = "no build or service is changed by it"
_P = ParamSpec("_P")
_T = TypeVar("_T")


@frozen
class Asked:
    """What the command line asks for: which files to read, what to start (words), and whether to watch anything."""

    request: Request
    words: tuple[str, ...] = ()
    watch: bool = True


class Configuration:
    """The project as it was last read, for a procwatch that runs. `declare`: who shows output gets each new project.

    It stays with the file that it was started with, whatever appears beside it.
    """

    def __init__(
        self, asked: Asked, known: Declared, parts: Parts, engine: Engine, declare: Callable[[Project], None]
    ) -> None:
        self._asked = asked
        self._pinned = replace(asked.request, file=asked.request.path)
        self._known = known
        self._parts = parts
        self._engine = engine
        self._declare = declare
        self._inputs = parts.inputs
        self._watcher: Watcher | None = None
        self._refused: str | None = None
        self._lock = asyncio.Lock()
        self._timer: asyncio.TimerHandle | None = None
        # Came with a change of the definitions or since: to be told once these have been read.
        self._held: list[msg.FilesChanged] = []
        self._is_reading = False

    async def arm(self, report: Callable[[str], None]) -> None:
        """Begin to watch; return when no edit is missed from now on."""
        self._watcher = Watcher(self._known.project, self._inputs, report=report)
        self._parts.is_moving = self._watcher.is_moving
        await self._watcher.start()

    async def follow(self) -> None:
        """Tell the engine of every batch, those since `arm` too; until `close`."""
        assert self._watcher is not None
        async for batch in self._watcher.batches():
            await self._take(batch)

    async def close(self) -> None:
        """Watch no more."""
        if self._watcher is not None:
            await self._watcher.stop()

    async def take_in(self) -> None:
        """Return when the engine has been told of all that had been written before this call, definitions too."""
        if self._watcher is not None:
            await self._watcher.take_in()
        if self._timer is not None:
            await self._again()

    async def reload(self) -> str:
        """Read it now, and go by what differs: that, in words. A ProcwatchError, told by then, if it is wrong."""
        async with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            self._is_reading = True
            try:
                return await self._reload()
            except ProcwatchError as error:
                self._refuse(error)
                raise
            finally:
                self._is_reading = False
                self._tell_held()

    def reload_soon(self) -> None:
        """The same, for whoever does not wait for it: what comes of it is told."""
        self._engine.spawn(self._again())

    async def keep(self) -> None:
        """Remember what was read, for the next start."""
        async with self._lock:
            await asyncio.to_thread(remember, self._asked.request, self._known)

    async def _take(self, batch: msg.FilesChanged) -> None:
        """Definitions are read again before what has changed with them is built and restarted: that is done once then.

        So a checkout that brings another watch.toml, too, is built only by that.
        """
        env_files = {os.path.normpath(name) for name in self._known.project.env_files}
        if batch.definitions and batch.definitions <= env_files:
            await self._again()
            self._engine.tell(batch)
            return
        if batch.definitions and self._timer is not None:
            self._timer.cancel()
            self._tell_held()  # they are being edited: others do not wait for the end of that
        self._held.append(batch)
        if batch.definitions:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(STABLE_S, self.reload_soon)
        elif self._timer is None and not self._is_reading:
            self._tell_held()

    def _tell_held(self) -> None:
        for batch in self._held:
            self._engine.tell(batch)
        self._held.clear()

    async def _again(self) -> None:
        with suppress(ProcwatchError):  # it has been told
            await self.reload()

    async def _reload(self) -> str:
        found = await _in_thread(read_again, self._pinned, self._known)
        before, was_refused = self._known, self._refused is not None
        if found is not None and (found.project, found.files) != (before.project, before.files):
            await self._apply(found)
        elif was_refused:
            self._parts.world.publish(msg.Notice("config_reloaded", effect=_NOTHING), [])
        self._refused = None
        if found is None:
            return _NOTHING
        self._known = found
        for warning in found.warnings:
            if warning not in before.warnings:
                self._parts.world.report(f"warning: {warning}")
        await _in_thread(remember, self._asked.request, found)
        return difference(before.project, found.project).words

    async def _apply(self, found: Declared) -> None:
        project = found.project
        inputs = await _in_thread(self._inputs.renewed, project, found.files)
        self._declare(project)
        descriptors.make_room(len(project.units), how_many(project))
        if self._watcher is not None:
            await self._watcher.use(project, inputs)
        self._inputs = inputs
        chosen = names.still_to_start(project, self._asked.words)
        self._tell_held()  # before the new project, so that it is built once
        self._engine.renew(
            msg.ProjectChanged(project, chosen, watching=self._asked.watch and can_be_due(project)), inputs
        )
        await self._warn(project, taking_part(project, chosen))

    async def _warn(self, project: Project, chosen: frozenset[str]) -> None:
        """Of what a start would warn of, in units that are not the same as before."""
        told = difference(self._known.project, project)
        for warning in await _in_thread(self._inputs.warnings, chosen.intersection((*told.changed, *told.added))):
            self._parts.world.report(f"warning: {warning}")

    def _refuse(self, error: ProcwatchError) -> None:
        words = str(error)
        if words != self._refused:
            count = len(error.problems) if isinstance(error, ConfigError) else 1
            effect = f"{count} error{'s' if count > 1 else ''}; what runs stays as it is"
            self._parts.world.publish(msg.Notice("config_rejected", reason=words, effect=effect), [])
        self._refused = words


def can_be_due(project: Project) -> bool:
    """Whether a file that changes can make anything due."""
    files = bool(project.env_files)
    return any(unit.watch or unit.env_files or files for unit in project.units.values())


async def _in_thread(call: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    try:
        return await asyncio.to_thread(call, *args, **kwargs)
    except RuntimeError as error:
        raise ProcwatchError(NO_THREAD) from error
