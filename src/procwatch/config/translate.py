"""Checked tables -> core.model: what several keys mean together.

Rule 1: every problem is reported at its key and the translation goes on; its result counts only if there was none.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Literal

from procwatch.config import home
from procwatch.config.layers import ASKED_KINDS, PROBE_KINDS
from procwatch.config.listening import Own, check_addresses, listeners, public
from procwatch.config.locate import KeyPath
from procwatch.config.needs import check_needs, edges_of, needs_of, written_outputs
from procwatch.config.on_disk import check_files, home_dir
from procwatch.config.own_path import check_own_path
from procwatch.config.replicas import Replica
from procwatch.config.resolve import Names
from procwatch.config.schema import (
    AskedTable,
    BuildHooksTable,
    BuildTable,
    LogTable,
    ReadyTable,
    ServiceHooksTable,
    ServiceTable,
    UnitTable,
    WatchToml,
)
from procwatch.config.scope import Scope
from procwatch.core import graph
from procwatch.core.model import (
    DEFAULT_READY,
    Build,
    Command,
    DelayProbe,
    Health,
    HttpProbe,
    LogPolicy,
    LogProbe,
    NotifyProbe,
    Probe,
    ProbeTiming,
    Project,
    RestartPolicy,
    RunProbe,
    Service,
    StopPolicy,
    TcpProbe,
    WatchSettings,
)

# How often files are compared with `engine = "poll"` and no interval of its own.
DEFAULT_POLL_S = 0.5


def translate(file: WatchToml, scope: Scope, env_files: tuple[str, ...]) -> Project:
    """The project, which counts only if nothing was found wrong. `env_files` are the project's."""
    builds = {f"build.{name}": _build(scope, name, table) for name, table in file.build.items()}
    services = _all_services(scope, file, builds)
    units: dict[str, Build | Service] = {**builds, **services}
    check_addresses(file, scope.findings)
    check_needs(scope, file, units)
    check_files(file, scope.folder, scope.names, edges_of(units), scope.findings)
    default = _default(scope, file.project.default)
    if not units and not scope.findings.problems and not scope.names.copies:
        scope.report((), "nothing to run; declare a [build.NAME] or a [service.NAME], or name a Procfile in [project]")
    order = () if scope.findings.problems else graph.order(edges_of(units))
    project = file.project
    return Project(
        name=project.name or scope.folder.name or "project",
        folder=str(scope.folder),
        builds={name: builds[name] for name in order if name in builds},
        services={name: services[name] for name in order if name in services},
        groups=_groups(scope.names),
        default=default,
        shell=tuple(project.shell),
        env=project.env,
        env_files=env_files,
        jobs=project.jobs or os.cpu_count() or 1,
        isolation=project.isolation,
        include=tuple(project.include),
        watch=_watch(scope, file),
    )


def _watch(scope: Scope, file: WatchToml) -> WatchSettings:
    engine = file.watch.engine
    if engine == "inotify" and sys.platform != "linux":
        scope.report(("watch", "engine"), 'engine = "inotify" works on Linux only; "auto" picks what works here')
    poll_s = file.watch.poll
    if poll_s is None and engine == "poll":
        poll_s = DEFAULT_POLL_S
    return WatchSettings(
        ignore=tuple(file.watch.ignore),
        gitignore=file.watch.gitignore,
        quiet_s=file.watch.quiet,
        max_wait_s=file.watch.max_wait,
        poll_s=poll_s,
        engine=engine,
    )


def _groups(names: Names) -> dict[str, tuple[str, ...]]:
    """Groups with full names; a service with replicas is a group of them."""
    groups = {group: names.find(group) for group in names.groups}
    return groups | {service: names.find(f"service.{service}") for service in names.copies if service not in groups}


def _default(scope: Scope, written: list[str]) -> tuple[str, ...]:
    """What a bare start starts: as in `start`, a name that is both means the service."""
    found: dict[str, None] = {}
    for index, name in enumerate(written):
        try:
            found |= dict.fromkeys(scope.names.find(name, "service"))
        except ValueError as error:
            scope.report(("project", "default", index), f"default lists {error}")
    if written and not found and not scope.findings.problems:
        scope.report(("project", "default"), "default lists only empty groups, or what -c leaves out")
    return tuple(found)


# --- builds and services ---------------------------------------------------------------------------------------------


