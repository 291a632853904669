"""A program on a terminal of its own: type, wait for what it shows, look at the terminal's modes."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.rig.live import DEADLINE_S, clean_environment


class Terminal:
    """The program leads a session whose terminal this is."""

    def __init__(self, command: Sequence[str], folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._ours, theirs = pty.openpty()
        self.output = b""
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command], cwd=folder, stdin=theirs, stdout=theirs, stderr=theirs,
            env={**clean_environment(), "TERM": "xterm", **(env or {})},
        )  # fmt: skip
        os.close(theirs)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._ours, text.encode())

    def mark(self) -> int:
        """How much has been shown, to wait for what comes after it."""
        return len(self.output)

    def shows(self, text: str, after: int = 0) -> None:
        """Wait until this is on the screen."""
        self.until(lambda: text.encode() in self.output[after:], repr(text))

    def until(self, found: Callable[[], object], what: str) -> None:
        """Wait for something, and take what is shown meanwhile."""
        end_s = time.monotonic() + DEADLINE_S
        while not found():
            assert time.monotonic() < end_s, f"{what} did not come\n{self.output.decode(errors='replace')}"
            self._take(0.02)

    def _take(self, wait_s: float) -> None:
        if select.select([self._ours], [], [], wait_s)[0]:
            try:
                self.output += os.read(self._ours, 65536)
            except OSError:  # nobody has the other end any more
                return

    def is_raw(self) -> bool:
        """Whether keys come one by one, without an echo."""
        return not termios.tcgetattr(self._ours)[3] & (termios.ICANON | termios.ECHO)

    def is_plain(self) -> bool:
        """Whether the terminal gives whole lines and echoes them, as a new one does."""
        local = int(termios.tcgetattr(self._ours)[3])
        return local & (termios.ICANON | termios.ECHO) == termios.ICANON | termios.ECHO

    def ended(self) -> int:
        """Wait for the program's end; its exit status as a shell would give it."""
        self.until(lambda: self.process.poll() is not None, "the end")
        code = self.process.returncode
        return int(code) if code >= 0 else 128 - int(code)

    def close(self) -> None:
        """End the program if it runs, and the terminal."""
        self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        finally:
            self.process.kill()
            os.close(self._ours)
