"""The environment of a command, and the variables in commands that are lists.

Rule 1: highest first: assigned by procwatch, the table's `env`, its env files, procwatch's own environment,
`project.env`, the project's env files, and lowest of all what keeps colours on a terminal.
Rule 2: env files are read anew each time, so that an edited one counts at the next run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from procwatch.config.dollar import expand
from procwatch.core.model import Command, Project, Unit
from procwatch.errors import ProcwatchError

# Read for every project, but it need not be there.
DEFAULT_ENV_FILE = ".env"

# Output goes through a pipe, where most tools drop their colours unless told otherwise.
COLOUR_VARIABLES = {"FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "CARGO_TERM_COLOR": "always", "PY_COLORS": "1"}


def read_project_env_files(folder: Path, files: tuple[str, ...]) -> dict[str, str]:
    """The variables of the project's env files, the later one wins; the default one may be missing."""
    values: dict[str, str] = {}
    for name in files:
        path = folder / name
        if name != DEFAULT_ENV_FILE or os.path.lexists(path):
            values |= _read(path, name)
    return values


def read_own_env_files(folder: Path, unit: Unit) -> dict[str, str]:
    """The variables of a unit's own env files; a ConfigError if one cannot be read."""
    values: dict[str, str] = {}
    for name in unit.env_files:
        values |= _read(folder / name, name)
    return values


def compose(
    project: Project, unit: Unit, inherited: Mapping[str, str], assigned: Mapping[str, str], *, terminal: bool
) -> dict[str, str]:
    """The whole environment of a command of `unit`; a ConfigError if an env file cannot be read.

    `inherited` is procwatch's own environment, `assigned` what procwatch itself sets (PROCWATCH_*, PORT), `terminal`
    whether the output ends up on a terminal. NO_COLOR from anywhere keeps the colour variables out.
    """
    folder = Path(project.folder)
    own = read_own_env_files(folder, unit)
    values = read_project_env_files(folder, project.env_files)
    values |= {**project.env, **inherited, **own, **unit.env, **assigned}
    if terminal and not values.get("NO_COLOR"):
        values = COLOUR_VARIABLES | values
    return values


def _read(path: Path, name: str) -> dict[str, str]:
    from procwatch.config.env_file import read_env_file  # noqa: PLC0415 - many projects have no env file

    return read_env_file(path, name)


def expand_command(command: Command, env: Mapping[str, str]) -> Command:
    """A list with its variables replaced; a string is the shell's business. Raises if a variable is not set."""
    if isinstance(command, str):
        return command
    try:
        return tuple(str(expand(part, env.get)) for part in command)
    except ValueError as error:
        raise ProcwatchError(f"{shorten(command)}: {error}") from None


def shorten(command: tuple[str, ...], max_chars: int = 60) -> str:
    """A command as it may stand in a message."""
    line = " ".join(command)
    return line if len(line) <= max_chars else f"{line[:max_chars]}..."