def _build(scope: Scope, name: str, table: BuildTable) -> Build:
    path: KeyPath = ("build", name)
    return Build(
        name=f"build.{name}",
        run=_run(scope, path, table),
        needs=needs_of(scope, path, table),
        watch=_watched(scope, path, table),
        ignore=_ignored(scope, path, table),
        dir=home_dir(scope.findings.layers, path, table.dir),
        env=table.env,
        env_files=_env_files(scope, path, table),
        hooks=_hooks(table.hooks),
        terminal=table.log.terminal,
        color=table.log.color,
        log=_log(table.log),
        timeout_s=table.timeout,
        on_change=table.on_change,
        at_start=table.at_start,
        unchanged=table.unchanged,
        lock=table.lock,
        manual=table.manual,
        outputs=written_outputs(scope, (*path, "outputs"), table.outputs),
        keep=table.keep,
        home=scope.findings.layers.home((*path, "outputs")),
    )


def _all_services(scope: Scope, file: WatchToml, builds: Mapping[str, Build]) -> dict[str, Service]:
    found: dict[str, Service] = {}
    for name, table in file.service.items():
        for service in _services(scope, name, table):
            if service.name in found:
                message = f'a replica of another service is called "{service.short}" too; give this one another name'
                scope.report(("service", service.short), message, on_key=True)
            found[service.name] = service
            check_own_path(service, ("service", name), builds, scope.folder, scope.findings)
    return found


def _services(scope: Scope, name: str, table: ServiceTable) -> list[Service]:
    """The service, or each replica of it."""
    path: KeyPath = ("service", name)
    if table.restart.max_delay < table.restart.min_delay:
        scope.report((*path, "restart"), "restart.max_delay is less than restart.min_delay")
    replicas = scope.replicas.get(name, (Replica(name),))
    if table.port is not None and len(replicas) > 1:
        message = f'all {len(replicas)} replicas would open this port; leave it out, and use "listen" or "proxy"'
        scope.report((*path, "port"), message)
    return [_service(scope, name, table, replica) for replica in replicas]


def _service(scope: Scope, name: str, table: ServiceTable, replica: Replica) -> Service:
    path: KeyPath = ("service", name)
    listen = listeners(path, table, scope.findings)
    proxy = public(path, table)
    own = Own(None if proxy else table.port or replica.given_port, listen, proxy)
    return Service(
        name=f"service.{replica.name}",
        of=f"service.{name}" if replica.name != name else "",
        replica=replica.number,
        run=_run(scope, path, table),
        needs=needs_of(scope, path, table),
        watch=_watched(scope, path, table),
        ignore=_ignored(scope, path, table),
        dir=home_dir(scope.findings.layers, path, table.dir),
        env=table.env,
        env_files=_env_files(scope, path, table),
        hooks=_hooks(table.hooks),
        terminal=table.log.terminal,
        color=table.log.color,
        log=_log(table.log),
        stop=StopPolicy(table.stop.signal, table.stop.grace, table.stop.to),
        port=table.port,
        given_port=None if listen or proxy else replica.given_port,
        listen=listen,
        proxy=proxy,
        ready=_ready(scope, path, table, own),
        timing=_timing(table.ready),
        health=_health(scope, path, table, own),
        verify=table.verify,
        switch=_switch(scope, path, table),
        reload_signal=table.reload_signal,
        restart=RestartPolicy(
            table.restart.policy, table.restart.min_delay, table.restart.max_delay, table.restart.stable
        ),
        stdin=_stdin(scope, path, table),
        tty=table.tty,
        autostart=table.autostart,
    )


def _switch(scope: Scope, path: KeyPath, table: ServiceTable) -> Literal["replace", "overlap", "signal"]:
    if table.switch == "overlap" and table.port is not None:
        message = 'switch = "overlap" starts a second instance, which cannot open the same port; use "replace"'
        scope.report((*path, "switch"), message)
    return table.switch or ("overlap" if table.listen or table.proxy else "replace")


def _stdin(scope: Scope, path: KeyPath, table: ServiceTable) -> Literal["null", "open"]:
    if table.tty and table.stdin != "null":
        message = f'stdin = "{table.stdin}" means nothing with tty = true: its standard input is the terminal'
        scope.report((*path, "stdin"), message)
    return table.stdin


def _run(scope: Scope, path: KeyPath, table: UnitTable) -> Command:
    is_told = scope.findings.is_broken((*path, "run")) or scope.names.may_be_in_procfile(str(path[0]), str(path[1]))
    if table.run is None and not is_told:
        scope.report(path, 'has no "run"; say what to run, such as run = ["program", "argument"]')
    return table.run or ""


