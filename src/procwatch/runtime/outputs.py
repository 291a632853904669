"""Give each process its channel, and know whose last lines belong to a failure."""

from __future__ import annotations

from procwatch.core import messages as msg
from procwatch.core.model import Build, Service
from procwatch.runtime.parts import Output, World

# What comes with the last lines of output.
FAILURES = frozenset({"build_failed", "service_crashed", "not_ready", "verify_failed"})
# Hooks whose end decides what follows.
DECIDING = ("pre_start", "verify")
# How many of the last lines of a failed run go into its event.
_TAIL_LINES = 20


class Outputs:
    """The channels: of each run or instance its last one, and that of the newest hook of a unit that decides."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._over: dict[str, set[int]] = {}
        self._runs: dict[str, dict[int, Output]] = {}
        self._deciding: dict[str, Output] = {}

    def of_step(self, unit: Build | Service, step: str, run: int) -> Output:
        """A channel for a step of a build's run, or for an instance ("run")."""
        output = self._world.output(unit.name, unit.terminal) if step == "run" else self._of_hook(unit)
        self._runs[unit.name] = {**self._still_needed(unit), run: output}
        return output

    def _still_needed(self, unit: Build | Service) -> dict[int, Output]:
        """What has ended by the time that the next one begins has been told of; a build has one run at a time."""
        over = self._over.pop(unit.name, set())
        runs = {} if isinstance(unit, Build) else self._runs.get(unit.name, {})
        return {number: output for number, output in runs.items() if number not in over}

    def over(self, name: str, run: int) -> None:
        """An instance has ended; what is to be told of that comes before the next one starts."""
        self._over.setdefault(name, set()).add(run)

    def of_hook(self, unit: Build | Service, hook: str) -> Output:
        """A channel; what a hook that decides has printed is told with its failure."""
        output = self._of_hook(unit)
        if hook in DECIDING:
            self._deciding[unit.name] = output
        return output

    def forget_hook(self, name: str) -> None:
        """Another one that decides begins, which may fail before it has a channel."""
        self._deciding.pop(name, None)

    def tail(self, notice: msg.Notice, cause: msg.Event) -> list[bytes]:
        """The last lines of what `notice` tells the failure of; `cause` is the event that the plan was made for."""
        if notice.name is None or notice.event not in FAILURES:
            return []
        is_hook = isinstance(cause, msg.HookFinished) and cause.name == notice.name
        runs = self._runs.get(notice.name, {})
        output = self._deciding.get(notice.name) if is_hook else runs.get(notice.run or 0)
        return output.tail(_TAIL_LINES) if output else []

    def _of_hook(self, unit: Build | Service) -> Output:
        """Hooks are shown only when they fail."""
        return self._world.output(unit.name, "none" if unit.terminal == "none" else "on-failure")
