"""What `${NAME}` stands for while a file is loaded: procwatch's environment, project.env, the project's env files.

Rule 1: a value of project.env may use procwatch's environment, the env files, and what stands before it; the name of an
env file only procwatch's environment.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from procwatch.config.check import Findings
from procwatch.config.environment import DEFAULT_ENV_FILE
from procwatch.config.expand import expand
from procwatch.config.locate import KeyPath
from procwatch.config.procfile import read_env_file
from procwatch.config.source import Document
from procwatch.errors import ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Variables:
    """`env_files` are the project's, relative to its folder; `read` are those that are there."""

    environ: Mapping[str, str]
    project: Mapping[str, str]
    files: Mapping[str, str]
    env_files: tuple[str, ...]
    read: tuple[Path, ...]

    def lookup(self, name: str) -> str | None:
        """The value of a variable, None if it is not set."""
        return next((values[name] for values in (self.environ, self.project, self.files) if name in values), None)

    @property
    def port(self) -> str | None:
        """PORT as foreman sees it: the env file's comes first."""
        return next((values["PORT"] for values in (self.files, self.environ, self.project) if "PORT" in values), None)


def gather(document: Document, folder: Path, environ: Mapping[str, str], findings: Findings) -> Variables:
    """The variables of a project."""
    table = document.get("project")
    project = table if isinstance(table, dict) else {}
    named = project.get("env_file")
    env_files: tuple[str, ...] = (DEFAULT_ENV_FILE,)
    if isinstance(named, list):
        env_files = tuple(_expanded(name, environ) for name in named if isinstance(name, str))
    files: dict[str, str] = {}
    read: list[Path] = []
    for index, name in enumerate(env_files):
        # The default one is read if it is there; one that is named must be.
        if named is not None or os.path.lexists(folder / name):
            files |= read_or_report(folder, name, ("project", "env_file", index), findings)
            read.append(folder / name)
    own = _project_env(project.get("env"), environ, files)
    return Variables(environ, own, files, env_files, tuple(read))


def replaced(start: Path, folder: Path, asked: tuple[str, ...]) -> list[str]:
    """The files of -e, which are relative to where procwatch was called, as they are called from the folder."""
    for name in asked:
        try:
            read_env_file(start / name, name)
        except ConfigError as error:
            # What is wrong inside has its place; what is wrong with the file is the command line's fault.
            problems = [p if p.location else Problem(f"-e {p.message}") for p in error.problems]
            raise ConfigError(tuple(problems)) from None
    return [os.path.relpath(start / name, folder) for name in asked]


def read_or_report(folder: Path, name: str, path: KeyPath, findings: Findings) -> dict[str, str]:
    """What an env file holds that is named at `path`; nothing if it is wrong, which is reported."""
    try:
        return read_env_file(folder / name, name)
    except ConfigError as error:
        for problem in error.problems:
            if problem.location is None:
                findings.report(path, f"env_file: {problem.message}")
            else:
                findings.add(problem)
        return {}


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    try:
        return expand(text, environ.get)
    except ValueError:  # told when the whole document is expanded
        return text


def _project_env(table: object, environ: Mapping[str, str], files: Mapping[str, str]) -> dict[str, str]:
    """project.env with its own variables replaced, in the order in which it is written."""
    values: dict[str, str] = {}
    for name, value in table.items() if isinstance(table, dict) else ():
        if isinstance(value, str):
            try:
                values[name] = expand(value, lambda key: environ.get(key, values.get(key, files.get(key))))
            except ValueError:  # told when the whole document is expanded
                continue
    return values
