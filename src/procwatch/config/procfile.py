"""Procfile: the only door to honcho's parsing.

Rule 1: no line is dropped in silence: what is neither understood nor blank nor a comment is a problem with its place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from procwatch.config.text import Text, read_text
from procwatch.config.values import MAX_NAME_CHARS, MAX_PORT, is_name
from procwatch.errors import ConfigError, Problem

# foreman's first port where PORT is not set.
DEFAULT_BASE_PORT = 5000
# A process type of this name is a build that runs once, before the others.
RELEASE = "release"


@dataclass(frozen=True, slots=True)
class Process:
    """One line of a Procfile."""

    name: str
    command: str
    line: int


@dataclass(frozen=True, slots=True)
class Procfile:
    """A Procfile's lines, in their order, and what is wrong with others of them."""

    text: Text
    processes: tuple[Process, ...]
    problems: tuple[Problem, ...] = ()

    @property
    def services(self) -> tuple[Process, ...]:
        """All of them but the release."""
        return tuple(process for process in self.processes if process.name != RELEASE)

    @property
    def release(self) -> Process | None:
        """What runs once, before the others."""
        return next((process for process in self.processes if process.name == RELEASE), None)


def read_procfile(path: Path, label: str) -> Procfile:
    """A Procfile; a ConfigError if it cannot be read at all."""
    text = read_text(path, label, allow_bom=True)
    processes: dict[str, Process] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.lines, 1):
        line = line.strip(" \t\r")  # noqa: PLW2901 - the same line, without its ends
        if not line or line.startswith("#"):
            continue
        found = _parse_line(line)
        if found is None:
            problems.append(text.problem('not a line of a Procfile; expected "name: command"', number))
        elif found[0] in processes:
            before = processes[found[0]].line
            problems.append(text.problem(f'"{found[0]}" is there already, in line {before}', number, 1, len(found[0])))
        elif wrong := _name_problems(text, found[0], number):
            problems += wrong
        else:
            processes[found[0]] = Process(*found, number)
    if not processes and not problems:
        problems.append(text.problem('no process here; expected lines such as "web: command"', 1, 1, 1))
    return Procfile(text, tuple(processes.values()), tuple(problems))


def _parse_line(line: str) -> tuple[str, str] | None:
    """Name and command as honcho reads them; None where it would drop the line, or a part of it."""
    from honcho.environ import parse_procfile  # noqa: PLC0415 - most projects have no Procfile

    if "\0" in line or len(line.splitlines()) != 1:
        return None
    return next(iter(parse_procfile(line).processes.items()), None)


def is_process_name(name: str) -> bool:
    """Whether a line of a Procfile may have this name; room is left for the ".100" of an instance."""
    return is_name(name, most=MAX_NAME_CHARS - 4)


def _name_problems(text: Text, name: str, line: int) -> list[Problem]:
    """honcho takes a few names that nothing else here does."""
    if is_process_name(name):
        return []
    message = f"a name begins with a letter or digit and has at most {MAX_NAME_CHARS - 4} characters"
    return [text.problem(message, line, 1, len(name))]


def ports(procfile: Procfile, counts: Mapping[str, int], base_port: int) -> dict[str, tuple[int, ...]]:
    """The port of each process of each type. They are foreman's, and do not depend on which types are wanted."""
    from honcho.environ import expand_processes  # noqa: PLC0415 - most projects have no Procfile

    commands = {process.name: process.command for process in procfile.processes}
    found: dict[str, tuple[int, ...]] = dict.fromkeys(commands, ())
    counted = {name: count for name, count in counts.items() if name in commands}
    for params in expand_processes(commands, concurrency=counted, port=base_port):
        kind = params.name.rpartition(".")[0]
        port = int(params.env["PORT"])
        if port > MAX_PORT:
            line = next(process.line for process in procfile.processes if process.name == kind)
            message = f'"{kind}" would get the port {port}; PORT is {base_port}, and {MAX_PORT} is the last'
            raise ConfigError((procfile.text.problem(message, line, 1, len(kind)),))
        found[kind] = (*found[kind], port)
    return found


def base_port(written: str | None) -> int | None:
    """Where the ports of processes begin, by the value of PORT; None if that is no port."""
    if written is None:
        return DEFAULT_BASE_PORT
    if not (written.isascii() and written.isdigit() and 1 <= int(written[:6]) <= MAX_PORT):
        return None
    return int(written)
