"""Clients that are attached to the terminal of a service: what they type goes in, what it prints comes out.

Rule 1: a client that does not take what is printed misses some of it, is told how much, and goes on with the newest;
        the service does not wait for it.
Rule 2: an attachment is a call that is answered when it is over; it is over with its connection, too.
"""

from __future__ import annotations

import asyncio
import binascii

from procwatch.control.protocol import WRONG_PARAMS, Fault
from procwatch.core import messages as msg
from procwatch.core import names
from procwatch.core.model import Exit, Project
from procwatch.core.state import ALIVE, Phase
from procwatch.core.verdict import Moment
from procwatch.errors import ExitCode
from procwatch.runtime.params import Params
from procwatch.runtime.server import Caller
from procwatch.runtime.terminal import Size
from procwatch.runtime.terminals import Terminals

# No terminal is larger; the kernel holds these as 16 bits.
_MOST_CHARACTERS = 10_000


class Attachments:
    """Answers `attach`, and what a client that is attached says then."""

    def __init__(self, terminals: Terminals) -> None:
        self._terminals = terminals
        self._attached: dict[Caller, _Attached] = {}

    async def attach(self, params: Params, caller: Caller, moment: Moment) -> object:
        """Show and type until it is over; the answer says how that came."""
        word, inside, size = params.text("name"), params.text("inside"), _size(params)
        params.end()
        name = _on_terminal(moment.project, word)
        if inside == name:
            raise Fault(ExitCode.REFUSED, f"this runs inside of {name}: attached, it would show what it shows")
        if caller in self._attached:
            raise Fault(ExitCode.REFUSED, f"this connection is attached to {self._attached[caller].name}")
        if end := _end(moment, name):
            words = f"{name} does not run ({end['reason']}); `procwatch start {name.partition('.')[2]}` starts it"
            raise Fault(ExitCode.FAILED, words)
        one = self._attached[caller] = _Attached(name, caller, size, self._terminals)
        self._terminals.add(name, one)
        try:
            one.begin()
            return {"name": name, **await one.over}
        finally:
            self._terminals.remove(name, one)
            del self._attached[caller]

    async def type(self, params: Params, caller: Caller) -> object:
        """What was typed."""
        data = _bytes(params, "data")
        params.end()
        await self._terminals.type(self._of(caller).name, data)
        return {}

    async def resize(self, params: Params, caller: Caller) -> object:
        """The client's terminal has another size."""
        size = _size(params)
        params.end()
        one = self._of(caller)
        one.size = size
        self._terminals.fit(one.name)
        return {}

    async def detach(self, params: Params, caller: Caller) -> object:
        """It is over; the call of `attach` is answered."""
        params.end()
        self._of(caller).end({"outcome": "detached", "reason": "it was asked for"})
        return {}

    def planned(self, moment: Moment, _event: msg.Event) -> None:
        """After each plan: it is over when the service stays down, or has lost its terminal."""
        for one in tuple(self._attached.values()):
            if end := _end(moment, one.name):
                one.end(end)

    def _of(self, caller: Caller) -> _Attached:
        found = self._attached.get(caller)
        if found is None:
            raise Fault(ExitCode.FAILED, "this connection is attached to nothing; call `attach` first")
        return found


class _Attached:
    """One client; `over` is set to what it is told at the end."""

    def __init__(self, name: str, caller: Caller, size: Size | None, terminals: Terminals) -> None:
        self.name = name
        self.size = size
        self.over: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
        self._caller = caller
        self._terminals = terminals
        self._skipped_bytes = 0

    def begin(self) -> None:
        """Tell that it is attached, and what there is to see."""
        self._caller.send("attached", {"name": self.name, "run": self._terminals.run(self.name)})
        self._show(self._terminals.recent(self.name))

    def end(self, told: dict[str, str]) -> None:
        """It is over."""
        if not self.over.done():
            self.over.set_result(told)

    def printed(self, data: bytes) -> None:
        """As long as it takes what it is sent; then from what is newest when it does again."""
        if self._skipped_bytes:
            self._skipped_bytes += len(data)
        elif self._caller.is_slow():
            self._skipped_bytes = len(data)
            self._caller.when_room(self._go_on)
        else:
            self._show(data)

    def began(self, run: int, pid: int) -> None:
        """The next instance."""
        self._caller.send("began", {"run": run, "pid": pid})

    def ended(self, run: int, exit_: Exit) -> None:
        """The end of an instance."""
        self._caller.send("ended", {"run": run, "code": exit_.code, "reason": exit_.words})

    def _go_on(self) -> None:
        if self.over.done():
            return
        skipped, self._skipped_bytes = self._skipped_bytes, 0
        recent = self._terminals.recent(self.name)
        self._caller.send("skipped", {"bytes": max(0, skipped - len(recent))})
        self._show(recent)

    def _show(self, data: bytes) -> None:
        if data:
            self._caller.send("output", {"data": binascii.b2a_base64(data, newline=False).decode()})


def _on_terminal(project: Project, word: str) -> str:
    """The one service that is meant, if it runs on a terminal."""
    found = names.services(project, (word,))
    if len(found) != 1 or found[0] not in project.services:
        raise Fault(ExitCode.USAGE, f'"{word}" is not one service; attach to one at a time')
    if not project.services[found[0]].tty:
        raise Fault(
            ExitCode.USAGE, f"{found[0]} does not run on a terminal; say `tty = true` in its table of watch.toml"
        )
    return found[0]


def _end(moment: Moment, name: str) -> dict[str, str] | None:
    """How the service came to stay down; None while it runs, or will by itself."""
    service, state = moment.project.services.get(name), moment.state.services.get(name)
    if service is None or state is None:
        return {"outcome": "stopped", "reason": "it does not take part"}
    if not service.tty:
        return {"outcome": "stopped", "reason": "it is not to run on a terminal any more"}
    if state.phase in ALIVE:
        return None
    if moment.state.exit_code is not None:
        return {"outcome": "stopped", "reason": "procwatch ends"}
    if not state.wanted:
        return {"outcome": "stopped", "reason": "stopped by hand"}
    if state.due or state.phase is Phase.BACKOFF:
        return None
    if state.phase is Phase.FAILED:
        return {"outcome": "failed", "reason": "it has crashed and is not restarted"}
    return {"outcome": "ended", "reason": "it has ended by itself"}


def _size(params: Params) -> Size | None:
    """Rows and columns; None where neither is given."""
    rows, columns = params.number("rows", 0), params.number("columns", 0)
    if not rows and not columns:
        return None
    if not all(isinstance(one, int) and 0 < one <= _MOST_CHARACTERS for one in (rows, columns)):
        raise Fault(WRONG_PARAMS, f'"rows" and "columns" must be whole numbers from 1 to {_MOST_CHARACTERS}')
    return Size(rows, columns)


def _bytes(params: Params, key: str) -> bytes:
    try:
        return binascii.a2b_base64(params.text(key), strict_mode=True)
    except ValueError as error:  # of binascii, or for what is not ASCII
        raise Fault(WRONG_PARAMS, f'"{key}" must be base64') from error
