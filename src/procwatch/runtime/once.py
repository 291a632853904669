"""Builds that are run once: what `procwatch build` asks of a supervisor is asked of this one, which then ends.

Rule 1: it is asked as by any client (runtime/commands.py): whether a build has come to pass is judged in one place.
Rule 2: nobody else has anything done meanwhile: it would end with these builds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from procwatch.control.protocol import Fault, Request
from procwatch.core import messages as msg
from procwatch.errors import ExitCode
from procwatch.runtime.commands import Commands
from procwatch.runtime.server import Caller

# What would begin something, or change what is under way.
_ACTING = frozenset({"start", "stop", "restart", "build", "rollback", "pause", "resume", "reload"})
# Nothing but the answer is sent: what is waited for is on the screen.
_OURSELVES = Caller(os.getuid(), os.getpid(), lambda *_: True, lambda: False, lambda _: None)


class Once:
    """Has builds (full names) run, and ends procwatch when they have ended, or after `timeout_s`."""

    def __init__(
        self, commands: Commands, tell: Callable[[msg.Event], None], builds: tuple[str, ...], timeout_s: float | None
    ) -> None:
        commands.stopped_with = ExitCode.FAILED
        self._commands = commands
        self._tell = tell
        self._builds = builds
        self._timeout_s = timeout_s

    async def run(self, answer: Callable[[str], None], report: Callable[[str], None]) -> None:
        """Ask, and wait for it: to be begun before `Begun` is told, as what is asked for later runs once more.

        `answer` gets the answer as JSON, `report` what the screen does not show by itself.
        """
        limit = {} if self._timeout_s is None else {"timeout": self._timeout_s}
        found: Any = await self._commands.handle(Request("build", {"names": list(self._builds), **limit}), _OURSELVES)
        answer(json.dumps(found))
        late = [result for result in found["results"] if result["outcome"] == "timed out"]
        for result in late:
            report(f"{result['name']} has not ended within {self._timeout_s:g} s: {result['reason']}")
        is_good = all(result["outcome"] == "done" for result in found["results"])
        self._tell(msg.StopAsked(ExitCode.DONE if is_good else ExitCode.FAILED, is_done=not late))

    async def handle(self, request: Request, caller: Caller) -> object:
        """Answer somebody else."""
        if request.method in _ACTING:
            words = f"procwatch only runs {', '.join(self._builds)} here, and then ends; ask again after that"
            raise Fault(ExitCode.REFUSED, words)
        return await self._commands.handle(request, caller)
