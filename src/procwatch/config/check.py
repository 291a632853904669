"""Check a document against the schema: problems in our words, and the part of the document that is right.

Rule 1: no word of pydantic reaches a user.
Rule 2: one wrong key spoils nothing else: the rest is handed on, so that all problems can be told at once.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from procwatch.config.expand import without
from procwatch.config.fields import NotSupportedYetError, is_later
from procwatch.config.layers import ASKED_KINDS, Layers, within_unit
from procwatch.config.locate import KeyPath
from procwatch.config.schema import BuildTable, ProjectTable, ReadyTable, ServiceTable, Table, WatchToml, sub_table
from procwatch.config.source import Document
from procwatch.config.values import MAX_NAME_CHARS, similar
from procwatch.errors import Problem

# More is not read by anybody, and a hostile file has tens of thousands.
MAX_PROBLEMS = 1000
# As long as the longest name.
_SHOWN_CHARS = MAX_NAME_CHARS

# Words of other tools, and ours for them.
HINTS = {
    "depends_on": ("needs",),
    "command": ("run",),
    "cmd": ("run",),
    "cwd": ("dir",),
    "working_dir": ("dir",),
    "environment": ("env",),
    "healthcheck": ("ready", "health"),
    "inputs": ("watch",),
    "sources": ("watch",),
    "exclude": ("ignore",),
    "profiles": ("groups",),
}
_NAME_RULE = (
    'a name begins with a letter or digit, has only letters, digits, "_", "." and "-", '
    f"and at most {MAX_NAME_CHARS} characters"
)
# What pydantic found wrong with a type -> what it must be.
_NOUNS = {
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "string_type": "a string",
    "too_short": "a list with something in it",
}


class EnoughError(Exception):
    """MAX_PROBLEMS have been found; looking for more is not worth the time."""


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is wrong so far, and the paths about which nothing more is to be said.

    `notes` say what was not looked at any more. `lacks_layer`: a file that is merged over the others is not known.
    """

    layers: Layers
    problems: dict[Problem, None] = field(default_factory=dict)
    broken: set[KeyPath] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    lacks_layer: bool = False

    def add(self, problem: Problem) -> None:
        """One problem; one that is known already counts once. Raises EnoughError when there are too many."""
        if len(self.problems) >= MAX_PROBLEMS and problem not in self.problems:
            raise EnoughError
        self.problems[problem] = None

    def report(self, path: KeyPath, message: str, *, on_key: bool = False) -> None:
        """A problem with what stands at `path` of the part of the document that is right."""
        self.add(self.at(path, told(path, message), on_key=on_key))

    def warn(self, path: KeyPath, message: str) -> None:
        """What is allowed but may be a mistake."""
        self.warnings.append(self.at(path, told(path, message)))

    def fault(self, path: KeyPath, message: str | None) -> None:
        """A problem with what stands at `path` of the whole document, and is broken then; None: it is known already."""
        self.broken.add(path)
        if message is not None:
            self.add(self.layers.problem(path, told(path, message)))

    def at(self, path: KeyPath, message: str, *, on_key: bool = False) -> Problem:
        """The problem, not yet added."""
        return self.layers.problem(self.written(path), message, on_key=on_key)

    def is_broken(self, path: KeyPath) -> bool:
        """Whether a key of a build or service, or its default, is known to be wrong."""
        return path in self.broken or ("defaults", path[0], *path[2:]) in self.broken

    def written(self, path: KeyPath) -> KeyPath:
        """Where the whole document has what the right part of it has at `path`: broken entries of lists count there."""
        found: KeyPath = ()
        for part in path:
            found = (*found, self._index(found, part) if isinstance(part, int) else part)
        return found

    def _index(self, path: KeyPath, index: int) -> int:
        """The index, broken entries counted, of an entry of the list at `path`, or of the default that stands there."""
        if within_unit(path) and path[0] != "defaults" and not self.layers.has(path):
            path = ("defaults", path[0], *path[2:])
        entries = [each[-1] for each in self.broken if each[:-1] == path]
        for broken in sorted(entry for entry in entries if isinstance(entry, int)):
            if broken <= index:
                index += 1
        return index

    def is_broken_below(self, path: KeyPath) -> bool:
        """Whether something in what stands at `path` is known to be wrong."""
        return any(len(each) > len(path) and each[: len(path)] == path for each in self.broken)


