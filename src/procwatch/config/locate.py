"""Key path -> line and column in a TOML text, which tomllib does not keep.

Rule 1: for every key that tomllib finds in a valid text there is a place; on an invalid text this must only end.
Rule 2: linear and iterative: no text of the size that `source.py` reads can make it slow or deep.
Rule 3: what tomllib itself cannot bear (long dotted keys, deep nesting) is a LimitError here, before tomllib sees it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

# A key, and for an entry of a list its index: ("service", "web", "watch", 0).
KeyPath = tuple[str | int, ...]

# tomllib needs seconds for a key of some thousand parts; the longest that means something here has five.
MAX_KEY_PARTS = 16
# tomllib calls itself for each level and meets Python's limit at some hundreds; the deepest that
# means something is four.
MAX_NESTING = 32
_TOO_DEEP = f"lists and tables nested more than {MAX_NESTING} deep"
# Python refuses to read longer numbers (sys.set_int_max_str_digits); nothing here needs even thirty digits.
MAX_NUMBER_CHARS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands; line and column count from 1, `width` ends with the line."""

    line: int
    column: int
    width: int


class LimitError(ValueError):
    """The text is beyond what is worth reading; `place` is where."""

    def __init__(self, message: str, place: Place) -> None:
        self.place = place
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the keys and the values of a document stand.

    The key of a table is its name in its first header, its value the header itself. A table that has only dotted
    keys and a list of tables have no value of their own, an entry of a list has no key.
    """

    keys: Mapping[KeyPath, Place] = field(default_factory=dict)
    values: Mapping[KeyPath, Place] = field(default_factory=dict)

    def __contains__(self, path: KeyPath) -> bool:
        """Whether anything stands at this very path."""
        return path in self.keys or path in self.values

    def key(self, path: KeyPath) -> Place | None:
        """The place of a key, for an entry of a list that of its value."""
        return self.keys.get(path) or self.values.get(path)

    def value(self, path: KeyPath) -> Place | None:
        """The place of a value, for a table without a header that of its key."""
        return self.values.get(path) or self.keys.get(path)


def locate(toml: str) -> Places:
    """The places of all keys and values; a LimitError for what tomllib should not be given."""
    return _Scanner(toml).scan()


class _Token(NamedTuple):
    """A piece of the text; `end_line` and `end` differ from the start for strings of many lines."""

    text: str
    line: int
    column: int
    end_line: int
    end: int


# An open string ends with its line, or the text, so that each character is read once. Up to two more quotes may stand
# before the three that close a long string. The last alternative takes what none of the others does.
_PIECE = re.compile(
    r'"""(?:\\[\s\S]|[^\\])*?(?:"{3,5}|\Z)'
    r"|'''[\s\S]*?(?:'{3,5}|\Z)"
    r'|"(?:\\[^\n]|[^"\\\n])*"?'
    r"|'[^'\n]*'?"
    r"|\#[^\n]*"
    r"|\n"
    r"|[^\S\n]+"
    r"|[\[\]{},=.]"
    r"|[^\s\#\"'\[\]{},=.]+"
)
_ENDS_SCALAR = frozenset({"\n", ",", "]", "}"})


def _tokens(toml: str) -> Iterator[_Token]:
    """The text's pieces with their places, without blanks and comments."""
    line, line_start = 1, 0
    for found in _PIECE.finditer(toml):
        piece = found[0]
        start_line, column = line, found.start() - line_start + 1
        lines = piece.count("\n")
        if lines:
            line += lines
            line_start = found.start() + piece.rindex("\n") + 1
        if piece == "\n":
            yield _Token(piece, start_line, column, start_line, column)
        elif piece[0] != "#" and not piece.isspace():
            yield _Token(piece, start_line, column, line, found.end() - line_start + 1)


@dataclass(slots=True)
class _Container:
    """A list or inline table that is being read; `entries` counts those of a list, None for a table."""

    path: KeyPath
    line: int
    column: int
    entries: int | None


