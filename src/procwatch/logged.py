"""Which units' logs are meant by names: known from the log files themselves, and from the project as last started.

Rule 1: a watch.toml that is wrong or has gone keeps nobody from the logs. It is read only for a name that is unknown
        without it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from procwatch.config.find import FOLDER, here
from procwatch.config.recall import Request, declared, last_project
from procwatch.core import names
from procwatch.core.model import Project
from procwatch.errors import ProcwatchError, UsageError, printable
from procwatch.frozen import frozen

_FILE = re.compile(r"((?:build|service)\..+)\.log(?:\.[0-9]+)?")


@frozen
class Logged:
    """`folder`: where the log files are. `project`: None if nothing is known of it. `units`: whose logs are meant."""

    folder: Path
    project: Project | None
    units: tuple[str, ...]

    def is_kept(self, unit: str) -> bool:
        """Whether it is to have a log file."""
        return self.project is None or unit not in self.project.units or self.project.units[unit].log is not None


def logged(words: tuple[str, ...], file: Path | None) -> Logged:
    """The logs that are meant; without `words` all there are. UsageError for a name that nothing has."""
    request = Request(here(), file, os.environ)
    folder = _folder(request)
    project = last_project(request)
    found = units_in(folder)
    if not words:
        known = [] if project is None else list(project.units)
        return Logged(folder, project, tuple(dict.fromkeys([*known, *found])))
    try:
        return Logged(folder, project, _named(words, found, project))
    except UsageError:
        project = _declared(request) or project
        return Logged(folder, project, _named(words, found, project))


def unit_of(file: str) -> str | None:
    """The unit whose log a file is, by its name."""
    match = _FILE.fullmatch(file)
    return match[1] if match else None


def units_in(folder: Path) -> list[str]:
    """The units that have log files, by their names. ProcwatchError where that cannot be seen."""
    try:
        files = os.listdir(folder)  # noqa: PTH208 - pathlib takes longer
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise ProcwatchError(f"{folder} cannot be read: {os.strerror(error.errno or 0).lower()}") from error
    return sorted({unit for file in files if (unit := unit_of(file))})


def _folder(request: Request) -> Path:
    """Beside the watch.toml; where that has gone, the nearest that is there."""
    try:
        return request.path.parent / FOLDER / "logs"
    except UsageError:
        start = request.start.absolute()
        for folder in (start, *start.parents):
            if (folder / FOLDER / "logs").is_dir():
                return folder / FOLDER / "logs"
        raise


def _declared(request: Request) -> Project | None:
    try:
        return declared(request).project
    except ProcwatchError:
        return None


def _named(words: Iterable[str], found: list[str], project: Project | None) -> tuple[str, ...]:
    chosen: dict[str, None] = {}
    for word in words:
        own = [unit for unit in found if word in (unit, unit.partition(".")[2])]
        try:
            known = names.units(project, (word,)) if project else ()
        except UsageError:
            if not own:
                raise
            known = ()
        if not own and not known:
            raise UsageError(_unknown(word, found))
        chosen.update(dict.fromkeys((*known, *own)))
    return tuple(chosen)


def _unknown(word: str, found: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only needed when something is wrong

    shorts = list(dict.fromkeys(unit.partition(".")[2] for unit in found))
    near = get_close_matches(word, [*shorts, *found], n=1)
    told = f'did you mean "{near[0]}"?' if near else f"there are those of: {', '.join(shorts) or 'nothing'}"
    return f'there is no log of "{printable(word)}"; {told}'
