"""The way of messages to systemd: from the supervisor through the guardian, in the words of sd_notify(3).

Rule 1: systemd believes only the process that it has started (NotifyAccess=main): that is the guardian, which passes on
        what the supervisor says.
Rule 2: the guardian sleeps until a signal comes, and so a message comes with one (MESSAGE).
Rule 3: nobody waits: what cannot be sent at once is dropped, as sd_notify(3) does.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import Any

NOTIFY_SOCKET = "NOTIFY_SOCKET"
MESSAGE = signal.SIGIO
_MESSAGE_BYTES = 4096

# The supervisor's and the guardian's ends of a pair of sockets; None where nobody wants to know, or on other systems.
_ours: Any = None
_guardians: Any = None


def open_way() -> None:
    """To be called by the guardian before its fork, with MESSAGE blocked."""
    global _ours, _guardians
    if not os.environ.get(NOTIFY_SOCKET) or sys.platform != "linux":
        return
    import fcntl  # noqa: PLC0415 - only where somebody wants to know
    import socket  # noqa: PLC0415

    _guardians, _ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    _guardians.settimeout(0)
    _ours.settimeout(0)
    fcntl.fcntl(_guardians, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(_guardians, fcntl.F_SETFL, fcntl.fcntl(_guardians, fcntl.F_GETFL) | os.O_ASYNC)


def keep_own_end() -> None:
    """To be called by the child of the guardian."""
    global _guardians  # noqa: PLW0603
    if _guardians is not None:
        _guardians.close()
        _guardians = None


def pass_on() -> None:
    """To be called by the guardian whenever it wakes: send what the supervisor has said meanwhile."""
    if _guardians is None:
        return
    with suppress(OSError):  # there is no more, or nobody is there to say more
        while message := _guardians.recv(_MESSAGE_BYTES):
            _send(os.environ[NOTIFY_SOCKET], message)


def say(address: str, line: str) -> None:
    """Send a line to the socket at `address`, by way of the guardian where there is one."""
    message = line.encode("utf-8", "backslashreplace")[:_MESSAGE_BYTES]
    if _ours is None:
        _send(address, message)
        return
    with suppress(OSError):  # the guardian is far behind, or gone
        _ours.send(message)


def _send(address: str, message: bytes) -> None:
    import socket  # noqa: PLC0415 - as above

    place = os.fsencode(address)
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as way:
        way.settimeout(0)
        way.sendto(message, b"\0" + place[1:] if place.startswith(b"@") else place)
