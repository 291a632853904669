"""Read the text of one configuration file.

Rule 1: whatever the file is, the answer is its text or a ConfigError; a load's witness is told what was read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from procwatch.config.witness import note_content
from procwatch.errors import ConfigError, Location, Problem
from procwatch.frozen import frozen

# The contract's limit; a real watch.toml has a hundredth of it.
MAX_BYTES = 256 * 1024


@frozen
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
