"""What the clients of a story have got, held against what procwatch has told: who was lost, and who answered.

Rule 1: a request may be lost only in a `Gap`: what the story itself has broken, where it was and as long as it lasted.
Rule 2: whoever answers has been let in: a candidate not before it was ready, and one that was refused never.
Rule 3: what an instance has been replaced by answers from then on; versions go back only with `rolled_back`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.chaos.clients import Request
from tests.chaos.life import Event, Life

# What is told and what clients see may be so far apart.
_SLACK_S = 0.3
_LATE_S = 1.0


@dataclass(frozen=True, slots=True)
class Gap:
    """From when to when requests at a door, or at all doors of a service, may be lost; None: for ever."""

    place: str
    since_s: float
    until_s: float | None
    why: str

    def excuses(self, service: str, request: Request) -> bool:
        """Whether this request was under way in it."""
        is_in = self.place in (service, request.door) and request.ended_s >= self.since_s - _SLACK_S
        return is_in and (self.until_s is None or request.began_s <= self.until_s + _SLACK_S)


@dataclass(slots=True)
class Run:
    """One instance, as far as it has been told of: when it was there, ready, replaced and gone."""

    life: int
    name: str
    number: int
    pid: int
    started_s: float
    is_candidate: bool
    ready_s: float | None = None
    replaced_s: float | None = None
    ended_s: float | None = None
    refusal: str = ""
    # How often its service had gone back when it began.
    returns: int = 0
    versions: dict[str, str] = field(default_factory=dict)

    def is_of(self, kind: str) -> bool:
        """Whether one of its versions is of this kind."""
        return any(version.endswith(kind) for version in self.versions.values())

    @property
    def service(self) -> str:
        """The short name, without the number of a replica."""
        return self.name.split(".")[1]

    def __str__(self) -> str:
        return f"run {self.number} of {self.name} in life {self.life}"


def when(event: Event) -> float:
    """By the clock of procwatch, which is ours."""
    return datetime.fromisoformat(str(event["at"])).timestamp()


class Runs:
    """All instances of all lives. `begun`: what they have noted of themselves when they began."""

    def __init__(self, lives: Iterable[Life], begun: Iterable[Mapping[str, Any]]) -> None:
        self._versions = {(one["life"], one["name"], one["run"]): dict(one["versions"]) for one in begun}
        self.all: dict[tuple[int, str, int], Run] = {}
        self._returns: dict[str, int] = defaultdict(int)
        for life in lives:
            self._in_charge: dict[str, Run] = {}
            for event in tuple(life.events):
                if str(event.get("name", "")).startswith("service."):
                    self._take(life.number, event)

    def of(self, pid: int) -> Run | None:
        """The newest with this process id."""
        return next((run for run in reversed(self.all.values()) if run.pid == pid), None)

    def _take(self, life: int, event: Event) -> None:
        kind, name, at_s = event["event"], str(event["name"]), when(event)
        if kind == "rolled_back":
            self._returns[name] += 1
        key = (life, name, int(event.get("run", 0)))
        if kind == "service_started":
            is_candidate = name in self._in_charge
            self.all[key] = Run(*key, int(event["pid"]), at_s, is_candidate, returns=self._returns[name])
            self.all[key].versions = self._versions.get(key, {})
            return
        run = self.all.get(key)
        if run is None:
            return
        if kind == "service_ready":
            before = self._in_charge.get(name)
            if before is not None:
                before.replaced_s = at_s
            run.ready_s, self._in_charge[name] = at_s, run
        elif kind in ("verify_failed", "not_ready"):
            run.refusal = run.refusal or f"{kind}: {event.get('reason')}"
        elif kind in ("service_crashed", "service_stopped"):
            run.ended_s = run.ended_s or at_s
            if self._in_charge.get(name) is run:
                del self._in_charge[name]


def lost(requests: Iterable[Request], doors: dict[str, str], gaps: list[Gap], proxied: Iterable[str]) -> list[str]:
    """The requests that no gap excuses. A kept connection that is closed between two requests is lost if `proxied`."""
    found = []
    for request in requests:
        service = doors[request.door]
        if request.answer is not None or (request.closed and service not in proxied):
            continue
        if not any(gap.excuses(service, request) for gap in gaps):
            how = "kept" if request.kept else "new"
            found.append(
                f"lost at {request.door} ({how} connection): {request.reason}{' (closed)' * request.closed}, "
                f"from {request.began_s:.3f} to {request.ended_s:.3f}"
            )
    return found


def strange(
    requests: Iterable[Request],
    runs: Runs,
    gaps: list[Gap],
    proxied: Iterable[str],
    is_verified: Callable[[Run, float], bool],
) -> Iterator[str]:
    """Answers that must not be. `is_verified`: whether a run cannot have been let in by then without `verify`.

    At a door that is given up the instance that had it may answer until it ends.
    """
    for request in requests:
        answer = request.answer
        if answer is None:
            continue
        run = runs.all.get((answer["life"], answer["name"], answer["run"]))
        if run is None:
            yield f"an answer by what was never told to be started: {answer}"
            continue
        if run.versions != answer["versions"]:
            yield f"{run} began with {run.versions}, and answers {answer['versions']}"
        if run.is_candidate and (run.ready_s is None or answer["at"] < run.ready_s - _SLACK_S):
            yield f"{run} answered, not in charge yet; told ready at {run.ready_s}, {run.refusal}: {request}"
        if run.is_of("broken"):
            yield f"{run} answers from a build that has failed: {run.versions}"
        if run.is_of("wrong") and is_verified(run, request.ended_s):
            yield f"{run} answers, which verify must have refused: {run.versions}"
        is_given_up = any(gap.place == request.door and gap.excuses(run.service, request) for gap in gaps)
        is_bound = (not request.kept or run.service in proxied) and not is_given_up
        if is_bound and run.replaced_s is not None and request.began_s > run.replaced_s + _LATE_S:
            yield f"{run} answered at {answer['at']:.3f}, replaced at {run.replaced_s:.3f}: {request}"


def backwards(runs: Runs, forgetful: Iterable[int]) -> Iterator[str]:
    """Versions that were older than those before, though the service had not gone back.

    `forgetful`: the lives that began when releases had been deleted.
    """
    last: dict[str, Run] = {}
    for run in runs.all.values():
        if run.ready_s is None or not run.versions:
            continue
        before = last.get(run.name)
        last[run.name] = run
        if before is None or before.returns != run.returns or (before.life != run.life and run.life in forgetful):
            continue
        for build, version in run.versions.items():
            if build in before.versions and int(version.split()[0]) < int(before.versions[build].split()[0]):
                yield f"{run} has {build} {version}, and {before} had {before.versions[build]}"


def needless(life: Life, needs: Mapping[str, Iterable[str]], asked: Mapping[str, int]) -> Iterator[str]:
    """Services that were started more often than anything asked for it.

    `needs`: who is started anew when which units have changed (full names); `asked`: how often for each by hand.
    """
    starts: dict[str, int] = defaultdict(int)
    causes: dict[str, int] = defaultdict(int)
    for event in tuple(life.events):
        kind, name = event["event"], str(event.get("name", ""))
        starts[name] += kind == "service_started"
        causes[name] += kind in ("service_crashed", "rolled_back") or (kind == "not_ready" and "effect" not in event)
        for user, units in needs.items():
            changed = kind in ("build_succeeded", "service_switched") and name in units
            causes[user] += changed or kind == "config_reloaded" or user in event.get("names", ())
    for name, count in starts.items():
        if name in needs and count > causes[name] + asked.get(name, 0) + 1:
            yield f"{name} was started {count} times for {causes[name]} causes, and asked for {asked.get(name, 0)}"
