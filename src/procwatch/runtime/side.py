"""One of the two connections of a link, and what the kernel can be asked and told about how it ends."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress

from procwatch.runtime.turns import OnEvent

# Where an instance listens: a server that is told a host instead of an address takes either, or both.
LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
# SO_LINGER that makes close(2) a reset.
_RESET = struct.pack("ii", 1, 0)
# tcpi_state of a connection that was reset.
_TCP_CLOSE = 7


class Side:
    """A connection, and what is still to be written to it.

    `has_ended`: no more comes from it. `is_shut`: it has been told that no more comes. `is_reset`: it takes no more.
    """

    __slots__ = ("has_ended", "is_connecting", "is_reset", "is_shut", "on_event", "sock", "unsent", "watched")

    def __init__(self, sock: socket.socket, on_event: OnEvent) -> None:
        self.sock = sock
        self.on_event = on_event
        self.unsent = b""
        self.watched = 0
        self.has_ended = self.is_shut = self.is_reset = self.is_connecting = False


def reset_at_close(sock: socket.socket) -> None:
    """Have the other end see a reset when this one is closed."""
    with suppress(OSError):  # it has gone already
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


def was_reset(sock: socket.socket) -> bool:
    """Whether a connection that has ended was reset, too: after an end the kernel tells of a reset only there.

    To be asked only where this end has not been shut: the state is the same after an orderly close by both.
    """
    if sys.platform != "linux":
        return False
    return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _TCP_CLOSE