def _watched(scope: Scope, path: KeyPath, table: UnitTable) -> tuple[str, ...]:
    where = scope.findings.layers.home((*path, "watch"))
    return tuple(one for text in table.watch for one in home.watched(scope.folder, where, text))


def _ignored(scope: Scope, path: KeyPath, table: UnitTable) -> tuple[str, ...]:
    where = scope.findings.layers.home((*path, "ignore"))
    return tuple(one for text in table.ignore for one in home.ignored(where, text))


def _env_files(scope: Scope, path: KeyPath, table: UnitTable) -> tuple[str, ...]:
    where = scope.findings.layers.home((*path, "env_file"))
    return tuple(home.path(where, name) for name in table.env_file)


def _log(table: LogTable) -> LogPolicy | None:
    return LogPolicy(table.max_size, table.keep) if table.file else None


def _hooks(table: BuildHooksTable | ServiceHooksTable) -> dict[str, tuple[Command, ...]]:
    return {name: commands for name, commands in table if commands}


# --- probes ----------------------------------------------------------------------------------------------------------


def _timing(ready: ReadyTable | None) -> ProbeTiming:
    return ProbeTiming() if ready is None else ProbeTiming(ready.interval, ready.timeout, ready.deadline)


def _ready(scope: Scope, path: KeyPath, table: ServiceTable, own: Own) -> Probe:
    """When it is ready."""
    ready = table.ready
    if ready is None or not _has_probe(scope, (*path, "ready"), ready, PROBE_KINDS):
        if own.listen or own.proxy:
            return own.asked(TcpProbe(0))
        return DEFAULT_READY if table.port is None else TcpProbe(table.port)
    return _network_probe(scope, (*path, "ready"), ready, own) or _other_probe(ready)


def _health(scope: Scope, path: KeyPath, table: ServiceTable, own: Own) -> Health | None:
    """What it is asked while it is ready."""
    health, where = table.health, (*path, "health")
    if health is None:
        return None
    if not _has_probe(scope, where, health, ASKED_KINDS):
        if health.status is None and not scope.findings.is_broken_below(where):
            scope.report(where, 'health has no probe; add "http", "tcp" or "run"')
        return None
    probe = _network_probe(scope, where, health, own) or RunProbe(health.run or "")
    return Health(probe, health.interval, health.timeout, health.failures)


def _has_probe(scope: Scope, path: KeyPath, table: AskedTable, kinds: tuple[str, ...]) -> bool:
    """Whether a table names a probe; two of them are a problem, and so is a status without a request."""
    key = path[-1]
    given = [kind for kind in kinds if getattr(table, kind) is not None]
    if len(given) > 1:
        both = " and ".join(f'"{kind}"' for kind in given)
        scope.report((*path, given[-1]), f"{key} has {both}; just one of these can be", on_key=True)
    elif table.status is not None and table.http is None and not scope.findings.is_broken((*path, "http")):
        scope.report((*path, "status"), f'{key}.status is for a probe with "http"')
    return bool(given)


def _network_probe(scope: Scope, path: KeyPath, table: AskedTable, own: Own) -> HttpProbe | TcpProbe | None:
    """A probe that connects, if it is one; without an address it asks the service itself."""
    asked = table.http or table.tcp
    if asked is None:
        return None
    number = asked.port or own.port
    if number is None and own.is_nowhere:
        kind, example = ("http", "http://127.0.0.1:8000/health") if table.http else ("tcp", "127.0.0.1:5432")
        given = [(*path[:-1], key) for key in ("port", "listen", "proxy")]
        if not any(scope.findings.is_broken(key) or scope.findings.is_broken_below(key) for key in given):
            advice = f'add "port", "listen" or "proxy", or write an address such as "{example}"'
            scope.report((*path, kind), f"{path[-1]}.{kind} has no port to ask; {advice}")
        number = 1
    if table.http:
        target = table.http
        return own.asked(HttpProbe(number or 0, target.path, target.host, table.status, target.tls))
    return own.asked(TcpProbe(number or 0, asked.host))


def _other_probe(ready: ReadyTable) -> Probe:
    """A probe that does not connect."""
    if ready.run is not None:
        return RunProbe(ready.run)
    if ready.log is not None:
        return LogProbe(ready.log)
    if ready.delay is not None:
        return DelayProbe(ready.delay)
    return NotifyProbe()
