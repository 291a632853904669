"""One run of procwatch in a terminal of its own: its events, its screen, and every process that it has started.

Rule 1: with `--json` and a terminal as standard error both the events and the output of processes can be read.
Rule 2: only what this driver has started, or what stands in the project's ledger, is ever signalled.
"""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.chaos import program
from tests.rig.live import clean_environment, left_over

# How long anything may take on a loaded machine before it counts as hanging.
DEADLINE_S = 60.0
Event = dict[str, Any]

# How procwatch is ended -> its exit status as a shell gives it.
ENDINGS = {
    "Ctrl-C": 130, "SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129, "SIGTERM to the supervisor": 143, "Ctrl-C twice": 130,
    "terminal closes": 129,
}  # fmt: skip
KILLS = ("supervisor is killed", "guardian is killed")
# What it has started lives on, until the next start of procwatch ends it.
BOTH = "both are killed"


class Life:
    """`procwatch start --json` in `root`; `number` counts the lives of one project from 1."""

    def __init__(self, root: Path, number: int, *, dev: bool = False) -> None:
        self.root, self.number = root, number
        self.events: list[Event] = []
        self.junk: list[bytes] = []
        self.screen = bytearray()
        self.last_news_s = time.monotonic()
        self._terminal, theirs = pty.openpty()
        _make_plain(theirs)
        options = ["-X", "dev", "-W", "error"] if dev else []
        env = clean_environment() | {"CHAOS_LIFE": str(number), "LC_ALL": "C.UTF-8"}
        self.process = subprocess.Popen(
            ["setsid", "--ctty", sys.executable, *options, "-m", "procwatch", "start", "--json"],
            cwd=root, env=env, stdin=theirs, stdout=subprocess.PIPE, stderr=theirs,
        )  # fmt: skip
        os.close(theirs)
        self._hang_up = False
        self._away_until_s = 0.0
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._hear, self._watch)]
        for thread in self._threads:
            thread.start()

    # --- reading -----------------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as events:
            for line in events:
                try:
                    self.events.append(json.loads(line) | {"_s": time.time()})
                except ValueError:
                    self.junk.append(line)
                self.last_news_s = time.monotonic()

    def _watch(self) -> None:
        """The terminal, until the last process that has it open is gone, or until it is to close."""
        with suppress(OSError):
            while not self._hang_up:
                if (away_s := self._away_until_s - time.monotonic()) > 0:
                    time.sleep(min(away_s, 0.05))
                elif select.select([self._terminal], [], [], 0.05)[0]:
                    self.screen += os.read(self._terminal, 1 << 16)
        os.close(self._terminal)

    def look_away(self, seconds: float) -> None:
        """Leave the terminal unread for so long, but at most until the end is asked for."""
        self._away_until_s = time.monotonic() + seconds

    def quiet_s(self) -> float:
        """For how long no event has come."""
        return time.monotonic() - self.last_news_s

    def last(self, name: str, *kinds: str) -> Event | None:
        """The last event of a unit, of one of these kinds if any are given."""
        events = (event for event in reversed(self.events) if event.get("name") == name)
        return next((event for event in events if not kinds or event["event"] in kinds), None)

    def until(self, condition: Callable[[], object], deadline_s: float = DEADLINE_S, look_s: float = 0.1) -> bool:
        """Wait for it, with a look now and then; False when procwatch has ended or the time is over before."""
        end_s = time.monotonic() + deadline_s
        while not condition():
            if self.process.poll() is not None or time.monotonic() > end_s:
                return bool(condition())
            time.sleep(look_s)
        return True

    # --- processes ---------------------------------------------------------------------------------------------------

    def supervisor(self) -> int | None:
        """The guardian's child; None before there is one, and after."""
        with suppress(OSError, IndexError):
            guardian = self.process.pid
            return int(Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split()[0])
        return None

    def alive(self) -> dict[int, str]:
        """What procwatch has started and is alive: by the ledger, and by its mark in the environment."""
        return left_over(self.root) | {pid: role for role, pid in program.alive(self.root)}

    def usage(self) -> tuple[int, int]:
        """The supervisor's open descriptors and its memory in KiB."""
        supervisor = self.supervisor()
        status = Path(f"/proc/{supervisor}/status").read_text()
        return len(os.listdir(f"/proc/{supervisor}/fd")), int(status.split("VmRSS:")[1].split()[0])  # noqa: PTH208

    # --- ending ------------------------------------------------------------------------------------------------------

    def end(self, how: str) -> list[str]:
        """End it in one of ENDINGS; what is wrong about that."""
        since_s = time.monotonic()
        self._ask_to_end(how)
        found = []
        if not self._ended():
            return [f"does not end within {DEADLINE_S:g} s after: {how}"]
        if (code := self._code()) != ENDINGS[how]:
            found.append(f"exit status {code} after: {how}")
        if left := self.alive():
            found.append(f"left after {how}, {time.monotonic() - since_s:.1f} s: {left}")
        return found

    def _ask_to_end(self, how: str) -> None:
        self._away_until_s = 0.0
        if how == "terminal closes":
            self._hang_up = True
        elif how.startswith("Ctrl-C"):
            os.write(self._terminal, b"\x03")
            if how == "Ctrl-C twice":
                time.sleep(0.4)  # what comes sooner may be the same key, sent once more by a parent
                with suppress(OSError):
                    os.write(self._terminal, b"\x03")
        else:
            whom = self.supervisor() if "supervisor" in how else None
            os.kill(whom or self.process.pid, getattr(signal, how.partition(" ")[0]))

    def kill(self, how: str) -> list[str]:
        """End it in one of KILLS: all that it has started ends too, without anybody's help; or by BOTH."""
        supervisor = self.supervisor()
        if how == BOTH and supervisor:
            os.kill(supervisor, signal.SIGKILL)
        os.kill(supervisor if supervisor and "supervisor" in how else self.process.pid, signal.SIGKILL)
        if not self._ended():
            return [f"does not end within {DEADLINE_S:g} s after: {how}"]
        found = []
        if (code := self._code()) != 137:
            found.append(f"exit status {code} after: {how}")
        if how == BOTH:
            return found
        end_s = time.monotonic() + DEADLINE_S / 3  # "within two seconds", on any machine
        while left := self.alive():
            if time.monotonic() > end_s:
                return [*found, f"left after {how}: {left}"]
            time.sleep(0.02)
        return found

    def _code(self) -> int:
        code = self.process.returncode
        return code if code >= 0 else 128 - code

    def _ended(self) -> bool:
        """Wait for its end and the last of its output; one that does not come is killed, with all it has started."""
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.clear_away()
            return False
        for thread in self._threads:
            thread.join(DEADLINE_S)
        return True

    def clear_away(self) -> None:
        """End procwatch and all that it has left, whatever the matter is."""
        supervisor = self.supervisor()
        for pid in (self.process.pid, supervisor):
            if pid is not None and self.process.poll() is None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        while left := self.alive():
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        for thread in self._threads:
            thread.join(DEADLINE_S)


def _make_plain(terminal: int) -> None:
    """Bytes come out as they are written, and nothing is echoed; Ctrl-C is still a key that interrupts."""
    modes = termios.tcgetattr(terminal)
    modes[1] &= ~termios.OPOST
    modes[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, modes)
