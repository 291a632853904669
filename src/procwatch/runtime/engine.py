"""The only loop: event -> plan -> perform -> publish.

Rule 1: the engine alone holds the state and replaces it whole. Nothing in the loop blocks.
Rule 2: an effect reports by putting an event on the queue; each run, instance and check carries its number.
Rule 3: the loop ends when the planner says so, and only after nothing of what was started is left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from procwatch.core import messages as msg
from procwatch.core.model import Build, Exit, Service, Terminal
from procwatch.core.planner import plan
from procwatch.core.state import State
from procwatch.errors import ProcwatchError
from procwatch.runtime import instance as life
from procwatch.runtime.assigned import Occasion
from procwatch.runtime.effects import Surroundings
from procwatch.runtime.inputs import Inputs
from procwatch.runtime.patience import Patience
from procwatch.runtime.spawn import Process, Sink
from procwatch.runtime.steps import HOOK_LIMIT_S, run_build, run_hook
from procwatch.runtime.store import Store
from procwatch.runtime.tree import Forest

# Reading inputs is file work; more threads than this only fight for the interpreter.
_READERS = 4
# How many of the last lines of a failed run go into its event.
_TAIL_LINES = 20


class Output(Sink, Protocol):
    """Where one process's output goes, and the last of it."""

    def tail(self, n: int, /) -> list[bytes]:
        """The last lines."""


class World(Protocol):
    """Where the engine tells what happens."""

    def output(self, name: str, mode: Terminal) -> Output:
        """A new channel for one process of a unit."""

    def publish(self, notice: msg.Notice, tail: list[bytes]) -> None:
        """Something happened; `tail` is the last output of what failed."""

    def planned(self, holds: Mapping[str, str], *, at_rest: bool) -> None:
        """A plan was made."""

    def report(self, line: str) -> None:
        """A line for the user that is no event."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What the engine works with."""

    surroundings: Surroundings
    inputs: Inputs
    forest: Forest
    store: Store
    world: World
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True, slots=True)
class _End:
    """How an instance that was asked to stop has ended, held back until `post_stop` has run."""

    event: msg.InstanceEnded
    duration_s: float


