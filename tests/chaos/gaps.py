"""What a story has broken, as gaps in which clients may be lost (answers.py)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from tests.chaos.answers import Gap, Run, Runs
from tests.chaos.fleet import SERVES, Fleet

# How long the proxy's process may be away when it was killed.
_NO_PROXY_S = 3.0
# An instance that was struck, and of whose end nobody has told, has ended by then.
_STRUCK_S = 2.0


@dataclass(slots=True)
class _Stop:
    """A service was stopped, and at some time told to be there again."""

    service: str
    since_s: float
    back_s: float | None = None


class Gaps:
    """All gaps of a story."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._known: list[Gap] = []
        self._stops: list[_Stop] = []
        self._struck: list[tuple[float, str, int]] = []
        self._settled_s = 0.0
        if not fleet.base["second"]:
            self._known.append(Gap("web2", 0.0, None, "nobody promises it"))
        self.gone(SERVES)

    def gone(self, services: Iterable[str]) -> None:
        """They are stopped now."""
        self._stops += [_Stop(name, time.time()) for name in services]

    def back(self, services: Iterable[str]) -> None:
        """They are to be there again from now on."""
        for stop in self._stops:
            if stop.back_s is None and stop.service in services:
                stop.back_s = time.time()

    def struck(self, service: str, pid: int) -> None:
        """This process is about to be killed; what it was answering is lost."""
        self._struck.append((time.time(), service, pid))

    def without_proxy(self) -> None:
        """The process that passes bytes on is about to be killed."""
        now_s = time.time()
        self._known.append(Gap("shop", now_s, now_s + _NO_PROXY_S, "the proxy's process was killed"))

    def settle(self) -> None:
        """All is as in the beginning, the second address too."""
        self._known += self._of_edits(time.time())
        self._settled_s = time.time()

    def _of_edits(self, until_s: float | None) -> Iterator[Gap]:
        """Since they were edited the second address of `web`, or `desk`, may be there or not."""
        for key, door in (("second", "web2"), ("there", "desk")):
            edits = [at_s for at_s, name, _ in self._fleet.edits if name == key and at_s > self._settled_s]
            if edits:
                yield Gap(door, edits[0], until_s, "it comes and goes")

    def all(self, runs: Runs) -> list[Gap]:
        """Those that there were, with their ends as procwatch has told them."""
        found = [*self._known, *self._of_edits(None)]
        for at_s, service, pid in self._struck:
            run = runs.of(pid)
            found.append(Gap(service, at_s, (run and run.ended_s) or at_s + _STRUCK_S, f"{service} {pid} was struck"))
        for stop in self._stops:
            ready = sorted(run.ready_s for run in runs.all.values() if run.service == stop.service and run.ready_s)
            back_s = stop.back_s
            until_s = None if back_s is None else next((ready_s for ready_s in ready if ready_s > back_s), None)
            found.append(Gap(stop.service, stop.since_s, until_s, f"{stop.service} was stopped"))
        found += self._of_runs(runs.all.values())
        return found + [gap for one in found for gap in self._of_the_other(one)]

    def _of_the_other(self, gap: Gap) -> Iterator[Gap]:
        """Where two services have swapped their addresses, what is amiss with one shows at the other's door."""
        others = {"web": "desk", "desk": "web"}
        if gap.place in others and any(key == "swapped" and swapped for _, key, swapped in self._fleet.edits):
            yield replace(gap, place=others[gap.place])

    def _of_runs(self, runs: Iterable[Run]) -> Iterator[Gap]:
        """When an instance is not replaced by one beside it, what it has taken is its own."""
        for run in runs:
            # Clients may come to one that is started where none is: if it answers nothing, or dies, they are lost.
            if run.service != "shop" and not run.is_candidate and run.ready_s is None:
                yield Gap(run.service, run.started_s, run.ended_s, f"{run} was the only one, and no good")
