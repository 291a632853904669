"""Replace the variables in a document.

Rule 1: what a shell will read, and commands that are lists, are left alone here (`environment.py` expands the latter).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from procwatch.config.dollar import KnownFaultError, Lookup, expand_text
from procwatch.config.layers import within_unit
from procwatch.config.locate import KeyPath
from procwatch.config.source import Document

# A path of a document, and what is wrong there; None where that is told already.
Fault = tuple[KeyPath, str | None]
_Expand = Callable[[KeyPath, str], object]


def expand_document(
    document: Document, lookup: Lookup, done: Mapping[KeyPath, object] | None = None
) -> tuple[Document, list[Fault]]:
    """The document with its variables replaced, and what is `done` already put in. What has a fault stays as it is."""
    faults: list[Fault] = []

    def expanded(path: KeyPath, text: str) -> object:
        return done[path] if done and path in done else text if _is_command(path, text) else expand_text(text, lookup)

    return {key: _expand_value((key,), value, expanded, faults) for key, value in document.items()}, faults


def _expand_value(
    path: KeyPath, value: object, expanded: Callable[[KeyPath, str], object], faults: list[Fault]
) -> object:
    """One value with all in it; the depth is that of the document, which `locate` limits."""
    if isinstance(value, dict):
        return {key: _expand_value((*path, key), below, expanded, faults) for key, below in value.items()}
    if isinstance(value, list):
        return [_expand_value((*path, index), below, expanded, faults) for index, below in enumerate(value)]
    if not isinstance(value, str):
        return value
    try:
        return expanded(path, value)
    except ValueError as error:
        faults.append((path, None if isinstance(error, KnownFaultError) else str(error)))
        return value


def _is_command(path: KeyPath, text: str) -> bool:
    """Whether a command stands here: the shell's business, or expanded for each run."""
    if "\0" in text:
        return False
    if path[:2] == ("alerts", "hook"):
        return True
    inside = within_unit(path) or ("",)
    return inside[0] in ("run", "verify", "hooks") or inside[:2] in (("ready", "run"), ("health", "run"))


def without(document: Document, paths: Iterable[KeyPath]) -> Document:
    """A copy that lacks what stands at these paths; in a list the entries that follow move up."""
    gone = frozenset(paths)
    return {key: _kept((key,), value, gone) for key, value in document.items() if (key,) not in gone}


def _kept(path: KeyPath, value: object, gone: frozenset[KeyPath]) -> object:
    if isinstance(value, dict):
        return {key: _kept((*path, key), below, gone) for key, below in value.items() if (*path, key) not in gone}
    if isinstance(value, list):
        return [_kept((*path, at), below, gone) for at, below in enumerate(value) if (*path, at) not in gone]
    return value
