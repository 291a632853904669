"""Check that the working folders and env files of builds and services are there: a start would only find out later."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from procwatch.config.check import Findings
from procwatch.config.home import path as at_home
from procwatch.config.layers import Layers
from procwatch.config.locate import KeyPath
from procwatch.config.resolve import Names
from procwatch.config.schema import UnitTable, WatchToml
from procwatch.config.variables import read_or_report
from procwatch.config.witness import is_folder, is_there
from procwatch.core import graph


def check_files(file: WatchToml, folder: Path, names: Names, needs: graph.Edges, findings: Findings) -> None:
    """Report what is missing; where a needed build may make it first, that is only a warning."""

    def is_made_first(path: KeyPath) -> bool:
        own = names.find(".".join(map(str, path)))
        return any(name.startswith("build.") for name in graph.closure(needs, own) - {*own})

    for path, table in _tables(file):
        if (wrong := _folder_fault(folder / home_dir(findings.layers, path, table.dir))) is not None:
            if wrong == _MISSING and is_made_first(path):
                findings.warn((*path, "dir"), f'dir "{table.dir}" {wrong} yet; a build that is needed must make it')
            else:
                findings.report((*path, "dir"), f'dir "{table.dir}" {wrong}')
        home = findings.layers.home((*path, "env_file"))
        for index, written in enumerate(table.env_file):
            where, name = (*path, "env_file", index), at_home(home, written)
            if not is_there(folder / name) and is_made_first(path):
                findings.warn(where, f"env_file: {name}: {_MISSING} yet; a build that is needed must make it")
            else:
                read_or_report(folder, name, partial(findings.report, where), findings)


def home_dir(layers: Layers, path: KeyPath, written: str) -> str:
    """The working folder of a build or service; by default that of the file that declares it."""
    where = (*path, "dir")
    return at_home(layers.home(where) if layers.has(where) or written != "." else layers.first_home(path), written)


_MISSING = "does not exist"


def _tables(file: WatchToml) -> Iterator[tuple[KeyPath, UnitTable]]:
    yield from ((("build", name), table) for name, table in file.build.items())
    yield from ((("service", name), table) for name, table in file.service.items())


def _folder_fault(folder: Path) -> str | None:
    """What is wrong with a working folder."""
    try:
        return None if is_folder(folder) else "is not a folder" if is_there(folder) else _MISSING
    except OSError as error:
        return f"cannot be read: {os.strerror(error.errno or 0).lower()}"
