"""The project as the core understands it: names resolved, durations in seconds, defaults filled in.

Rule 1: frozen plain data. Everything here can be compared, hashed in parts and made by hand in a test.
Rule 2: `config` makes it, nobody changes it; a changed watch.toml makes a new Project.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Literal

from procwatch.frozen import field, frozen

# A string goes through the project's shell; a tuple is one program and its arguments.
Command = str | tuple[str, ...]
# Where output of a build or service is shown: always, only when it failed, or never.
Terminal = Literal["all", "on-failure", "none"]


@frozen
class Exit:
    """How a process ended: `code` as a shell would give it (128 + n for signal n), and the same in words.

    `words` is what a message shows in its brackets: "exit 2", "killed by SIGKILL", "timed out after 10 s",
    "no such command: frob".
    """

    code: int
    words: str

    @property
    def ok(self) -> bool:
        """Whether it ended with 0."""
        return self.code == 0


@frozen
class Need:
    """One entry of `needs`, resolved to a full name.

    `restart`: a success of the build (a switch of the service) alone makes the needing service outdated.
    `until`: for services, how far it must have come. `uses`: of a build, those of its outputs that matter; none: all.
    """

    name: str
    restart: bool
    until: Literal["ready", "started"] = "ready"
    uses: tuple[str, ...] = ()


@frozen
class Release:
    """Outputs of a success of a build, as they were kept: their number, and what each entry of `outputs` held."""

    number: int
    digests: Mapping[str, str]


# Which releases something is started from: builds by their full names, with numbers.
Releases = tuple[tuple[str, int], ...]


@frozen
class StopPolicy:
    """How a process tree is asked to end before it is killed; `signal` is a name such as "SIGTERM"."""

    signal: str = "SIGTERM"
    grace_s: float = 10.0
    to: Literal["leader", "group"] = "leader"


@frozen
class RestartPolicy:
    """What follows when a service ends by itself; delays in seconds, doubling from `min_delay_s`."""

    policy: Literal["always", "on-failure", "never"] = "on-failure"
    min_delay_s: float = 0.1
    max_delay_s: float = 10.0
    stable_s: float = 10.0


@frozen
class LogPolicy:
    """Output is kept in a file: at `max_bytes` a new one is begun, `keep` older ones stay."""

    max_bytes: int = 10 * 1024 * 1024
    keep: int = 3


@frozen
class Listener:
    """A socket that procwatch opens and hands over, by its `name`: TCP at `host` and `port`, or a unix one at `path`.

    `host` is an IP address; `path` is empty, or relative to the project's folder.
    """

    name: str
    host: str = ""
    port: int = 0
    path: str = ""

    @property
    def address(self) -> str:
        """As a user writes it."""
        return self.path or at(self.host, self.port)

    @property
    def reached_at(self) -> str:
        """The host that a client of this machine connects to."""
        return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - it is looked up


def at(host: str, port: int) -> str:
    """A host and port in one word."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@frozen
class ProbeTiming:
    """Seconds between tries, for one try, and for all of them."""

    interval_s: float = 0.1
    timeout_s: float = 1.0
    deadline_s: float = 30.0


@frozen
class HttpProbe:
    """Ready when a GET answers 2xx or 3xx, or just `status`. `host` None: the loopback addresses.

    `listener`: it asks through this one of the service's own sockets (an index of `listen`). Without it `port` 0 is
    the one that the instance was given.
    """

    port: int
    path: str
    host: str | None = None
    status: int | None = None
    tls: bool = False
    listener: int | None = None


@frozen
class TcpProbe:
    """Ready when a connection is taken. `host` None: the loopback addresses.

    `listener`: on this one of the service's own sockets (an index of `listen`), by the service itself. Without it
    `port` 0 is the one that the instance was given.
    """

    port: int
    host: str | None = None
    listener: int | None = None


@frozen
class RunProbe:
    """Ready when the command exits with 0."""

    command: Command


@frozen
class LogProbe:
    """Ready when the regular expression is found in one line of output."""

    pattern: str


@frozen
class NotifyProbe:
    """Ready when the service sends READY=1 to $NOTIFY_SOCKET (sd_notify)."""


@frozen
class DelayProbe:
    """Ready when it has run for so many seconds without ending."""

    delay_s: float


# Those that can be asked again and again.
AskedProbe = HttpProbe | TcpProbe | RunProbe
Probe = AskedProbe | LogProbe | NotifyProbe | DelayProbe

# "else once it has run for 100 ms without ending" (the contract, Probes).
DEFAULT_READY = DelayProbe(0.1)


@frozen
class Health:
    """What a ready instance is asked every `interval_s`: after `failures` tries in a row that failed it is restarted.

    `timeout_s` is for one try.
    """

    probe: AskedProbe
    interval_s: float = 5.0
    timeout_s: float = 1.0
    failures: int = 3


BuildHook = Literal["pre_build", "post_build", "build_failed"]
ServiceHook = Literal["pre_start", "post_start", "pre_stop", "post_stop", "crashed"]


