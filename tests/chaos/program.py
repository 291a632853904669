"""What the chaos project's builds, services and hooks run, as `python -SE program.py KIND NAME`.

Rule 1: it is copied into the project and started thousands of times: no import of ours, and none that is slow.
Rule 2: every process writes itself into record/ledger before it does anything, and every line it prints has a number.
Rule 3: what must never be (two runs of one build, more builds than jobs) goes to record/violations.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

# What each build needs, and which builds each service needs.
GRAPH = {
    "base": ("",),
    "left": ("base",),
    "right": ("base",),
    "top": ("left", "right"),
    "migrate": ("",),
    "slow": ("",),
}
GRAPH = {name: tuple(filter(None, needs)) for name, needs in GRAPH.items()}
SERVES = {"db": (), "cache": ("right",), "worker": ("top", "migrate"), "web": ("top", "slow"), "storm": ("base",)}
CONFIG = {"db": "config/db.toml", "web": "config/web.toml"}  # the services' own `watch`
ENV_FILES = {"left": "env/left.env", "worker": "env/worker.env"}
LOCKED = ("left", "right")

# A shell writes its line of /proc/<pid>/stat into the ledger, so that it is known by its id and its start time.
_SIGN = 'read -r line </proc/$$/stat; echo "{role} $line" >>record/ledger; '
_STAYS = "exec sleep 1000"


def sources(root: Path, name: str) -> list[str]:
    """The files that a build reads, in order."""
    found: list[str] = []
    for folder, folders, files in os.walk(root / "src" / name):
        folders.sort()
        found += [os.path.relpath(f"{folder}/{file}", root) for file in files if file.endswith(".txt")]
    return sorted(found)


def content(root: Path, name: str) -> tuple[str, str]:
    """The digest and the text of a build's sources; ValueError if nothing can be made of them."""
    digest, text = 0, ""
    names = sources(root, name)
    if f"src/{name}/main.txt" not in names:
        raise ValueError(f"{name} has no main.txt")
    for path in names:
        part = (root / path).read_text()
        if not part:
            raise ValueError(f"{path} is empty")
        digest = zlib.crc32(f"{path}\0{part}\0".encode("utf-8", "surrogateescape"), digest)
        text += part
    return f"{digest:08x}", text


# --- who is alive ----------------------------------------------------------------------------------------------------


