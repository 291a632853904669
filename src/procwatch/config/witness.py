"""What a load has asked the disk and the environment, with the answers: so it can be asked again, much faster.

Rule 1: whatever a load lets depend on a file, a folder or a variable is asked here, or noted here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Literal

from procwatch.sums import blake2b

Kind = Literal["content", "is there", "is a file", "is a folder", "leads somewhere", "variable", "matches"]
# What is asked, and of which path or variable.
Question = tuple[Kind, str]
Answer = str | bool | None

# More of one file is read by no load.
_MOST_BYTES = 1024 * 1024
_DISK: Mapping[Kind, Callable[[Path], bool]] = {
    "is there": os.path.lexists,
    "leads somewhere": Path.exists,
    "is a file": Path.is_file,
    "is a folder": Path.is_dir,
}
# The questions of the load under way; outside of one nothing is kept.
_asked: ContextVar[dict[Question, Answer] | None] = ContextVar("asked", default=None)


@contextmanager
def witnessed() -> Iterator[dict[Question, Answer]]:
    """Keep every question that is asked within, and its answer."""
    asked: dict[Question, Answer] = {}
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)


def is_there(path: str | Path) -> bool:
    """Whether something has this name, be it a link that leads nowhere."""
    return _ask("is there", path)


def leads_somewhere(path: str | Path) -> bool:
    """Whether something is there when links have been followed."""
    return _ask("leads somewhere", path)


def is_file(path: str | Path) -> bool:
    """Whether it is a file, or a link to one."""
    return _ask("is a file", path)


def is_folder(path: str | Path) -> bool:
    """Whether it is a folder, or a link to one."""
    return _ask("is a folder", path)


def matching(folder: Path, pattern: str) -> tuple[str, ...]:
    """The files below `folder` that a pattern matches, as seen from there; `*` does not match hidden ones."""
    answer = _matches(json.dumps([str(folder), pattern]))
    _note(("matches", json.dumps([str(folder), pattern])), answer)
    return tuple(json.loads(answer))


def note_content(path: Path, data: bytes) -> None:
    """This is what has been read from a file."""
    _note(("content", str(path)), _digest(data))


class Environ(Mapping[str, str]):
    """An environment of which every look is kept. It cannot be listed: then all of it would count."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def __getitem__(self, name: str) -> str:
        value = self._values.get(name)
        _note(("variable", name), value)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        raise TypeError("ask for each variable by its name")

    def __len__(self) -> int:
        raise TypeError("ask for each variable by its name")


def ask_again(questions: Iterable[Question], environ: Mapping[str, str]) -> dict[Question, Answer]:
    """The answers of now."""
    return {(kind, subject): _answer(kind, subject, environ) for kind, subject in questions}


def _answer(kind: Kind, subject: str, environ: Mapping[str, str]) -> Answer:
    if kind == "variable":
        return environ.get(subject)
    try:
        if kind == "matches":
            return _matches(subject)
        return _content(Path(subject)) if kind == "content" else _DISK[kind](Path(subject))
    except (OSError, ValueError):
        return None


def _matches(subject: str) -> str:
    import glob  # noqa: PLC0415 - few projects include others

    folder, pattern = json.loads(subject)
    found = glob.glob(pattern, root_dir=folder)  # noqa: PTH207 - pathlib's matches hidden files, and is slower
    return json.dumps(sorted(name for name in found if os.path.isfile(os.path.join(folder, name))))  # noqa: PTH113, PTH118


def _content(path: Path) -> str | None:
    """Of a regular file: anything else would block, or never end."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return _digest(file.read(_MOST_BYTES))


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=16).hexdigest()


def _ask(kind: Kind, path: str | Path) -> bool:
    answer = None
    try:
        answer = _DISK[kind](Path(path))
    finally:
        _note((kind, str(path)), answer)
    return answer


def _note(question: Question, answer: Answer) -> None:
    asked = _asked.get()
    if asked is not None:
        asked.setdefault(question, answer)
