"""A service that tests/rig/web.py serves, behind `listen` or `proxy`, and those who ask it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from urllib.request import urlopen

from benchmarks.load import Load

from tests.rig.live import DEADLINE_S, Live, write
from tests.rig.sample import free_port

WEB = "service.web"
SERVER = Path(__file__).with_name("web.py")


def toml(by: str, port: int, more: str = "", *, rude: bool = False) -> str:
    """`by`: the line that says how procwatch has the port, with `ADDRESS` in it."""
    command = [sys.executable, str(SERVER), *(["rude"] if rude else [])]
    run = ", ".join(f"'{each}'" for each in command)
    return f"""
[service.web]
run = [{run}]
watch = ["version"]
{by.replace("ADDRESS", f"127.0.0.1:{port}")}
ready = {{ http = "/", deadline = "3s", timeout = "2s" }}
{more}
"""


def running(
    project: Path, start: Callable[[], Live], by: str, more: str = "", *, rude: bool = False
) -> tuple[Live, int]:
    """Up on version 1; its public port."""
    port = free_port()
    write(project / "watch.toml", toml(by, port, more, rude=rude))
    write(project / "version", "1")
    live = start()
    live.wait("service_ready", WEB)
    return live, port


def ask(port: int, path: str = "/") -> str:
    """An answer; an error if there is none."""
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_S) as answer:
        return str(answer.read().decode())


def waiting(port: int, path: str) -> tuple[threading.Thread, list[str]]:
    """A request that is not answered yet."""
    got: list[str] = []
    thread = threading.Thread(target=lambda: got.append(ask(port, path)))
    thread.start()
    return thread, got


def answered(live: Live, load: Load, words: str) -> None:
    """Wait until the load has had an answer that begins with these words."""
    live.until(lambda: any(body.startswith(words.encode()) for body in [*load.bodies]), f"an answer {words!r}")


def follow_each_other(project: Path, live: Live, load: Load, last: int, *names: str) -> None:
    """Version after version up to the last one, each when the load has had an answer of the one before."""
    answered(live, load, "1 ")
    for number in range(2, last + 1):
        write(project / "version", str(number))
        for name in names or (WEB,):
            live.wait("service_switched", name, times=number - 1)
        answered(live, load, f"{number} ")


def keeps_waiting_until_verified(project: Path, start: Callable[[], Live], by: str) -> None:
    """Who comes while its build still runs, or it is verified, is answered by the first instance once that is done."""
    port = free_port()
    built = '[build.app]\nrun = "until test -e go; do sleep 0.02; done"\n'
    verify = 'verify = "until test -e good; do sleep 0.02; done"'
    write(project / "watch.toml", toml(by, port, f'{verify}\nneeds = ["build.app"]\n{built}'))
    write(project / "version", "1")
    live = start()
    live.wait("build_started", "build.app")
    early = [waiting(port, "/") for _ in range(3)]
    write(project / "go", "")
    live.wait("service_started", WEB)
    late = [waiting(port, "/") for _ in range(3)]
    write(project / "good", "")
    pid = live.wait("service_ready", WEB)["pid"]
    for thread, got in (*early, *late):
        thread.join(DEADLINE_S)
        assert got == [f"1 {pid}"]
