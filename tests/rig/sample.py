"""A copy of a sample on a free port, what it answers, and other programs beside procwatch.

Rule 1: a copy is changed only in its port; all else runs as a reader runs it.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.rig.live import DEADLINE_S, Live, clean_environment

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
# What building and running leaves in a sample; a reader's fresh copy has none of it.
_MADE = ("target", "node_modules", "dist", "out", "hooks.log", "greeting.txt", "__pycache__", ".procwatch", ".venv")
# Below the ports that systems hand out by themselves, so that no client's socket has taken one in between.
_PORTS = range(10_000, 30_000)
# Where the samples say their port; 8101 is that of 01, and so on.
_PORT_FILES = ("watch.toml", ".env", "services/shop/watch.toml")


@dataclass(frozen=True)
class Answer:
    """What a sample's service says: a text, and the process that gave it."""

    text: str
    pid: int


def copy(name: str, folder: Path) -> int:
    """Copy a sample into an empty folder; the free port that it has there."""
    shutil.copytree(SAMPLES / name, folder, ignore=shutil.ignore_patterns(*_MADE), dirs_exist_ok=True)
    port = free_port()
    usual = f"81{name[:2]}"
    for path in (folder / each for each in _PORT_FILES):
        if path.exists():
            path.write_text(path.read_text().replace(usual, str(port)))
    return port


def free_port(host: str = "127.0.0.1") -> int:
    """A port that is free, and so are the next one and the one 100 further (a Procfile's)."""
    return next(port for port in random.sample(_PORTS, 1000) if all(is_free(port + more, host) for more in (0, 1, 100)))


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether nobody has this port of an address."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def ask(port: int) -> Answer:
    """What is answered now; an OSError if nobody listens."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE_S) as answer:
        body = answer.read().decode()
    found = re.fullmatch(r"(.*) \((?:port \d+, )?process (\d+)\)\n", body)
    assert found, f"not an answer of a sample: {body!r}"
    return Answer(found[1], int(found[2]))


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that is there just once, as an editor would save it."""
    content = path.read_text()
    assert content.count(old) == 1, f"{old!r} is not there once:\n{content}"
    path.write_text(content.replace(old, new))


def serves(live: Live, port: int, text: str) -> Answer:
    """Wait until somebody listens; the answer, which must have this text."""

    def answered() -> Answer | None:
        try:
            return ask(port)
        except urllib.error.URLError:  # a Procfile's process counts as ready before it listens
            return None

    answer: Answer = live.until(answered, f"an answer on port {port}")
    assert answer.text == text, live.story()
    return answer


def becomes(live: Live, port: int, service: str, text: str, *, after: int = 0) -> Answer:
    """Wait until the service is ready (counted from index `after`); its answer, of this text and by its process."""
    ready = live.wait("service_ready", service, after=after)
    answer = serves(live, port, text)
    assert answer.pid == ready["pid"], live.story()
    return answer


def started(live: Live, after: int) -> list[str]:
    """The names of the services that were started since index `after`, one for each time."""
    return sorted(event["name"] for event in live.seen("service_started", after=after))


class Beside:
    """Another program that runs beside procwatch, and what it prints."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env=clean_environment(), start_new_session=True,
        )  # fmt: skip
        self._output = bytearray()
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self._output += line
                self._news.notify_all()
        self.process.stdout.close()
        with self._news:
            self._news.notify_all()

    @property
    def text(self) -> str:
        """All output so far."""
        return bytes(self._output).decode(errors="replace")

    def shows(self, text: str) -> str:
        """Wait until the output holds this text; all output so far."""
        end_s = time.monotonic() + DEADLINE_S
        with self._news:
            while text not in self.text:
                left_s = end_s - time.monotonic()
                if left_s <= 0 or not self._reader.is_alive():
                    raise AssertionError(f"{text!r} did not come\n{self.text}")
                self._news.wait(left_s)
            return self.text

    def watches_files(self) -> bool:
        """Whether it has asked Linux to tell it of changes."""
        infos = Path(f"/proc/{self.process.pid}/fdinfo").iterdir()
        return any("inotify wd:" in info.read_text() for info in infos)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send a signal, wait for the end and all output; the exit status, negative for a signal."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            code = self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"it does not end\n{self.text}") from None
        self._reader.join(DEADLINE_S)
        return code
