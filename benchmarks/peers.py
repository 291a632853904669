"""The tools that are measured: how each is found, what files it needs and how it is started.

Rule 1: every tool with its defaults; an option is given only where it would not do the job at all without.
Rule 2: every tool is given the same shell commands.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

# How long a tool may take to say its version.
_VERSION_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A folder's files, the command line to start there, and what the tool reads from standard input."""

    command: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """How a tool is started, and the command that asks it how everything stands."""

    plan: Plan
    status: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Peer:
    """One tool. `watch` makes a plan from (build, service), `run` from the services by name; none: it cannot.

    `control` is given (services by name, build): a tool that does not watch runs the build in a loop beside them.
    `ask_version`: arguments that make it print its version; none: it has no such. `programs`: what it is made of, if
    not of the one that is called as it is; the version is that of the first.
    """

    name: str
    watch: Callable[[str, str], Plan] | None = None
    run: Callable[[Mapping[str, str]], Plan] | None = None
    control: Callable[[Mapping[str, str], str], Asked] | None = None
    ask_version: tuple[str, ...] | None = ("--version",)
    programs: tuple[str, ...] = ()

    def find(self) -> str | None:
        """The (first) program's path, if all are there; the folder of this Python comes first."""
        paths = [shutil.which(program, path=search_path()) for program in self.programs or (self.name,)]
        return paths[0] if all(paths) else None

    def version(self) -> str:
        """As the tool or its package says it, or "?"."""
        return _said_version(self) or _packaged_version(self) or "?"


def search_path() -> str:
    """PATH with the folder of this Python before it: tools of the same environment count as installed."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))


def _said_version(peer: Peer) -> str | None:
    program = peer.find()
    if program is None or peer.ask_version is None:
        return None
    found = re.search(rb"\d+\.\d+(\.\d+)*", _output((program, *peer.ask_version)))
    return found[0].decode() if found else None


def _output(command: tuple[str, ...]) -> bytes:
    """What a program says within its time; its children are ended with it."""
    # To a file: with a pipe, a child that holds it open would be waited for without end.
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True,
                env={**os.environ, "PATH": search_path()},
            )  # fmt: skip
        except OSError:
            return b""  # it is there, but does not run here
        with suppress(subprocess.TimeoutExpired):
            process.wait(_VERSION_TIMEOUT_S)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        said.seek(0)
        return said.read()


def _packaged_version(peer: Peer) -> str | None:
    """For npm's packages: package.json in a folder above the program that the link leads to."""
    program = peer.find()
    for folder in Path(program).resolve().parents if program else ():
        if (package := folder / "package.json").is_file():
            version = json.loads(package.read_text()).get("version")
            return str(version) if version else None
    return None


# --- save to build and service ---------------------------------------------------------------------------------------

# The file that is saved, and the folder that is watched.
SOURCE = "src/main.rs"


def _procwatch_watch(build: str, service: str) -> Plan:
    builds = f"[build.app]\nrun = {json.dumps(build)}\nwatch = ['src/**']\n"
    services = f"[service.app]\nrun = {json.dumps('exec ' + service)}\nneeds = ['build.app']\n"
    return Plan(("procwatch", "start"), {"watch.toml": f"{builds}\n{services}"})


_CRATE = {"Cargo.toml": '[package]\nname = "app"\nversion = "0.1.0"\nedition = "2021"\n'}


def _cargo_watch(build: str, service: str) -> Plan:
    return Plan(("cargo-watch", "watch", "-w", "src", "-s", f"{build} && exec {service}"), _CRATE)


def _two_cargo_watch(build: str, service: str) -> Plan:
    """One builds and touches a file, the other runs the service and restarts it when that file is touched."""
    builds = shlex.join(("cargo-watch", "watch", "-w", "src", "-s", build, "-s", "touch .trigger"))
    serves = shlex.join(("cargo-watch", "watch", "--no-vcs-ignores", "-w", ".trigger", "-s", f"exec {service}"))
    return Plan(("sh", "-c", f"{builds} & exec {serves}"), {**_CRATE, ".trigger": ""})


def _cargo_watch_and_pm2(build: str, service: str) -> Plan:
    """pm2's daemon is one of this folder alone: it carries the session's mark, and is ended by that."""
    app = {"name": "app", "script": "sh", "args": ["-c", f"exec {service}"], "interpreter": "none"}
    restart = shlex.join(("cargo-watch", "watch", "-w", "src", "-s", build, "-s", "pm2 startOrRestart app.json"))
    files = {**_CRATE, "app.json": json.dumps({"apps": [app]})}
    return Plan(("sh", "-c", f'PM2_HOME="$PWD/.pm2" exec {restart}'), files)


def _watchexec(build: str, service: str) -> Plan:
    return Plan(("watchexec", "--restart", "--watch", "src", "--", f"{build} && exec {service}"))


def _entr(build: str, service: str) -> Plan:
    return Plan(("entr", "-n", "-r", "sh", "-c", f"{build} && exec {service}"), stdin=f"{SOURCE}\n")


def _modd_watch(build: str, service: str) -> Plan:
    return Plan(("modd",), {"modd.conf": f"src/** {{\n  prep: {build}\n  daemon: exec {service}\n}}\n"})


