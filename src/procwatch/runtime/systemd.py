"""Tell systemd how procwatch is doing: ready, a status in words, stopping, and that the loop still turns.

Rule 1: READY=1 comes when nothing is under way for the first time, whatever has failed: a build that fails is for a
        person to repair, and an end of procwatch would not help.
Rule 2: what procwatch starts is not told of the socket: the variables are taken out of the environment.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping

from procwatch.core import messages as msg
from procwatch.core.snapshot import summary
from procwatch.core.verdict import Moment
from procwatch.runtime import relay


class Notifier:
    """Takes its variables out of `environ`; `pid` is the process that systemd has started. Without them it is silent.

    `is_wanted`: whether somebody listens.
    """

    def __init__(self, environ: MutableMapping[str, str], pid: int) -> None:
        self._address = environ.pop(relay.NOTIFY_SOCKET, "")
        usec, of = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        is_watched = usec.isdecimal() and of in ("", str(pid))
        self._watchdog_s = int(usec) / 1_000_000 if is_watched else 0.0
        self._status = ""
        self._told: set[str] = set()
        self.is_wanted = bool(self._address)

    def begin(self) -> None:
        """From now on, while the loop turns, say so twice in the time that systemd has set."""
        if self._watchdog_s:
            relay.say(self._address, "WATCHDOG=1")
            asyncio.get_running_loop().call_later(self._watchdog_s / 2, self.begin)

    def planned(self, moment: Moment, _event: msg.Event) -> None:
        """A plan was made: say what is new in it."""
        if moment.state.exit_code is not None:
            self._once("STOPPING=1")
        elif moment.at_rest:
            self._once("READY=1")
        status = summary(moment)
        if status != self._status:
            self._status = status
            relay.say(self._address, f"STATUS={status}")

    def _once(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            relay.say(self._address, line)
