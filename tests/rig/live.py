"""A real procwatch on a real folder: start it, wait for its events, end it, and see that nothing is left.

Waiting is for an event, under one generous deadline; nothing here sleeps.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from procwatch.runtime import census

# How long anything may take on a loaded machine before a test gives up.
DEADLINE_S = 30.0
# Between two looks at what nobody tells of: who looks all the time takes the processor from what is waited for.
_LOOK_S = 0.005
_never = threading.Event()

Event = dict[str, Any]


class Live:
    """One `procwatch start --json`; events are collected by a thread as they come."""

    def __init__(
        self, folder: Path, *args: str, env: Mapping[str, str] | None = None, json_events: bool = True, under: str = "",
        command: str = "start",
    ) -> None:  # fmt: skip
        """`under`: a shell command that sets what procwatch is to inherit. `command`: another one than `start`."""
        self.folder = folder
        words = ["/bin/sh", "-c", f'{under}; exec "$@"', "sh"] if under else []
        words += [sys.executable, "-m", "procwatch", command, *(["--json"] if json_events else []), *args]
        self.errors = (folder.parent / f"{folder.name}.{command}.stderr").open("w+b")
        self.process = subprocess.Popen(
            words, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.errors,
            env={**clean_environment(), **(env or {})}, start_new_session=True,
        )  # fmt: skip
        self.events: list[Event] = []
        self.output = bytearray()
        self._json = json_events
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.output += line
                if self._json:
                    self.events.append(json.loads(line))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()

    # --- waiting -----------------------------------------------------------------------------------------------------

    def until(self, found: Callable[[], Any], what: str) -> Any:
        """Wait until `found` gives something true: asked when an event or line has come, and often in between."""
        end_s = time.monotonic() + DEADLINE_S
        with self._news:
            while not (result := found()):
                if time.monotonic() > end_s or not self._reader.is_alive():
                    return self._last_chance(found, what)
                self._news.wait(0.02)
            return result

    def _last_chance(self, found: Callable[[], Any], what: str) -> Any:
        """Its output has ended: it closes that a moment before it can be waited for."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(0 if self._reader.is_alive() else DEADLINE_S)
        if not (result := found()):
            raise AssertionError(f"{what} did not come\n{self.story()}")
        return result

    def wait(self, event: str, name: str | None = None, *, times: int = 1, after: int = 0) -> Event:
        """Wait until an event of this kind has come so many times, counted from index `after`; the last of them."""

        def found() -> Event | None:
            met = [item for item in self.events[after:] if item["event"] == event and name in (None, item.get("name"))]
            return met[times - 1] if len(met) >= times else None

        made: Event = self.until(found, f"{event} of {name or 'anything'} ({times} times)")
        return made

    def mark(self) -> int:
        """Where the story is now, to wait for what comes after it."""
        with self._news:
            return len(self.events)

    def seen(self, event: str, name: str | None = None, *, after: int = 0) -> list[Event]:
        """The events of this kind so far."""
        with self._news:
            return [item for item in self.events[after:] if item["event"] == event and name in (None, item.get("name"))]

    def shows(self, text: str, *, times: int = 1) -> None:
        """Wait until the output holds this text so many times."""
        self.until(lambda: self.text().count(text) >= times, repr(text))

    def text(self) -> str:
        """All output so far."""
        return bytes(self.output).decode(errors="replace")

    def supervisor(self) -> int:
        """The id of the process that does the work; `process` is its guardian."""
        return supervisor_of(self.process.pid)

    # --- ending ------------------------------------------------------------------------------------------------------

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, wait for the end, give the exit status as a shell would."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.ended()

    def close(self) -> None:
        """Stop it if it runs, and close what this side holds; one that does not end is killed, and fails the test."""
        try:
            self.stop()
        finally:
            self.process.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()
        self.errors.close()

    def ended(self) -> int:
        """Wait for the end by itself; the exit status as a shell would give it."""
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"procwatch does not end\n{self.story()}") from None
        self._reader.join(DEADLINE_S)
        return code if code >= 0 else 128 - code

    def stderr(self) -> str:
        """What it wrote to standard error so far."""
        self.errors.seek(0)
        return self.errors.read().decode(errors="replace")

    def story(self) -> str:
        """Everything that is known, for a failing test's message."""
        told = "\n".join(json.dumps(event) for event in self.events) if self._json else self.text()
        return f"--- events or output\n{told}\n--- stderr\n{self.stderr()}\n--- status {self.process.poll()}"


def is_gone_after_another(live: Live) -> bool:
    """Signals that come in quick succession count as one: they are sent until one counts."""
    if live.process.poll() is None:
        live.process.send_signal(signal.SIGINT)
    return live.process.poll() is not None


def supervisor_of(guardian: int, *others: int) -> int:
    """The process that does the work: the guardian's only child besides `others`."""
    (child,) = (one.pid for one in census.descendants(guardian, others) if one.parent == guardian)
    return child


def wait_for_file(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Wait until a file is there that something below `process` makes."""
    end_s = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert process.poll() is None, f"it has ended with {process.poll()}"
        assert time.monotonic() < end_s, f"{path} did not come"
        before_the_next_look()


def before_the_next_look() -> None:
    """Let others work."""
    _never.wait(_LOOK_S)


def clean_environment() -> dict[str, str]:
    """This environment without what would colour, or what an outer procwatch has set."""
    dropped = ("PROCWATCH", "FORCE_COLOR", "NO_COLOR", "PORT", "CLICOLOR")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
    return {**kept, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"}


def left_over(folder: Path) -> dict[int, str]:
    """Live processes that were started by a procwatch of this folder: id -> command line."""
    found: dict[int, str] = {}
    mark = f"PROCWATCH_PROJECT={folder}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0") and _is_alive(entry):
                found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it has ended, or is not ours
    return found


def _is_alive(entry: Path) -> bool:
    return (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"


def write(path: Path, content: str | bytes) -> Path:
    """Write a file, its folders too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path