@dataclass(slots=True)
class _Scanner:
    """Reads statement by statement; `_token` is the next piece, None at the end."""

    toml: str
    _keys: dict[KeyPath, Place] = field(default_factory=dict)
    _values: dict[KeyPath, Place] = field(default_factory=dict)
    _table: KeyPath = ()
    _lists: dict[KeyPath, int] = field(default_factory=dict)
    _pieces: Iterator[_Token] = field(default_factory=lambda: iter(()))
    _token: _Token | None = None
    _lines: list[str] = field(default_factory=list)

    def scan(self) -> Places:
        """Read the whole text."""
        self._lines = self.toml.split("\n")
        self._pieces = _tokens(self.toml)
        self._next()
        while self._token is not None:
            if self._token.text == "\n":
                self._next()
            elif self._token.text == "[":
                self._header()
            else:
                self._pair()
        return Places(self._keys, self._values)

    def _next(self) -> None:
        self._token = next(self._pieces, None)

    def _sees(self, text: str) -> bool:
        return self._token is not None and self._token.text == text

    def _place(self, line: int, column: int, end_line: int, end: int) -> Place:
        """A place from its two ends; one of many lines ends with its first."""
        if end_line != line:
            end = len(self._lines[line - 1].rstrip()) + 1
        return Place(line, column, max(1, end - column))

    def _header(self) -> None:
        """`[table]` or `[[list of tables]]`, up to the end of its line."""
        start = last = self._token
        assert start is not None
        self._next()
        is_list = self._sees("[")
        if is_list:
            self._next()
        names = self._key()
        while self._token is not None and self._token.text != "\n":
            last = self._token
            self._next()
        assert last is not None
        place = self._place(start.line, start.column, last.end_line, last.end)
        path: KeyPath = ()
        for number, (name, where) in enumerate(names, 1):
            path = (*path, name)
            self._keys.setdefault(path, where)
            if path in self._lists and not (is_list and number == len(names)):
                path = (*path, self._lists[path] - 1)
        if is_list:
            self._lists[path] = self._lists.get(path, 0) + 1
            path = (*path, self._lists[path] - 1)
        self._values.setdefault(path, place)
        self._table = path

    def _pair(self) -> None:
        """`key = value`, up to the end of its line."""
        path = self._named(self._table)
        if self._sees("="):
            self._next()
        self._value(path)
        while self._token is not None and self._token.text != "\n":
            self._next()

    def _named(self, table: KeyPath) -> KeyPath:
        """The path of the key that stands next; its parts are recorded."""
        path = table
        for name, place in self._key():
            path = (*path, name)
            if len(path) > MAX_NESTING:
                raise LimitError(_TOO_DEEP, place)
            self._keys.setdefault(path, place)
        return path

    def _key(self) -> list[tuple[str, Place]]:
        """A dotted key: its parts and where each stands. Takes one piece at least unless a line ends here."""
        parts: list[tuple[str, Place]] = []
        while self._token is not None and self._token.text != "\n":
            token = self._token
            if parts and token.text != ".":
                break
            if parts:
                self._next()
                token = self._token
                if token is None or token.text == "\n":
                    break
            parts.append((_name(token.text), self._place(*token[1:])))
            if len(parts) > MAX_KEY_PARTS:
                raise LimitError(f"a key of more than {MAX_KEY_PARTS} parts", parts[0][1])
            self._next()
        return parts

    def _value(self, path: KeyPath) -> None:
        """One value with everything in it."""
        due: KeyPath | None = path
        open_ones: list[_Container] = []
        while self._token is not None:
            if due is not None:
                if open_ones and self._sees("\n"):
                    self._next()
                    continue
                self._begin(due, open_ones)
                due = None
            elif not open_ones:
                return
            elif self._token.text in ("\n", ","):
                self._next()
            elif self._token.text in ("]", "}"):
                self._close(open_ones.pop())
            else:
                due = self._entry(open_ones[-1])

    def _begin(self, path: KeyPath, open_ones: list[_Container]) -> None:
        """Open a list or inline table, or take a whole scalar."""
        token = self._token
        assert token is not None
        if token.text not in ("[", "{"):
            self._scalar(path, token)
            return
        if len(open_ones) >= MAX_NESTING:
            place = self._place(*token[1:])
            raise LimitError(_TOO_DEEP, place)
        open_ones.append(_Container(path, token.line, token.column, 0 if token.text == "[" else None))
        self._next()

    def _entry(self, container: _Container) -> KeyPath:
        """The path of the next entry of a list or inline table."""
        if container.entries is not None:
            container.entries += 1
            return (*container.path, container.entries - 1)
        path = self._named(container.path)
        if self._sees("="):
            self._next()
        return path

    def _close(self, container: _Container) -> None:
        token = self._token
        assert token is not None
        self._values.setdefault(
            container.path, self._place(container.line, container.column, token.end_line, token.end)
        )
        self._next()

    def _scalar(self, path: KeyPath, first: _Token) -> None:
        """A string, number, date or boolean; dates may hold a blank."""
        last: _Token = first
        while self._token is not None and self._token.text not in _ENDS_SCALAR:
            last = self._token
            self._next()
        place = self._place(first.line, first.column, last.end_line, last.end)
        if first.text[0] not in "\"'" and place.width > MAX_NUMBER_CHARS:
            raise LimitError(f"a value of more than {MAX_NUMBER_CHARS} characters without quotes", place)
        self._values.setdefault(path, place)


def _name(piece: str) -> str:
    """A part of a key without its quotes."""
    if piece[0] == "'":
        return piece[1:-1]
    if piece[0] != '"':
        return piece
    if "\\" not in piece:
        return piece[1:-1]
    try:
        return next(iter(tomllib.loads(f"{piece} = 0")))
    except ValueError:
        return piece  # tomllib will say what is wrong with it
