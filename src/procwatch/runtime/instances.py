"""Start, signal and stop the instances of services: one record each, from the start until its end has been told.

Rule 1: the end of an instance that was asked to stop is told after `post_stop`.
Rule 2: an instance is stopped as it was started, with the hooks of then, whatever the configuration says by now.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import Any

from procwatch.core import messages as msg
from procwatch.core.model import Exit, Releases, Service, StopPolicy
from procwatch.errors import ProcwatchError
from procwatch.frozen import field, record
from procwatch.runtime import instance as life
from procwatch.runtime.draining import drained, until_hurried
from procwatch.runtime.effects import Surroundings
from procwatch.runtime.health import watch_health
from procwatch.runtime.hooks import Hooks
from procwatch.runtime.outputs import Outputs
from procwatch.runtime.parts import Loop, Parts
from procwatch.runtime.patience import Patience
from procwatch.runtime.program import refused
from procwatch.runtime.readiness import Target
from procwatch.runtime.spawn import Process


@record
class _Running:
    """One instance. `end`: how it has ended, and after how long, held back until `post_stop` has run.

    `health`: asks whether it is still well. `is_leaving`: it has said that it ends by itself. `is_ending`: its leader
    has ended by itself, and what that has left is in its grace already. `hurry`: its clients are not waited for.
    """

    name: str
    number: int
    task: asyncio.Task[Any]
    since_s: float
    surroundings: Surroundings
    releases: Releases
    launch: life.Launch | None = None
    process: Process | None = None
    health: asyncio.Task[None] | None = None
    is_stopped: bool = False
    is_leaving: bool = False
    is_ending: bool = False
    hurry: asyncio.Event = field(default_factory=asyncio.Event)
    end: tuple[Exit, float] | None = None


class Instances:
    """The instances that run, by the names of their services and their numbers."""

    def __init__(self, parts: Parts, outputs: Outputs, hooks: Hooks, patience: Patience, loop: Loop) -> None:
        self._parts = parts
        self._outputs = outputs
        self._hooks = hooks
        self._patience = patience
        self._tell = loop.tell
        self._spawn = loop.spawn
        self._running: dict[tuple[str, int], _Running] = {}
        # What the instance in charge of each service was started with.
        self._started_with: dict[str, Surroundings] = {}

    async def run(self, action: msg.StartInstance) -> None:
        """Start an instance and follow it to its end. Cancelling stops it by its policy."""
        surroundings = self._parts.surroundings
        if action.again:
            surroundings = self._started_with.get(action.name, surroundings)
        if not action.beside:
            self._started_with[action.name] = surroundings
        service = surroundings.project.services[action.name]
        task = asyncio.current_task()
        assert task is not None
        one = _Running(action.name, action.instance, task, self._parts.clock(), surroundings, action.releases)
        self._running[one.name, one.number] = one
        sink = self._outputs.of_step(service, "run", one.number)
        try:
            one.launch = launch = await self._launch(surroundings, service, action)
        except (ProcwatchError, OSError) as error:
            self._ended(one, refused(error) if isinstance(error, ProcwatchError) else Exit(1, _no_door(error)))
            return
        except asyncio.CancelledError:
            self._ended(one, life.NEVER_STARTED)
            return
        with suppress(asyncio.CancelledError):  # that is how it is stopped; its end has been reported
            await life.run_instance(launch, sink, self._parts.forest, lambda report: self._reported(one, report))

    async def _launch(self, surroundings: Surroundings, service: Service, action: msg.StartInstance) -> life.Launch:
        seat = await self._parts.fronts.seat(service, action)
        launch = surroundings.launch(service, action.instance, action.releases, seat.port)
        terminal = self._parts.terminals.size(service.name) if service.tty else None
        return replace(launch, spec=replace(launch.spec, terminal=terminal, handed=seat.handed), door=seat.door)

    def take_over(self, action: msg.TakeOver) -> None:
        """From now on this instance is in charge, and new clients are its."""
        self._parts.fronts.take_over(action.name, action.instance)
        if one := self._running.get((action.name, action.instance)):
            self._started_with[action.name] = one.surroundings

    async def stop(self, action: msg.StopInstance) -> None:
        """pre_stop, the stop itself, post_stop; the next instance may start only when that has ended.

        A kill that comes meanwhile goes on to the instance at once.
        """
        one = self._running.get((action.name, action.instance))
        if one is None:
            return  # it has ended by itself, and that has been told
        if not action.drain:
            one.hurry.set()
        if one.is_stopped:
            return  # that is under way
        one.is_stopped = True
        _let_alone(one)
        policy = one.surroundings.project.services[one.name].stop
        try:
            if one.process is not None:
                await self._drain(one, one.process, policy)
            await self._hook(one, action, "pre_stop")
            if not one.is_ending:
                one.task.cancel()
            with self._patience.waiting(one.name, policy):
                await asyncio.wait([one.task])
            await self._hook(one, action, "post_stop", *(one.end or ()))
        finally:
            one.is_stopped = False
            self._tell_end(one)

    async def _drain(self, one: _Running, process: Process, policy: StopPolicy) -> None:
        """No client comes any more; let it answer those that it has."""
        fronts = self._parts.fronts
        fronts.retire(one.name, one.number, aside=not one.hurry.is_set())
        await drained(process, fronts.slots(one.name, one.number), policy, one.hurry)
        if not one.hurry.is_set():
            await until_hurried(fronts.drain(one.name, one.number, policy.grace_s), one.hurry)

    async def signal(self, action: msg.SignalInstance) -> None:
        """Send a signal to the program; tells if nobody was there to get it."""
        one = self._running.get((action.name, action.instance))
        if one is None or one.process is None or not await one.process.signal(action.signal):
            self._parts.world.report(f"{action.name} could not be sent {action.signal}: it has ended")

    async def _hook(
        self,
        one: _Running,
        action: msg.StopInstance,
        hook: str,
        ended: Exit | None = None,
        lived_s: float | None = None,
    ) -> None:
        run = msg.RunHook(action.name, hook, action.instance, ended, lived_s, action.changed, one.releases)
        await self._hooks.inform(run, one.surroundings)

    def _reported(self, one: _Running, report: life.Report) -> None:
        match report:
            case life.Started(process):
                self._started(one, process)
            case life.Ready():
                self._tell(msg.InstanceReady(one.name, one.number))
                self._watch_over(one)
            case life.Reloading():
                if one.health is not None:
                    self._watch_over(one, reloading=True)
            case life.Reloaded():
                self._watch_over(one)
            case life.Leaving():
                one.is_leaving = True
                _let_alone(one)
                self._tell(msg.InstanceLeaving(one.name, one.number))
            case life.Unready(reason):
                self._tell(msg.InstanceNotReady(one.name, one.number, reason))
            case life.Ending():
                one.is_ending = True
                self._parts.fronts.retire(one.name, one.number)
                _let_alone(one)
            case life.Ended(ended):
                self._ended(one, ended)

    def _started(self, one: _Running, process: Process) -> None:
        one.process = process
        if process.terminal is not None:
            self._parts.terminals.began(one.name, one.number, process.pid, process.terminal)
        self._tell(msg.InstanceStarted(one.name, one.number, process.pid))

    def _watch_over(self, one: _Running, *, reloading: bool = False) -> None:
        """Ask from now on whether it is well; while it reloads not before the time that it has to become ready."""
        if one.launch is None or one.launch.health is None or one.is_leaving or one.is_ending or one.is_stopped:
            return
        health, target = one.launch.health, Target(one.launch.spec, self._parts.forest)
        pause_s = one.launch.timing.deadline_s if reloading else health.interval_s

        def unwell(reason: str, ill_s: float) -> None:
            self._tell(msg.InstanceUnhealthy(one.name, one.number, reason, ill_s))

        _let_alone(one)
        one.health = self._spawn(watch_health(health, target, pause_s, unwell))

    def _ended(self, one: _Running, ended: Exit) -> None:
        _let_alone(one)
        one.process = None
        self._parts.terminals.ended(one.name, one.number, ended)
        self._parts.fronts.gone(one.name, one.number)
        one.end = (ended, self._parts.clock() - one.since_s)
        self._tell_end(one)

    def _tell_end(self, one: _Running) -> None:
        """Tell how it ended: once, when it has, and nothing of its stop is still to come."""
        key = (one.name, one.number)
        if one.end is not None and not one.is_stopped and key in self._running:
            del self._running[key]
            self._outputs.over(one.name, one.number)
            self._tell(msg.InstanceEnded(one.name, one.number, one.end[0]))


def _no_door(error: OSError) -> str:
    return f"no port for what looks at it: {error.strerror}"


def _let_alone(one: _Running) -> None:
    """Ask no more whether it is well."""
    if one.health is not None:
        one.health.cancel()
        one.health = None
