"""The project that `start` runs: read from its files, or recalled from what the last start has made of them.

Rule 1: what is recalled is what a load would give: if any answer of the disk or the environment is another, or anything
is in doubt (another version, a file that is damaged or not ours), the files are read.
Rule 2: a memory is plain data, and only the classes of `core.model` and of problems are made from it.
Rule 3: pydantic, and all that reads and checks files, is imported only where they are read.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from procwatch import __version__, config
from procwatch.config.find import FOLDER, find, is_procfile
from procwatch.config.witness import Answer, Environ, Question, ask_again, witnessed
from procwatch.core import model
from procwatch.errors import Location, Problem, UsageError
from procwatch.frozen import frozen
from procwatch.sums import blake2b

# Where the project is remembered, inside of `.procwatch`.
MEMORY = "project.json"
# A larger one takes longer to recall than it is worth, and is probably none of ours.
_MAX_BYTES = 16 * 1024 * 1024
_CLASSES: Mapping[str, type] = {
    each.__name__: each
    for each in (
        *(model.Project, model.Build, model.Service, model.WatchSettings, model.Need, model.StopPolicy),
        *(model.RestartPolicy, model.LogPolicy, model.ProbeTiming, model.Health, model.HttpProbe, model.TcpProbe),
        *(model.Listener, model.RunProbe, model.LogProbe, model.NotifyProbe, model.DelayProbe, Problem, Location),
    )
}
# How data tells a mapping from one of the classes.
_MAPPING = "{}"


@frozen
class Request:
    """What the command line asks to be read, as `config.load.load` takes it."""

    start: Path
    file: Path | None
    environ: Mapping[str, str]
    env_files: tuple[str, ...] = ()
    concurrency: str | None = None

    @property
    def path(self) -> Path:
        """The watch.toml or Procfile; a UsageError if there is none."""
        start = self.start.absolute()
        return find(start) if self.file is None else start / self.file


@frozen
class Declared:
    """A project, what to warn of, and the files that it was read from, or would have been if they were there.

    `answers` is what it depends on. `is_recalled`: it need not be remembered.
    """

    project: model.Project
    warnings: tuple[Problem, ...]
    files: tuple[Path, ...]
    answers: Mapping[Question, Answer]
    is_recalled: bool = False


def declared(request: Request) -> Declared:
    """The project, from memory if nothing has changed; a ConfigError as of `load`."""
    return _recall(request) or _read_alone(request) or _read(request)


def last_project(request: Request) -> model.Project | None:
    """The project as the last start has read it, whatever has changed since; None if that is not known.

    It says what is called how, and is not to be run.
    """
    # Whatever is wrong with it: it is only a memory.
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError, UsageError):
        _, _, content = _lines(request.path.parent / FOLDER / MEMORY)
        project = _made(json.loads(content))[0]
        return project if isinstance(project, model.Project) else None
    return None


def read_again(request: Request, before: Declared) -> Declared | None:
    """The project of now; None if nothing that it depends on is another. A ConfigError as of `load`."""
    if ask_again(before.answers, request.environ) == before.answers:
        return None
    return _read(request)


def problem(request: Request, path: tuple[str, ...], message: str) -> Problem:
    """What turns out to be wrong with a key only when the project is run, with its place, for which it is read."""
    found: Problem = _load(request).problem(path, message)
    return found


def _read(request: Request) -> Declared:
    loaded = _load(request)
    return Declared(loaded.project, loaded.warnings, loaded.files, loaded.answers)


def _read_alone(request: Request) -> Declared | None:
    """A Procfile by itself, where nothing is wrong with it."""
    if not is_procfile(request.path) or request.env_files or request.concurrency is not None:
        return None
    from procwatch.config.alone import read_alone  # noqa: PLC0415 - see rule 3

    with witnessed() as answers:
        found = read_alone(request.path, Environ(request.environ))
    return found and Declared(found[0], (), found[1], answers)


def _load(request: Request) -> Any:
    from procwatch.config.load import load  # noqa: PLC0415 - see rule 3

    return load(
        request.start, file=request.file, environ=request.environ, env_files=request.env_files,
        concurrency=request.concurrency,
    )  # fmt: skip


def _recall(request: Request) -> Declared | None:
    """What is remembered, if it is what a load would give now."""
    memory = request.path.parent / FOLDER / MEMORY
    # Whatever is wrong with it, a load is as good.
    with suppress(OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
        seal, questions, content = _lines(memory)
        answers = ask_again([(kind, subject) for kind, subject in json.loads(questions)], request.environ)
        if seal == _seal(request, answers, content):
            project, warnings, files = _made(json.loads(content))
            return Declared(project, warnings, tuple(map(Path, files)), answers, is_recalled=True)
    return None


def _lines(memory: Path) -> tuple[str, bytes, bytes]:
    """The three lines of a memory. One that others can write to is none: it says what is run."""
    with os.fdopen(os.open(memory, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        about = os.fstat(file.fileno())
        is_ours = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid() and not about.st_mode & 0o077
        if not is_ours or about.st_size > _MAX_BYTES:
            raise ValueError("not a memory")
        seal, questions, content = file.read().splitlines()
    return seal.decode(), questions, content


def remember(request: Request, known: Declared) -> None:
    """Write what the next start may recall, whole or not at all; where it cannot be written, that is no loss.

    The folder `.procwatch` must be there, and nobody else may be doing the same: whoever calls this has the lock.
    """
    folder = Path(known.project.folder) / FOLDER
    if known.is_recalled:
        return
    content = _text((known.project, known.warnings, tuple(map(str, known.files))))
    questions = json.dumps(list(known.answers)).encode()
    seal = _seal(request, known.answers, content).encode()
    draft = folder / f"{MEMORY}.new"
    with suppress(OSError):
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(b"\n".join((seal, questions, content)))
        draft.replace(folder / MEMORY)


def _seal(request: Request, answers: Mapping[Question, Answer], content: bytes) -> str:
    """A sum over all that a project depends on, and over what is remembered of it."""
    asked = [str(request.start.absolute()), str(request.path), request.env_files, request.concurrency]
    program = [__version__, sys.version, sys.platform, os.cpu_count(), *_program()]
    total = blake2b(json.dumps([asked, program, list(answers.items())]).encode(), digest_size=16)
    total.update(content)
    return total.hexdigest()


def _program() -> Iterable[tuple[object, ...]]:
    """What shows that this program, or a library that it reads files with, is another than before."""
    for folder in sys.path:
        if os.path.basename(folder).endswith("-packages"):  # noqa: PTH119 - pathlib takes longer
            yield (folder, os.stat(folder).st_mtime_ns)  # noqa: PTH116
    # In a checkout the version stays the same for long.
    for package in (config, model):
        source = os.path.dirname(package.__file__ or "")  # noqa: PTH120
        for entry in sorted(os.scandir(source), key=lambda entry: entry.name):
            if entry.name.endswith(".py"):
                about = entry.stat()
                yield (entry.name, about.st_mtime_ns, about.st_size)


# --- plain data ------------------------------------------------------------------------------------------------------


def _text(value: object) -> bytes:
    return json.dumps(_plain(value), separators=(",", ":")).encode()


def _plain(value: Any) -> object:
    """Lists are tuples; an object with one key is a mapping, or one of the classes."""
    if isinstance(value, str):
        return str(value)  # without what marks it as expanded
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {_MAPPING: [[key, _plain(each)] for key, each in value.items()]}
    kind = type(value)
    if _CLASSES.get(kind.__name__) is not kind:
        raise TypeError(f"a {kind.__name__} is not remembered")
    return {kind.__name__: [_plain(getattr(value, name)) for name in kind.__match_args__]}


def _made(data: Any) -> Any:
    """The value again; any exception if it is none."""
    if isinstance(data, list):
        return tuple(map(_made, data))
    if not isinstance(data, dict):
        return data
    ((kind, inside),) = data.items()
    if kind == _MAPPING:
        return {key: _made(each) for key, each in inside}
    return _CLASSES[kind](*map(_made, inside))
