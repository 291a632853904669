"""Run the steps of one build run, or the commands of one hook, one after the other.

Rule 1: the first step that fails ends the run; nothing of a failed, timed out or cancelled run is alive when it ends.
Rule 2: a cancellation stops the step's whole tree by its stop policy first, and only then is CancelledError raised.
Rule 3: what a run that succeeded leaves running lives on, until the forest is ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from procwatch.core.messages import Failed, Succeeded
from procwatch.core.model import Exit
from procwatch.frozen import frozen
from procwatch.runtime.assigned import result
from procwatch.runtime.spawn import Process, Sink, SpawnError, Spec, start
from procwatch.runtime.tree import Forest
from procwatch.runtime.within import within

# A service's hook that hangs is stopped after so long (issue 3: "after 60 s for a service's").
HOOK_LIMIT_S = 60.0
# What timeout(1) and the shells' users expect of a command that took too long.
_TIMED_OUT = 124
_DONE = Exit(0, "exit 0")


@frozen
class Step:
    """One command of a run; `name` is "pre_build", "run", "post_build", or that of a hook.

    A "post_build" is told how long the run has taken until then.
    """

    name: str
    spec: Spec


SinkFor = Callable[[str], Sink]
# Keeps what a run has made: a part of it, which can fail too.
Keep = Callable[[], Awaitable[Succeeded | Failed]]


async def run_build(
    steps: tuple[Step, ...], timeout_s: float | None, sink_for: SinkFor, forest: Forest, keep: Keep | None = None
) -> Succeeded | Failed:
    """One run of a build: all steps in order and `keep`, within `timeout_s` seconds together.

    Every step gets a sink of its own, which is finished when its leader has ended. Cancelling stops the run; a second
    cancellation kills what is left at once. CancelledError is raised when all of it is gone.
    """
    run = _Run(sink_for, forest)
    try:
        async with within(timeout_s):
            outcome = await run.go(steps, keep)
    except TimeoutError:
        outcome = Failed(Exit(_TIMED_OUT, f"timed out after {timeout_s:g} s"), run.step)
    except asyncio.CancelledError:
        await run.end(failed=False)
        raise
    if isinstance(outcome, Failed):
        await run.end(failed=True)
    return outcome


async def run_hook(steps: tuple[Step, ...], sink_for: SinkFor, forest: Forest, limit_s: float = HOOK_LIMIT_S) -> Exit:
    """The commands of one hook, within `limit_s` seconds together: the exit of the first that failed, else 0.

    Cancelling stops it as it does a build.
    """
    outcome = await run_build(steps, limit_s, sink_for, forest)
    return outcome.exit if isinstance(outcome, Failed) else _DONE


class _Run:
    """What has been started for one run, and the sink of the step that goes on."""

    def __init__(self, sink_for: SinkFor, forest: Forest) -> None:
        self.step = "run"
        self._since_s = asyncio.get_running_loop().time()
        self._sink_for = sink_for
        self._forest = forest
        self._sink: Sink | None = None
        self._started: list[tuple[Process, Spec, Sink]] = []

    async def go(self, steps: tuple[Step, ...], keep: Keep | None) -> Succeeded | Failed:
        """All steps up to the first that fails, whose tree and sink are left for `end`; then keep what they made."""
        for step in steps:
            self.step = step.name
            exit_ = await self._one(step)
            if not exit_.ok:
                return Failed(exit_, step.name)
            self._finish(failed=False)
        self.step = "outputs"
        outcome = await keep() if keep else Succeeded()
        for process, _, sink in self._started if isinstance(outcome, Succeeded) else ():
            self._forest.soon(process.release(sink.finish))  # nobody waits for that
        return outcome

    async def end(self, *, failed: bool) -> None:
        """End all that any step has left, by its stop policy; then the output is complete."""
        try:
            await asyncio.gather(*(process.end(spec.stop) for process, spec, _ in self._started))
        finally:
            self._finish(failed=failed)
            for _, _, sink in self._started:
                sink.finish()  # what earlier steps had left may have printed since

    async def _one(self, step: Step) -> Exit:
        self._sink = self._sink_for(step.name)
        spec = step.spec
        if step.name == "post_build":
            so_far = result(_DONE, asyncio.get_running_loop().time() - self._since_s)
            spec = replace(spec, env={**spec.env, **so_far})
        try:
            process = start(spec, self._sink.feed, self._forest)
        except SpawnError as error:
            return error.exit
        self._started.append((process, spec, self._sink))
        return await process.wait()

    def _finish(self, *, failed: bool) -> None:
        if self._sink is not None:
            self._sink.finish(failed=failed)
            self._sink = None
