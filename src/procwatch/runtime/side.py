"""One of the two connections of a link, and what the kernel can be asked and told about how it ends."""

from __future__ import annotations

import socket
import struct
import sys
from contextlib import suppress

from procwatch.runtime.turns import OnEvent, Turns

# One piece: with more, slow clients would hold more; with less, large files take more turns.
PIECE_BYTES = 64 * 1024
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

    def read(self) -> bytes | None:
        """The next piece; empty at the end, None if there is none yet. OSError if it broke."""
        try:
            return self.sock.recv(PIECE_BYTES)
        except (BlockingIOError, InterruptedError):
            return None

    def send(self, data: bytes) -> None:
        """Send it, and keep what it does not take now. OSError if it broke."""
        if self.unsent:
            self.unsent += data
            return
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        self.unsent = data[sent:]

    def shut(self) -> None:
        """Tell it, once, that no more comes."""
        if not self.is_shut:
            self.is_shut = True
            with suppress(OSError):  # it has gone meanwhile, which its next event tells
                self.sock.shutdown(socket.SHUT_WR)

    def watch(self, turns: Turns, wanted: int) -> None:
        """Have `on_event` called for these events, and no others."""
        if wanted != self.watched:
            turns.watch(self.sock, self.watched, wanted, self.on_event)
            self.watched = wanted

    def close(self, turns: Turns) -> None:
        """Close it."""
        self.watch(turns, 0)
        self.sock.close()


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