class Engine:
    """Runs one project until it is to end."""

    def __init__(self, state: State, parts: Parts) -> None:
        self.state = state
        self._parts = parts
        self._project = parts.surroundings.project
        self._queue: asyncio.Queue[msg.Event] = asyncio.Queue()
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="inputs")
        self._tasks: set[asyncio.Task[None]] = set()
        self._builds: dict[str, asyncio.Task[None]] = {}
        self._hooks: dict[str, asyncio.Task[None]] = {}
        self._instances: dict[str, asyncio.Task[None]] = {}
        self._processes: dict[str, Process] = {}
        self._outputs: dict[str, Output] = {}
        self._hook_outputs: dict[str, Output] = {}
        self._speaker: Output | None = None
        self._stopping: set[str] = set()
        self._ending: set[str] = set()
        self._ends: dict[str, _End] = {}
        self._exit_code: int | None = None
        self._hurried = False
        self._killing = False
        self._broken = False
        self._patience = Patience(parts.world.report, lambda: self.state.exit_code is not None)

    def tell(self, event: msg.Event) -> None:
        """Put an event on the queue; to be called in the loop's thread."""
        self._queue.put_nowait(event)

    def stop(self, exit_code: int) -> None:
        """End everything in order: somebody waits for it, so hooks that only tell are not let finish."""
        self._hurried = True
        self.tell(msg.StopAsked(exit_code))
        if self._exit_code is not None:
            self._hurry()

    async def run(self) -> int:
        """Plan and perform until the planner says `End`, and all that was started is gone; the exit status."""
        try:
            while self._exit_code is None and not self._broken:
                self._take(await self._queue.get())
                # Let new tasks begin: one that is cancelled before its first step never tells how it ended.
                await asyncio.sleep(0)
        except BaseException:
            await self.kill()
            raise
        finally:
            await self._leave()
        return 1 if self._exit_code is None else self._exit_code

    def _take(self, event: msg.Event) -> None:
        self._speaker = self._hook_outputs.pop(event.name, None) if isinstance(event, msg.HookFinished) else None
        made = plan(self._project, self.state, event, self._parts.clock())
        self.state = made.state
        for action in made.actions:
            self.perform(action)
        self._parts.world.planned(made.holds, at_rest=made.at_rest)

    async def kill(self) -> None:
        """End everything at once, without grace; the planner learns of it from the ends."""
        self._killing = True
        await asyncio.sleep(0)  # for the tasks that are about to begin, as in `run`
        for task in self._tasks:
            task.cancel()
        await self._parts.forest.kill()

    async def _leave(self) -> None:
        """Let the hooks that still run come to their end, then end what builds have left running."""
        if self._broken:
            await self.kill()
        elif self._hurried:
            self._hurry()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await (self._parts.forest.kill() if self._killing else self._parts.forest.end())
        with suppress(TimeoutError):  # what hangs in the kernel has been told
            await self._parts.forest.sweep()
        self._readers.shutdown(wait=True)

    def _hurry(self) -> None:
        """Stop what still runs after the last service: hooks that tell of failures, each with its grace."""
        for task in self._tasks:
            task.cancel()

    # --- actions -----------------------------------------------------------------------------------------------------

    def perform(self, action: msg.Action) -> None:  # noqa: C901 - one match, a case an action
        """Do what the planner asked for; what takes time becomes a task."""
        match action:
            case msg.CheckInputs():
                self._spawn(self._check(action))
            case msg.StartBuild():
                self._builds[action.name] = self._spawn(self._build(action))
            case msg.StopBuild(name):
                self._builds[name].cancel()
            case msg.RunHook(name, "pre_start"):
                self._hooks[name] = self._spawn(self._pre_start(action))
            case msg.RunHook():
                self._spawn(self._hook(action))
            case msg.StopHook(name):
                self._hooks[name].cancel()
            case msg.StartInstance():
                self._instances[action.name] = self._spawn(self._instance(action))
            case msg.StopInstance():
                self._spawn(self._stop_instance(action))
            case msg.SignalInstance(name, _, signal):
                self._spawn(self._signal(name, signal))
            case msg.SetTimer(name, timer, delay_s):
                asyncio.get_running_loop().call_later(delay_s, self.tell, msg.TimerFired(name, timer))
            case msg.Remember():
                self._parts.store.remember(action)
            case msg.Notice():
                self._publish(action)
            case msg.End(code):
                self._exit_code = code

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        """An effect must not fail: what it could meet is an event. If one does, nobody waits for its event: end all."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._parts.world.report(f"internal error, please report it: {type(error).__name__}: {error}")
            self._broken = True
            self.tell(msg.StopAsked(1))  # for the loop to see it

    def _publish(self, notice: msg.Notice) -> None:
        failed = notice.event in {"build_failed", "service_crashed", "not_ready"}
        output = (self._speaker or self._outputs.get(notice.name or "")) if failed else None
        self._parts.world.publish(notice, output.tail(_TAIL_LINES) if output else [])

    # --- inputs ------------------------------------------------------------------------------------------------------

    async def _check(self, action: msg.CheckInputs) -> None:
        loop = asyncio.get_running_loop()
        self.tell(await loop.run_in_executor(self._readers, self._read, action))

    def _read(self, action: msg.CheckInputs) -> msg.InputsChecked:
        """In a thread: it takes as long as the disk does."""
        checked = self._parts.inputs.check(action.name)
        found = (checked.digest, checked.changed, checked.touched, self._why_not_startable(action.name))
        return msg.InputsChecked(action.name, action.check, *found)

    def _why_not_startable(self, name: str) -> str | None:
        """Why a service could not be started now, known before anything is stopped for it: its env file has gone."""
        service = self._project.services.get(name)
        if service is None:
            return None
        try:
            self._parts.surroundings.launch(service, 0)
        except ProcwatchError as error:
            return str(error)
        return None

    # --- builds ------------------------------------------------------------------------------------------------------

    async def _build(self, action: msg.StartBuild) -> None:
        build = self._project.builds[action.name]
        since_s = self._parts.clock()
        outcome: msg.Outcome
        try:
            steps = self._parts.surroundings.build_steps(build, action.run, action.changed)
            outcome = await run_build(
                steps, build.timeout_s, lambda step: self._output(build, step), self._parts.forest
            )
        except asyncio.CancelledError:
            outcome = msg.Cancelled()
        except ProcwatchError as error:
            outcome = msg.Failed(_refused(error))
        self._parts.store.drop_changed(action.name, action.run)
        self.tell(msg.BuildFinished(action.name, action.run, outcome, self._parts.clock() - since_s))

    def _output(self, unit: Build | Service, step: str) -> Output:
        """A channel; hooks are shown only when they fail."""
        output = self._parts.world.output(unit.name, unit.terminal) if step == "run" else self._hook_output(unit)
        self._outputs[unit.name] = output
        return output

    def _hook_output(self, unit: Build | Service) -> Output:
        return self._parts.world.output(unit.name, "none" if unit.terminal == "none" else "on-failure")

    # --- hooks -------------------------------------------------------------------------------------------------------

    async def _run_hook(self, action: msg.RunHook) -> Exit:
        unit = self._project.units[action.name]
        occasion = Occasion(action.name, action.run, action.changed, action.hook, action.exit, action.duration_s)
        limit_s = HOOK_LIMIT_S if isinstance(unit, Service) or unit.timeout_s is None else unit.timeout_s
        try:
            steps = self._parts.surroundings.hook_steps(unit, occasion)
            return await run_hook(steps, lambda _step: self._output_of_hook(action), self._parts.forest, limit_s)
        except ProcwatchError as error:
            return _refused(error)
        finally:
            self._parts.store.drop_changed(action.name, action.run, action.hook)

    def _output_of_hook(self, action: msg.RunHook) -> Output:
        """A channel; what pre_start has printed is told with its failure."""
        output = self._hook_output(self._project.units[action.name])
        if action.hook == "pre_start":
            self._hook_outputs[action.name] = output
        return output

    async def _pre_start(self, action: msg.RunHook) -> None:
        with suppress(asyncio.CancelledError):  # stopped: nobody waits for the answer
            self.tell(msg.HookFinished(action.name, action.run, await self._run_hook(action)))

    async def _hook(self, action: msg.RunHook) -> None:
        """A hook whose end decides nothing; a failure is told."""
        if self._killing:
            return
        with suppress(asyncio.CancelledError):  # procwatch ends, and has stopped it
            ended = await self._run_hook(action)
            if not ended.ok:
                self._parts.world.report(f"{action.name}: hook {action.hook} failed ({ended.words})")

    # --- services ----------------------------------------------------------------------------------------------------

    async def _instance(self, action: msg.StartInstance) -> None:
        service = self._project.services[action.name]
        sink = self._output(service, "run")
        since_s = self._parts.clock()
        try:
            launch = self._parts.surroundings.launch(service, action.instance)
        except ProcwatchError as error:
            self.tell(msg.InstanceEnded(action.name, action.instance, _refused(error)))
            return
        with suppress(asyncio.CancelledError):  # that is how it is stopped; its end has been reported
            await life.run_instance(
                launch, sink, self._parts.forest, lambda report: self._reported(action, report, since_s)
            )

    def _reported(self, action: msg.StartInstance, report: life.Report, since_s: float) -> None:
        name, number = action.name, action.instance
        match report:
            case life.Started(process):
                self._processes[name] = process
                self.tell(msg.InstanceStarted(name, number, process.pid))
            case life.Ready():
                self.tell(msg.InstanceReady(name, number))
            case life.Unready(reason):
                self.tell(msg.InstanceNotReady(name, number, reason))
            case life.Ending():
                self._ending.add(name)
            case life.Ended(ended):
                self._ending.discard(name)
                self._processes.pop(name, None)
                end = _End(msg.InstanceEnded(name, number, ended), self._parts.clock() - since_s)
                if name in self._stopping:
                    self._ends[name] = end
                else:
                    self.tell(end.event)

    async def _stop_instance(self, action: msg.StopInstance) -> None:
        """pre_stop, the stop itself, post_stop; the next instance may start only when that has ended.

        A kill that comes meanwhile goes on to the instance at once.
        """
        name, task = action.name, self._instances[action.name]
        if task.done():
            return  # it has ended by itself, and that has been told
        self._stopping.add(name)
        try:
            await self._stop_hook(action, "pre_stop")
            if name not in self._ending:  # what has ended by itself has left something that is in its grace already
                task.cancel()
            with self._patience.waiting(name, self._project.services[name].stop):
                await asyncio.wait([task])
            await self._stop_hook(action, "post_stop", self._ends.get(name))
        finally:
            self._stopping.discard(name)
            if end := self._ends.pop(name, None):
                self.tell(end.event)

    async def _stop_hook(self, action: msg.StopInstance, hook: str, end: _End | None = None) -> None:
        if self._project.services[action.name].hooks.get(hook):
            ended, duration_s = (end.event.exit, end.duration_s) if end else (None, None)
            await self._hook(msg.RunHook(action.name, hook, action.instance, ended, duration_s, action.changed))

    async def _signal(self, name: str, signal: str) -> None:
        process = self._processes.get(name)
        if process is None or not await process.signal(signal):
            self._parts.world.report(f"{name} could not be sent {signal}: it has ended")


def _refused(error: ProcwatchError) -> Exit:
    """A command that could not even be put together."""
    return Exit(1, str(error))
