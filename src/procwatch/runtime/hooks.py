"""Run the hooks of builds and services.

Rule 1: only `pre_start` and `verify` decide anything; the failure of any other is told and changes nothing.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from procwatch.core import messages as msg
from procwatch.core.model import Exit, Service
from procwatch.errors import ProcwatchError
from procwatch.runtime.assigned import Occasion
from procwatch.runtime.effects import Surroundings
from procwatch.runtime.outputs import Outputs
from procwatch.runtime.parts import Loop, Parts
from procwatch.runtime.program import refused
from procwatch.runtime.steps import HOOK_LIMIT_S, run_hook

# A verification that hangs must not hold a switch for ever; a suite of smoke tests may take minutes.
VERIFY_LIMIT_S = 600.0


class Hooks:
    """Runs hooks, until `close`."""

    def __init__(self, parts: Parts, outputs: Outputs, loop: Loop) -> None:
        self._parts = parts
        self._outputs = outputs
        self._tell = loop.tell
        self._is_closed = False

    def close(self) -> None:
        """Everything is being killed: no hook that only tells begins any more."""
        self._is_closed = True

    async def decide(self, action: msg.RunHook) -> None:
        """`pre_start` or `verify`, which answer how they ended; one that is stopped does not answer."""
        self._outputs.forget_hook(action.name)
        with suppress(asyncio.CancelledError):  # stopped: nobody waits for the answer
            self._tell(msg.HookFinished(action.name, action.run, await self._run(action, self._parts.surroundings)))

    async def inform(self, action: msg.RunHook, surroundings: Surroundings | None = None) -> None:
        """A hook whose end decides nothing; a failure is told. Does nothing where there is no such hook.

        `surroundings`: those that the instance was started with, whose hook it is.
        """
        surroundings = surroundings or self._parts.surroundings
        if self._is_closed or not surroundings.project.units[action.name].hooks.get(action.hook):
            return
        with suppress(asyncio.CancelledError):  # procwatch ends, and has stopped it
            ended = await self._run(action, surroundings)
            if not ended.ok:
                self._parts.world.report(f"{action.name}: hook {action.hook} failed ({ended.words})")

    async def _run(self, action: msg.RunHook, surroundings: Surroundings) -> Exit:
        unit = surroundings.project.units[action.name]
        occasion = Occasion(action.name, action.run, action.changed, action.hook, action.exit, action.duration_s)
        limit_s = HOOK_LIMIT_S if isinstance(unit, Service) or unit.timeout_s is None else unit.timeout_s
        limit_s = VERIFY_LIMIT_S if action.hook == "verify" else limit_s
        door = self._parts.fronts.door(action.name, action.run) if action.hook == "verify" else {}
        try:
            steps = surroundings.hook_steps(unit, occasion, action.releases, door)
            return await run_hook(steps, lambda hook: self._outputs.of_hook(unit, hook), self._parts.forest, limit_s)
        except ProcwatchError as error:
            return refused(error)
        finally:
            self._parts.store.drop_changed(action.name, action.run, action.hook)
