"""The sockets of one address, and to which of them new connections come.

Rule 1: on Linux a TCP address has sockets, its slots, for as long as it is listened at: two of them, and more where
        more instances are to have one. The kernel asks a small program (classic BPF) to which of them a connection
        goes, when its first packet comes; it stays there.
Rule 2: where that cannot be had (unix sockets, other systems, an old kernel) one socket is all slots, and all that is
        asked for here changes nothing.
Rule 3: the sockets are closed by `close` alone: what waits in their queues outlives every instance.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from procwatch.frozen import frozen
from procwatch.runtime import descriptors

# Backlog 1 (systemfd) drops SYNs; the kernel takes at most net.core.somaxconn, which is 4096.
BACKLOG = 4096
# What is handed over gets the numbers from 3 on: until then its number must be none of those.
LEAST_DESCRIPTOR = 64
# Linux, include/uapi/asm-generic/socket.h; Python does not name it.
_SO_ATTACH_REUSEPORT_CBPF = 51
# Where tcpi_unacked is in struct tcp_info: of a listening socket, the connections that nobody has accepted.
_UNACKED_OFFSET = 24
# Classic BPF, include/uapi/linux/bpf_common.h and filter.h. Absolute loads from the first of these on read the network
# header; one from the second gives a random number.
_NET, _RANDOM = -0x100000, -0x1000 + 56
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD, _SHIFT_RIGHT, _MODULO = 0x30, 0x28, 0x20, 0x74, 0x94
_JUMP, _JUMP_IF_EQUAL, _RETURN = 0x05, 0x15, 0x06
_IPV4_SOURCE_PORT, _IPV6_SOURCE_PORT = 20, 40

Opener = Callable[[], socket.socket]


class Listening:
    """One address that is listened at. Slot 0 is in charge at first: it gets all connections that are not steered.

    `reached_at`: where a client of this machine connects to, a socket's address or the path of a unix socket.
    `bound_name`: what the system calls a unix socket. `opener` makes a bound socket for a further slot. `in_charge`:
    the slots over which new connections are spread by chance.
    """

    def __init__(
        self, sockets: Iterable[socket.socket], reached_at: Any, bound_name: str = "", opener: Opener | None = None
    ) -> None:
        self._sockets = [*sockets]
        self.family = self._sockets[0].family
        self.reached_at = reached_at
        self.bound_name = bound_name
        self.on_close: Callable[[], None] = lambda: None
        self.in_charge: tuple[int, ...] = (0,)
        self._opener = opener
        self._ports: dict[int, int] = {}

    @property
    def port(self) -> int:
        """The port of a TCP address."""
        return int(self.reached_at[1])

    @property
    def is_steered(self) -> bool:
        """Whether each slot is a socket of its own."""
        return len(self._sockets) > 1

    @property
    def slots(self) -> range:
        """Those that there are; where it is not steered there need be no more, whatever is asked for."""
        return range(len(self._sockets))

    def grow(self) -> None:
        """Have one slot more. Raises OSError."""
        assert self._opener is not None, "of what is not steered one socket does for all"
        further = self._opener()
        try:
            further.listen(BACKLOG)
        except BaseException:
            further.close()
            raise
        self._sockets.append(further)

    def socket(self, slot: int) -> socket.socket:
        """The one of a slot; it is not to be accepted from here, nor closed."""
        return self._sockets[slot % len(self._sockets)]

    def put_in_charge(self, *slots: int) -> None:
        """Have new connections come to these slots; those that wait in others stay there."""
        self.in_charge = slots
        self._steer()

    def steer_port(self, port: int, slot: int) -> None:
        """Have connections from this source port come to a slot, whichever is in charge, until `let_go`."""
        self._ports[port] = slot
        self._steer()

    def let_go(self, port: int) -> None:
        """What comes from this source port is a connection as any other."""
        self._ports.pop(port, None)
        self._steer()

    def queue_length(self, slot: int) -> int | None:
        """How many connections wait to be accepted there; None where that cannot be known."""
        if self.bound_name:
            return _unix_queue_length(self.bound_name)
        if not hasattr(socket, "TCP_INFO"):
            return None
        size = _UNACKED_OFFSET + 4
        info = self.socket(slot).getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, size)
        return int.from_bytes(info[_UNACKED_OFFSET:size], sys.byteorder)

    def listens(self, slot: int) -> bool:
        """Whether it still does there: a program that was given a socket can end that with shutdown(2)."""
        return bool(self.socket(slot).getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    def is_sound(self) -> bool:
        """Whether it still listens everywhere, and clients find it."""
        return all(self.listens(slot) for slot in self.slots)

    def close(self) -> None:
        """Listen no more; who still waits in the queue is refused. `on_close` is called before."""
        self.on_close()
        for each in self._sockets:
            each.close()

    def _steer(self) -> None:
        if self.is_steered:
            _attach(self._sockets[0], _program(self._ports, self.in_charge))


@frozen
class Slot:
    """One of the slots of an address: what an instance is given."""

    listening: Listening
    index: int = 0

    def queue_length(self) -> int | None:
        """How many connections wait to be accepted there; None where that cannot be known."""
        return self.listening.queue_length(self.index)

    def descriptor(self) -> int:
        """Its descriptor, in the state in which a program expects it, whatever the last one that had it has set."""
        own = self.listening.socket(self.index)
        os.set_blocking(own.fileno(), True)
        if own.family != socket.AF_UNIX and hasattr(socket, "TCP_DEFER_ACCEPT"):
            own.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 0)
        return own.fileno()


def open_slots(opener: Opener, reached_at: Any) -> Listening:
    """Listen with two sockets, or with one where these cannot be steered; `opener` makes a bound TCP one."""
    first = opener()
    made = [first]
    try:
        first.listen(BACKLOG)
        if hasattr(socket, "SO_REUSEPORT"):
            with suppress(OSError):  # an old kernel, or none of Linux: one has to do
                _attach(first, _program({}, (0,)))
                made.append(opener())
                made[1].listen(BACKLOG)
                return Listening(made, reached_at, opener=opener)
    except BaseException:
        first.close()
        raise
    for further in made[1:]:
        further.close()
    return Listening((first,), reached_at)


def lifted(own: socket.socket) -> socket.socket:
    """The same socket under a number at which it can be kept."""
    family, kind, protocol = own.family, own.type, own.proto
    return socket.socket(family, kind, protocol, fileno=descriptors.lift(own.detach(), LEAST_DESCRIPTOR))


def _program(ports: dict[int, int], in_charge: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """The slot of a steered source port, else one in charge. An address can have packets of both versions of IP."""
    steps = [
        (_LOAD_BYTE, 0, 0, _NET),
        (_SHIFT_RIGHT, 0, 0, 4),
        (_JUMP_IF_EQUAL, 2, 0, 6),
        (_LOAD_HALF, 0, 0, _NET + _IPV4_SOURCE_PORT),
        (_JUMP, 0, 0, 1),
        (_LOAD_HALF, 0, 0, _NET + _IPV6_SOURCE_PORT),
    ]
    for port, slot in ports.items():
        steps += [(_JUMP_IF_EQUAL, 0, 1, port), (_RETURN, 0, 0, slot)]
    chance = [(_LOAD_WORD, 0, 0, _RANDOM), (_MODULO, 0, 0, len(in_charge))]
    for number, slot in enumerate(in_charge[:-1]):
        chance += [(_JUMP_IF_EQUAL, 0, 1, number), (_RETURN, 0, 0, slot)]
    return [*(steps if ports else ()), *(chance if len(in_charge) > 1 else ()), (_RETURN, 0, 0, in_charge[-1])]


def _attach(own: socket.socket, program: list[tuple[int, int, int, int]]) -> None:
    """Replace the program of the sockets that share an address; the kernel takes a copy."""
    code = b"".join(struct.pack("HBBI", *step[:3], step[3] & 0xFFFFFFFF) for step in program)
    kept = ctypes.create_string_buffer(code)
    own.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, struct.pack("HP", len(program), ctypes.addressof(kept))
    )


class UnixRow(NamedTuple):
    """A unix socket, as /proc/net/unix has it."""

    state: bytes
    inode: int


def unix_rows(bound_name: str) -> Iterator[UnixRow]:
    """All sockets of this name: that which listens, and those that it has accepted, or is still to. Raises OSError."""
    name = os.fsencode(bound_name)
    with open("/proc/net/unix", "rb") as table:  # noqa: PTH123
        for row in (line.split(maxsplit=7) for line in table):
            if len(row) == 8 and row[7].rstrip(b"\n") == name:
                yield UnixRow(row[5], int(row[6]))


def _unix_queue_length(bound_name: str) -> int | None:
    """What nobody has accepted has no inode yet."""
    try:
        return sum(not row.inode for row in unix_rows(bound_name))
    except OSError:
        return None
