"""The variables that procwatch itself gives to a command; they beat all others (contract)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from procwatch.config.find import FOLDER
from procwatch.core.model import Exit, Service, at
from procwatch.frozen import frozen
from procwatch.runtime.store import Store

# "cut at 64 KiB"; at a whole line, so that no path is half there.
CHANGED_MAX_BYTES = 64 * 1024


@frozen
class Occasion:
    """What a command runs for: the run or instance of a unit, and for hooks also what happened."""

    name: str
    run: int
    changed: tuple[str, ...] = ()
    event: str | None = None
    exit: Exit | None = None
    duration_s: float | None = None


class Assigner:
    """Makes the variables; `store` keeps the files with all changed paths, `socket` is where procwatch listens."""

    def __init__(self, folder: Path, store: Store, socket: Path | None = None) -> None:
        self._folder = folder
        self._store = store
        self._socket = socket or folder / FOLDER / "control.sock"

    def common(self, name: str, run: int) -> dict[str, str]:
        """What every command gets."""
        return {
            "PROCWATCH": "1",
            "PROCWATCH_PROJECT": str(self._folder),
            "PROCWATCH_NAME": name,
            "PROCWATCH_RUN": str(run),
            "PROCWATCH_SOCKET": str(self._socket),
        }

    def command(self, occasion: Occasion) -> dict[str, str]:
        """For builds and hooks; writes the file with all changed paths."""
        found = self.common(occasion.name, occasion.run)
        found["PROCWATCH_CHANGED"] = cut_lines(occasion.changed, CHANGED_MAX_BYTES)
        path = self._store.changed_file(occasion.name, occasion.run, occasion.changed, occasion.event)
        if path is not None:
            found["PROCWATCH_CHANGED_JSON"] = str(path)
        if occasion.event is not None:
            found["PROCWATCH_EVENT"] = occasion.event
        return {**found, **result(occasion.exit, occasion.duration_s)}

    def service(self, service: Service, instance: int, releases: Mapping[str, Path] | None = None) -> dict[str, str]:
        """For an instance of a service, and for the command of its `ready.run`; behind a `proxy` without its PORT.

        `releases`: variable -> folder.
        """
        found = {**self.common(service.name, instance), "PROCWATCH_REPLICA": str(service.replica)}
        port = service.port if service.port is not None else service.given_port
        if port is not None:
            found |= {"PORT": str(port), "PROCWATCH_URL": f"http://127.0.0.1:{port}"}
        asked = service.proxy or next((each for each in service.listen if each.port), None)
        if asked is not None:
            found["PROCWATCH_URL"] = f"http://{at(asked.reached_at, asked.port)}"
        return found | release_variables(releases or {})


def release_variables(releases: Mapping[str, Path]) -> dict[str, str]:
    """The same, and where there is just one also without a name."""
    found = {name: str(folder) for name, folder in releases.items()}
    if len(releases) == 1:
        found["PROCWATCH_RELEASE"] = str(*releases.values())
    return found


def result(exit_: Exit | None, duration_s: float | None) -> dict[str, str]:
    """What a hook is told of what came before it, as far as that is known."""
    found = {}
    if exit_ is not None:
        found["PROCWATCH_EXIT_CODE"] = str(exit_.code)
    if duration_s is not None:
        found["PROCWATCH_DURATION"] = f"{duration_s:.3f}"
    return found


def cut_lines(lines: tuple[str, ...], max_bytes: int) -> str:
    """The lines that fit into so many bytes, joined by newlines."""
    kept: list[str] = []
    left = max_bytes
    for line in lines:
        left -= len(line.encode("utf-8", "surrogateescape")) + 1
        if left < 0:
            break
        kept.append(line)
    return "\n".join(kept)
