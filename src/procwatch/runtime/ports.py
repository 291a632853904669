"""Whether a port of this machine is taken, and by whom; and which one is free.

Rule 1: whether it is taken is tried, by binding to it; whom it belongs to is only for the message.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
from collections.abc import Container

from procwatch.runtime.census import command_name

# Below are the ports that programs are known by.
_LEAST_FREE, _END = 10_000, 65_536
# A free port is found at once; with so many tries none is found only where there is none.
_TRIES = 1000
# What the system gives to outgoing connections, where it does not say (macOS).
_USUAL_OUTGOING = (49_152, 65_535)
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
# The state of a listening socket in /proc/net/tcp.
_LISTENING = "0A"
# Processes looked at before the loop gets its turn: a few hundred descriptors, about 1 ms.
_SCAN_SHARE = 10


def is_taken(port: int) -> bool:
    """Whether a program that opens this port on the loopback or on all addresses would be refused."""
    return any(_is_taken(family, host, port) for family, host in _LOOPBACKS)


def _is_taken(family: int, host: str, port: int) -> bool:
    try:
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            # As servers do: connections of a predecessor that linger are no obstacle then.
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                trial.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            trial.bind((host, port))
    except OSError as error:  # without IPv6, or for a low port, nothing is known: the service itself will tell
        return error.errno == errno.EADDRINUSE
    return False


def find_free(excepted: Container[int]) -> int | None:
    """A port that no program has on the loopback, and none of these; None where there is none.

    Not one that the system gives to outgoing connections, if it leaves any: that could be somebody else's before the
    service opens it, and procwatch itself makes such connections all the time where it passes requests on.
    """
    first, last = _outgoing()
    others = [span for span in (range(_LEAST_FREE, first), range(last + 1, _END)) if span]
    spans = others or [range(_LEAST_FREE, _END)]
    for _ in range(_TRIES):
        port = random.choice(*random.choices(spans, [*map(len, spans)]))  # noqa: S311 (no secret)
        if port not in excepted and not is_taken(port):
            return port
    return None


def _outgoing() -> tuple[int, int]:
    """The first and the last port that the system gives to outgoing connections."""
    try:
        with open("/proc/sys/net/ipv4/ip_local_port_range") as file:  # noqa: PTH123
            first, last = map(int, file.read().split())
    except OSError:
        return _USUAL_OUTGOING
    return first, last


async def holder_of(port: int) -> str | None:
    """Who listens on the port: "postgres (process 4242)"; None where that cannot be known."""
    inodes = {f"socket:[{inode}]" for inode in _listeners(port)}
    if not inodes:
        return None
    for number, name in enumerate(sorted(filter(str.isdigit, os.listdir("/proc")), key=int), 1):  # noqa: PTH208
        if _holds(int(name), inodes):
            return f"{command_name(int(name))} (process {name})"
        if number % _SCAN_SHARE == 0:
            await asyncio.sleep(0)
    return None


def _listeners(port: int) -> set[str]:
    """The inodes of the sockets that listen on the port, on any address."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(table) as file:  # noqa: PTH123
                rows = [line.split() for line in file][1:]
        except OSError:  # no /proc, or no IPv6
            continue
        found |= {row[9] for row in rows if row[3] == _LISTENING and int(row[1].rpartition(":")[2], 16) == port}
    return found


def _holds(pid: int, links: set[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        descriptors = os.listdir(folder)  # noqa: PTH208
    except OSError:  # it has ended, or belongs to another user
        return False
    return any(_link(f"{folder}/{descriptor}") in links for descriptor in descriptors)


def _link(path: str) -> str:
    try:
        return os.readlink(path)  # noqa: PTH115
    except OSError:  # closed meanwhile
        return ""