def check(document: Document, findings: Findings) -> Document:
    """Check every key by itself; what comes back is the part of the document that is right.

    Of what is known to be broken nothing is told again.
    """
    right = without(document, findings.broken)
    while errors := _errors(right):
        found = [(_real_path(right, error["loc"]), error) for error in errors]
        for path, error in found:
            if not _is_follow_on(right, path, error, findings):
                message, on_key = _words(right, path, error)
                findings.add(findings.at(path, message, on_key=on_key))
        findings.broken.update([findings.written(path) for path, _ in found])
        right = without(document, findings.broken)
    return right


def _is_follow_on(right: Document, path: KeyPath, error: ErrorDetails, findings: Findings) -> bool:
    """Whether an error comes of what is missing because it is broken."""
    may_be = error["type"] == "missing" or isinstance(_at(right, path), list)
    return may_be and findings.is_broken_below(findings.written(path))


def _errors(document: Document) -> list[ErrorDetails]:
    try:
        WatchToml.model_validate(document)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _real_path(document: Document, loc: Iterable[int | str]) -> KeyPath:
    """The part of pydantic's path that leads through the document: it also names branches and missing keys."""
    path: KeyPath = ()
    here: Any = document
    for part in loc:
        is_there = part in here if isinstance(here, dict) else isinstance(here, list) and isinstance(part, int)
        if is_there:
            here = here[part]
            path = (*path, part)
    return path


def owner(path: KeyPath) -> tuple[str, KeyPath]:
    """How messages call the table around a path, and the rest of the path inside it."""
    if len(path) > 1 and path[0] in ("build", "service"):
        return f"{path[0]} {shown(path[1])}", path[2:]
    if len(path) > 1 and path[0] == "groups":
        return f"group {shown(path[1])}", path[2:]
    if len(path) > 1 and path[0] == "defaults":
        return f"defaults.{path[1]}", path[2:]
    if path and path[0] in ("project", "watch", "defaults"):
        return str(path[0]), path[1:]
    return "", path


def told(path: KeyPath, message: str) -> str:
    """A message with the name of the table that it is about."""
    who, _ = owner(path)
    return f"{who}: {message}" if who else message


def inside(path: KeyPath) -> str:
    """How messages call a key inside its table: "stop.grace", or "an entry of watch"."""
    _, rest = owner(path)
    keys = ".".join(part for part in rest if isinstance(part, str))
    return f"an entry of {keys}" if rest and isinstance(rest[-1], int) and keys else keys


def shown(value: object) -> str:
    """A value as it may stand in a message."""
    if isinstance(value, str):
        short = value if len(value) <= _SHOWN_CHARS else f"{value[:_SHOWN_CHARS]}..."
        return json.dumps(str(short), ensure_ascii=False)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)[:_SHOWN_CHARS]
    if isinstance(value, (dt.date, dt.time)):
        return "a date or time"
    if isinstance(value, dict):
        return "a table"
    return "a list" if value else "an empty list"


