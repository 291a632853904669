"""Whether the events of one life are in an order that can be.

Rule 1: it knows the graph and the events, nothing of time: what is said here holds on any machine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from tests.chaos.life import Event
from tests.chaos.project import BUILDS, SERVICES, Project


def illegal(events: Iterable[Event], project: Project) -> list[str]:
    """What cannot be in the order of these events."""
    order = _Order(project)
    for event in events:
        order.take(event)
    return order.end()


@dataclass
class _Unit:
    """What has been told of a build or a service so far; `causes` counts the reasons to start a service."""

    run: int = 0
    running: bool = False
    outcome: str | None = None
    failures: int = 0
    phase: str | None = None
    starts: int = 0
    causes: int = 0


@dataclass
class _Order:
    project: Project
    faults: list[str] = field(default_factory=list)
    units: dict[str, _Unit] = field(default_factory=dict)
    users: dict[str, list[str]] = field(default_factory=dict)
    stopping: bool = False
    event: Event = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = [f"build.{name}" for name in BUILDS] + [f"service.{name}" for name in SERVICES]
        self.units = {name: _Unit() for name in names}
        for name in names:
            for need in self.project.needed_builds(name):
                self.users.setdefault(need, []).append(name)
        self.users["service.db"] = ["service.cache"]
        self.users["service.cache"] = ["service.web"] if self.project.web_follows_cache else []

    def take(self, event: Event) -> None:
        """The next event."""
        self.event = event
        kind = event["event"]
        if kind == "stopping":
            self.stopping = True
        elif kind == "files_changed":
            self._cause(event.get("names", ()))
        elif kind in _RULES:
            _RULES[kind](self, str(event["name"]), int(event.get("run", 0)))

    def end(self) -> list[str]:
        """All that was found, and services that were started more often than anything asked for it."""
        for name, unit in self.units.items():
            if unit.starts > unit.causes + 1:
                self.faults.append(f"{name} was started {unit.starts} times for {unit.causes} causes")
        return self.faults

    def _bad(self, why: str) -> None:
        shown = {key: value for key, value in self.event.items() if key not in ("output", "_s")}
        self.faults.append(f"{why}: {json.dumps(shown)}")

    def _cause(self, names: Iterable[str]) -> None:
        for name in names:
            self.units[name].causes += 1

    # --- builds ------------------------------------------------------------------------------------------------------

    def build_started(self, name: str, run: int) -> None:
        unit = self.units[name]
        if self.stopping:
            self._bad("started after stopping")
        if unit.running:
            self._bad("started while it runs")
        if unit.run and run != unit.run + 1:
            self._bad(f"run after {unit.run}")
        unit.run, unit.running = run, True
        for need in self.project.needed_builds(name):
            other = self.units[need]
            if other.outcome in ("build_failed", "build_cancelled"):
                self._bad(f"started after {need} {other.outcome}")
            if other.running:
                self._bad(f"started while {need} runs")
        for need in self.project.needed_services(name):
            if self.units[need].phase != "ready":
                self._bad(f"started while {need} is {self.units[need].phase}")

    def build_ended(self, name: str, run: int) -> None:
        unit, kind = self.units[name], self.event["event"]
        parked = kind == "build_succeeded" and unit.outcome == "build_loop"
        if not parked and (not unit.running or unit.run != run):
            self._bad("ended without running")
        unit.running, unit.outcome = False, kind
        unit.failures += kind == "build_failed"
        if kind == "build_succeeded":
            self._cause(user for user in self.users.get(name, ()) if user.startswith("service."))

    def build_fixed(self, name: str, run: int) -> None:
        unit = self.units[name]
        if unit.outcome != "build_succeeded" or not unit.failures:
            self._bad("fixed what was not broken")
        unit.failures = 0

    def build_skipped(self, name: str, run: int) -> None:
        if not self.units[name].running:
            self.units[name].outcome = "build_skipped"

    # --- services ----------------------------------------------------------------------------------------------------

    def service_started(self, name: str, run: int) -> None:
        unit = self.units[name]
        if self.stopping and unit.phase != "retired":
            # A retired one has its successor started at the same moment, which may be told a moment later.
            self._bad("started after stopping")
        if unit.phase in ("started", "ready"):
            self._bad(f"started while the last instance is {unit.phase}")
        if run <= unit.run:
            self._bad(f"instance after {unit.run}")
        self._check_needs(name)
        unit.run, unit.phase, unit.starts = run, "started", unit.starts + 1

    def _check_needs(self, name: str) -> None:
        moves = self.units[name].phase == "retired"
        for need in self.project.needed_services(name):
            if self.units[need].phase != "ready" and not moves:
                self._bad(f"started while {need} is {self.units[need].phase}")
        for need in self.project.needed_builds(name):
            other = self.units[need]
            if other.running:
                self._bad(f"started while {need} runs")
            if moves and other.outcome in ("build_failed", "build_cancelled"):
                self._bad(f"moved although {need} {other.outcome}")

    def service_ready(self, name: str, run: int) -> None:
        unit = self.units[name]
        if unit.phase != "started" or unit.run != run:
            self._bad(f"ready while {unit.phase}")
        unit.phase = "ready"

    def service_switched(self, name: str, run: int) -> None:
        unit = self.units[name]
        if unit.phase != "ready" or unit.run != run:
            self._bad(f"switched while {unit.phase}")
        self._cause(self.users.get(name, ()))

    def service_ended(self, name: str, run: int) -> None:
        unit, crashed = self.units[name], self.event["event"] == "service_crashed"
        untold = unit.phase not in ("started", "ready")
        # One that could not be started at all crashes; one that was stopped in the moment of its start is not told.
        if untold and not crashed and run != unit.run + 1:
            self._bad(f"ended while {unit.phase}")
        if run < unit.run:
            self._bad(f"end of an older instance than {unit.run}")
        unit.run = max(run, unit.run)
        unit.phase = "crashed" if crashed else "ended" if "reason" in self.event else "retired"
        unit.causes += crashed


_RULES: Mapping[str, Callable[[_Order, str, int], None]] = {
    "build_started": _Order.build_started, "build_succeeded": _Order.build_ended, "build_failed": _Order.build_ended,
    "build_cancelled": _Order.build_ended, "build_loop": _Order.build_ended, "build_fixed": _Order.build_fixed,
    "build_skipped": _Order.build_skipped, "service_started": _Order.service_started,
    "service_ready": _Order.service_ready, "service_switched": _Order.service_switched,
    "service_stopped": _Order.service_ended, "service_crashed": _Order.service_ended,
}  # fmt: skip
