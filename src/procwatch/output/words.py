"""How durations, paths and lists are put into words.

Rule 1: whatever a line is made of, what comes out of `printable` is one line and cannot steer a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# More names than this make a line that nobody reads; the rest is counted.
_MOST_NAMES = 6
_SURROGATE = re.compile("[\ud800-\udfff]")


def duration(seconds: float) -> str:
    """`85 ms`, `1.3 s`, `42 s`, `2 min 5 s`, `1 h 3 min`."""
    if seconds < 0.0995:
        return f"{max(0, round(seconds * 1000))} ms"
    if round(seconds, 1) < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def lines(count: int) -> str:
    """`1 line`, `12,000 lines`."""
    return "1 line" if count == 1 else f"{count:,} lines"


def listed(names: Sequence[str]) -> str:
    """The names with commas between them; of many the first few and how many more."""
    shown = names if len(names) <= _MOST_NAMES else names[: _MOST_NAMES - 1]
    more = f" and {len(names) - len(shown)} more" if len(shown) < len(names) else ""
    return ", ".join(shown) + more


def changed(paths: Sequence[str]) -> str:
    """`src/main.rs changed`, `src/main.rs and 3 more changed`."""
    if not paths:
        return "files changed"
    more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
    return f"{paths[0]}{more} changed"


def printable(text: str) -> str:
    """`text` with control characters, line breaks, direction marks and bytes that are not UTF-8 written out."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _written_out(char) for char in text)


def unicode_only(text: str) -> str:
    """`text` with every byte that was not UTF-8 (a lone surrogate in Python) written as `\\xff`; all else as it is."""
    return _SURROGATE.sub(lambda match: _written_out(match.group()), text)


def _written_out(char: str) -> str:
    """A character as an escape. Python keeps a byte that is not UTF-8 as U+DC80 to U+DCFF (PEP 383)."""
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