def _nodemon(build: str, service: str) -> Plan:
    return Plan(("nodemon", "--watch", "src", "--ext", "rs", "--exec", f"{build} && exec {service}"))


def _watchfiles(build: str, service: str) -> Plan:
    return Plan(("watchfiles", f"sh -c {shlex.quote(f'{build} && exec {service}')}", "src"))


def _wireit(build: str, service: str) -> Plan:
    scripts = {"build": "wireit", "serve": "wireit"}
    wired = {
        "build": {"command": build, "files": ["src/**"]},
        "serve": {"command": f"exec {service}", "service": True, "dependencies": ["build"], "files": []},
    }
    package = json.dumps({"name": "app", "version": "1.0.0", "private": True, "scripts": scripts, "wireit": wired})
    return Plan(("npm", "run", "serve", "--watch"), {"package.json": package})


# --- a Procfile ------------------------------------------------------------------------------------------------------


def procfile(services: Mapping[str, str]) -> str:
    """Lines `name: command`."""
    return "".join(f"{name}: exec {command}\n" for name, command in services.items())


def _procfile_with(*command: str) -> Callable[[Mapping[str, str]], Plan]:
    return lambda services: Plan(command, {"Procfile": procfile(services)})


def _modd_run(services: Mapping[str, str]) -> Plan:
    daemons = "".join(f"  daemon: exec {command}\n" for command in services.values())
    return Plan(("modd",), {"modd.conf": f"src/** {{\n{daemons}}}\n"})


def _process_compose(services: Mapping[str, str]) -> Plan:
    processes = {name: {"command": f"exec {command}"} for name, command in services.items()}
    text = json.dumps({"version": "0.5", "processes": processes})
    return Plan(("process-compose", "up", "--tui=false", "--no-server"), {"process-compose.yaml": text})


def _concurrently(services: Mapping[str, str]) -> Plan:
    return Plan(("concurrently", *(f"exec {command}" for command in services.values())))


# --- asked while it runs ---------------------------------------------------------------------------------------------

# Between two builds in a loop.
PAUSE_S = 0.2


def _procwatch_control(services: Mapping[str, str], build: str) -> Asked:
    tables = [f"[build.app]\nrun = {json.dumps(build)}\nwatch = ['src/**']\n"]
    tables += [f"[service.{name}]\nrun = {json.dumps('exec ' + command)}\n" for name, command in services.items()]
    return Asked(Plan(("procwatch", "start"), {"watch.toml": "\n".join(tables)}), ("procwatch", "status"))


def _loop(build: str) -> Mapping[str, str]:
    """A script that builds again and again."""
    return {"build.sh": f"while :; do\n{build}\nsleep {PAUSE_S}\ndone\n"}


def _supervisord_control(services: Mapping[str, str], build: str) -> Asked:
    programs = {**services, "app": "sh build.sh"}
    sections = {
        "unix_http_server": "file=%(here)s/control.sock",
        "supervisord": "childlogdir=%(here)s",
        "supervisorctl": "serverurl=unix://%(here)s/control.sock",
        "rpcinterface:supervisor": "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
        **{f"program:{name}": f"command={command.replace('%', '%%')}" for name, command in programs.items()},
    }
    text = "".join(f"[{name}]\n{line}\n" for name, line in sections.items())
    plan = Plan(("supervisord", "--nodaemon"), {"supervisord.conf": text, **_loop(build)})
    return Asked(plan, ("supervisorctl", "status"))


def _process_compose_control(services: Mapping[str, str], build: str) -> Asked:
    processes = {name: {"command": f"exec {command}"} for name, command in {**services, "app": "sh build.sh"}.items()}
    text = json.dumps({"version": "0.5", "processes": processes})
    socket = ("--unix-socket", "control.sock")
    plan = Plan(("process-compose", "up", "--tui=false", *socket), {"process-compose.yaml": text, **_loop(build)})
    return Asked(plan, ("process-compose", "process", "list", *socket))


PEERS = (
    Peer("procwatch", watch=_procwatch_watch, run=_procfile_with("procwatch", "start"), control=_procwatch_control),
    Peer("cargo-watch", watch=_cargo_watch),
    Peer("two-cargo-watch", watch=_two_cargo_watch, programs=("cargo-watch",)),
    Peer("cargo-watch+pm2", watch=_cargo_watch_and_pm2, programs=("pm2", "cargo-watch"), ask_version=None),
    Peer("watchexec", watch=_watchexec),
    Peer("entr", watch=_entr, ask_version=()),
    Peer("modd", watch=_modd_watch, run=_modd_run),
    Peer("nodemon", watch=_nodemon),
    Peer("wireit", watch=_wireit, ask_version=None),
    Peer("watchfiles", watch=_watchfiles),
    Peer("honcho", run=_procfile_with("honcho", "start")),
    Peer("foreman", run=_procfile_with("foreman", "start")),
    Peer("hivemind", run=_procfile_with("hivemind")),
    Peer("overmind", run=_procfile_with("overmind", "start")),
    Peer("concurrently", run=_concurrently),
    Peer("process-compose", run=_process_compose, control=_process_compose_control, ask_version=("version",)),
    Peer("supervisord", control=_supervisord_control),
)
