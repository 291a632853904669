"""What can go wrong in the user's terms: problems with a place in a file, and exit codes."""

from __future__ import annotations

from enum import IntEnum

from procwatch.frozen import frozen


class ExitCode(IntEnum):
    """Exit statuses of every command (docs/commands.md); a signal n gives 128 + n."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NO_SUPERVISOR = 3
    REFUSED = 4


def printable(text: str, keep: str = "") -> str:
    """The text for a terminal: what would move, colour or hide something is written as an escape; `keep` stays."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in keep else _escape(char) for char in text)


def _escape(char: str) -> str:
    number = ord(char)
    if 0xDC80 <= number <= 0xDCFF:  # how Python holds a byte of a name that is not UTF-8
        return f"\\x{number - 0xDC00:02x}"
    return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(char) or (
        f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
    )


def _visible(line: str) -> str:
    """A line of a file, each character as wide as before: control characters as pictures, a tab as it is."""
    pictures = {number: 0x2400 + number for number in range(32) if number != ord("\t")} | {0x7F: 0x2421}
    return "".join(char if char.isprintable() or char in "\t\u3000" else "\ufffd" for char in line.translate(pictures))


@frozen
class Location:
    """A place in a text file; `line` and `column` count from 1, `width` is how many columns the squiggle marks."""

    file: str
    line: int
    column: int
    width: int = 1


@frozen
class Problem:
    """One thing that is wrong, where it stands and what the line says. Without a `location`, the text alone."""

    message: str
    location: Location | None = None
    source: str | None = None

    def __str__(self) -> str:
        """The problem as the user sees it: `file:line:column: message`, the line, the squiggle."""
        if self.location is None:
            return printable(self.message)
        place = self.location
        head = printable(f"{place.file}:{place.line}:{place.column}: {self.message}")
        if self.source is None:
            return head
        shown, column = _window(self.source, place.column)
        shown = _visible(shown)
        number = str(place.line)
        indent = "".join("\t" if char == "\t" else " " for char in shown[: column - 1])
        squiggle = "^" * max(1, min(place.width, len(shown) - column + 1))
        return f"{head}\n   {number} | {shown}\n   {' ' * len(number)} | {indent}{squiggle}"


# A line of a minified or hostile file is cut to this many characters around the place that is meant.
_SHOWN_COLUMNS = 160


def _window(source: str, column: int) -> tuple[str, int]:
    """The part of a long line that holds `column`, and where the column stands in it."""
    if len(source) <= _SHOWN_COLUMNS:
        return source, column
    first = max(0, column - _SHOWN_COLUMNS // 2)
    last = first + _SHOWN_COLUMNS
    before, after = "…" if first else "", "…" if last < len(source) else ""
    return f"{before}{source[first:last]}{after}", column - first + len(before)


class ProcwatchError(Exception):
    """An error that is told to the user as it stands; the command line alone catches it."""

    exit_code = ExitCode.FAILED


class UsageError(ProcwatchError):
    """The command line asks for something that does not exist."""

    exit_code = ExitCode.USAGE


class RefusedError(ProcwatchError):
    """It could be done, but not now or not by this user: already running, not yours."""

    exit_code = ExitCode.REFUSED


class ConfigError(ProcwatchError):
    """All that is wrong with the configuration, in the order of the files' lines.

    `notes` say what was not looked at.
    """

    exit_code = ExitCode.USAGE

    def __init__(self, problems: tuple[Problem, ...], notes: tuple[str, ...] = ()) -> None:
        self.problems = problems
        super().__init__("\n".join((*map(str, problems), *notes)))
