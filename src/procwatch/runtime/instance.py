"""The life of one instance of a service: start, readiness, end.

Rule 1: `Ended` is reported once and last, when nothing of the instance's tree is alive.
Rule 2: the leader's end beats its readiness: an instance that ended is never reported ready.
Rule 3: cancelling is how an instance is stopped; `Ended` still tells how its leader ended.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace

from procwatch.core.model import DEFAULT_READY, Exit, Health, LogProbe, NotifyProbe, Probe, ProbeTiming
from procwatch.frozen import field, frozen
from procwatch.runtime.notify import NotifySocket
from procwatch.runtime.ports import holder_of, is_taken
from procwatch.runtime.readiness import LogWatch, NotReady, Target, until_ready
from procwatch.runtime.spawn import Process, Sink, SpawnError, Spec, start
from procwatch.runtime.tree import Forest


@frozen
class Launch:
    """What to start: `spec.stop` says how it is stopped, `port` is one that it opens itself and must be free.

    `health` is for whoever follows its life to ask, from `Ready` on. `door`: what a probe that runs a command is told
    besides the environment of `spec`.
    """

    spec: Spec
    ready: Probe = DEFAULT_READY
    timing: ProbeTiming = field(default_factory=ProbeTiming)
    port: int | None = None
    health: Health | None = None
    door: Mapping[str, str] = field(default_factory=dict)


@frozen
class Started:
    """Its process exists, and can be signalled until it ends."""

    process: Process


@frozen
class Ready:
    """Its probe has succeeded."""


@frozen
class Unready:
    """Its probe has not succeeded by the deadline; it runs on."""

    reason: str


@frozen
class Reloading:
    """It reads its configuration anew (RELOADING=1), and may not answer meanwhile."""


@frozen
class Reloaded:
    """It has told once more that it is ready."""


@frozen
class Leaving:
    """It has said that it is about to end by itself (STOPPING=1)."""


@frozen
class Ending:
    """Its leader has ended by itself; what that has left is being stopped."""


@frozen
class Ended:
    """Its leader has ended, or could not be started, and nothing of its tree is left."""

    exit: Exit


Report = Started | Ready | Unready | Reloading | Reloaded | Leaving | Ending | Ended
# What cancelled an instance before it had begun (143, as an end by SIGTERM).
NEVER_STARTED = Exit(143, "stopped before it was started")
# What even SIGKILL did not end; the forest has told which process it is.
_UNENDING = Exit(1, "it cannot be ended")


async def run_instance(launch: Launch, sink: Sink, forest: Forest, report: Callable[[Report], None]) -> None:
    """Run an instance until nothing of it is left; `report` is told of each step as it happens.

    After the leader has ended by itself, what is left of its tree is ended by the stop policy too. Cancelling stops the
    instance by its policy, a second cancellation kills it at once; CancelledError is raised after `Ended`.
    """
    instance = _Instance(launch, sink, forest, report)
    asked = False
    try:
        await instance.live()
    except asyncio.CancelledError:
        asked = True
        raise
    finally:
        sink.finish(failed=not asked and not instance.exit.ok)
        report(Ended(instance.exit))


class _Instance:
    """One life; `exit` is how it ended so far."""

    def __init__(self, launch: Launch, sink: Sink, forest: Forest, report: Callable[[Report], None]) -> None:
        self.exit = NEVER_STARTED
        self._launch = launch
        self._sink = sink
        self._forest = forest
        self._report = report

    async def live(self) -> None:
        """From the check of its port to the end of its tree."""
        port = self._launch.port
        if port is not None and is_taken(port):
            self.exit = Exit(1, f"port {port} is taken by {await holder_of(port) or 'another program'}")
            return
        with ExitStack() as equipment:
            try:
                target = self._equip(equipment)
                process = start(target.spec, self._feed_for(target), self._forest)
            except SpawnError as error:
                self.exit = error.exit
            except OSError as error:
                self.exit = Exit(1, f"no socket for $NOTIFY_SOCKET: {error.strerror}")
            else:
                await self._follow(process, target)

    async def _follow(self, process: Process, target: Target) -> None:
        try:
            self._report(Started(process))
            await self._until_leader_ends(process, target)
            if target.notify is not None:
                target.notify.receive()  # what it said at the last tells how its end is meant
            self._report(Ending())
        finally:
            try:
                await process.end(self._launch.spec.stop)
            finally:
                self.exit = process.exit or _UNENDING

    async def _until_leader_ends(self, process: Process, target: Target) -> None:
        leader = asyncio.create_task(process.wait())
        probe = asyncio.create_task(until_ready(self._launch.ready, self._launch.timing, target))
        try:
            await asyncio.wait({leader, probe}, return_when=asyncio.FIRST_COMPLETED)
            if process.exit is None:
                self._report(_verdict(probe))
                await leader
        finally:
            leader.cancel()
            probe.cancel()
            await asyncio.gather(leader, probe, return_exceptions=True)  # what they had to say has been reported

    def _equip(self, equipment: ExitStack) -> Target:
        """What the probe needs to exist before the start. Raises OSError when there can be no socket."""
        spec, ready = self._launch.spec, self._launch.ready
        log = LogWatch(ready.pattern) if isinstance(ready, LogProbe) else None
        notify = None
        if isinstance(ready, NotifyProbe):
            notify = NotifySocket(
                on_reloading=lambda: self._report(Reloading()),
                on_reloaded=lambda: self._report(Reloaded()),
                on_stopping=lambda: self._report(Leaving()),
            )
            equipment.callback(notify.close)
            spec = replace(spec, env={**spec.env, "NOTIFY_SOCKET": notify.path})
        return Target(spec, self._forest, log, notify, self._launch.door)

    def _feed_for(self, target: Target) -> Callable[[bytes], None]:
        if target.log is None:
            return self._sink.feed
        sink, log = self._sink, target.log

        def feed_both(data: bytes) -> None:
            sink.feed(data)
            log.feed(data)

        return feed_both


def _verdict(probe: asyncio.Task[None]) -> Ready | Unready:
    try:
        probe.result()
    except NotReady as unready:
        return Unready(unready.reason)
    return Ready()
