"""The only loop: event -> plan -> perform -> publish.

Rule 1: the engine alone holds the state and replaces it whole. Nothing in the loop blocks.
Rule 2: an effect reports by putting an event on the queue; each run, instance and check carries its number.
Rule 3: the loop ends when the planner says so, and only after nothing of what was started is left.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from procwatch.core import messages as msg
from procwatch.core.planner import plan
from procwatch.core.state import State
from procwatch.core.verdict import Moment
from procwatch.errors import ProcwatchError
from procwatch.output.worker import NO_THREAD
from procwatch.runtime.effects import Surroundings
from procwatch.runtime.hooks import Hooks
from procwatch.runtime.inputs import Inputs
from procwatch.runtime.instances import Instances
from procwatch.runtime.outputs import DECIDING, Outputs
from procwatch.runtime.parts import Parts
from procwatch.runtime.patience import Patience
from procwatch.runtime.program import refused
from procwatch.runtime.steps import run_build
from procwatch.runtime.stopping import Stopped

# Reading inputs is file work; more threads than this only fight for the interpreter.
_READERS = 4

# So long after a success it is written down.
_KEEP_S = 0.02

# How long a build that was outdated by changes waits for their end before it runs again, and how often it looks: a code
# generator or an unpacked archive takes seconds, and each run in between is for nothing. As long as git's lock counts.
_BURST_S = 30.0
_BURST_STEP_S = 0.02


class Engine:
    """Runs one project until it is to end."""

    def __init__(self, state: State, parts: Parts) -> None:
        self.state = state
        self._parts = parts
        self._queue: asyncio.Queue[msg.Event] = asyncio.Queue()
        self._readers = _readers()
        self._outputs = Outputs(parts.world)
        self._hooks = Hooks(parts, self._outputs, self)
        patience = Patience(parts.world.report, lambda: self.state.exit_code is not None)
        self._instances = Instances(parts, self._outputs, self._hooks, patience, self)
        # Taken from the queue, and not to be planned together with what came before it.
        self._drawn: msg.Event | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        # The run of each build, and the hook of each service that decides: what can be asked to stop.
        self._stoppable: dict[str, asyncio.Task[None]] = {}
        # What comes with each `ProjectChanged` on the queue.
        self._renewed: deque[Inputs] = deque()
        self._exit_code: int | None = None
        self._hurried = False
        self._killing = False
        self._kill: asyncio.Task[None] | None = None
        self._observers: list[Callable[[Moment, msg.Event], None]] = []
        self._moment = Moment(parts.project, state, {}, at_rest=False, now_s=parts.clock())
        # Units whose files did not stop changing in all that time: until they do, they are waited for as a batch is.
        self._restless: set[str] = set()
        self._faults: set[str] = set()

    def tell(self, event: msg.Event) -> None:
        """Put an event on the queue; to be called in the loop's thread."""
        self._queue.put_nowait(event)

    def renew(self, event: msg.ProjectChanged, inputs: Inputs) -> None:
        """Go by another project; `inputs` are of that."""
        self._renewed.append(inputs)
        self.tell(event)

    def stop(self, exit_code: int) -> None:
        """End everything in order: somebody waits for it, so hooks that only tell are not let finish."""
        self._hurried = True
        self.tell(msg.StopAsked(exit_code))
        if self._exit_code is not None:
            self._hurry()

    def fail(self, error: BaseException) -> None:
        """Something went wrong that must not: nobody knows what is half done now, so it is told, and all is ended.

        To be called in the loop's thread. What follows from the same failure is told as well, but once.
        """
        words = f"{type(error).__name__}: {error}"
        if words not in self._faults:
            self._faults.add(words)
            self._parts.world.report(f"internal error, please report it: {words}")
        self.tell(msg.StopAsked(1))  # for the loop to see it

    async def run(self) -> int:
        """Plan and perform until the planner says `End`, and all that was started is gone; the exit status."""
        try:
            while self._exit_code is None and not self._faults:
                self._take(await self._next())
                # Let new tasks begin: one that is cancelled before its first step never tells how it ended.
                await asyncio.sleep(0)
        except Exception as error:
            self.fail(error)
        except BaseException:
            await self.kill()
            raise
        finally:
            await self._leave()
        return 1 if self._exit_code is None or self._faults else self._exit_code

    async def _next(self) -> msg.Event:
        """The next event; what comes a hundredfold, and has come already, as one: a plan looks at the whole project."""
        first = self._drawn or await self._queue.get()
        self._drawn = None
        gathered: dict[str, msg.Plentiful] = {}
        following: msg.Event | None = first
        while isinstance(following, msg.Plentiful) and following.name not in gathered:
            gathered[following.name] = following
            following = None if self._queue.empty() else self._queue.get_nowait()
        if not gathered:
            return first
        self._drawn = following
        return first if len(gathered) == 1 else msg.Together(tuple(gathered.values()))

    def _take(self, event: msg.Event) -> None:
        now_s = self._parts.clock()
        made = plan(self._parts.project, self.state, event, now_s)
        self.state = made.state
        if isinstance(event, msg.ProjectChanged):
            self._parts.inputs = self._renewed.popleft()
        self._parts.use(made.project)
        if self.state.exit_code is not None:
            self._parts.inputs.stop()
        checks: list[msg.CheckInputs] = []
        for action in made.actions:
            if isinstance(action, msg.Notice):
                self._parts.world.publish(action, self._outputs.tail(action, event))
            elif isinstance(action, msg.CheckInputs):
                checks.append(action)
            else:
                self.perform(action)
        self._check_all(checks)
        self._parts.world.planned(made.holds, at_rest=made.at_rest)
        self._moment = Moment(self._parts.project, made.state, made.holds, at_rest=made.at_rest, now_s=now_s)
        for observe in self._observers:
            observe(self._moment, event)

    def moment(self) -> Moment:
        """What is known after the last plan, at the time of now."""
        return replace(self._moment, now_s=self._parts.clock())

    def watch_plans(self, observer: Callable[[Moment, msg.Event], None]) -> None:
        """Call this after every plan, with the event that it was made for."""
        self._observers.append(observer)

    def kill_soon(self) -> None:
        """Begin to `kill`, unless that is under way."""
        if self._kill is None or self._kill.done():
            self._kill = asyncio.get_running_loop().create_task(self.kill())
            self._kill.add_done_callback(self._done)

    async def kill(self) -> None:
        """End everything at once, without grace; the planner learns of it from the ends."""
        self._killing = True
        self._hooks.close()
        await asyncio.sleep(0)  # for the tasks that are about to begin, as in `run`
        for task in self._tasks:
            task.cancel()
        # Together: the process behind the proxies must not be taken for one that has ended by itself.
        await asyncio.gather(self._parts.fronts.close(), self._parts.forest.kill())

    async def _leave(self) -> None:
        """Let the hooks that still run come to their end, then end what builds have left running."""
        self._parts.inputs.stop()
        if self._faults:
            await self.kill()
        elif self._hurried:
            self._hurry()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._parts.fronts.close()
        await (self._parts.forest.kill() if self._killing else self._parts.forest.end())
        with suppress(TimeoutError):  # what hangs in the kernel has been told
            await self._parts.forest.sweep()
        self._readers.shutdown(wait=True)

    def _hurry(self) -> None:
        """Stop what still runs after the last service: hooks that tell of failures, each with its grace."""
        for task in self._tasks:
            task.cancel()

    # --- actions -----------------------------------------------------------------------------------------------------

    def perform(self, action: msg.Effect) -> None:  # noqa: C901 - one match, a case an action
        """Do what the planner asked for, but `CheckInputs`; what takes time becomes a task."""
        match action:
            case msg.StartBuild(name):
                self._stoppable[name] = self.spawn(self._build(action))
            case msg.RunHook(name, hook) if hook in DECIDING:
                self._stoppable[name] = self.spawn(self._hooks.decide(action))
            case msg.StopBuild(name) | msg.StopHook(name):
                self._stoppable[name].cancel()
            case msg.RunHook():
                self.spawn(self._hooks.inform(action))
            case msg.StartInstance():
                self.spawn(self._instances.run(action))
            case msg.TakeOver():
                self._instances.take_over(action)
            case msg.StopInstance():
                self.spawn(self._instances.stop(action))
            case msg.SignalInstance():
                self.spawn(self._instances.signal(action))
            case msg.SetTimer(name, timer, delay_s):
                asyncio.get_running_loop().call_later(delay_s, self.tell, msg.TimerFired(name, timer))
            case msg.Remember():
                self._parts.store.remember(action)
                self._write_soon()
            case msg.RememberService():
                self._parts.store.remember_service(action)
                self._write_soon()
            case msg.TakeRelease(name, number):
                self._parts.releases.take(name, number)
            case msg.DropReleases(name, numbers):
                self._parts.releases.drop(name, numbers)
            case msg.End(code):
                self._exit_code = code

    def _write_soon(self) -> None:
        """Write down what is known once what comes of it has been started: this matters to the next start only."""
        asyncio.get_running_loop().call_later(_KEEP_S, self._parts.store.write)

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a task that the end of everything ends too, and whose failure is told."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[None]) -> None:
        """An effect must not fail: what it could meet is an event, and where that does not come somebody waits."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fail(error)

    # --- inputs ------------------------------------------------------------------------------------------------------

    def _check_all(self, actions: list[msg.CheckInputs]) -> None:
        """What a build reads may take long; services read little, and all of them together leads to one plan."""
        services = [action for action in actions if action.name in self._parts.project.services]
        if services:  # first: with large inputs to be read beside it, it would take ten times as long
            self.spawn(self._check(services))
        for build in (action for action in actions if action.name in self._parts.project.builds):
            self.spawn(self._check([build]))

    async def _check(self, actions: list[msg.CheckInputs]) -> None:
        """Read in a thread: it takes as long as the disk does."""
        checked: asyncio.Future[list[msg.InputsChecked]] = asyncio.get_running_loop().create_future()
        for action in actions:
            if action.settled:
                await self._settle(action.name)
        read = partial(_read, actions, self._parts.inputs, self._parts.surroundings)
        with suppress(RuntimeError):  # no further thread can be had: one of those that there are does this too
            self._readers.submit(self._read_for, read, checked)
        try:
            events = await checked
        except Stopped:  # all is being stopped
            return
        for event in events:
            self.tell(await self._prepared(event))

    async def _settle(self, name: str) -> None:
        """Wait until what this unit reads has stopped changing, some time at most."""
        most_s = self._parts.project.watch.max_wait_s if name in self._restless else _BURST_S
        end_s = self._parts.clock() + most_s
        while self._parts.is_moving(name):
            if self.state.exit_code is not None or self._parts.clock() >= end_s:
                self._restless.add(name)
                return
            await asyncio.sleep(_BURST_STEP_S)
        self._restless.discard(name)

    async def _prepared(self, checked: msg.InputsChecked) -> msg.InputsChecked:
        """Before anything is stopped for it, a service that is to listen elsewhere must be able to."""
        service = self._parts.project.services.get(checked.name)
        if service is None or checked.problem is not None:
            return checked
        try:
            await self._parts.fronts.prepare(service)
        except ProcwatchError as error:
            state = self.state.services.get(checked.name)
            if state is None or state.problem != str(error):
                self._parts.world.report(f"{checked.name} stays as it is: {error}; a restart of it tries again")
            return replace(checked, problem=str(error))
        return checked

    def _read_for(
        self, read: Callable[[], list[msg.InputsChecked]], checked: asyncio.Future[list[msg.InputsChecked]]
    ) -> None:
        try:
            result = read()
        except Exception as error:  # it is the loop's to tell
            checked.get_loop().call_soon_threadsafe(_settle, checked, error)
        else:
            checked.get_loop().call_soon_threadsafe(_settle, checked, result)

    # --- builds ------------------------------------------------------------------------------------------------------

    async def _build(self, action: msg.StartBuild) -> None:
        build = self._parts.project.builds[action.name]
        since_s = self._parts.clock()
        outcome: msg.Outcome
        try:
            steps = self._parts.surroundings.build_steps(build, action.run, action.changed) if not action.adopt else ()
            keep = partial(self._parts.releases.make, build) if build.outputs else None
            outcome = await run_build(
                steps,
                build.timeout_s,
                lambda step: self._outputs.of_step(build, step, action.run),
                self._parts.forest,
                keep,
            )
        except asyncio.CancelledError:
            outcome = msg.Cancelled()
        except ProcwatchError as error:
            outcome = msg.Failed(refused(error))
        self._parts.store.drop_changed(action.name, action.run)
        self.tell(msg.BuildFinished(action.name, action.run, outcome, self._parts.clock() - since_s))


def _read(actions: Sequence[msg.CheckInputs], inputs: Inputs, surroundings: Surroundings) -> list[msg.InputsChecked]:
    found = inputs.check_all([action.name for action in actions])
    services = surroundings.project.services
    # Told before anything is stopped for it.
    problems = surroundings.problems(services[action.name] for action in actions if action.name in services)
    return [
        msg.InputsChecked(action.name, action.check, one.digest, one.changed, one.touched, problems.get(action.name))
        for action, one in zip(actions, found, strict=True)
    ]


def _readers() -> ThreadPoolExecutor:
    """Threads of which there is one at least: ProcwatchError where the system gives none."""
    readers = ThreadPoolExecutor(_READERS, thread_name_prefix="inputs")
    try:
        readers.submit(os.getpid)
    except RuntimeError as error:
        raise ProcwatchError(NO_THREAD) from error
    return readers


def _settle(future: asyncio.Future[list[msg.InputsChecked]], result: list[msg.InputsChecked] | Exception) -> None:
    if future.cancelled():
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
