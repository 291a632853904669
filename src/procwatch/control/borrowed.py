"""The user's own terminal while it is lent: which keys take it back, and how it is left as it was found.

Rule 1: what is typed and what is shown may be cut anywhere.
"""

from __future__ import annotations

import re
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from procwatch.errors import UsageError, printable
from procwatch.streams import is_terminal, write_all

_CONTROL = re.compile(r"ctrl-([a-z@\[\\\]^_])", re.IGNORECASE)
# Modes of a terminal that matter to whoever uses it next, and how they are to be left (xterm's numbers).
_USUAL = {
    1: False, 7: True, 9: False, 25: True, 47: False, 1000: False, 1001: False, 1002: False, 1003: False,
    1004: False, 1005: False, 1006: False, 1015: False, 1047: False, 1049: False, 2004: False, 2026: False,
}  # fmt: skip
# What switches one of them, the keypad, the keyboard (kitty's protocol), or resets all.
_SWITCH = re.compile(rb"\x1b(?:\[\?([0-9;]+)([hl])|([=>])|\[([<>])([0-9]*)u|(c)|\[(!p))")
_UNFINISHED = re.compile(rb"\x1b(?:\[[?<>!]?[0-9;]{0,64})?\Z")


def parse_keys(text: str) -> bytes:
    """The bytes of keys such as `ctrl-p,ctrl-q` or `x`. Raises UsageError."""
    found = bytearray()
    for key in text.split(","):
        control = _CONTROL.fullmatch(key)
        if control is None and not (len(key) == 1 and " " < key < "\x7f"):
            raise UsageError(f'"{printable(key)}" is no key; say "ctrl-x", or several as "ctrl-p,ctrl-q"')
        found.append(ord(control[1].upper()) & 0x1F if control else ord(key))
    return bytes(found)


@contextmanager
def raw_terminal(modes: Modes) -> Iterator[None]:
    """Inside, every key of standard input is passed on; afterwards it is as before, and so is what `modes` has seen."""
    before = termios.tcgetattr(0)
    try:
        try:
            make_raw()
            yield
        finally:
            with suppress(OSError):  # it has gone
                write_all(1, modes.undone() if is_terminal(1) else b"")
    finally:  # in any case, also if a signal has come during the above
        with suppress(termios.error):
            termios.tcsetattr(0, termios.TCSANOW, before)


def make_raw() -> None:
    """Pass on every key; what was typed ahead stays."""
    tty.setraw(0, termios.TCSANOW)


class Keys:
    """Finds the keys that end it in what is typed; what turns out to be none of them is passed on.

    `text` is as a user writes them: `ctrl-p,ctrl-q`. Raises UsageError.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._keys = parse_keys(text)
        self._held = b""

    def feed(self, typed: bytes) -> tuple[bytes, bool]:
        """What is to be passed on, and whether the keys were all there."""
        passed = bytearray()
        for byte in typed:
            self._held += bytes((byte,))
            while not self._keys.startswith(self._held):
                passed += self._held[:1]
                self._held = self._held[1:]
            if self._held == self._keys:
                return bytes(passed), True
        return bytes(passed), False


class Modes:
    """Follows what a program has switched in the terminal, to switch it back when it cannot do so itself."""

    def __init__(self) -> None:
        self._rest = b""
        self._switched: dict[int, bool] = {}
        self._keypad = False
        self._keyboards = 0

    def feed(self, data: bytes) -> None:
        """Output as it goes to the terminal."""
        if b"\x1b" not in data and not self._rest:
            return
        data = self._rest + data
        for found in _SWITCH.finditer(data):
            self._switch(found)
        unfinished = _UNFINISHED.search(data)
        self._rest = unfinished[0] if unfinished else b""

    def undone(self) -> bytes:
        """What to write to the terminal at the end."""
        back = b"".join(
            b"\x1b[?%d%c" % (mode, b"lh"[usual]) for mode, usual in _USUAL.items()
            if self._switched.get(mode, usual) is not usual
        )  # fmt: skip
        keypad = b"\x1b>" if self._keypad else b""
        keyboard = b"\x1b[<%du" % self._keyboards if self._keyboards else b""
        return back + keypad + keyboard + b"\x1b[0m"

    def _switch(self, found: re.Match[bytes]) -> None:
        modes, way, keypad, keyboard, count, *resets = found.groups()
        if modes:
            self._switched |= {int(mode[:8]): way == b"h" for mode in modes.split(b";") if mode}
        elif keypad:
            self._keypad = keypad == b"="
        elif keyboard:
            self._keyboards += 1 if keyboard == b">" else -min(self._keyboards, int(count[:3] or 1))
        elif any(resets):
            self._switched, self._keypad, self._keyboards = {}, False, 0
