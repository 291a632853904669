"""What `make run` shows: a service is built, changed, broken and repaired by itself; then it is yours until Ctrl-C.

It works on a copy of 02-python in a temporary folder. Ctrl-C or SIGTERM ends everything and removes the folder.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SAMPLE = Path(__file__).resolve().parent / "02-python"
USUAL_PORT = 8102
# How long a step of the tour may take on a loaded machine, and how often its effect is looked for.
DEADLINE_S = 60.0
INTERVAL_S = 0.05
# procwatch gives a service 10 s to end; then it kills, which takes a moment.
STOP_DEADLINE_S = 30.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# Laid over the sample's watch.toml: the port, and hooks that tell the tour what has happened.
LOCAL = """\
[build.check.hooks]
build_failed = "echo failed >> .tour"

[service.web]
port = {port}

[service.web.hooks]
post_start = "echo ready >> .tour"
"""


class TourError(Exception):
    """Something did not come as it should have."""


def main() -> int:
    """The whole tour; the exit status."""
    _on_signals(_leave)
    try:
        with tempfile.TemporaryDirectory(prefix="procwatch-tour-") as name:
            folder = Path(name).resolve()
            port = _free_port()
            _prepare(folder, port)
            with _procwatch(folder) as process:
                Tour(folder, port, process).go()
    except TourError as error:
        print(f"tour: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


def _leave(*_: object) -> None:
    """A signal ends the tour; what is open is closed on the way out, which no further signal must cut short."""
    _on_signals(signal.SIG_IGN)
    raise SystemExit(0)


def _on_signals(handler: Callable[..., None] | signal.Handlers) -> None:
    for number in SIGNALS:
        signal.signal(number, handler)


def _free_port() -> int:
    """The sample's own port, or any other if it is taken."""
    for port in (USUAL_PORT, 0):
        with socket.socket() as probe:
            # As the service does it: a port that was in use a moment ago is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise TourError("there is no free port on 127.0.0.1")


def _prepare(folder: Path, port: int) -> None:
    shutil.copytree(
        SAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__", ".procwatch", ".venv")
    )
    (folder / "watch.local.toml").write_text(LOCAL.format(port=port))


@contextmanager
def _procwatch(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running `procwatch start`; at the end it is asked to stop, and has stopped."""
    tools = Path(sys.executable).parent  # its `python` is the one that has uvicorn
    early: list[object] = []
    _on_signals(lambda *_: early.append(None))  # leaving while it is being started would leave it behind
    process = subprocess.Popen(
        [sys.executable, "-m", "procwatch", "start"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"},
        # The terminal's Ctrl-C comes to the tour alone, which hands it on: two would mean "kill at once".
        start_new_session=True,
    )
    try:
        _on_signals(_leave)
        if early:
            _leave()
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    _on_signals(lambda *_: process.send_signal(signal.SIGINT))  # a further Ctrl-C is one for procwatch
    process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_DEADLINE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise TourError(f"procwatch did not stop within {STOP_DEADLINE_S:g} s and was killed") from None


class Tour:
    """The steps, each told before it is done and seen through before the next."""

    def __init__(self, folder: Path, port: int, process: subprocess.Popen[bytes]) -> None:
        self._file = folder / "app" / "greeting.py"
        self._told = folder / ".tour"
        self._url = f"http://127.0.0.1:{port}/"
        self._process = process

    def go(self) -> None:
        """All steps, then whatever the user does, until a signal."""
        self._say(f"1. The start: the build imports the application, then {self._url} is served.")
        self._await("ready", 1)
        self._show("Hello, world")
        self._say("2. A change: the text is now Good morning. The build succeeds, the service is restarted.")
        self._edit("Hello", "Good morning")
        self._await("ready", 2)
        before = self._show("Good morning, world")
        self._say("3. A mistake: a quote is lost. The build fails, and the same process goes on serving.")
        self._edit('{name}"', "{name}")
        self._await("failed", 1)
        if self._show("Good morning, world") != before:
            raise TourError("the service was restarted, though its build had failed")
        self._say("4. The repair: the quote is back, and the text is now Good evening. One restart.")
        self._edit("Good morning, {name}", 'Good evening, {name}"')
        self._await("ready", 3)
        self._show("Good evening, world")
        self._say(f"Your turn: edit {self._file}\nand look at {self._url} . It goes on until Ctrl-C.")
        self._process.wait()
        raise TourError(f"procwatch has ended by itself, with {self._process.returncode}")

    def _say(self, text: str) -> None:
        print(f"\n==> {text}\n", flush=True)

    def _edit(self, old: str, new: str) -> None:
        self._file.write_text(self._file.read_text().replace(old, new))

    def _await(self, event: str, times: int) -> None:
        """Wait until a hook has told of this so many times."""
        end_s = time.monotonic() + DEADLINE_S
        while self._count(event) < times:
            if self._process.poll() is not None:
                raise TourError(f"procwatch has ended by itself, with {self._process.returncode}")
            if time.monotonic() > end_s:
                raise TourError(f"nothing was {event} within {DEADLINE_S:g} s")
            time.sleep(INTERVAL_S)

    def _count(self, event: str) -> int:
        return self._told.read_text().split().count(event) if self._told.exists() else 0

    def _show(self, text: str) -> str:
        """Ask the service, show its answer, and be sure of it."""
        with urllib.request.urlopen(self._url, timeout=DEADLINE_S) as answer:
            body = str(answer.read().decode().strip())
        print(f"    {self._url} answers: {body}", flush=True)
        if not body.startswith(text):
            raise TourError(f'expected "{text}", got "{body}"')
        return body


if __name__ == "__main__":
    sys.exit(main())