def _words(document: Document, path: KeyPath, error: ErrorDetails) -> tuple[str, bool]:
    """One error of pydantic's in our words, and whether it is about the key and not about its value."""
    kind = error["type"]
    reason = error.get("ctx", {}).get("error")
    if kind == "extra_forbidden":
        return told(path[:-1], _unknown_key(path, error["input"])), True
    if error["loc"][-1:] == ("[key]",):
        return told(path, _NAME_RULE if reason is None else f"{inside(path[:-1])}: {reason}"), True
    if kind in ("string_pattern_mismatch", "string_too_long"):
        return told(path, f"{shown(error['input'])} is not a name: {_NAME_RULE}"), False
    if kind == "missing":
        return told(path, f'{inside(path)} has no "{error["loc"][-1]}"'), False
    if isinstance(reason, NotSupportedYetError):
        return _not_yet(path, reason)
    noun = str(reason) if reason is not None else _NOUNS.get(kind, "of another type")
    return wrong_value(path, noun, _at(document, path)), False


def _not_yet(path: KeyPath, reason: NotSupportedYetError) -> tuple[str, bool]:
    """A key or value whose feature comes later."""
    name = inside(path) or str(path[-1])
    what = f'"{name}"' if reason.word is None else f'{name} = "{reason.word}"'
    return told(path, f"{what} is {reason}"), reason.word is None


def wrong_value(path: KeyPath, noun: str, value: object) -> str:
    """`service "web": port must be a port number, not "x"; advice`."""
    noun, _, advice = noun.partition("; ")
    if noun == "a list" and isinstance(value, str):
        advice = f"write [{shown(value)}]"
    who, _ = owner(path)
    key = inside(path)
    subject = f"{who}: {key}" if who and key else who or key
    # "a table, not a table" says nothing: there the advice tells what is wrong inside.
    but = "" if noun.startswith(shown(value)) else f", not {shown(value)}"
    return f"{subject} must be {noun}{but}" + (f"; {advice}" if advice else "")


def _at(document: object, path: KeyPath) -> object:
    for part in path:
        document = document[part]  # type: ignore[index]  # `_real_path` has been there
    return document


def _unknown_key(path: KeyPath, value: object) -> str:
    """What is wrong with a key that does not exist, and which was probably meant."""
    key, before = str(path[-1]), "".join(f"{part}." for part in owner(path)[1][:-1] if isinstance(part, str))
    known = list(_fields(path[:-1]))
    what = "table" if isinstance(value, dict) and len(path) == 1 else "key"
    said = f"unknown {what} {shown(before + key)}"
    if meant := [f'"{before}{word}"' for word in HINTS.get(key, ()) if word in known]:
        return f"{said}; did you mean {' or '.join(meant)}?"
    if elsewhere := _elsewhere(path, key):
        return f"{said}; {elsewhere}"
    if close := similar(key, known):
        return f'{said}; did you mean "{before}{close}"?'
    listed = (name for name, declared in _fields(path[:-1]).items() if not is_later(declared))
    return f"{said}; the {'tables' if len(path) == 1 else 'keys'} here are: {', '.join(listed)}"


# How messages call the tables that a key may have been meant for.
_HOMES: dict[str, type[Table]] = {"[project]": ProjectTable, "builds": BuildTable, "services": ServiceTable}


def _elsewhere(path: KeyPath, key: str) -> str | None:
    """Where a key, or our word for it, would be right."""
    word = HINTS.get(key, (key,))[0]
    if word == "groups":
        return 'did you mean the table "groups"?'
    rest = within_unit(path) or owner(path)[1]
    if rest[:-1] == ("health",) and key in ReadyTable.model_fields:
        return f'it is a key of "ready" alone; health asks again and again: {" or ".join(ASKED_KINDS)}'
    homes = [name for name, table in _HOMES.items() if word in table.model_fields] if len(rest) == 1 else []
    what = "it" if word == key else f'"{word}"'
    return f"{what} is a key of {' and '.join(homes)}" if homes else None


def _fields(path: KeyPath) -> dict[str, FieldInfo]:
    """The keys that may stand in the table at a path."""
    table: type[Table] = WatchToml
    for part in path:
        declared = table.model_fields.get(part) if isinstance(part, str) else None
        # A name or an index: what it holds is the table that the key before it is of.
        table = (sub_table(declared.annotation) if declared else None) or table
    return table.model_fields
