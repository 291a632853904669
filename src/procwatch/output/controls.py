"""Take out of a process's output what would steer the terminal, and leave its text and its colours.

Rule 1: a stream filter: the result does not depend on where the bytes are cut.
Rule 2: a line break ends every control sequence, so that one that never ends hides no more than its line.
Rule 3: no line leaves a colour open behind it.
"""

from __future__ import annotations

import re

RESET = b"\x1b[0m"
# A colour sequence has at most a few dozen parameters; a longer one is dropped like any other sequence.
_MOST_PARAMETERS = 128

# Control characters that neither end nor begin a sequence: a terminal acts on them even in the middle of one.
_SINGLE = bytes([*range(7), 8, *range(11, 24), 25, *range(28, 32), 127])
# Bell, cancel and substitute end a string or a sequence; escape begins one.
_ENDS_OR_BEGINS = (b"\x1b", b"\x07", b"\x18", b"\x1a")
# Text is looked at as characters, a byte of none of them as U+DC80 to U+DCFF (PEP 383).
_DROPPED = re.compile(
    "[\x07\x18\x1a\x1b\x80-\x9f\udc80-\udc9f]"
    f"(?:(?<!\x1b)|(?!\\[[0-9;:]{{0,{_MOST_PARAMETERS}}}m)(?:"  # but not the escape of a colour
    "\\[[ -?]*[@-~]?"  # CSI: cursor, clear, scroll, modes
    "|[PX\\]^_][^\x07\x18\x1a\x1b\n]*(?:\x07|\x1b\\\\)?"  # OSC, DCS and the like: titles, links, clipboard
    "|[ -/]*[0-~]?"  # two and three byte sequences: reset, character sets
    "))"
)
# A sequence or character at the end whose rest may be in the next call.
_UNFINISHED = re.compile(
    rb"(?:\x1b(?:\[[\x20-\x3f]*|[PX\]^_][^\x07\x18\x1a\x1b\n]*\x1b?|[\x20-\x2f]*)"
    rb"|[\xc2-\xf4]|[\xe0-\xf4][\x80-\xbf]|[\xf0-\xf4][\x80-\xbf]{2})\Z"
)
_STRINGS = frozenset({b"\x1bP", b"\x1bX", b"\x1b]", b"\x1b^", b"\x1b_"})
_LEFT_OPEN = re.compile(rb"(\x1b\[(?!0*m)[0-9;:]*m[^\x1b\n]*)\n")
_IS_RESET = re.compile(rb"\x1b\[0*m")
# Any colour sequence that is not a reset: stands for the one that an earlier call left open.
_SOME_COLOUR = b"\x1b[1m"


class ControlFilter:
    """Drops control sequences other than colours (SGR), and single control characters other than tab and line feed.

    A carriage return is dropped without a break: what a progress bar would have written over is shown side by side.
    A C1 character goes alone, its parameters stay as text: bytes of older encodings look the same, and must not hide
    what follows them. A line that ends with a colour still open gets a reset before its line feed.
    """

    def __init__(self) -> None:
        self._carried = b""
        self._colour_open = False

    def feed(self, data: bytes) -> bytes:
        """What is left of `data`; an unfinished sequence or character at its end waits for the next call."""
        data = data.translate(None, _SINGLE)
        if not self._carried and not self._colour_open and _is_plain(data):
            return data
        data = self._carried + data
        cut = _unfinished_from(data)
        self._carried = _shortened(data[cut:])
        return self._closed(_without_controls(data[:cut]))

    def _closed(self, text: bytes) -> bytes:
        """`text` with a reset at the end of each line whose last colour is open."""
        marked = _SOME_COLOUR + text if self._colour_open else text
        if b"\x1b" not in marked:
            return text
        closed = _LEFT_OPEN.sub(b"\\1" + RESET + b"\n", marked)
        text = closed[len(_SOME_COLOUR) :] if self._colour_open else closed
        colour_at = marked.rfind(b"\x1b", marked.rfind(b"\n") + 1)
        self._colour_open = colour_at >= 0 and _IS_RESET.match(marked, colour_at) is None
        return text


def _is_plain(data: bytes) -> bool:
    """Whether nothing can be to drop: the case of nearly all output, at the speed of the C library."""
    return data.isascii() and not any(control in data for control in _ENDS_OR_BEGINS)


def _without_controls(data: bytes) -> bytes:
    return _DROPPED.sub("", data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _unfinished_from(data: bytes) -> int:
    """Where a sequence or character begins whose rest may be in the next call; the length of `data` if none does."""
    end = len(data)
    escape = data.rfind(b"\x1b")
    # The terminator of a string has an escape of its own: `ESC ] title ESC` begins at the one before.
    starts = (data.rfind(b"\x1b", 0, max(escape, 0)), escape, end - 3, end - 2, end - 1)
    return next((start for start in starts if start >= 0 and _UNFINISHED.match(data, start)), end)


def _shortened(unfinished: bytes) -> bytes:
    """As much of an unfinished sequence as decides how it ends: what is dropped anyway is not kept."""
    if unfinished[:2] in _STRINGS:
        return unfinished[:2] + (b"\x1b" if len(unfinished) > 2 and unfinished.endswith(b"\x1b") else b"")
    if len(unfinished) <= _MOST_PARAMETERS + 2:
        return unfinished
    # Too long for a colour: a space among the parameters says so for the rest of it.
    return b"\x1b[ " if unfinished.startswith(b"\x1b[") else b"\x1b "
