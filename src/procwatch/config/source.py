"""Read one configuration file: its text, what it says, and where each key of it stands.

Rule 1: whatever the file holds, the answer is a Source or a ConfigError, in a time that its size bounds.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from procwatch.config.locate import LimitError, Place, Places, locate
from procwatch.config.text import Text, read_text
from procwatch.errors import ConfigError, Problem
from procwatch.frozen import field, frozen

Document = dict[str, object]


@frozen
class Source(Text):
    """A TOML file that could be read.

    `home`: its folder as seen from that of the main file, `prefix`: what its names begin with; both "" for that one.
    """

    document: Document = field(default_factory=dict)
    places: Places = field(default_factory=Places)
    home: str = ""
    prefix: str = ""

    def at(self, place: Place, message: str) -> Problem:
        """A problem at a place of this file."""
        return self.problem(message, place.line, place.column, place.width)


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
