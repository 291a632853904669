"""What the commands do that ask a running supervisor: send, wait, print, and give an exit status.

Rule 1: nothing is imported that takes long: such a command is Python's start, and little else.
Rule 2: results go to standard output; what is being waited for, and failures, to standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from procwatch.config.find import find, here
from procwatch.control.client import Client, NoSupervisorError, connect, connect_to
from procwatch.errors import ExitCode, ProcwatchError, UsageError, printable
from procwatch.options import Ask
from procwatch.output.words import changed, duration


class _Row(NamedTuple):
    """A line of `status`."""

    name: str
    state: str
    run: str
    process: str
    since: str
    reason: str


# How a result is told that has come to pass.
_DONE = {
    "start": "started", "stop": "stopped", "restart": "restarted", "build": "built", "rollback": "went back",
}  # fmt: skip


def ask(what: Ask) -> int:
    """Do what the command line asks; the exit status. Raises ProcwatchError."""
    with open_connection(what.file) as client:
        match what.command:
            case "status":
                return _status(client, what)
            case "why":
                return _why(client, what)
            case "events":
                return _events(client, what)
            case "pause" | "resume":
                return _pause(client, what)
            case "reload":
                return _reload(client, what)
            case "stop" if not what.names:
                client.call("shutdown", {"wait": what.wait}, None)
                return ExitCode.DONE
            case _:
                return act(client, what)


def open_connection(file: Path | None) -> Client:
    """To the supervisor of the project that is meant: by -f, by the folder, or that which this runs inside of."""
    own = os.environ.get("PROCWATCH_SOCKET")
    try:
        folder = (here() / file).parent if file is not None else find(here()).parent
    except UsageError:
        if own is not None:
            return connect_to(Path(own))
        if (client := _connect_without_file()) is None:
            raise
        return client
    return connect(folder)


def _connect_without_file() -> Client | None:
    """To one whose watch.toml is gone (another branch has none): it goes on with what it has read."""
    start = here()
    for folder in (start, *start.parents):
        with suppress(ProcwatchError):
            return connect(folder)
    return None


def running(file: Path | None) -> Client | None:
    """A connection, if a supervisor runs for the project."""
    try:
        return open_connection(file)
    except NoSupervisorError:
        return None


def act(client: Client, what: Ask) -> int:
    """Ask for something to be done, wait for it unless that is not wanted, and say what has become of it."""
    params: dict[str, Any] = {"names": list(what.names)}
    if what.command != "wait":
        params["wait"] = what.wait
    if what.timeout_s is not None:
        params["timeout"] = what.timeout_s
    if what.to is not None:
        params["to"] = what.to
    params |= {"progress": not what.as_json, "inside": _inside()}
    answer = client.call(what.command, params, None, _tell_progress)
    results = answer["results"]
    if what.as_json:
        print(json.dumps(answer))
    else:
        for result in results:
            _tell_result(what.command, result)
    return ExitCode.DONE if all(one["outcome"] in ("done", "asked") for one in results) else ExitCode.FAILED


def _inside() -> str:
    """The unit whose command this runs in, if that is waited for: a build, its hooks, `pre_start`; not a service."""
    name = os.environ.get("PROCWATCH_NAME", "")
    is_waited_for = name.startswith("build.") or os.environ.get("PROCWATCH_EVENT") == "pre_start"
    return name if is_waited_for else ""


def _tell_progress(method: str, params: Mapping[str, Any]) -> None:
    if method == "progress":
        sys.stderr.write(printable(f"{params['name']} {params['reason']}") + "\n")
        sys.stderr.flush()


def _tell_result(command: str, result: Mapping[str, Any]) -> None:
    name, outcome, reason = result["name"], result["outcome"], result.get("reason", "")
    if outcome == "asked":
        print(f"{name}: asked for")
        return
    if outcome == "done":
        verb = _DONE.get(command)
        print(printable(f"{name} {verb}" + (f": {reason}" if reason != verb else "") if verb else f"{name}: {reason}"))
        return
    failed = result.get("failed", {})
    why = f"{reason}: {failed['reason']}" if failed.get("reason") and failed["reason"] not in reason else reason
    told = f"{name}: {'not yet: ' if outcome == 'timed out' else ''}{why}"
    lines = [printable(told), *(f"  | {printable(line, keep=chr(9))}" for line in failed.get("output", ()))]
    sys.stderr.write("\n".join(lines) + "\n")


# --- look ------------------------------------------------------------------------------------------------------------


def _status(client: Client, what: Ask) -> int:
    answer = client.call("status", {"names": list(what.names)})
    if what.as_json:
        print(json.dumps(answer))
        return ExitCode.DONE
    _table([("NAME", "STATE", "RUN", "PROCESS", "SINCE", ""), *map(_row, answer["units"])])
    return ExitCode.DONE


def _row(unit: Mapping[str, Any]) -> _Row:
    state = unit["state"] + (", outdated" if unit.get("outdated") else "") + (", paused" if unit.get("paused") else "")
    since = ""
    if "uptime" in unit:
        since = duration(unit["uptime"])
    elif "age" in unit:
        since = f"{duration(unit['age'])} ago"
    elif unit["state"] == "running":
        since = duration(unit.get("duration", 0.0))
    reason = unit.get("reason") or unit.get("failure", "")
    return _Row(unit["name"], state, str(unit.get("run") or ""), str(unit.get("pid") or ""), since, reason)


def _table(rows: Iterable[tuple[str, ...]]) -> None:
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _why(client: Client, what: Ask) -> int:
    answer = client.call("why", {"names": list(what.names)})
    if what.as_json:
        print(json.dumps(answer))
        return ExitCode.DONE
    for unit in answer["units"]:
        for line in _story(unit):
            print(printable(line, keep="\t"))
    return ExitCode.DONE


def _story(unit: Mapping[str, Any]) -> list[str]:
    """How a unit stands, what made it run last, and what went wrong."""
    row = _row(unit)
    run, reason = f" (run {row.run})" if row.run else "", f": {row.reason}" if row.reason else ""
    lines = [f"{row.name}: {row.state}{run}{reason}"]
    if unit.get("why"):
        paths = unit.get("changed", [])
        cause = changed(paths) if paths and "changed" not in unit["why"] else unit["why"]
        lines.append(f"  ran last because: {cause}")
    if unit.get("events") and (last := unit["events"][-1])["event"] == "build_skipped":
        lines.append(f"  {last['at']} nothing was done: {last['reason']} ({changed(last.get('paths', []))})")
    if unit.get("needs"):
        lines.append(f"  needs: {', '.join(unit['needs'])}")
    if unit.get("watches"):
        lines.append(f"  watches: {', '.join(unit['watches'])}")
    if failed := unit.get("failed"):
        lines.append(f"  {failed['at']} {failed['event']}: {failed.get('reason', '')}")
        lines += [f"    | {line}" for line in failed.get("output", ())]
    return lines


def _events(client: Client, what: Ask) -> int:
    if what.count is not None:
        for event in client.call("events", {"count": what.count})["events"]:
            print(json.dumps(event))
        return ExitCode.DONE
    for _, event in client.stream("follow", {}):
        print(json.dumps(event), flush=True)
    return ExitCode.DONE


def _reload(client: Client, what: Ask) -> int:
    answer = client.call("reload", {"wait": what.wait}, None)
    print(json.dumps(answer) if what.as_json else printable(answer.get("changed", "asked for")))
    return ExitCode.DONE


def _pause(client: Client, what: Ask) -> int:
    answer = client.call(what.command, {"names": list(what.names)})
    if what.as_json:
        print(json.dumps(answer))
    elif what.command == "pause":
        what_waits = ", ".join(what.names) or "everything"
        print(printable(f"paused: changes of {what_waits} are collected; `procwatch resume` goes on"))
    else:
        print("resumed")
    return ExitCode.DONE
