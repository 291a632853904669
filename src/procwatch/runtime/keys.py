"""The keys of a foreground `start`: read one by one from the terminal, whose modes are given back at every end.

Rule 1: the terminal is touched only while procwatch is its foreground process group: whoever reads from it, or sets its
        modes, in the background is stopped by the system.
Rule 2: signals stay signals (Ctrl-C, Ctrl-Z), and output is not touched: only lines and their echo are switched off.
Rule 3: the guardian has the modes of before (`guardian.stand_guard`) and sets them if the supervisor is killed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from procwatch.runtime.signals import Signals

_INPUT, _OUTPUT = 0, 1
# In the background nothing tells when procwatch comes to the foreground, so it looks.
_LOOK_S = 1.0
# Place of the local modes, and of the characters, in what tcgetattr gives.
_LOCAL, _CHARACTERS = 3, 6


class Keys:
    """Calls what belongs to a key, from `open` until `close`. Where there is no terminal it does nothing."""

    def __init__(self, actions: Mapping[bytes, Callable[[], None]], signals: Signals) -> None:
        self._actions = actions
        self._signals = signals
        self._loop = asyncio.get_running_loop()
        self._before: list[Any] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._is_open = False

    def open(self) -> None:
        """Begin to read, now or as soon as procwatch is in the foreground."""
        if not (os.isatty(_INPUT) and os.isatty(_OUTPUT)):
            return
        self._is_open = True
        self._signals.on(signal.SIGTSTP, self._stop)
        self._signals.on(signal.SIGCONT, self._look)
        self._look()

    def close(self) -> None:
        """Give the terminal back as it was."""
        if not self._is_open:
            return
        self._is_open = False
        self._signals.off(signal.SIGTSTP)
        self._signals.off(signal.SIGCONT)
        self._let_be()
        self._give_back()

    def _look(self) -> None:
        """In the foreground, set the modes and read; else look again soon."""
        self._let_be()
        try:
            is_ours = is_foreground(_INPUT) and self._take()
        except termios.error:  # it has been closed
            return
        if is_ours:
            self._loop.add_reader(_INPUT, self._read)
        else:
            self._later = self._loop.call_later(_LOOK_S, self._look)

    def _take(self) -> bool:
        """Have keys come one by one, without an echo; whether procwatch was still in the foreground."""
        modes = termios.tcgetattr(_INPUT)
        self._before = self._before or termios.tcgetattr(_INPUT)
        modes[_LOCAL] &= ~(termios.ICANON | termios.ECHO)
        modes[_CHARACTERS][termios.VMIN], modes[_CHARACTERS][termios.VTIME] = 1, 0
        return set_in_foreground(_INPUT, modes)

    def _give_back(self) -> None:
        """Set the modes of before, if they are procwatch's to set."""
        if self._before is not None and is_foreground(_INPUT):
            with suppress(termios.error):  # it has been closed
                set_in_foreground(_INPUT, self._before)

    def _let_be(self) -> None:
        """Read nothing, and look no more."""
        self._loop.remove_reader(_INPUT)
        if self._later is not None:
            self._later.cancel()

    def _read(self) -> None:
        if not is_foreground(_INPUT):
            self._look()
            return
        try:
            pressed = os.read(_INPUT, 1024)
        except OSError:  # the terminal has gone
            pressed = b""
        if not pressed:
            self._let_be()
        for number in range(len(pressed)):
            if action := self._actions.get(pressed[number : number + 1]):
                action()

    def _stop(self) -> None:
        """Ctrl-Z: the shell gets its terminal as it was."""
        self._let_be()
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)


def is_foreground(terminal: int) -> bool:
    """Whether the terminal is this process group's now. Of groups outside of its own namespace nobody can tell."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp() != 0
    except OSError:
        return False


def set_in_foreground(terminal: int, modes: list[Any]) -> bool:
    """Set a terminal's modes at once; False if its foreground is another group's by now. Raises termios.error.

    Between a look at the foreground and this the shell may have taken it, as it does when the guardian is stopped
    first. The system then stops whoever sets modes (SIGTTOU) and has it try again once it goes on: `_stop` would stop
    procwatch a second time, after the shell's `fg`. With a handler the call is interrupted instead.
    """
    before = signal.signal(signal.SIGTTOU, lambda *_: None)
    try:
        termios.tcsetattr(terminal, termios.TCSANOW, modes)
    except termios.error as error:
        if error.args[0] == errno.EINTR:
            return False
        raise
    finally:
        signal.signal(signal.SIGTTOU, before)
    return True
