"""Start, signal and stop the instances of services: one record each, from the start until its end has been told.

Rule 1: a service has one instance at a time; the end of one that was asked to stop is told after `post_stop`.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from procwatch.core import messages as msg
from procwatch.core.model import Exit
from procwatch.errors import ProcwatchError
from procwatch.runtime import instance as life
from procwatch.runtime.hooks import Hooks
from procwatch.runtime.outputs import Outputs
from procwatch.runtime.parts import Parts, Tell
from procwatch.runtime.patience import Patience
from procwatch.runtime.program import refused
from procwatch.runtime.spawn import Process


@dataclass(slots=True)
class _Running:
    """One instance. `end`: how it has ended, and after how long, held back until `post_stop` has run.

    `is_ending`: its leader has ended by itself, and what that has left is in its grace already.
    """

    name: str
    number: int
    task: asyncio.Task[Any]
    since_s: float
    process: Process | None = None
    is_stopped: bool = False
    is_ending: bool = False
    end: tuple[Exit, float] | None = None


class Instances:
    """The instances that run, by the names of their services."""

    def __init__(self, parts: Parts, outputs: Outputs, hooks: Hooks, patience: Patience, tell: Tell) -> None:
        self._parts = parts
        self._outputs = outputs
        self._hooks = hooks
        self._patience = patience
        self._tell = tell
        self._running: dict[str, _Running] = {}

    async def run(self, action: msg.StartInstance) -> None:
        """Start an instance and follow it to its end. Cancelling stops it by its policy."""
        service = self._parts.project.services[action.name]
        task = asyncio.current_task()
        assert task is not None
        self._running[action.name] = one = _Running(action.name, action.instance, task, self._parts.clock())
        sink = self._outputs.of_step(service, "run")
        try:
            launch = self._parts.surroundings.launch(service, action.instance)
        except ProcwatchError as error:
            self._ended(one, refused(error))
            return
        with suppress(asyncio.CancelledError):  # that is how it is stopped; its end has been reported
            await life.run_instance(launch, sink, self._parts.forest, lambda report: self._reported(one, report))

    async def stop(self, action: msg.StopInstance) -> None:
        """pre_stop, the stop itself, post_stop; the next instance may start only when that has ended.

        A kill that comes meanwhile goes on to the instance at once.
        """
        one = self._running.get(action.name)
        if one is None:
            return  # it has ended by itself, and that has been told
        one.is_stopped = True
        try:
            await self._hook(action, "pre_stop")
            if not one.is_ending:
                one.task.cancel()
            with self._patience.waiting(one.name, self._parts.project.services[one.name].stop):
                await asyncio.wait([one.task])
            await self._hook(action, "post_stop", *(one.end or ()))
        finally:
            one.is_stopped = False
            self._tell_end(one)

    async def signal(self, action: msg.SignalInstance) -> None:
        """Send a signal to the program; tells if nobody was there to get it."""
        one = self._running.get(action.name)
        if one is None or one.process is None or not await one.process.signal(action.signal):
            self._parts.world.report(f"{action.name} could not be sent {action.signal}: it has ended")

    async def _hook(
        self, action: msg.StopInstance, hook: str, ended: Exit | None = None, lived_s: float | None = None
    ) -> None:
        await self._hooks.inform(msg.RunHook(action.name, hook, action.instance, ended, lived_s, action.changed))

    def _reported(self, one: _Running, report: life.Report) -> None:
        match report:
            case life.Started(process):
                one.process = process
                self._tell(msg.InstanceStarted(one.name, one.number, process.pid))
            case life.Ready():
                self._tell(msg.InstanceReady(one.name, one.number))
            case life.Unready(reason):
                self._tell(msg.InstanceNotReady(one.name, one.number, reason))
            case life.Ending():
                one.is_ending = True
            case life.Ended(ended):
                self._ended(one, ended)

    def _ended(self, one: _Running, ended: Exit) -> None:
        one.process = None
        one.end = (ended, self._parts.clock() - one.since_s)
        self._tell_end(one)

    def _tell_end(self, one: _Running) -> None:
        """Tell how it ended: once, when it has, and nothing of its stop is still to come."""
        if one.end is not None and not one.is_stopped and self._running.get(one.name) is one:
            del self._running[one.name]
            self._tell(msg.InstanceEnded(one.name, one.number, one.end[0]))
