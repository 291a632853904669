"""`listen` and `proxy` -> where procwatch listens for a service, and the probes that ask the service itself.

Rule 1: nothing is listened at twice in a project: a connection would come to one of them by chance.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from procwatch.config import home
from procwatch.config.check import Findings
from procwatch.config.locate import KeyPath
from procwatch.config.schema import ServiceTable, WatchToml
from procwatch.core.model import HttpProbe, Listener, TcpProbe

# The numbers from 3 on that a service finds its sockets at; those from 64 on are where procwatch keeps them.
MAX_SOCKETS = 60
_WILDCARDS = {"0.0.0.0", "::"}  # noqa: S104 - they are only recognised

_Probe = TypeVar("_Probe", HttpProbe, TcpProbe)


@dataclass(frozen=True, slots=True)
class Own:
    """Where a service itself can be asked: at its port, through the sockets that it is given, or behind its `proxy`."""

    port: int | None
    listen: tuple[Listener, ...] = ()
    proxy: Listener | None = None

    @property
    def is_nowhere(self) -> bool:
        """Whether there is no such place."""
        return self.port is None and not self.listen and self.proxy is None

    def asked(self, probe: _Probe) -> _Probe:
        """The probe, which asks the service itself where it has no port, or an address that procwatch listens at.

        Behind a proxy each instance has a port of its own, which 0 stands for until it is known.
        """
        if self.proxy is not None:
            return replace(probe, port=0, host=None) if not probe.port or _is_at(self.proxy, probe) else probe
        if not self.listen:
            return probe
        if probe.port:
            found = next((index for index, each in enumerate(self.listen) if _is_at(each, probe)), None)
            return probe if found is None else replace(probe, listener=found)
        index = next((index for index, each in enumerate(self.listen) if each.port), 0)
        chosen = self.listen[index]
        return replace(probe, port=chosen.port, host=chosen.reached_at or None, listener=index)


def _is_at(listener: Listener, probe: HttpProbe | TcpProbe) -> bool:
    """Whether an address that is written out is that of a socket."""
    hosts = {None, "localhost", listener.host, listener.reached_at}
    return listener.port == probe.port and (probe.host in hosts or listener.host in _WILDCARDS)


def listeners(path: KeyPath, table: ServiceTable, findings: Findings) -> tuple[Listener, ...]:
    """The sockets of a service; in a list all are called as the service is."""
    where = (*path, "listen")
    if table.listen and table.port is not None:
        message = 'port is one that the service opens itself; leave it out, or "listen", which procwatch opens for it'
        findings.report((*path, "port"), message, on_key=True)
    if table.proxy is not None and (table.listen or table.port is not None):
        other = "listen" if table.listen else "port"
        message = f'proxy is for a service that opens the port in $PORT, which procwatch chooses; leave out "{other}"'
        findings.report((*path, "proxy"), message, on_key=True)
    if len(table.listen) > MAX_SOCKETS:
        findings.report(where, f"listen has {len(table.listen)} addresses; {MAX_SOCKETS} are possible")
    return tuple(listener for _, listener in _entries(path, table, findings))


def public(path: KeyPath, table: ServiceTable) -> Listener | None:
    """The public address of a service that knows only `$PORT`."""
    at = table.proxy
    return None if at is None else Listener(str(path[-1]), at.host, at.port)


def _entries(path: KeyPath, table: ServiceTable, findings: Findings) -> Iterator[tuple[KeyPath, Listener]]:
    """Each socket and where it is written."""
    where = (*path, "listen")
    folder = findings.layers.home(where)
    given = table.listen
    entries = given.items() if isinstance(given, dict) else enumerate(given)
    for key, at in entries:
        name = key if isinstance(key, str) else str(path[-1])
        yield (
            (*where, key),
            Listener(name, at.host, at.port, at.path and home.path(folder, posixpath.normpath(at.path))),
        )


def check_addresses(file: WatchToml, findings: Findings) -> None:
    """Report each address that is there already, be it by a wildcard."""
    seen: list[tuple[str, Listener]] = []
    for name, table in file.service.items():
        path: KeyPath = ("service", name)
        proxied = public(path, table)
        more = [] if proxied is None else [((*path, "proxy"), proxied)]
        for where, listener in [*_entries(path, table, findings), *more]:
            other = next(((who, each) for who, each in seen if _is_same(each, listener)), None)
            if other is not None:
                whose = "above" if other[0] == name else f'by service "{other[0]}"'
                findings.report(where, f"{listener.address} is listened at {whose} already ({other[1].address})")
            seen.append((name, listener))


def _is_same(one: Listener, other: Listener) -> bool:
    if one.path or other.path:
        return one.path == other.path
    hosts = {one.host, other.host}
    is_for_all = bool(hosts & _WILDCARDS) and ("::" in hosts or not any(":" in host for host in hosts))
    return one.port == other.port and (len(hosts) == 1 or is_for_all)
