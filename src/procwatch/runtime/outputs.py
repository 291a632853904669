"""Give each process its channel, and know whose last lines belong to a failure."""

from __future__ import annotations

from procwatch.core import messages as msg
from procwatch.core.model import Build, Service
from procwatch.runtime.parts import Output, World

# What comes with the last lines of output.
FAILURES = frozenset({"build_failed", "service_crashed", "not_ready"})
# How many of the last lines of a failed run go into its event.
_TAIL_LINES = 20


class Outputs:
    """The channels: of each unit the newest one, and that of its newest `pre_start`."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._newest: dict[str, Output] = {}
        self._pre_starts: dict[str, Output] = {}

    def of_step(self, unit: Build | Service, step: str) -> Output:
        """A channel for a step of a build, or for an instance ("run")."""
        output = self._world.output(unit.name, unit.terminal) if step == "run" else self._of_hook(unit)
        self._newest[unit.name] = output
        return output

    def of_hook(self, unit: Build | Service, hook: str) -> Output:
        """A channel; what pre_start has printed is told with its failure."""
        output = self._of_hook(unit)
        if hook == "pre_start":
            self._pre_starts[unit.name] = output
        return output

    def forget_pre_start(self, name: str) -> None:
        """Another one begins, which may fail before it has a channel."""
        self._pre_starts.pop(name, None)

    def tail(self, notice: msg.Notice, cause: msg.Event) -> list[bytes]:
        """The last lines of what `notice` tells the failure of; `cause` is the event that the plan was made for."""
        if notice.name is None or notice.event not in FAILURES:
            return []
        is_hook = isinstance(cause, msg.HookFinished) and cause.name == notice.name
        output = (self._pre_starts if is_hook else self._newest).get(notice.name)
        return output.tail(_TAIL_LINES) if output else []

    def _of_hook(self, unit: Build | Service) -> Output:
        """Hooks are shown only when they fail."""
        return self._world.output(unit.name, "none" if unit.terminal == "none" else "on-failure")
