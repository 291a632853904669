"""From a folder to a Project: find the files, read, merge, expand, check and translate them.

Rule 1: all problems are told at once, sorted by their place; only of a watch.toml that is not TOML at all nothing more
is told, and beside such a watch.local.toml only what is wrong with each key of watch.toml.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from procwatch.config import include
from procwatch.config.check import EnoughError, Findings, check, inside
from procwatch.config.expand import expand_document
from procwatch.config.find import PROCFILE, find, is_procfile
from procwatch.config.layers import UNIT_KINDS, Layers, long_form, overlay
from procwatch.config.locate import KeyPath
from procwatch.config.patterns import check_patterns
from procwatch.config.procfile import Procfile, read_procfile
from procwatch.config.replicas import replicas
from procwatch.config.resolve import Names, check_groups
from procwatch.config.schema import WatchToml
from procwatch.config.scope import Scope
from procwatch.config.source import Document, Source, read_toml
from procwatch.config.translate import translate
from procwatch.config.understood import at_home, effective, filled
from procwatch.config.values import is_name
from procwatch.config.variables import Variables, replaced
from procwatch.config.witness import Answer, Environ, Question, is_file, is_there, witnessed
from procwatch.core.model import Project
from procwatch.errors import ConfigError, Problem

_PROCFILE_KEY = ("project", "procfile")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A project and what it was made from.

    A change of one of `files` can change the project: they have been read, or would have been. `document` is watch.toml
    as understood, with every default, `expanded` the same with its variables replaced. `answers` are those of the disk
    and the environment.
    """

    project: Project
    warnings: tuple[Problem, ...]
    files: tuple[Path, ...]
    document: Document
    expanded: Document
    layers: Layers
    answers: Mapping[Question, Answer] = field(default_factory=dict)

    def problem(self, path: KeyPath, message: str) -> Problem:
        """What turns out to be wrong with a key only when the project is run."""
        return self.layers.problem(path, message)


@dataclass(frozen=True, slots=True)
class _Request:
    """What the command line asks for."""

    start: Path
    environ: Mapping[str, str]
    env_files: tuple[str, ...]
    concurrency: str | None

    def label(self, path: Path) -> str:
        """How messages call a file: as it can be opened from here."""
        return os.path.relpath(path, self.start)


def load(
    start: Path,
    *,
    file: Path | None = None,
    environ: Mapping[str, str],
    env_files: tuple[str, ...] = (),
    concurrency: str | None = None,
) -> Loaded:
    """The project of a folder, or of the one above that has a watch.toml; a ConfigError with all that is wrong.

    `file` is -f (a watch.toml or a Procfile), `env_files` -e, which replace those of the project, `concurrency` -c.
    """
    start = start.absolute()
    request = _Request(start, Environ(environ), env_files, concurrency)
    path = find(start) if file is None else start / file
    with witnessed() as answers:
        if is_procfile(path):
            loaded = _load(request, path.parent, Findings(Layers(())), {"project": {"procfile": path.name}})
        else:
            loaded = _load(request, path.parent, _read(request, path))
            files = (path, local_of(path), *loaded.files)
            loaded = replace(loaded, files=tuple(dict.fromkeys(files)))
    return replace(loaded, answers=answers)


def local_of(path: Path) -> Path:
    """The watch.local.toml that belongs to a watch.toml, whether it is there or not."""
    return path.with_name(f"{path.stem}.local{path.suffix}")


def _read(request: _Request, path: Path) -> Findings:
    """watch.toml, the watch.local.toml beside it if there is one, and what they include: the lowest layer comes first.

    With what is wrong where one is not TOML, or not to be included.
    """
    local = local_of(path)
    sources: list[Source] = []
    problems: list[Problem] = []
    for each in (path, local) if is_there(local) else (path,):
        try:
            sources.append(read_toml(each, request.label(each)))
        except ConfigError as error:
            problems += error.problems
    if not any(source.path == path for source in sources):
        raise ConfigError(tuple(problems))
    own = Findings(Layers(tuple(sources)))
    listed = _included(own.layers)
    below, wrong = include.read_all(include.parts(path.parent, listed, own), request.label)
    problems += [*own.problems, *wrong]
    layers = Layers((*below, *sources))
    return Findings(layers, dict.fromkeys(problems), warnings=own.warnings, lacks_layer=bool(problems))


def _included(layers: Layers) -> list[object]:
    """What `project.include` lists, in the topmost file that has it; what it must be is checked with all other keys."""
    found: object = []
    for source in layers.sources:
        found = _tables(source.document.get("project")).get("include", found)
    return found if isinstance(found, list) else []


def _load(request: _Request, folder: Path, findings: Findings, document: Document | None = None) -> Loaded:
    """Everything after reading; `document` is what stands for a Procfile without a watch.toml."""
    document = document or {}
    for source in findings.layers.sources:
        document = dict(_tables(overlay(document, long_form(source.document))))
    try:
        return _understand(request, folder, document, findings)
    except EnoughError:
        findings.notes.append("there may be more problems; mend these first")
        raise _config_error(findings) from None


