"""What should be there: every output of the newest content, every service started with it, or a reason why not.

Rule 1: what is wanted is worked out from the files on disk alone; what is there, from what the programs have written.
Rule 2: a failure explains what is below it, and nothing else does but an env file that is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from tests.chaos import program
from tests.chaos.life import Life
from tests.chaos.project import BUILDS, SERVICES, Project

_GOOD = {"build_succeeded", "build_skipped", "service_ready", "service_switched"}
_BUILD_EVENTS = ("build_started", "build_succeeded", "build_failed", "build_cancelled", "build_loop")
_SERVICE_FAILURES = {"service_crashed", "not_ready", "crash_loop"}
# Words of procwatch that say why something is not as it should be.
_WORDS = ("failed", "crashed", "not ready", "waits", "outdated", "ended by itself", "keeps crashing")


class Expected:
    """What one project should come to."""

    def __init__(self, project: Project) -> None:
        self._project = project

    def wrong(self) -> dict[str, str]:
        """The units (full names) that are not as their newest files want them, and how they differ."""
        found = {f"build.{name}": "its output is not of the newest content" for name in BUILDS if not self._built(name)}
        for name in SERVICES:
            if differs := self._differs(name):
                found[f"service.{name}"] = differs
        return found

    def unexplained(self, life: Life) -> list[str]:
        """What is wrong, and neither has failed nor needs what has."""
        found = []
        for name, what in self.wrong().items():
            reasons = [other for other in self._project.above(name) if self._is_reason(life, other)]
            if not reasons:
                found.append(f"{name}: {what}, and nothing says why; its last event: {life.last(name)}")
            elif not any(_is_told(life, reason) for reason in reasons):
                found.append(f"{name}: {what}, because of {reasons}, of which the screen tells nothing")
        return found

    def not_well(self, life: Life) -> list[str]:
        """Where all files are good: what is wrong, or whose last event is not that all is well."""
        found = [f"{name}: {what}" for name, what in self.wrong().items()]
        for name in (*(f"build.{one}" for one in BUILDS), *(f"service.{one}" for one in SERVICES)):
            last = life.last(name)
            last = life.last(name, *_BUILD_EVENTS, "build_skipped") if last and name.startswith("build.") else last
            if last is None or last["event"] not in _GOOD:
                found.append(f"{name}: its last event is {last and last['event']}")
        return found

    def spent(self, life: Life, touched_s: Mapping[str, float]) -> list[str]:
        """Builds (short names) that have failed in a run that was under way when they were touched at last."""
        found = []
        for name in BUILDS:
            last = life.last(f"build.{name}", *_BUILD_EVENTS)
            began = life.last(f"build.{name}", "build_started")
            failed = last is not None and last["event"] == "build_failed"
            if failed and began and last and began["_s"] < touched_s[name] < last["_s"]:
                found.append(name)
        return found

    # --- one unit ----------------------------------------------------------------------------------------------------

    def _made(self, name: str) -> dict[str, Any] | None:
        """What a build makes of the files as they are; None where they are not good."""
        try:
            digest, _ = program.content(self._project.root, name)
        except (ValueError, OSError):
            return None
        needs = {need: self._made(need) for need in program.GRAPH[name]}
        if None in needs.values():
            return None
        env = self._variable(name) if name in program.ENV_FILES else None
        return {"name": name, "digest": digest, "global": self._variable("project"), "env": env, "needs": needs}

    def _variable(self, which: str) -> str | None:
        """The value in an env file, which holds one variable."""
        with suppress(FileNotFoundError):
            return self._project.env_path(which).read_text().strip().partition("=")[2]
        return None

    def _built(self, name: str) -> bool:
        with suppress(FileNotFoundError):
            made = self._made(name)
            return made is not None and json.loads((self._project.root / "out" / name).read_text()) == made
        return False

    def _differs(self, name: str) -> str | None:
        """How the newest instance of a service is not what it should be."""
        line = self._started(name)
        if line is None:
            return "it was never started"
        want: dict[str, Any] = {"builds": {need: self._made(need) for need in program.SERVES[name]}}
        want["global"] = self._variable("project")
        if name in program.ENV_FILES:
            want["env"] = self._variable(name)
        if name in program.CONFIG:
            want["config"] = (self._project.root / program.CONFIG[name]).read_text()
        if differs := [key for key, value in want.items() if line[key] != value]:
            return f"run {line['run']} was started with other {', '.join(differs)}"
        if program.start_time(line["pid"]) != line["since"]:
            return f"run {line['run']} does not live"
        return None

    def _started(self, name: str) -> dict[str, Any] | None:
        with suppress(FileNotFoundError):
            lines = (self._project.root / "record/started" / name).read_text().splitlines()
            return dict(json.loads(lines[-1])) if lines else None
        return None

    def _is_reason(self, life: Life, name: str) -> bool:
        """Whether this unit is in a state that explains what is wrong with it and below it."""
        short = name.partition(".")[2]
        if short in program.ENV_FILES and not self._project.env_path(short).exists():
            return True
        if name.startswith("build."):
            last = life.last(name, *_BUILD_EVENTS)
            return last is not None and last["event"] in ("build_failed", "build_loop")
        last = life.last(name)
        ended_by_itself = last is not None and last["event"] == "service_stopped" and "reason" in last
        return last is not None and (last["event"] in _SERVICE_FAILURES or ended_by_itself)


def _is_told(life: Life, name: str) -> bool:
    """Whether a line of procwatch's own on the screen names the unit and says that something is wrong."""
    lines = bytes(life.screen).decode(errors="replace").splitlines()
    own = (line for line in lines if "procwatch" in line[:40] and name in line)
    return any(word in line for line in own for word in _WORDS)
