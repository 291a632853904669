"""What the engine and those who work for it are given: surroundings, processes, disk, and where to tell."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol

from procwatch.core import messages as msg
from procwatch.core.model import Project, Terminal
from procwatch.frozen import record
from procwatch.runtime.effects import Surroundings
from procwatch.runtime.fronts import Fronts
from procwatch.runtime.inputs import Inputs
from procwatch.runtime.releases import ReleaseStore
from procwatch.runtime.spawn import Sink
from procwatch.runtime.store import Store
from procwatch.runtime.terminals import Terminals
from procwatch.runtime.tree import Forest


class Output(Sink, Protocol):
    """Where one process's output goes, and the last of it."""

    def tail(self, n: int, /) -> list[bytes]:
        """The last lines."""


class Audience(Protocol):
    """What is told to everybody in the same way, besides events."""

    def output(self, name: str, mode: Terminal) -> Output:
        """A new channel for one process of a unit."""

    def planned(self, holds: Mapping[str, str], *, at_rest: bool) -> None:
        """A plan was made."""

    def report(self, line: str) -> None:
        """A line for the user that is no event."""


class World(Audience, Protocol):
    """Where the engine tells what happens."""

    def publish(self, notice: msg.Notice, tail: list[bytes]) -> None:
        """Something happened; `tail` is the last output of what failed."""


@record
class Parts:
    """What the engine works with. It alone replaces `surroundings` and `inputs`, when the project is another."""

    surroundings: Surroundings
    inputs: Inputs
    forest: Forest
    store: Store
    releases: ReleaseStore
    world: World
    terminals: Terminals
    fronts: Fronts
    clock: Callable[[], float] = time.monotonic
    # Whether what a unit reads is changing right now.
    is_moving: Callable[[str], bool] = lambda _name: False

    @property
    def project(self) -> Project:
        """What is run."""
        return self.surroundings.project

    def use(self, project: Project) -> None:
        """Go by this project from now on; who has the old surroundings keeps them."""
        if project is not self.project:
            self.surroundings = replace(self.surroundings, project=project)


class Loop(Protocol):
    """The engine, as those who work for it see it."""

    def tell(self, event: msg.Event, /) -> None:
        """Put an event on the queue."""

    def spawn(self, work: Coroutine[Any, Any, None], /) -> asyncio.Task[None]:
        """Begin a task that the end of everything ends too, and whose failure is told."""
