"""What a client of the control socket can ask: each method with its parameters, and what it answers.

Rule 1: every parameter is checked before anything is done; a wrong one is a fault that names it.
Rule 2: what is asked for is an event for the planner; whether it has come to pass is judged from the plans that follow.
Rule 3: nobody waits for himself: a call from inside a build for what needs that build is refused.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Protocol

from procwatch import __version__
from procwatch.control.protocol import NO_METHOD, PROTOCOL, WRONG_PARAMS, Fault, Request
from procwatch.core import messages as msg
from procwatch.core import names, releases, snapshot, verdict
from procwatch.core.draft import Draft
from procwatch.core.graph import closure
from procwatch.core.model import Project
from procwatch.core.verdict import Moment, Verdict, Wish
from procwatch.errors import ExitCode
from procwatch.output.ring import Ring
from procwatch.runtime.attachments import Attachments
from procwatch.runtime.chronicle import Chronicle
from procwatch.runtime.guardian import front_pid
from procwatch.runtime.params import Params
from procwatch.runtime.server import Caller
from procwatch.runtime.terminals import Terminals

# How many of a unit's last events `why` tells.
_EVENTS_OF_ONE = 5


class Engine(Protocol):
    """The engine, as the commands see it."""

    def tell(self, event: msg.Event, /) -> None:
        """Put an event on the queue."""

    def stop(self, exit_code: int, /) -> None:
        """Begin to end everything in order."""

    def moment(self) -> Moment:
        """What is known after the last plan."""

    def watch_plans(self, observer: Callable[[Moment, msg.Event], None], /) -> None:
        """Call this after every plan, with the event that it was made for."""


class Commands:
    """Answers requests. `ended` is set when everything has been stopped, and another procwatch can be started.

    `take_in`: returns when all edits until now have been told to the engine. `reload`: reads the configuration again,
    and says what changes by it; `reload_soon` does not wait for that. `stopped_with`: what procwatch ends with when it
    is asked to stop.
    """

    def __init__(
        self,
        engine: Engine,
        chronicle: Chronicle,
        terminals: Terminals,
        ended: asyncio.Event,
        rings: Mapping[str, Ring],
    ) -> None:
        self.take_in: Callable[[], Awaitable[None]] | None = None
        self.reload: Callable[[], Awaitable[str]] | None = None
        self.reload_soon: Callable[[], None] | None = None
        self.stopped_with = ExitCode.DONE
        self._engine = engine
        self._chronicle = chronicle
        self._attachments = attachments = Attachments(terminals)
        self._wishes: set[_Wish] = set()
        self._ended = ended
        self._rings = rings
        self._methods: dict[str, Callable[[Params, Caller], Awaitable[object]]] = {
            "hello": self._hello, "status": self._status, "why": self._why, "start": self._start, "stop": self._stop,
            "restart": self._restart, "build": self._build, "wait": self._wait, "pause": self._pause,
            "resume": self._resume, "rollback": self._rollback, "events": self._events,
            "follow": self._follow, "shutdown": self._shutdown,
            "logs": self._logs, "reload": self._reload,
            "attach": self._attach, "type": attachments.type, "resize": attachments.resize,
            "detach": attachments.detach,
        }  # fmt: skip
        engine.watch_plans(self._planned)
        engine.watch_plans(attachments.planned)

    @property
    def _project(self) -> Project:
        """As it is declared now."""
        return self._engine.moment().project

    async def handle(self, request: Request, caller: Caller) -> object:
        """The result of a request; Fault or ProcwatchError says why there is none."""
        method = self._methods.get(request.method)
        if method is None:
            known = ", ".join(self._methods)
            raise Fault(NO_METHOD, f'there is no method "{request.method[:80]}"; methods are: {known}')
        return await method(Params(request.params), caller)

    # --- look --------------------------------------------------------------------------------------------------------

    async def _hello(self, params: Params, _caller: Caller) -> object:
        wanted = params.number("protocol", PROTOCOL)
        params.end()
        if wanted != PROTOCOL:
            raise Fault(ExitCode.REFUSED, f"this procwatch speaks protocol {PROTOCOL}, not {wanted:g}; use one version")
        return {
            "protocol": PROTOCOL, "procwatch": __version__, "pid": front_pid(), "project": self._project.name,
            "folder": self._project.folder,
        }  # fmt: skip

    async def _status(self, params: Params, _caller: Caller) -> object:
        chosen = self._units(params)
        params.end()
        moment = self._engine.moment()
        units = [unit for unit in snapshot.snapshot(moment) if not chosen or unit["name"] in chosen]
        return {
            "project": self._project.name, "folder": self._project.folder, "pid": front_pid(), "units": units,
            "at_rest": moment.at_rest, "stopping": moment.state.exit_code is not None,
        }  # fmt: skip

    async def _why(self, params: Params, _caller: Caller) -> object:
        chosen = self._units(params, at_least_one=True)
        params.end()
        units = [unit for unit in snapshot.snapshot(self._engine.moment()) if unit["name"] in chosen]
        for unit in units:
            unit["events"] = self._chronicle.of(unit["name"], _EVENTS_OF_ONE)
            if failure := self._chronicle.failure(unit["name"]):
                unit["failed"] = failure
            declared = self._project.units[unit["name"]]
            unit["needs"] = [need.name for need in declared.needs]
            unit["watches"] = list(declared.watch)
        return {"units": units}

    async def _events(self, params: Params, _caller: Caller) -> object:
        count = params.number("count", 100)
        params.end()
        return {"events": self._chronicle.past(max(0, int(count)))}

    async def _follow(self, params: Params, caller: Caller) -> object:
        params.end()
        # After the answer, so that the first event does not come before it.
        asyncio.get_running_loop().call_soon(self._chronicle.follow, lambda event: caller.send("event", event))
        return {}

    async def _logs(self, params: Params, _caller: Caller) -> object:
        """The output of a unit that has no log file; without a name, of which there is any."""
        name, place = params.text("name"), params.number("place", 0)
        params.end()
        if not name:
            return {"names": list(self._rings)}
        if name not in self._rings:
            raise Fault(WRONG_PARAMS, f'no output of "{name[:80]}" is kept in memory')
        page = self._rings[name].page(int(place))
        text = page.data.decode("utf-8", "surrogateescape")
        return {"pid": os.getpid(), "begin": page.begin, "text": text, "is_last": page.is_last}

    async def _attach(self, params: Params, caller: Caller) -> object:
        return await self._attachments.attach(params, caller, self._engine.moment())

    # --- act ---------------------------------------------------------------------------------------------------------

    async def _start(self, params: Params, caller: Caller) -> object:
        return await self._services(params, caller, "start")

    async def _restart(self, params: Params, caller: Caller) -> object:
        return await self._services(params, caller, "restart")

    async def _stop(self, params: Params, caller: Caller) -> object:
        return await self._services(params, caller, "stop")

    async def _services(self, params: Params, caller: Caller, to: Any) -> object:
        words = params.words("names", at_least_one=True)
        chosen = names.services(self._project, words)
        chosen = tuple(name for name in chosen if name in self._project.services) if to != "start" else chosen
        event = msg.ServicesAsked(chosen, to)
        return await self._ask(params, caller, event, to, chosen)

    async def _build(self, params: Params, caller: Caller) -> object:
        chosen = names.builds(self._project, params.words("names", at_least_one=True))
        return await self._ask(params, caller, msg.BuildsAsked(chosen), "build", chosen)

    async def _rollback(self, params: Params, caller: Caller) -> object:
        chosen = names.services(self._project, params.words("names", at_least_one=True))
        to = params.number("to", None)
        number = None if to is None else int(to)
        moment = self._engine.moment()
        draft = Draft(moment.project, moment.state, moment.now_s)
        for name in chosen:
            if name not in self._project.services:
                raise Fault(ExitCode.USAGE, f"{name} is a build; only a service can go back")
            found = releases.earlier(draft, self._project.services[name], number)
            if isinstance(found, str):
                raise Fault(ExitCode.FAILED if to is None else ExitCode.USAGE, f"{name} cannot go back: {found}")
        return await self._ask(params, caller, msg.RollbackAsked(chosen, number), "rollback", chosen)

    async def _wait(self, params: Params, caller: Caller) -> object:
        chosen = self._units(params, at_least_one=True)
        return await self._ask(params, caller, None, "wait", chosen)

    async def _pause(self, params: Params, _caller: Caller) -> object:
        return self._set_paused(params, paused=True)

    async def _resume(self, params: Params, _caller: Caller) -> object:
        return self._set_paused(params, paused=False)

    def _set_paused(self, params: Params, *, paused: bool) -> object:
        chosen = self._units(params) or tuple(self._project.units)
        params.end()
        self._engine.tell(msg.PauseAsked(chosen, paused))
        return {"names": list(chosen)}

    async def _reload(self, params: Params, _caller: Caller) -> object:
        waits = params.flag("wait", default=True)
        params.end()
        assert self.reload is not None
        assert self.reload_soon is not None
        if not waits:
            self.reload_soon()
            return {}
        return {"changed": await self.reload()}

    async def _shutdown(self, params: Params, _caller: Caller) -> object:
        waits = params.flag("wait", default=True)
        params.end()
        self._engine.stop(self.stopped_with)
        if waits:
            await self._ended.wait()
        return {}

    # --- wait --------------------------------------------------------------------------------------------------------

    async def _ask(
        self, params: Params, caller: Caller, event: msg.Event | None, wish: Wish, chosen: tuple[str, ...]
    ) -> object:
        """Tell the planner, and wait for what has become of it."""
        waits, timeout_s = params.flag("wait", default=True), params.number("timeout", None)
        shows = params.flag("progress", default=False)
        inside = params.text("inside")
        params.end()
        if waits and inside:
            self._refuse_self(inside, chosen)
        if wish == "wait" and self.take_in is not None:
            await self.take_in()
        state = self._engine.moment().state
        since = {name: verdict.since(state, name) for name in chosen}
        if not waits:
            if event is not None:
                self._engine.tell(event)
            return {"results": [{"name": name, "outcome": "asked"} for name in chosen]}
        mine = _Wish(wish, since, event, caller if shows else None)
        self._wishes.add(mine)
        if event is None:
            mine.judge(self._engine.moment())
        else:
            self._engine.tell(event)
        try:
            async with asyncio.timeout(timeout_s):
                await mine.settled.wait()
        except TimeoutError:
            pass
        finally:
            self._wishes.discard(mine)
        return {"results": [self._result(name, found) for name, found in mine.verdicts.items()]}

    def _planned(self, moment: Moment, event: msg.Event) -> None:
        for wish in tuple(self._wishes):
            if wish.event is event:
                wish.event = None
            if wish.event is None:
                wish.judge(moment)

    def _result(self, name: str, found: Verdict) -> dict[str, Any]:
        outcome = {"done": "done", "failed": "failed", "waits": "timed out"}[found.outcome]
        told: dict[str, Any] = {"name": name, "outcome": outcome, "reason": found.reason}
        if found.outcome != "done" and (failure := self._failure(name, found.reason)):
            told["failed"] = failure
        return told

    def _failure(self, name: str, reason: str) -> dict[str, Any]:
        """What went wrong with a unit, or with the build that the reason speaks of."""
        builds = [other for other in self._project.builds if f"{other} failed" in reason]
        return self._chronicle.failure(name) or next(map(self._chronicle.failure, builds), {})

    def _refuse_self(self, inside: str, chosen: Iterable[str]) -> None:
        """A command of a build or hook would wait for its own end."""
        edges = {unit: tuple(need.name for need in each.needs) for unit, each in self._project.units.items()}
        for name in chosen:
            if inside in closure(edges, (name,)):
                words = f"this runs inside of {inside}, which {name} would wait for; say --no-wait"
                raise Fault(ExitCode.REFUSED, words)

    def _units(self, params: Params, *, at_least_one: bool = False) -> tuple[str, ...]:
        return names.units(self._project, params.words("names", at_least_one=at_least_one))


class _Wish:
    """What somebody waits for: each unit, and how it stands. `event`: the plan for it is still to come."""

    def __init__(self, wish: Wish, since: dict[str, int], event: msg.Event | None, watcher: Caller | None) -> None:
        self.event = event
        self.verdicts: dict[str, Verdict] = {}
        self.settled = asyncio.Event()
        self._wish: Wish = wish
        self._since = since
        self._watcher = watcher

    def judge(self, moment: Moment) -> None:
        """Look at all of them; a verdict that has been given stays."""
        for name, since in self._since.items():
            before = self.verdicts.get(name)
            if before is not None and before.outcome != "waits":
                continue
            found = verdict.judge(moment, self._wish, name, since)
            reason = found.reason.removeprefix("outdated: ")
            if self._watcher is not None and found != before and reason.startswith("waits "):
                self._watcher.send("progress", {"name": name, "reason": reason})
            self.verdicts[name] = found
        if all(found.outcome != "waits" for found in self.verdicts.values()):
            self.settled.set()
