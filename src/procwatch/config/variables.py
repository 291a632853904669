"""What `${NAME}` stands for while a file is loaded: procwatch's environment, project.env, the project's env files.

Rule 1: a value of project.env is expanded once, after the others that it uses; one that the name of an env file uses is
expanded before that file is read, and stays so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from procwatch.config.check import Findings, inside
from procwatch.config.dollar import KnownFaultError, expand_text, names_in
from procwatch.config.env_file import read_env_file
from procwatch.config.environment import DEFAULT_ENV_FILE
from procwatch.config.locate import KeyPath
from procwatch.config.source import Document
from procwatch.config.witness import is_there
from procwatch.core import graph
from procwatch.errors import ConfigError, Problem

_ENV = ("project", "env")
_ENV_FILE = ("project", "env_file")


class Variables:
    """The variables of a project; what is wrong with project.env and project.env_file is reported while they are made.

    `env_files` are the project's, relative to its folder; `read` are those that are there. `asked_files`: some variable
    was looked for in them, found or not. `expanded` are the values of
    project.env and project.env_file that need no more expanding, by their place in the document.
    """

    def __init__(self, document: Document, folder: Path, environ: Mapping[str, str], findings: Findings) -> None:
        project = document.get("project", {})
        table: Document = project if isinstance(project, dict) else {}
        env = table.get("env", {})
        self.env_files: tuple[str, ...] = ()
        self.read: tuple[Path, ...] = ()
        self.asked_files = False
        self.expanded: dict[KeyPath, object] = {}
        self._folder = folder
        self._environ = environ
        self._findings = findings
        self._written: Document = env if isinstance(env, dict) else {}
        self._edges = {
            name: tuple(
                used for used in names_in(value) if used in self._written.keys() - {name} and used not in environ
            )
            for name, value in self._written.items()
            if isinstance(value, str)
        }
        self._project: dict[str, str] = {}
        self._files: dict[str, str] = {}
        # Names whose values have faults, and whether there may be names that are not known, for the same reason.
        self._faulty = {name for name in self._written if name not in self._edges}
        self._is_partial = findings.lacks_layer or project is not table or env is not self._written
        self._break_cycles()
        self._read_files(table)
        self._expand_env(self._edges)

    def lookup(self, name: str) -> str | None:
        """The value of a variable, None if it is not set; a KnownFaultError if a fault hides it."""
        if name in self._environ:
            value = self._environ[name]
            if not is_unicode(value):
                raise ValueError(f'the value of "${{{name}}}" in the environment is not UTF-8; set it to text')
            return value
        if name in self._project:
            return self._project[name]
        if name in self._faulty or (self._is_partial and name not in self._files):
            raise KnownFaultError
        self.asked_files = True
        return self._files.get(name)

    @property
    def port(self) -> str | None:
        """PORT as foreman sees it: the env file's comes first."""
        self.asked_files = True
        layers = (self._files, self._environ, self._project)
        return next((values["PORT"] for values in layers if "PORT" in values), None)

    def _break_cycles(self) -> None:
        while around := graph.cycle(self._edges):
            path = (*_ENV, around[0])
            self._findings.fault(path, f"{inside(path)}: needs itself: {' -> '.join(around)}")
            for name in around[:-1]:
                del self._edges[name]
                self._keep(_ENV, name, self._written[name])

    def _read_files(self, table: Document) -> None:
        """Read the files of project.env_file, the later one wins; the default one is read if it is there."""
        named = table.get("env_file")
        if named is None:
            self.env_files = (DEFAULT_ENV_FILE,)
            if is_there(self._folder / DEFAULT_ENV_FILE):
                self._read(DEFAULT_ENV_FILE, _ENV_FILE)
        elif not isinstance(named, list):
            self._is_partial = True
        for index, name in enumerate(named if isinstance(named, list) else ()):
            self._expand_env(names_in(name) if isinstance(name, str) else ())
            value = self._expand(_ENV_FILE, index, name) if isinstance(name, str) else None
            if value:
                self.env_files = (*self.env_files, value)
                self._read(value, (*_ENV_FILE, index))
            else:  # what is wrong is told by now, or will be where its type is checked
                self._is_partial = True

    def _read(self, name: str, path: KeyPath) -> None:
        values = read_or_report(self._folder, name, lambda said: self._findings.fault(path, said), self._findings)
        self._is_partial |= values is None
        self._files |= values or {}
        self.read = (*self.read, self._folder / name)

    def _expand_env(self, names: Iterable[str]) -> None:
        """Expand values of project.env, after those that they use."""
        wanted = graph.closure(self._edges, names)
        for name in graph.order({name: used for name, used in self._edges.items() if name in wanted}):
            if name in self._edges and (*_ENV, name) not in self.expanded:
                value = self._expand(_ENV, name, str(self._written[name]))
                if value is not None:
                    self._project[name] = value

    def _expand(self, table: KeyPath, key: str | int, written: str) -> str | None:
        """One value, expanded for good; None if it has a fault, which is reported."""
        path = (*table, key)
        try:
            self.expanded[path] = value = expand_text(written, self.lookup)
        except ValueError as error:
            self._findings.fault(path, None if isinstance(error, KnownFaultError) else f"{inside(path)}: {error}")
            self._keep(table, key, written)
            return None
        return value

    def _keep(self, table: KeyPath, key: str | int, written: object) -> None:
        """Leave a value that has a fault as it is, and its uses unreported."""
        self._findings.fault((*table, key), None)
        self.expanded[(*table, key)] = written
        if table == _ENV:
            self._faulty.add(str(key))


def is_unicode(text: str) -> bool:
    """Whether a text from the system was UTF-8: a TOML file holds nothing else."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


def replaced(start: Path, folder: Path, asked: tuple[str, ...]) -> list[str]:
    """The files of -e, which are relative to where procwatch was called, as they are written in project.env_file."""
    for name in asked:
        try:
            read_env_file(start / name, name)
        except ConfigError as error:
            # What is wrong inside has its place; what is wrong with the file is the command line's fault.
            problems = [p if p.location else Problem(f"-e {p.message}") for p in error.problems]
            raise ConfigError(tuple(problems)) from None
    return [os.path.relpath(start / name, folder).replace("$", "$$") for name in asked]


def read_or_report(folder: Path, name: str, report: Callable[[str], None], findings: Findings) -> dict[str, str] | None:
    """What an env file holds; None if it is wrong: `report` is told why it cannot be read, `findings` of its lines."""
    try:
        return read_env_file(folder / name, name)
    except ConfigError as error:
        for problem in error.problems:
            if problem.location is None:
                report(f"env_file: {problem.message}")
            else:
                findings.add(problem)
        return None
