"""Start a process that is given sockets, as systemd does it: from descriptor 3 on, in order, with LISTEN_FDS.

Rule 1: descriptors get their numbers in the child. In this process, with its threads, the low ones are in use.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping, Sequence

from procwatch.frozen import record
from procwatch.runtime.sockets import Handed

# sd_listen_fds(3): SD_LISTEN_FDS_START.
FIRST_DESCRIPTOR = 3
# What Python has set for itself, and Popen undoes.
_DEFAULT_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ)


@record
class Child:
    """What `subprocess.Popen` is of others."""

    pid: int
    returncode: int | None = None


def variables(handed: Sequence[Handed]) -> dict[str, str]:
    """What tells a program of its sockets; LISTEN_PID it can only be told by the process itself (`wrapper`)."""
    if not handed:
        return {}
    return {"LISTEN_FDS": str(len(handed)), "LISTEN_FDNAMES": ":".join(each.name for each in handed)}


def spawn(
    argv: tuple[str, ...], env: Mapping[str, str], stdin: int | None, output: int, handed: Sequence[Handed]
) -> Child:
    """Start it in a session of its own; `stdin` None is nothing to read. Raises OSError."""
    actions: list[tuple[int, ...] | tuple[int, int, str, int, int]] = []
    if stdin is None:
        actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
    else:
        actions.append((os.POSIX_SPAWN_DUP2, stdin, 0))
    actions += [(os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
    descriptors = [each.slot.descriptor() for each in handed]
    actions += [(os.POSIX_SPAWN_DUP2, own, number) for number, own in enumerate(descriptors, FIRST_DESCRIPTOR)]
    return Child(os.posix_spawn(argv[0], argv, env, file_actions=actions, setsid=True, setsigdef=_DEFAULT_SIGNALS))
