"""Replace `${NAME}` and `${NAME:-default}` in one text; `$$` is a dollar, any other dollar stays.

Rule 1: standard library only, and little of it: every start needs this.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Lookup = Callable[[str], str | None]
# The longest variable that Linux hands to a program; a few that use one another could otherwise fill the memory.
_MAX_CHARS = 128 * 1024


class Expanded(str):
    """A string in which a variable was expanded; only such a string may stand for a number or a boolean."""

    __slots__ = ()


class KnownFaultError(ValueError):
    """The value of a variable is not known because of a fault that is told where it is."""


# A dollar sign: doubled, a variable with or without a default, or a brace that begins no variable.
_DOLLAR = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-[^{}]*)?\}|(?P<open>\{))")


def expand(text: str, lookup: Lookup) -> str:
    """The text with its variables replaced; a ValueError for a variable that is unset, or not written right.

    As in a shell, the default also counts for a variable that is set to nothing.
    """

    length = 0

    def value(found: re.Match[str]) -> str:
        nonlocal length
        replacement = one(found)
        length += len(replacement)
        if length > _MAX_CHARS:
            raise ValueError(f"its variables hold more than {_MAX_CHARS // 1024} KiB")
        return replacement

    def one(found: re.Match[str]) -> str:
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


def names_in(text: str) -> tuple[str, ...]:
    """The names of the variables that are used in a text."""
    return tuple(found["name"] for found in _DOLLAR.finditer(text) if found["name"])


def expand_text(text: str, lookup: Lookup) -> str:
    """As `expand`, for a value of a file: a ValueError also for what no program can be given."""
    if "\0" in text:
        raise ValueError("a string cannot hold the character U+0000")
    return expand(text, lookup)
