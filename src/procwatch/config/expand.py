"""Replace `${NAME}` and `${NAME:-default}` in values; `$$` is a dollar, any other dollar stays.

Rule 1: what a shell will read, and commands that are lists, are left alone here (`environment.py` expands the latter).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from procwatch.config.layers import within_unit
from procwatch.config.locate import KeyPath
from procwatch.config.source import Document
from procwatch.config.values import Expanded

Lookup = Callable[[str], str | None]
# A path of a document, and what is wrong there.
Fault = tuple[KeyPath, str]

# A dollar sign: doubled, a variable with or without a default, or a brace that begins no variable.
_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^{}]*)?\}|(?P<open>\{))")


def expand(text: str, lookup: Lookup) -> str:
    """The text with its variables replaced; a ValueError for a variable that is unset, or not written right.

    As in a shell, the default also counts for a variable that is set to nothing.
    """

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        if found["open"]:
            rest = text[found.start() : found.start() + 20]
            raise ValueError(f'"{rest}" is no variable; write "${{NAME}}" or "${{NAME:-default}}", "$$" for a dollar')
        known = lookup(found["name"])
        if found["default"] is not None:
            return known or found["default"].removeprefix(":-")
        if known is None:
            raise ValueError(f'"{found[0]}" is not set; set it, or give a default: "${{{found["name"]}:-default}}"')
        return known

    if "$" not in text:
        return text
    return Expanded(_DOLLAR.sub(value, text))


def expand_document(document: Document, lookup: Lookup) -> tuple[Document, list[Fault]]:
    """The document with its variables replaced. What has a fault stays as it is."""
    faults: list[Fault] = []
    return {key: _expand_value((key,), value, lookup, faults) for key, value in document.items()}, faults


def _expand_value(path: KeyPath, value: object, lookup: Lookup, faults: list[Fault]) -> object:
    """One value with all in it; the depth is that of the document, which `locate` limits."""
    if isinstance(value, dict):
        return {key: _expand_value((*path, key), below, lookup, faults) for key, below in value.items()}
    if isinstance(value, list):
        return [_expand_value((*path, index), below, lookup, faults) for index, below in enumerate(value)]
    if not isinstance(value, str):
        return value
    if "\0" in value:
        faults.append((path, "a string cannot hold the character U+0000"))
        return value
    if _is_command(path):
        return value
    try:
        return expand(value, lookup)
    except ValueError as error:
        faults.append((path, str(error)))
        return value


def _is_command(path: KeyPath) -> bool:
    """Whether a command stands here: the shell's business, or expanded for each run."""
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