def start_time(pid: int) -> str | None:
    """When a process was started, in the kernel's own count; None if it is not alive."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    return None if stat[0] in b"ZX" else stat[19].decode()


def ledger(root: Path) -> Iterator[tuple[str, int, str]]:
    """Role, process id and start time of every process that has written itself down."""
    with suppress(FileNotFoundError):
        for line in (root / "record/ledger").read_text().splitlines():
            head, _, stat = line.rpartition(")")
            yield head.split()[0], int(head.split()[1]), stat.split()[19]


def alive(root: Path) -> list[tuple[str, int]]:
    """Role and process id of those that are alive."""
    return [(role, pid) for role, pid, since in ledger(root) if start_time(pid) == since]


def _sign(role: str) -> None:
    _append("record/ledger", f"{role} {Path('/proc/self/stat').read_text()}")


def _append(path: str, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.write(descriptor, line.encode())
    os.close(descriptor)


def _complain(text: str) -> None:
    _append("record/violations", f"{text}\n")


def _must_be_alone(unit: str) -> None:
    """Nothing of an earlier run may be alive; this one is in the ledger already, so two that overlap cannot miss it."""
    here = os.getpid()
    others = alive(Path())
    for role, pid in others:
        if role in (unit, f"{unit}+child") and pid != here:
            _complain(f"{unit} (process {here}) starts while {role} {pid} is alive")


def _must_have_a_place(name: str) -> None:
    """Not more builds than jobs, and no other holder of the lock."""
    busy = {role.partition(".")[2] for role, _ in alive(Path()) if role.startswith("build.") and "+" not in role}
    jobs = int(_settings()["jobs"])
    if len(busy) > jobs:
        _complain(f"{sorted(busy)} run at once with {jobs} jobs")
    if name in LOCKED and busy.issuperset(LOCKED):
        _complain(f"{LOCKED} hold one lock")


def _settings() -> dict[str, Any]:
    return dict(json.loads(Path("settings.json").read_text()))


# --- printing --------------------------------------------------------------------------------------------------------


class Voice:
    """Prints numbered lines; how many are surely in the pipe stands in record/printed/LIFE/NAME.PID."""

    def __init__(self, name: str) -> None:
        self._mark = f"@{name}:{os.getpid()}"
        self._count = 0
        folder = f"record/printed/{os.environ.get('CHAOS_LIFE', '0')}"
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103 - pathlib's takes longer
        self._file = os.open(f"{folder}/{name}.{os.getpid()}", os.O_WRONLY | os.O_CREAT, 0o644)

    def say(self, *texts: str) -> None:
        """Each text on a line with the next number, whose last character tells that it is whole."""
        lines = [f"{self._mark}:{number} {text} .\n" for number, text in enumerate(texts, self._count)]
        left = memoryview("".join(lines).encode("utf-8", "surrogateescape"))
        while left:
            left = left[os.write(1, left) :]
        self._count += len(texts)
        os.pwrite(self._file, b"%09d" % self._count, 0)

    def shout(self, times: int, text: str) -> None:
        """Many lines, in pieces, so that the count keeps up."""
        for _ in range(0, times, 500):
            self.say(*[text] * 500)


# --- builds ----------------------------------------------------------------------------------------------------------


def build(name: str) -> None:
    """Make out/NAME of the sources, the env file and the outputs of the needed builds; the sources say how it fails."""
    _sign(f"build.{name}")
    _must_be_alone(f"build.{name}")
    _must_have_a_place(name)
    voice = Voice(name)
    settings = _settings()
    try:
        digest, text = content(Path(), name)
    except (ValueError, OSError) as error:
        voice.say(str(error))
        sys.exit(2)
    voice.say(f"reads {digest}")
    made = {
        "name": name, "digest": digest, "global": os.environ.get("GLOBAL"), "env": os.environ.get(f"VALUE_{name}"),
        "needs": {need: json.loads(Path("out", need).read_text()) for need in GRAPH[name]},
    }  # fmt: skip
    if settings["careless"]:
        _replace(f"out/{name}", json.dumps(made))
    _misbehave(name, text, voice, settings["delay_s"][name])
    if not settings["careless"]:
        _replace(f"out/{name}", json.dumps(made))
    voice.say("is done")


def _misbehave(name: str, text: str, voice: Voice, delay_s: float) -> None:
    """Take some time, and whatever the text asks for."""
    if "forks" in text:
        _shell(_SIGN.format(role=f"build.{name}+child") + _STAYS, session=True)
        time.sleep(delay_s / 2)
        sys.exit(5)
    if "daemon" in text:
        _shell(_SIGN.format(role="daemon") + "sleep 3 & exec sleep 2", session=True)
    if "hang" in text:
        time.sleep(1000)
    time.sleep(delay_s)
    if "loud" in text:  # much of it is still in the pipe when it ends
        voice.shout(4000, "a build that tells everything \x1b[31min red\x1b[0m and more")
    if "broken" in text:
        voice.say("error: it is broken")
        sys.exit(3)
    if "segv" in text:
        os.kill(os.getpid(), signal.SIGSEGV)


def _replace(path: str, text: str) -> None:
    draft = Path(f"{path}.{os.getpid()}.draft")
    draft.write_text(text)
    draft.replace(path)


def _shell(script: str, *, session: bool = False) -> subprocess.Popen[bytes]:
    return subprocess.Popen(["/bin/sh", "-c", script], start_new_session=session)


# --- services --------------------------------------------------------------------------------------------------------


def service(name: str) -> None:
    """Note in record/started/NAME what it starts with, then serve in its own way."""
    _sign(f"service.{name}")
    _must_be_alone(f"service.{name}")
    voice = Voice(name)
    basis = {need: json.loads(Path("out", need).read_text()) for need in SERVES[name]}
    config = Path(CONFIG[name]).read_text() if name in CONFIG else ""
    if "crash" in config or "ends" in config:
        voice.say("it will not stay")
        sys.exit("crash" in config)
    line = {
        "run": int(os.environ["PROCWATCH_RUN"]), "pid": os.getpid(), "since": start_time(os.getpid()), "config": config,
        "builds": basis, "global": os.environ.get("GLOBAL"), "env": os.environ.get(f"VALUE_{name}"),
    }  # fmt: skip
    prepared = _PREPARES[name](voice, config)
    _append(f"record/started/{name}", json.dumps(line) + "\n")
    if "mute" not in config:
        voice.say(f"{name} is up")
    _SERVES_AS[name](voice, prepared)


def _nothing(_voice: Voice, config: str) -> Any:
    """db, and what all have in common: it may be loud."""
    if "loud" in config:
        os.write(1, b"x" * 1_200_000 + b"\n")
        _voice.shout(10_000, "loud \udce4")
    return None


def _be_stubborn(voice: Voice, config: str) -> Any:
    """cache: it and its child take no notice of any polite signal."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    _shell(_SIGN.format(role="service.cache+child") + _STAYS)


