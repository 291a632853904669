"""A terminal multiplexer with windows in which a test types, and reads what stands there.

Waiting is for what is shown, under one generous deadline.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tests.rig.live import DEADLINE_S, clean_environment

COLUMNS, ROWS = 120, 40


class Tmux:
    """A server of its own, with its first window; each window has a shell in `folder`."""

    def __init__(self, folder: Path, env: Mapping[str, str] | None = None) -> None:
        self._folder = folder
        self._place = tempfile.mkdtemp(prefix="pw")  # short: a socket's path has 107 bytes at most
        self._env = {**clean_environment(), "TERM": "xterm-256color", "PS1": "$ ", **(env or {})}
        self._env.pop("TMUX", None)
        self.tmux("-f", os.devnull, "new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS), "-c", str(folder), "sh")

    def tmux(self, *args: str) -> str:
        """What this command of tmux prints."""
        command = ["tmux", "-S", f"{self._place}/s", *args]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=DEADLINE_S, check=True)
        return done.stdout

    def open(self) -> None:
        """One window more."""
        self.tmux("new-window", "-c", str(self._folder), "sh")

    def type(self, window: int, text: str, *keys: str) -> None:
        """Type this, and then press keys by tmux' names for them."""
        if text:
            self.tmux("send-keys", "-t", f":{window}", "-l", text)
        if keys:
            self.tmux("send-keys", "-t", f":{window}", *keys)

    def text(self, window: int) -> str:
        """What stands in the window, and what has scrolled out of it."""
        return self.tmux("capture-pane", "-p", "-J", "-S", "-1000", "-t", f":{window}")

    def shows(self, window: int, *texts: str, after: str = "") -> None:
        """Wait until all of these stand there, below the last line that holds `after`."""
        end_s = time.monotonic() + DEADLINE_S
        while True:
            whole = self.text(window)
            seen = whole[max(0, whole.rfind(after)) :] if after else whole
            if after in whole and all(text in seen for text in texts):
                return
            assert time.monotonic() < end_s, f"{texts} did not come\n{whole}"

    def close(self) -> None:
        """End the server and all that runs in its windows."""
        subprocess.run(["tmux", "-S", f"{self._place}/s", "kill-server"], capture_output=True, check=False)
        shutil.rmtree(self._place, ignore_errors=True)
