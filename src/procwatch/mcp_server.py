"""`procwatch mcp`: the control socket's commands as tools of the Model Context Protocol; the only door to its library.

Rule 1: a thin client: each call asks the supervisor that runs at that moment, and adds nothing of its own.
Rule 2: no call is without an end: what is not done in time is told as it stands, and can be waited for again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from procwatch import __version__
from procwatch.control.client import ANSWER_S, NoSupervisorError
from procwatch.errors import ProcwatchError
from procwatch.remote import open_connection

_INSTRUCTIONS = """\
procwatch builds and runs a project's services while its files are edited. After an edit call `wait` with the names that
matter: it takes the edit in and tells whether they are up to date, or what has failed with the last lines of output.
`status` shows everything, `why` explains one of them, `logs` has more of its output. An edit builds and restarts by
itself what it concerns: `build` and `restart` are for when nothing has changed.
"""
# Most clients give up after a minute.
_TIMEOUT_S = 50.0
_MOST_LINES = 1000

_Any = Annotated[
    list[str], Field(description='Builds, services or groups, such as "api" or "build.api"; none: all of them.')
]
_Some = Annotated[list[str], Field(min_length=1, description='Builds, services or groups, such as "api".')]
_Services = Annotated[list[str], Field(min_length=1, description='Services or groups, such as "api".')]
_Builds = Annotated[list[str], Field(min_length=1, description='Builds, such as "api" or "build.api".')]
_Timeout = Annotated[
    float,
    Field(
        ge=0, le=3600,
        description='Seconds to wait; what is not done by then has the outcome "timed out": call `wait` to go on.',
    ),
]  # fmt: skip
_Lines = Annotated[int, Field(ge=1, le=_MOST_LINES, description="How many of the last lines.")]
_Grep = Annotated[str | None, Field(description="Only lines in which this regular expression is found.")]
_Release = Annotated[int | None, Field(ge=1, description="A release by its number; none: what ran before.")]
_LOOKS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ACTS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=False)

Answer = dict[str, Any]


def serve(file: Path | None) -> int:
    """Answer on standard input and output until the input ends. `file` is -f."""
    server = MCPServer("procwatch", version=__version__, instructions=_INSTRUCTIONS, log_level="ERROR")
    tools = _Tools(file)
    for tool in (tools.status, tools.why, tools.logs, tools.wait):
        server.tool(annotations=_LOOKS)(tool)
    for tool in (tools.build, tools.restart, tools.rollback):
        server.tool(annotations=_ACTS)(tool)
    server.run("stdio")
    return 0


class _Tools:
    """Each in a thread of its own, as the library runs what is not a coroutine."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def status(self, names: _Any = []) -> Answer:  # noqa: B006 - the schema's default
        """How builds and services stand: state, run, process id, whether outdated, and why if something is wrong."""
        return self._ask("status", {"names": names})

    def why(self, names: _Some) -> Answer:
        """What made builds or services run last (which file), what they wait for, their needs and watched patterns, the
        last events, and what failed with its last lines of output."""
        return self._ask("why", {"names": names})

    def logs(self, names: _Any = [], lines: _Lines = 50, grep: _Grep = None) -> Answer:  # noqa: B006 - as above
        """The last lines that builds or services have printed, merged by time; also after procwatch has ended."""
        file = ["-f", str(self._file)] if self._file else []
        options = ["--json", "-n", str(lines), *(["--grep", grep] if grep else [])]
        command = [sys.executable, "-m", "procwatch", *file, "logs", *options, "--", *names]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
        if done.returncode:
            raise ToolError(done.stderr.decode(errors="replace").strip())
        return {"lines": [json.loads(line) for line in done.stdout.splitlines()]}

    def wait(self, names: _Some, timeout: _Timeout = _TIMEOUT_S) -> Answer:
        """Take in the edits made so far, then wait until builds are fresh and services ready and up to date. Tells the
        outcome of each; one that failed comes with its last lines of output."""
        return self._ask("wait", {"names": names, "timeout": timeout})

    def build(self, names: _Builds, timeout: _Timeout = _TIMEOUT_S) -> Answer:
        """Run builds now, changed or not, and tell the outcome; what needs them follows. After an edit this is not
        necessary: use `wait`."""
        return self._ask("build", {"names": names, "timeout": timeout})

    def restart(self, names: _Services, timeout: _Timeout = _TIMEOUT_S) -> Answer:
        """Restart services, start those that are stopped, and wait until they are ready."""
        return self._ask("restart", {"names": names, "timeout": timeout})

    def rollback(self, names: _Services, to: _Release = None, timeout: _Timeout = _TIMEOUT_S) -> Answer:
        """Take services back to the releases that they ran before, until a build of them succeeds. For builds with
        `outputs` alone; `status` lists the releases."""
        number = {} if to is None else {"to": to}
        return self._ask("rollback", {"names": names, "timeout": timeout, **number})

    def _ask(self, method: str, params: Mapping[str, Any]) -> Answer:
        try:
            with open_connection(self._file) as client:
                answer: Answer = client.call(method, params, ANSWER_S + params.get("timeout", 0))
        except NoSupervisorError as error:
            raise ToolError(f"{error} (`procwatch start -d` in the background)") from error
        except ProcwatchError as error:
            raise ToolError(str(error)) from error
        return answer
