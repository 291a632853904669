"""Write TOML: the configuration as understood, and a first watch.toml; the only door to tomli_w."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from procwatch.config.procfile import Process, read_procfile
from procwatch.config.source import Document
from procwatch.config.starter import Detect, Part, chooser, clean, escaped, go
from procwatch.config.starter_cargo import cargo
from procwatch.config.starter_node import node
from procwatch.config.starter_python import python
from procwatch.errors import ConfigError, ProcwatchError, RefusedError, UsageError

# What is looked for, in the order in which it is written.
_TOOLS: Mapping[str, Detect] = {"Cargo.toml": cargo, "go.mod": go, "package.json": node, "pyproject.toml": python}
_PROCFILE = "Procfile"

_HEAD = """\
# What procwatch builds and runs here. After a change of this file: procwatch check
# A build runs when what it watches has changed; a service moves to it only when it has succeeded.
"""


def render(document: Mapping[str, object]) -> str:
    """A document as TOML."""
    import tomli_w  # noqa: PLC0415 - `start` writes no TOML

    return tomli_w.dumps(document)


def starter(folder: Path, source: Path | None = None) -> str:
    """A first watch.toml from what the folder holds, or from `source` alone; a UsageError if there is nothing."""
    found = [_PROCFILE, *_TOOLS] if source is None else [_known(source)]
    found = [name for name in found if (folder / name).is_file()] if source is None else found
    if not found:
        raise UsageError(f"nothing to start from here; looked for {_PROCFILE}, {', '.join(_TOOLS)}")
    procfile = next((name for name in found if name not in _TOOLS), None)
    if procfile is not None and source is not None:
        procfile = os.path.relpath(folder / source, folder)
    base = folder if source is None or procfile else (folder / source).parent
    if base.absolute() != folder.absolute():
        raise UsageError(f"{source}: is in another folder; write its watch.toml there")
    processes = _processes(folder, procfile) if procfile else ()
    choose = chooser(process.name for process in processes)
    parts = [_escaped(_TOOLS[name](folder, choose)) for name in found if name in _TOOLS]
    head: Document = {"name": clean(folder.absolute().name), **({"procfile": procfile} if procfile else {})}
    pieces = [_HEAD, render({"project": head})]
    pieces += _beside_procfile(processes, parts) if processes else [_part(part) for part in parts]
    if not processes and not any(part.builds or part.services for part in parts):
        raise UsageError(f"{', '.join(found)}: found nothing there to build or run; write watch.toml by hand")
    return "\n".join(pieces)


def write_starter(folder: Path, target: Path, *, source: Path | None = None, force: bool = False) -> None:
    """Write a first watch.toml; over a file that is there only with `force`."""
    path = folder / target
    if os.path.lexists(path) and not force:
        raise RefusedError(f"{target}: is there already; --force writes over it")
    try:
        data = starter(folder, source).encode()
    except UnicodeEncodeError:
        raise UsageError("a file or an entry here has a name that is not Unicode; write watch.toml by hand") from None
    # First whole, then in place: nothing half-written stays, and what was there is not lost.
    part = path.parent / f".{path.name}.part"
    try:
        part.write_bytes(data)
        part.replace(path.resolve())
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise ProcwatchError(f"{target}: cannot be written: {os.strerror(error.errno or 0).lower()}") from None


def _escaped(part: Part) -> Part:
    """The part with `$$` for each dollar in the names of files."""
    builds, services = (
        {name: {key: _escaped_value(key, value) for key, value in table.items()} for name, table in units.items()}
        for units in (part.builds, part.services)
    )
    return replace(part, builds=builds, services=services)


def _escaped_value(key: str, value: object) -> object:
    if key not in ("watch", "ignore", "dir"):
        return value
    return [escaped(str(entry)) for entry in value] if isinstance(value, list) else escaped(str(value))


def _known(source: Path) -> str:
    """The kind of a file that is asked for by name."""
    if source.name in _TOOLS or source.name.startswith(_PROCFILE):
        return source.name
    raise UsageError(f"{source}: cannot start from this; known are {_PROCFILE}, {', '.join(_TOOLS)}")


def _processes(folder: Path, procfile: str) -> tuple[Process, ...]:
    found = read_procfile(folder / procfile, procfile)
    if found.problems:
        raise ConfigError(found.problems)
    return found.services


def _part(part: Part) -> str:
    """One tool's builds and services under a line that says what they are."""
    tables = {"build": part.builds, "service": part.services}
    return f"# {part.title}\n{render({kind: units for kind, units in tables.items() if units})}"


def _beside_procfile(processes: Iterable[Process], parts: Iterable[Part]) -> list[str]:
    """The services are the Procfile's; a tool adds the builds that they speak of, and what restarts them."""
    pieces: list[str] = []
    services: dict[str, Document] = {}
    for part in parts:
        needed: dict[str, Mapping[str, object]] = {}
        for process in processes:
            builds = [name for name, words in part.words.items() if any(word in process.command for word in words)]
            table = services.setdefault(process.name, {})
            for build in builds:
                if build:
                    needs = table.setdefault("needs", [])
                    assert isinstance(needs, list)
                    needs.append(f"build.{build}")
                    needed[build] = part.builds[build]
                else:
                    watched = next(iter(part.services.values()), {})
                    table |= {key: watched[key] for key in ("watch", "ignore") if key in watched}
        if needed:
            pieces.append(f"# {part.title}\n{render({'build': needed})}")
    tables = {name: table for name, table in services.items() if table}
    if tables:
        pieces.append(f"# what the processes of the Procfile wait for\n{render({'service': tables})}")
    return pieces