def _config_error(findings: Findings) -> ConfigError:
    """All problems in the order of their places; what has none comes last."""

    def place(problem: Problem) -> tuple[bool, str, int, int]:
        where = problem.location
        return (True, "", 0, 0) if where is None else (False, where.file, where.line, where.column)

    return ConfigError(tuple(sorted(findings.problems, key=place)), tuple(findings.notes))


def _tables(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def _understand(request: _Request, folder: Path, document: Document, findings: Findings) -> Loaded:
    """From a merged document to a project; a ConfigError if anything was found wrong."""
    if request.env_files:
        project = _tables(document.get("project"))
        document = document | {"project": project | {"env_file": replaced(request.start, folder, request.env_files)}}
    variables = Variables(document, folder, request.environ, findings)
    expanded, right = _expand_and_check(document, variables, findings)
    if findings.lacks_layer:
        findings.notes.append("there may be more problems; what the files mean together could not be checked")
        raise _config_error(findings)
    procfile = _procfile(request, folder, right, findings)
    parsed = WatchToml.model_validate(effective(right, procfile))
    is_partial = _is_partial(procfile, findings)
    copies = replicas(request.concurrency, parsed.service, procfile, variables, findings, is_partial=is_partial)
    groups = dict.fromkeys(_names((), "groups", findings), ()) | {name: tuple(of) for name, of in parsed.groups.items()}
    builds, services = (_names(getattr(parsed, kind), kind, findings) for kind in UNIT_KINDS)
    folders = include.folder_groups(findings.layers, {*groups, *builds, *services})
    groups |= folders
    names = Names(builds, services, groups, copies.names, is_partial)
    scope = Scope(folder, check_groups(names, findings), findings, copies.of)
    check_patterns(parsed, folder, findings)
    made = translate(parsed, scope, variables.env_files)
    if findings.problems:
        raise _config_error(findings)
    facts: Document = {"name": made.name if is_name(made.name) else None, "jobs": made.jobs}
    # A default one that is not there may come later: then it must not be named.
    facts |= {"env_file": list(made.env_files)} if variables.read else {}
    whole, all_expanded = (
        at_home(filled(effective(_with(each, folders), procfile), facts), made, findings.layers)
        for each in (document, expanded)
    )
    files = [source.path for source in findings.layers.sources if source.home]
    files += [procfile.text.path] if procfile else []
    files += [folder / name for name in variables.env_files] if variables.asked_files else []
    warnings = _warnings(made, folder, procfile, findings)
    return Loaded(made, warnings, tuple(files), whole, all_expanded, findings.layers)


def _with(document: Document, groups: Mapping[str, tuple[str, ...]]) -> Document:
    """The document with further groups."""
    further = {name: list(members) for name, members in groups.items()}
    return document | {"groups": _tables(document.get("groups")) | further} if groups else document


def _expand_and_check(document: Document, variables: Variables, findings: Findings) -> tuple[Document, Document]:
    """The document with its variables replaced, and the part of it that is right."""
    expanded, faults = expand_document(document, variables.lookup, variables.expanded)
    for path, message in faults:
        findings.fault(path, message and f"{inside(path)}: {message}")
    return expanded, check(expanded, findings)


def _names(known: Iterable[str], kind: str, findings: Findings) -> dict[str, None]:
    """The names of a kind: also of tables of which nothing is right, so that their uses are not told to be wrong."""
    wrong = (path for path in findings.broken if len(path) == 2 and path[0] == kind)
    return dict.fromkeys((*known, *(str(path[1]) for path in wrong)))


def _procfile(request: _Request, folder: Path, document: Document, findings: Findings) -> Procfile | None:
    """The Procfile that the project names. Where it cannot be read, the key is marked as broken."""
    name = _tables(document.get("project")).get("procfile")
    if not isinstance(name, str):
        return None
    try:
        procfile = read_procfile(folder / name, request.label(folder / name))
    except ConfigError as error:
        findings.broken.add(_PROCFILE_KEY)
        for problem in error.problems:
            if problem.location is None and findings.layers.sources:
                findings.report(_PROCFILE_KEY, f"procfile: {problem.message}")
            else:
                findings.add(problem)
        return None
    for problem in procfile.problems:
        findings.add(problem)
    return procfile


def _is_partial(procfile: Procfile | None, findings: Findings) -> bool:
    """Whether a Procfile is meant whose names are not known."""
    return procfile is None and not findings.broken.isdisjoint((_PROCFILE_KEY, _PROCFILE_KEY[:1]))


def _warnings(project: Project, folder: Path, procfile: Procfile | None, findings: Findings) -> tuple[Problem, ...]:
    """What is allowed but probably not meant."""
    if not project.services and procfile is None and is_file(folder / PROCFILE):
        message = 'no service here, and the Procfile beside it is not read; [project] procfile = "Procfile" takes it in'
        return (*findings.warnings, findings.layers.problem((), message))
    return tuple(findings.warnings)