def _hide_children(voice: Voice, config: str) -> Any:
    """worker: sessions of their own, double forks, one that ignores SIGTERM, one without the environment."""
    child = _SIGN.format(role="service.worker+child")
    _shell(child + _STAYS, session=True)
    scripts = {
        "visible": f"trap '' TERM; {child}{_STAYS}",
        "hidden": _SIGN.format(role="hidden") + _STAYS,
    }
    for name, script in scripts.items():
        os.environ["CHAOS_SCRIPT"] = script
        clean = "env -i " if name == "hidden" else ""
        _shell(f'(setsid {clean}/bin/sh -c "$CHAOS_SCRIPT" &)').wait()


def _listen(voice: Voice, config: str) -> Any:
    """web: its port, a moment after it has started."""
    _nothing(voice, config)
    if "deafening" in config:
        voice.shout(60_000, "!" * 180)
    time.sleep(0.05)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(os.environ["PORT"])))
    listener.listen()
    return listener


def _notify(voice: Voice, config: str) -> Any:
    """storm: it hears SIGTERM in its own time, and says when it is ready."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"STATUS=storm\nREADY=1", os.environ["NOTIFY_SOCKET"])


def _tick(voice: Voice, _prepared: Any) -> None:
    """db: a line now and then; it says good-bye when it is asked to end."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    while signal.sigtimedwait({signal.SIGTERM}, 0.2) is None:
        voice.say("tick")
    voice.say("good-bye")


def _sleep(voice: Voice, _prepared: Any) -> None:
    """cache, worker."""
    while True:
        time.sleep(1000)


def _answer(voice: Voice, listener: socket.socket) -> None:
    """web: take each connection."""
    while True:
        listener.accept()[0].close()
        voice.say("a connection")


def _fork(voice: Voice, _prepared: Any) -> None:
    """storm: always some short-lived children; a last wave of stubborn ones when it is asked to end."""
    child = _SIGN.format(role="service.storm+child")
    children: list[subprocess.Popen[bytes]] = []
    while signal.sigtimedwait({signal.SIGTERM}, 0.15) is None:
        children = [one for one in children if one.poll() is None]
        children.append(_shell(f"{child}exec sleep 0.3"))
    for _ in range(8):
        _shell(f"trap '' TERM; {child}{_STAYS}", session=True)
    voice.say("the last wave is out")


_PREPARES = {"db": _nothing, "cache": _be_stubborn, "worker": _hide_children, "web": _listen, "storm": _notify}
_SERVES_AS = {"db": _tick, "cache": _sleep, "worker": _sleep, "web": _answer, "storm": _fork}


def hook(name: str) -> None:
    """hooks/NAME says what it does."""
    _sign(f"hook.{name}")
    what = Path("hooks", name).read_text().strip()
    Voice(f"hook.{name}").say(what)
    time.sleep({"slow": 0.3, "hang": 2.0}.get(what, 0.0))
    sys.exit(what == "fail")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # without a traceback
    {"build": build, "service": service, "hook": hook}[sys.argv[1]](sys.argv[2])
