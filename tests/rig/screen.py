"""A person at a terminal, for tests: a program on a pseudo-terminal of its own, keys for it, and what it shows.

Waiting is for what is shown, under one generous deadline; nothing here sleeps.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.rig.live import DEADLINE_S, clean_environment

SIZE = (30, 100)


class Screen:
    """`command` in a session whose terminal this side has; `size` is rows and columns."""

    def __init__(
        self, folder: Path, *command: str, size: tuple[int, int] = SIZE, env: Mapping[str, str] | None = None,
        piped: bool = False,
    ) -> None:  # fmt: skip
        self.master, self.slave = os.openpty()
        termios.tcsetwinsize(self.slave, size)
        # As a terminal is found where a shell has started something.
        self.modes = termios.tcgetattr(self.slave)
        # What a session's first process opens is its controlling terminal.
        acquire = ["/bin/sh", "-c", 'exec "$@" <>"$0"', os.ttyname(self.slave)]
        self.process = subprocess.Popen(
            [*acquire, *command], cwd=folder, stdin=self.slave, stdout=subprocess.PIPE if piped else self.slave,
            stderr=self.slave, env={**clean_environment(), "TERM": "xterm", **(env or {})}, start_new_session=True,
        )  # fmt: skip
        self.data = bytearray()

    @property
    def text(self) -> str:
        """All that was shown so far."""
        return self.data.decode(errors="replace")

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Drag the corner of the window."""
        termios.tcsetwinsize(self.slave, (rows, columns))

    def shows(self, text: str, *, times: int = 1) -> None:
        """Wait until it has shown this so many times."""
        self.until(lambda: self.text.count(text) >= times, repr(text))

    def until(self, found: Callable[[], Any], what: str) -> None:
        """Wait until this is so: asked when something is shown, and often in between."""
        end_s = time.monotonic() + DEADLINE_S
        while not found():
            assert time.monotonic() < end_s, f"{what} did not come\n--- shown\n{self.text}"
            self._read(0.02)

    def _read(self, wait_s: float) -> bool:
        if not select.select([self.master], [], [], wait_s)[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:
            return False
        self.data += data
        return bool(data)

    def ended(self) -> int:
        """Wait for the end; the exit status as a shell would give it, after all that was shown has been read."""
        self.until(lambda: self.process.poll() is not None, "the end")
        while self._read(0):
            pass
        code = self.process.returncode
        return code if code >= 0 else 128 - code

    def is_as_before(self) -> bool:
        """Whether the terminal has the modes that it was given with."""
        return termios.tcgetattr(self.slave) == self.modes

    def close_window(self) -> None:
        """The terminal is gone; nothing can be typed or seen any more."""
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        """End what runs, and let the terminal go."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        if self.master >= 0:
            os.close(self.master)
        os.close(self.slave)


def procwatch(folder: Path, *args: str, **more: Any) -> Screen:
    """A person who calls procwatch."""
    return Screen(folder, sys.executable, "-m", "procwatch", *args, **more)
