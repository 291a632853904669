"""Read one configuration file: its text, what it says, and where each key of it stands.

Rule 1: whatever the file holds, the answer is a Source or a ConfigError, in a time that its size bounds.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from procwatch.config.locate import LimitError, Place, Places, locate
from procwatch.config.witness import note_content
from procwatch.errors import ConfigError, Location, Problem

# The contract's limit; a real watch.toml has a hundredth of it.
MAX_BYTES = 256 * 1024

Document = dict[str, object]


@dataclass(frozen=True, slots=True)
class Text:
    """A text file; `label` is how messages call it."""

    path: Path
    label: str
    text: str
    lines: tuple[str, ...]

    def problem(self, message: str, line: int, column: int = 1, width: int | None = None) -> Problem:
        """A problem at a place of this file; without a width it is the whole line's."""
        shown = self.lines[line - 1].rstrip("\r") if line <= len(self.lines) else ""
        wide = len(shown.rstrip()) - column + 1 if width is None else width
        return Problem(message, Location(self.label, line, column, max(1, wide)), shown)


@dataclass(frozen=True, slots=True)
class Source(Text):
    """A TOML file that could be read."""

    document: Document = field(default_factory=dict)
    places: Places = field(default_factory=Places)

    def at(self, place: Place, message: str) -> Problem:
        """A problem at a place of this file."""
        return self.problem(message, place.line, place.column, place.width)


def read_text(path: Path, label: str, *, allow_bom: bool = False) -> Text:
    """The text of a file of at most MAX_BYTES in UTF-8; a ConfigError says why it could not be read."""
    data = _read_bytes(path, label)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        problem = _text(path, label, data.decode("utf-8", "replace")).problem(
            f"not UTF-8: found the byte 0x{data[error.start]:02x}", line, column, 1
        )
        raise ConfigError((problem,)) from None
    if text.startswith("\ufeff") and not allow_bom:
        message = "begins with a byte order mark; save it as UTF-8 without one"
        raise ConfigError((_text(path, label, text[1:]).problem(message, 1, 1, 1),))
    return _text(path, label, text.removeprefix("\ufeff"))


def _text(path: Path, label: str, text: str) -> Text:
    return Text(path, label, text, tuple(text.split("\n")))


def read_toml(path: Path, label: str) -> Source:
    """A TOML file, parsed; a ConfigError with the place where the parser gave up."""
    text = read_text(path, label)
    if (nul := text.text.find("\0")) >= 0:
        line, column = _line_and_column(text.text, nul)
        raise ConfigError((text.problem("not valid TOML: found the character U+0000", line, column, 1),))
    try:
        places = locate(text.text)
    except LimitError as error:
        place = error.place
        message = f"not read: it has {error}"
        raise ConfigError((text.problem(message, place.line, place.column, place.width),)) from None
    try:
        document = tomllib.loads(text.text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError((_syntax_problem(text, str(error)),)) from None
    except (ValueError, RecursionError) as error:
        # Both are fenced off by `locate`; tomllib gives no place for them.
        raise ConfigError((Problem(f"{label}: not valid TOML: {type(error).__name__}"),)) from None
    return Source(path, label, text.text, text.lines, document, places)


def _read_bytes(path: Path, label: str) -> bytes:
    """All bytes of a regular file; anything else would block, or never end."""
    try:
        kind = path.stat().st_mode
        if stat.S_ISDIR(kind):
            raise ConfigError((Problem(f"{label}: is a folder, not a file"),))
        if not stat.S_ISREG(kind):
            raise ConfigError((Problem(f"{label}: is not a regular file"),))
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        note_content(path, data)
    except (OSError, ValueError) as error:
        raise ConfigError((Problem(f"{label}: {_reason(path, error)}"),)) from None
    if len(data) > MAX_BYTES:
        raise ConfigError((Problem(f"{label}: has more than {MAX_BYTES // 1024} KiB, the most that is read"),))
    return data


def _reason(path: Path, error: Exception) -> str:
    """Why a file cannot be read, in words."""
    if isinstance(error, FileNotFoundError):
        return "is a link to a file that does not exist" if path.is_symlink() else "no such file"
    if isinstance(error, OSError) and error.errno:
        return f"cannot be read: {os.strerror(error.errno).lower()}"
    return "is not a possible file name"  # a NUL in it


def _line_and_column(text: str, offset: int) -> tuple[int, int]:
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


# --- what tomllib says, in this program's words ----------------------------------------------------------------------

# tomllib finds these at the end of the line that is meant.
_WHOLE_LINE = ("this key is there already", "this table is there already")
_PLACE = re.compile(r" \(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)$")
# tomllib's words -> ours, where ours help more.
_WORDS = (
    (re.compile(r"Cannot overwrite a value"), "this key is there already"),
    (re.compile(r"Cannot declare \((.*?),?\) twice"), "this table is there already"),
    (re.compile(r"Cannot mutate immutable namespace .*"), "this table is closed; add the key where it is written"),
    (re.compile(r"Cannot redefine namespace .*"), "this table is closed; add the keys where it is written"),
    (re.compile(r"Duplicate inline table key '(.*)'"), r"the key \1 is there already"),
    (re.compile(r"Expected '=' after a key in a key/value pair"), 'expected "=" after the key'),
    (re.compile(r"Invalid initial character for a key part"), "expected a key"),
    (re.compile(r"Expected newline or end of document after a statement"), "expected the end of the line"),
    (re.compile(r"Invalid statement"), "expected a key or a [table]"),
    (re.compile(r"Invalid value"), 'expected a value; a string needs quotes: "like this"'),
    (re.compile(r"Unclosed array"), 'this list is not closed, or lacks a ","'),
    (re.compile(r"Unclosed inline table"), 'this table is not closed, or lacks a ","'),
    (re.compile(r"Illegal character '\\n'"), "this string has no closing quote in its line"),
    (re.compile(r"Unterminated string"), "this string has no closing quote"),
)


def _syntax_problem(text: Text, said: str) -> Problem:
    """What tomllib complains of, where it does."""
    found = _PLACE.search(said)
    message = said[: found.start()] if found else said
    words = next((match.expand(ours) for theirs, ours in _WORDS if (match := theirs.fullmatch(message))), None)
    if words is None:
        words = (message[:1].lower() + message[1:])[:200]
    if found and found[1]:
        line, column = int(found[1]), int(found[2])
    else:
        line, column = _line_and_column(text.text, max(0, len(text.text.rstrip()) - 1))
    if words in _WHOLE_LINE:
        shown = text.lines[line - 1]
        return text.problem(f"not valid TOML: {words}", line, len(shown) - len(shown.lstrip()) + 1)
    return text.problem(f"not valid TOML: {words}", line, column, 1)
