"""Chaos over switching: versions of all kinds, strikes, commands, edits of watch.toml, while clients ask all the time.

Rule 1: as in tale.py.
Rule 2: whatever the story breaks so that a client may notice is a gap (answers.py), and nothing else is.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from tests.chaos import answers, program
from tests.chaos.answers import Run, Runs
from tests.chaos.clients import Clients
from tests.chaos.commands import Commands
from tests.chaos.fleet import BUILDS, DOORS, SERVES, SERVICES, Fleet
from tests.chaos.gaps import Gaps
from tests.chaos.life import BOTH, DEADLINE_S, KILLS, Life
from tests.chaos.tale import Tale

_RATE = 8.0
# For this long clients are looked at when all has come to rest.
_REST_S = 1.0
_AMBUSH_S = 1.0
_MOMENTS = (
    "build_succeeded", "build_succeeded", "service_started", "service_started", "service_ready", "service_switched",
    "service_stopped", "verify_failed", "rolled_back",
)  # fmt: skip
_AT_THE_END = ("build_started", "build_succeeded", "service_started", "service_ready", "service_stopped")
# A signal that is sent, or a stop for so many seconds.
_BLOWS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, 0.2, 1.0)
# An edit of watch.toml may come into force so much later.
_RELOADED_S = 10.0


class Switching(Tale):
    """The second story."""

    name = "switching"
    moves: ClassVar[Mapping[str, int]] = {
        "version": 30, "series": 8, "ambush": 20, "strike": 12, "proxy": 3, "freeze": 3, "command": 14, "configure": 8,
        "extra": 6,
    }  # fmt: skip
    # Kept connections that are passed on once more, two for each; and the sockets of replicas that there were.
    more_descriptors = 24
    units = (*BUILDS, *SERVICES, *(f"{name}.[12]" for name in SERVES))

    def __init__(self, seed: int, folder: Path, listen: Callable[[str], None] = lambda _line: None) -> None:
        super().__init__(seed, folder, listen)
        self._fleet = Fleet(self.root, seed, self.diary)
        self._gaps = Gaps(self._fleet)
        self._commands = Commands(self.root, self.diary)
        self._forgetful: set[int] = set()
        self._clients = Clients(self._fleet.doors, _RATE)

    def play(self, seconds: float) -> list[str]:
        """All of it, with so many seconds of chaos in it; what did not hold."""
        return self._play(
            lambda: self._rounds(["first", "second", "third"], seconds / 2),
            lambda: self._restarted("fourth", seconds / 4),
            lambda: self._restarted("fifth", seconds / 4, is_last=True),
            self._over,
        )

    def play_briefly(self, seconds: float) -> list[str]:
        """One round and one start again, with so many seconds of chaos in them; what did not hold."""
        return self._play(
            lambda: self._rounds(["first"], seconds / 2),
            lambda: self._restarted("fourth", seconds / 2, is_last=True),
            self._over,
        )

    def _play(self, *acts: Callable[[], None]) -> list[str]:
        try:
            return super()._play(*acts)
        finally:
            self._clients.end()
            self._commands.clear_away()

    # --- the lives ---------------------------------------------------------------------------------------------------

    def _rounds(self, parts: list[str], seconds: float) -> None:
        """Rounds of chaos, each of which comes right."""
        life = self._begin()
        self._come_right("at the first start")
        if self.faults:
            return
        for part in parts:
            self._chaos(part, seconds / len(parts))
            self._come_right(f"after the {part} round")
            if self.faults:
                return
            if len(parts) > 1:
                self._look_at_usage(life)
        self._end_somewhere()

    def _restarted(self, part: str, seconds: float, *, is_last: bool = False) -> None:
        """What was interrupted, deleted or edited meanwhile comes right."""
        rng = random.Random(f"{self.seed} before {part}")
        for _ in range(rng.choice([0, 1, 2])):
            rng.choice([self._fleet.any, self._fleet.change, self._delete])(rng)
        self._begin()
        if rng.random() < 0.5:
            self._come_right("at a start again")
        if self.faults:
            return
        self._chaos(part, seconds)
        self._come_right(f"after the {part} round")
        self._end_somewhere(is_last=is_last)

    def _end_somewhere(self, *, is_last: bool = False) -> None:
        """At rest, or in the midst of what a new version sets going."""
        if self._rng.random() < 0.7:
            life, kind = self.lives[-1], self._rng.choice(_AT_THE_END)
            seen = len(life.events)
            self._fleet.series(self._rng)
            life.until(lambda: any(one["event"] == kind for one in life.events[seen:]), _AMBUSH_S, look_s=0.002)
            time.sleep(self._rng.choice([0, 0.01, 0.05, 0.2]))
        self._end(self._rng.choice([*KILLS, self._an_end() if is_last else BOTH, self._an_end()]))

    def _over(self) -> None:
        self._clients.end()
        self._judge_answers()

    def _begin(self) -> Life:
        self._gaps.back(SERVES)
        life = self._start()
        life.until(self._commands.status)  # a `start` that comes before would be one of its own
        return life

    def _end(self, how: str) -> None:
        self._gaps.gone(SERVES)
        super()._end(how)
        self._judge_answers()

    def _delete(self, rng: random.Random) -> None:
        """While nothing runs: releases of a build, or what says which is the newest."""
        folder = self.root / ".procwatch/releases" / rng.choice(BUILDS)
        found = sorted(path for path in folder.glob("*") if not path.name.endswith(".json"))
        if found:
            path = rng.choice(found)
            self.diary.note(f"{path.relative_to(self.root)} is deleted")
            self._forgetful.add(len(self.lives) + 1)
            if path.is_symlink():
                path.unlink()
            else:
                shutil.rmtree(path)

    # --- moves -------------------------------------------------------------------------------------------------------

    def _chaos(self, part: str, seconds: float) -> None:
        perform: dict[str, Callable[[random.Random], None]] = {
            "version": self._fleet.any, "series": self._fleet.series, "extra": self._fleet.extra,
            "configure": self._fleet.configure, "ambush": self._ambush, "strike": self._strike, "proxy": self._proxy,
            "freeze": self._freeze, "command": self._command,
        }  # fmt: skip
        self._rage(part, seconds, perform)

    def _ambush(self, rng: random.Random) -> None:
        """Wait for the next event of a kind, and do there what hurts."""
        life, kind, what = self.lives[-1], rng.choice(_MOMENTS), rng.choice(["version", "strike", "strike", "command"])
        seen = len(life.events)

        def met() -> list[str]:
            return [str(one.get("name")) for one in life.events[seen:] if one["event"] == kind]

        if not life.until(met, _AMBUSH_S, look_s=0.002):
            self.diary.note(f"an ambush for {kind} meets nobody")
            return
        time.sleep(rng.choice([0, 0.01, 0.05, 0.15]))
        name = met()[0].split(".")[1]
        self.diary.note(f"at {kind} of {name}:")
        if what == "version":
            self._fleet.any(rng)
        elif what == "strike" and name in SERVICES:
            self._strike_at(f"service.{name}", rng)
        else:
            self._command(rng)

    def _strike(self, rng: random.Random) -> None:
        self._strike_at(
            rng.choice([*(f"service.{name}" for name in (*SERVICES, *SERVES)), "build.app", "verify.web"]), rng
        )

    def _strike_at(self, role: str, rng: random.Random) -> None:
        """At the newest process that plays a role, which may be a candidate, or the oldest, which may be draining."""
        blow, which = rng.choice(_BLOWS), rng.choice([0, -1])
        there = [pid for name, pid in program.alive(self.root) if name == role]
        kind = f"{blow.name} to" if isinstance(blow, signal.Signals) else f"{blow:g} s of rest for"
        whom = f"{'oldest' if which == 0 else 'newest'} of {role}"
        self.diary.note(f"{kind} the {whom} {there[which:][:1] or '(nobody)'}")
        if there:
            self._hit(there[which], blow, role.partition(".")[2])

    def _hit(self, pid: int, blow: float, service: str | None) -> None:
        """A signal, or a stop for so long. `service`: whose clients may notice that it was killed."""
        with suppress(ProcessLookupError):
            if isinstance(blow, signal.Signals):
                if service in SERVES:
                    self._gaps.struck(service, pid)
                os.kill(pid, blow)
                return
            os.kill(pid, signal.SIGSTOP)
            time.sleep(blow)
            os.kill(pid, signal.SIGCONT)

    def _proxy(self, rng: random.Random) -> None:
        """The process that passes bytes on."""
        pid, blow = self._plane(), rng.choice(_BLOWS)
        self.diary.note(f"{blow} to the proxy's process {pid}")
        if pid is not None:
            if isinstance(blow, signal.Signals):
                self._gaps.without_proxy()
            self._hit(pid, blow, None)

    def _plane(self) -> int | None:
        supervisor = self.lives[-1].supervisor()
        with suppress(OSError):
            children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
            for child in children:
                if b"runtime.plane" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        return None

    def _freeze(self, rng: random.Random) -> None:
        whom, time_s = rng.choice(["supervisor", "guardian"]), rng.choice([0.1, 0.4, 1.0])
        pid = self.lives[-1].supervisor() if whom == "supervisor" else self.lives[-1].process.pid
        self.diary.note(f"the {whom} stands still for {time_s:g} s")
        if pid is not None:
            self._hit(pid, time_s, None)

    # --- commands ----------------------------------------------------------------------------------------------------

    def _command(self, rng: random.Random) -> None:
        kind = rng.choice(
            ["restart", "restart", "rollback", "rollback", "to", "stop", "start", "start", "pause", "resume", "build"]
        )
        name = rng.choice(list(SERVES))
        wait = rng.choice([("--no-wait",), ("--timeout", "20s")])
        if kind == "to":
            found = [path.stem for path in (self.root / ".procwatch/releases/slow").glob("*.json")]
            self._commands.ask("rollback", "desk", "--to", rng.choice(sorted(found) or ["1"]), *wait)
        elif kind == "build":
            self._commands.ask("build", rng.choice(BUILDS), *wait)
        elif kind in ("pause", "resume"):
            self._commands.ask(kind, *rng.choice([(), (name,)]))
        else:
            if kind == "stop":
                self._gaps.gone([name])
                wait = ("--no-wait",)
            process = self._commands.ask(kind, name, *(wait if kind != "start" else ()))
            if kind == "stop":
                process.wait()  # before anybody asks for its start
            if kind in ("start", "restart"):
                self._gaps.back([name])

    # --- what has to hold --------------------------------------------------------------------------------------------

    def _come_right(self, when: str) -> None:
        """Newest and good versions of all, nothing stopped or paused: all gets there, and clients see it."""
        self.diary.note(f"all is made good {when}")
        self._fleet.restore()
        for name in BUILDS:
            self._fleet.save(name, "good")
        self._fault("commands", self._commands.wrong())
        self._commands.ask("reload")
        self._commands.ask("resume")
        self._fault("commands", self._commands.wrong())
        self._commands.ask("start", *SERVICES)
        self._gaps.back(SERVES)
        self._fault("commands", self._commands.wrong())
        life, found = self.lives[-1], ["nothing was found"]

        def is_well() -> bool:
            found[:] = self._not_well()
            return not found and life.quiet_s() > _REST_S

        if not life.until(is_well, look_s=0.3):
            self._fault(when, [*found, f"exit status {life.process.poll()}"])
            return
        self.diary.note(f"all is well {when}")
        self._look_at_answers(when)
        self._judge_answers()
        if not life.until(lambda: not self._releases(), DEADLINE_S / 4):
            self._fault(when, self._releases())
        self._gaps.settle()

    def _not_well(self) -> list[str]:
        """What is not as it should be when all is good."""
        units = {unit["name"]: unit for unit in self._commands.status()}
        builds = [f"build.{name}" for name in BUILDS]
        services = [name for service in SERVICES for name in self._fleet.instances(service)]
        found = [f"{name}: {units.get(name)}" for name in builds if units.get(name, {}).get("state") != "fresh"]
        for name in services:
            unit = units.get(name, {})
            if unit.get("state") != "ready" or unit.get("outdated") or unit.get("reason"):
                found.append(f"{name}: {unit}")
        return found

    def _look_at_answers(self, when: str) -> None:
        """Who asks now is answered by the newest version."""
        since_s = time.time() + 0.1
        time.sleep(_REST_S)
        for door, service in DOORS.items():
            if door == "web2" and not self._fleet.base["second"]:
                continue
            got = [one.answer for one in self._clients.since(door, since_s)]
            want = {build: self._fleet.saved[build] for build in SERVES[service]}
            wrong = [one for one in got if one is None or one["versions"] != want]
            if wrong or not got:
                self._fault(when, [f"at {door} {len(wrong)} of {len(got)} answers are not of {want}: {wrong[:2]}"])

    def _judge_answers(self) -> None:
        begun = (self.root / "record/runs").read_text().splitlines()
        runs = Runs(self.lives, map(json.loads, begun))
        requests = tuple(self._clients.requests)
        gaps = self._gaps.all(runs)
        self._fault("answers", answers.lost(requests, DOORS, gaps, ["shop"]))
        self._fault("answers", list(answers.strange(requests, runs, gaps, ["shop"], self._is_verified)))
        self._fault("answers", list(answers.backwards(runs, self._forgetful)))

    def _is_verified(self, run: Run, until_s: float) -> bool:
        wanted = {"verify": True, "switch": "overlap"}
        since_s = run.started_s - _RELOADED_S
        return run.service in ("web", "shop") and all(
            self._fleet.had(f"{run.service}_{key}", value, since_s, until_s) for key, value in wanted.items()
        )

    def _judge(self, life: Life, *, complete: bool) -> None:
        super()._judge(life, complete=complete)
        names = {str(event.get("name")) for event in life.events}
        builds = {name: [f"build.{build}" for build in SERVES.get(name, ())] for name in SERVICES}
        builds["shop"].append("service.db")
        needs = {name: builds[name.split(".")[1]] for name in names if name.startswith("service.")}
        asked = {name: self._commands.words[name.split(".")[1]] for name in needs}
        self._fault("events", list(answers.needless(life, needs, asked)))
        self._commands.words.clear()

    def _releases(self) -> list[str]:
        """What is wrong with the releases on disk, at rest."""
        found = []
        units = {unit["name"]: unit for unit in self._commands.status()}
        for name in BUILDS:
            known = units.get(f"build.{name}", {}).get("releases", [])
            users = [
                each for service, needs in SERVES.items() if name in needs for each in self._fleet.instances(service)
            ]
            if len(known) > int(str(self._fleet.base["keep"])) + 2 * len(users):
                found.append(f"{len(known)} releases of {name} are kept for {users}")
            try:
                found += _of_one(self.root / ".procwatch/releases" / name, name, known)
            except OSError as error:
                found.append(f"releases of {name}: {error}")
        return found


def _of_one(folder: Path, name: str, known: list[int]) -> list[str]:
    """What is wrong with the releases of one build; OSError if one goes away meanwhile."""
    found = []
    there = {path.name for path in folder.iterdir()}
    if there != {"current", *map(str, known), *(f"{number}.json" for number in known)}:
        found.append(f"releases of {name}: {sorted(there)} on disk, known are {known}")
    if (leads_to := (folder / "current").readlink()) != Path(str(known[-1])):
        found.append(f"current of {name} is {leads_to}, known are {known}")
    for number in known:
        out = folder / f"{number}/out/{name}"
        firsts = {path.read_text().split("\n")[0] for path in out.glob("[0-9]*")}
        if firsts != {(out / "version").read_text()}:
            found.append(f"release {number} of {name} holds {firsts}")
    return found