@frozen
class Unit:
    """What builds and services have in common. `name` is the full one: "build.api".

    Paths (`dir`, `env_files`) and patterns (`watch`, `ignore`) are relative to the project's folder;
    `env` and `env_files` are the table's own, not the project's. `log` None: its output is kept in no file.
    """

    name: str
    run: Command
    needs: tuple[Need, ...] = ()
    watch: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    dir: str = "."
    env: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[str, ...] = ()
    hooks: Mapping[str, tuple[Command, ...]] = field(default_factory=dict)
    terminal: Terminal = "all"
    color: str | None = None
    log: LogPolicy | None = LogPolicy()
    stop: StopPolicy = StopPolicy()

    @property
    def short(self) -> str:
        """The name without its kind: "api"."""
        return self.name.partition(".")[2]

    @property
    def build_needs(self) -> tuple[Need, ...]:
        """Its needs that are builds."""
        return tuple(need for need in self.needs if need.name.startswith("build."))

    @property
    def service_needs(self) -> tuple[Need, ...]:
        """Its needs that are services."""
        return tuple(need for need in self.needs if need.name.startswith("service."))


@frozen
class Build(Unit):
    """A command that runs and ends.

    `outputs`: paths and patterns of what it makes, of which `keep` releases are kept. `home`: the folder of the file
    that declares it, from which whoever is given a release expects them.
    """

    stop: StopPolicy = StopPolicy(grace_s=2.0)
    timeout_s: float | None = None
    on_change: Literal["restart", "finish"] = "restart"
    at_start: Literal["always", "changed", "never"] = "always"
    unchanged: Literal["skip", "run"] = "skip"
    lock: str | None = None
    manual: bool = False
    outputs: tuple[str, ...] = ()
    keep: int = 3
    home: str = ""

    @property
    def release_variable(self) -> str:
        """The variable that tells whoever needs it where its outputs are (contract, "What every command is given")."""
        word = "".join(char if char.isascii() and char.isalnum() else "_" for char in self.short)
        return f"PROCWATCH_RELEASE_{word.upper()}"


@frozen
class Service(Unit):
    """A process that is kept running.

    `port` is one that it opens itself (watch.toml); `given_port` is only told to it as PORT (a Procfile's). `listen`:
    the sockets that it is given. `proxy`: the address of which procwatch passes connections on to the port that each
    instance is given. `tty`: it runs on a pseudo-terminal. `of`: the service, as it is written, of which it is one of
    the replicas, and `replica` its number; empty where there is just one.
    """

    of: str = ""
    replica: int = 1
    port: int | None = None
    given_port: int | None = None
    listen: tuple[Listener, ...] = ()
    proxy: Listener | None = None
    ready: Probe = DEFAULT_READY
    timing: ProbeTiming = ProbeTiming()
    health: Health | None = None
    verify: Command | None = None
    switch: Literal["replace", "overlap", "signal"] = "replace"
    reload_signal: str = "SIGHUP"
    restart: RestartPolicy = RestartPolicy()
    stdin: Literal["null", "open"] = "null"
    tty: bool = False
    autostart: bool = True


Isolation = Literal["tree", "pidns"]
WatchEngine = Literal["auto", "inotify", "watchfiles", "poll"]


@frozen
class WatchSettings:
    """How the files are watched; `quiet_s` None is "auto", `poll_s` None: files are compared only after events."""

    ignore: tuple[str, ...] = ()
    gitignore: bool = True
    quiet_s: float | None = None
    max_wait_s: float = 0.5
    poll_s: float | None = None
    engine: WatchEngine = "auto"


@frozen
class Project:
    """All of it. `builds` and `services` are by full name, in the order in which they can be started.

    `env_files` are the project's; `folder` is an absolute path, everything else is relative to it. `include`: patterns
    of files of which each that comes to match is a part of the project.
    """

    name: str
    folder: str
    builds: Mapping[str, Build]
    services: Mapping[str, Service]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    default: tuple[str, ...] = ()
    shell: tuple[str, ...] = ("/bin/sh", "-c")
    env: Mapping[str, str] = field(default_factory=dict)
    env_files: tuple[str, ...] = ()
    jobs: int = 1
    isolation: Isolation = "tree"
    include: tuple[str, ...] = ()
    watch: WatchSettings = WatchSettings()

    @property
    def units(self) -> Mapping[str, Build | Service]:
        """Builds and services by full name."""
        return {**self.builds, **self.services}

    def only(self, names: Collection[str]) -> Project:
        """The same project with just these builds and services."""
        from dataclasses import replace  # noqa: PLC0415 - takes longer than a command that reads no project anew

        return replace(
            self,
            builds={name: build for name, build in self.builds.items() if name in names},
            services={name: service for name, service in self.services.items() if name in names},
        )


def definition(project: Project, unit: Build | Service) -> str:
    """A text that differs when what `unit` runs differs: commands, hooks, folder, shell, environment.

    It is the part of a build's key, and of what a service was started with, that comes from watch.toml. Files that
    are named in it (env files, watched files) are not read here.
    """
    parts: list[object] = [unit.run, sorted(unit.hooks.items()), unit.dir, project.shell]
    parts += [sorted(project.env.items()), project.env_files, sorted(unit.env.items()), unit.env_files]
    if isinstance(unit, Build) and unit.outputs:
        parts += [unit.outputs]
    if isinstance(unit, Service):
        parts += [unit.port, unit.given_port, unit.listen, unit.proxy, unit.stop, unit.stdin, unit.tty]
        parts += [unit.ready, unit.health]
    return repr(parts)
