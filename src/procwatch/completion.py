"""The names that a shell offers for a word that is being typed.

Rule 1: whatever is wrong (no watch.toml, one with errors), nothing is offered and nothing is told.
Rule 2: the project is recalled if nothing has changed since the last start; else it is read, which takes longer.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from procwatch.config.find import here
from procwatch.config.recall import Request, declared
from procwatch.core.model import Project


def services(context: Any, parameter: Any, begun: str) -> list[str]:
    """Services and groups; builds only by their full names, as `start` takes them. As click calls it."""
    project = _project(context)
    return _fitting([*_short(project.services), *project.groups], project, context, parameter, begun) if project else []


def builds(context: Any, parameter: Any, begun: str) -> list[str]:
    """Builds."""
    project = _project(context)
    return _fitting(_short(project.builds), project, context, parameter, begun) if project else []


def units(context: Any, parameter: Any, begun: str) -> list[str]:
    """Builds, services and groups."""
    project = _project(context)
    return _fitting([*_short(project.units), *project.groups], project, context, parameter, begun) if project else []


def _project(context: Any) -> Project | None:
    """The project that is meant; None if there is none, or it cannot be read."""
    with suppress(Exception):
        file: Path | None = context.find_root().obj
        return declared(Request(here(), file, os.environ)).project
    return None


def _short(names: Iterable[str]) -> list[str]:
    return [name.partition(".")[2] for name in names]


def _fitting(names: Iterable[str], project: Project, context: Any, parameter: Any, begun: str) -> list[str]:
    """Those that begin so, and are not on the command line yet; full names as soon as their kind is typed."""
    given = context.params.get(parameter.name) or ()
    found = dict.fromkeys(names)
    if begun.startswith(("build.", "service.")):
        found = dict.fromkeys(project.units)
    return [name for name in found if name.startswith(begun) and name not in given]
