"""What the builds and services of the story of switching run, as `python -SE server.py KIND [NAME]`.

Rule 1: it is copied into the project: no import of ours, and none that is slow.
Rule 2: a version is a number and a kind ("17 good"), which says how it goes wrong: see KINDS.
Rule 3: a server loses nothing by itself: it answers whatever it has accepted before it ends on SIGTERM. A rude one does
        not.
"""

import asyncio
import json
import os
import random
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path

# What is amiss with a version.
KINDS = {
    "good": "nothing",
    "late": "it takes a while until it serves",
    "slow": "it takes a while to end",
    "rude": "it ends at once when it is to, whatever it is answering",
    "wrong": "it does not pass verify",
    "mute": "it answers nothing",
    "dead": "it ends at once",
    "broken": "its build fails",
}
# How many files a build makes, and of how many bytes each.
_FILES = {"app": (3, 100), "slow": (120, 20_000)}
# A connection that has been taken is given so long to say something, also when the end has come.
_FIRST_WORD_S = 1.0


def _append(path: str, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def _sign(role: str) -> None:
    """Into the ledger, as the programs of program.py do."""
    _append("record/ledger", f"{role} {Path('/proc/self/stat').read_text()}")


def _complain(text: str) -> None:
    _append("record/violations", f"{os.environ['PROCWATCH_NAME']} run {os.environ['PROCWATCH_RUN']}: {text}\n")


# --- a build ---------------------------------------------------------------------------------------------------------


def build(name: str) -> None:
    """Make the files of out/NAME of its source, one after another, each with the version in its first line."""
    _sign(f"build.{name}")
    version = Path(f"src/{name}/version").read_text().strip()
    time.sleep(random.choice([0.02, 0.1, 0.3]))
    out = Path("out", name)
    out.mkdir(parents=True, exist_ok=True)
    count, size = _FILES[name]
    for number in range(count):
        (out / f"{number}").write_text(f"{version}\n{number}" + "x" * size)
        if number == count // 2:
            if version.endswith("broken"):
                print("error: it is broken")
                sys.exit(3)
            time.sleep(0.03)
    (out / "extra").write_bytes(Path(f"src/{name}/extra").read_bytes())
    (out / "version").write_text(version)


# --- a server --------------------------------------------------------------------------------------------------------


def _versions() -> dict[str, str]:
    """The version of each build, from the release in use; what is not whole must never be."""
    found = {}
    for variable, folder in os.environ.items():
        if variable.startswith("PROCWATCH_RELEASE_"):
            name = variable.removeprefix("PROCWATCH_RELEASE_").lower()
            out = Path(folder, "out", name)
            try:
                found[name] = (out / "version").read_text()
                first, last = ((out / f"{number}").read_text() for number in (0, _FILES[name][0] - 1))
            except OSError as error:
                _complain(f"the release in use is not whole: {error}")
                continue
            if {first.split("\n")[0], last.split("\n")[0]} != {found[name]}:
                _complain(f"{folder} holds different versions")
    return found


def _who() -> dict[str, object]:
    env = os.environ
    return {"life": int(env["CHAOS_LIFE"]), "name": env["PROCWATCH_NAME"], "run": int(env["PROCWATCH_RUN"])}


class Server:
    """Answers who it is."""

    def __init__(self, versions: dict[str, str]) -> None:
        self._versions = versions
        self._kinds = {version.split()[1] for version in versions.values()}
        self._ending = asyncio.Event()
        self._silent: set[asyncio.StreamWriter] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()

    async def run(self) -> None:
        """Until SIGTERM, and until what has been taken is answered."""
        if "rude" not in self._kinds:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._ending.set)
        if "dead" in self._kinds:
            sys.exit(3)
        if "late" in self._kinds:
            await asyncio.sleep(0.7)
        servers = [await asyncio.start_server(self._serve, sock=sock) for sock in _listeners()]
        await self._ending.wait()
        for server in servers:
            server.close()
        for writer in tuple(self._idle):
            writer.close()
        end_s = time.monotonic() + _FIRST_WORD_S
        while self._open - (self._silent if time.monotonic() > end_s else set()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        if "slow" in self._kinds:
            await asyncio.sleep(0.8)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self._silent.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = await reader.readuntil(b"\r\n\r\n")
            self._silent.discard(writer)
            while True:
                writer.write(await self._answer(head))
                await writer.drain()
                if self._ending.is_set() or b"Connection: close" in head:
                    break
                self._idle.add(writer)
                head = await reader.readuntil(b"\r\n\r\n")
                self._idle.discard(writer)
        for each in (self._open, self._silent, self._idle):
            each.discard(writer)
        writer.close()

    async def _answer(self, head: bytes) -> bytes:
        while "mute" in self._kinds and b"/verify" not in head:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        if head.startswith(b"GET / ") and random.random() < 0.1:
            await asyncio.sleep(random.choice([0.05, 0.4]))
        if _versions() != self._versions:
            _complain(f"its release holds {_versions()} instead of {self._versions}")
        body = json.dumps(_who() | {"versions": self._versions, "at": time.time()}).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _listeners() -> list[socket.socket]:
    """Those that it was given; else it opens $PORT."""
    if "LISTEN_FDS" not in os.environ:
        return [socket.create_server(("127.0.0.1", int(os.environ["PORT"])), backlog=1024)]
    if os.environ["LISTEN_PID"] != str(os.getpid()):
        _complain("LISTEN_PID is somebody else's")
    return [socket.socket(fileno=3 + number) for number in range(int(os.environ["LISTEN_FDS"]))]


def serve(role: str) -> None:
    """A service that answers."""
    _sign(f"service.{role}")
    versions = _versions()
    _append("record/runs", json.dumps(_who() | {"versions": versions}) + "\n")
    asyncio.run(Server(versions).run())


def plain(role: str) -> None:
    """A service that only lives."""
    _sign(f"service.{role}")
    print(f"{role} is up", flush=True)
    signal.pause()


def verify(role: str) -> None:
    """Look at the new instance, which must be the one that answers."""
    _sign(f"verify.{role}")
    time.sleep(random.choice([0, 0, 0.3]))
    with socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), timeout=10) as client:
        client.sendall(b"GET /verify HTTP/1.1\r\nConnection: close\r\n\r\n")
        answer = b""
        while piece := client.recv(65536):
            answer += piece
    found = json.loads(answer.partition(b"\r\n\r\n")[2])
    if (found["name"], found["run"]) != (os.environ["PROCWATCH_NAME"], int(os.environ["PROCWATCH_RUN"])):
        _complain(f"verify was answered by {found}")
    sys.exit(any(version.endswith("wrong") for version in found["versions"].values()))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback
    {"build": build, "serve": serve, "plain": plain, "verify": verify}[sys.argv[1]](sys.argv[2])
