"""Connect to one instance of a service through a socket that it was given, and see when it takes a connection.

Rule 1: what connects here reaches the slot that is asked for, whichever is in charge of everybody else.
Rule 2: that a connection is made proves nothing, as procwatch listens: it counts when it has left the queue.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import ExitStack
from pathlib import Path

from procwatch.runtime.listening import short_name
from procwatch.runtime.steering import Slot

# The queue is looked at so often at first (a system call of 2 us), then less and less.
_FIRST_LOOK_S = 0.01
_LAST_LOOK_S = 0.1
_LOOKS_GROW = 1.3
# Where nothing tells of the queue, an instance that has lived for so long counts, as one without any probe.
_UNKNOWN_S = 0.1


async def connect(slot: Slot) -> socket.socket:
    """A connection that waits in the queue of this slot, or has been taken from it. Raises OSError."""
    listening = slot.listening
    with ExitStack() as undo:
        connection = socket.socket(listening.family, socket.SOCK_STREAM)
        undo.callback(connection.close)
        connection.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        with ExitStack() as meanwhile:
            address = listening.reached_at
            if isinstance(address, Path):
                address = meanwhile.enter_context(short_name(address))
            else:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if listening.is_steered:
                connection.bind((address[0], 0))
                port = connection.getsockname()[1]
                listening.steer_port(port, slot.index)
                meanwhile.callback(listening.let_go, port)
            await asyncio.get_running_loop().sock_connect(connection, address)
        undo.pop_all()
    return connection


async def until_taken(slot: Slot) -> None:
    """Return when the instance takes connections from its queue, in which one of ours was put before.

    Raises ConnectionRefusedError when the socket listens no more.
    """
    most, pause_s, was_empty = 0, _FIRST_LOOK_S, False
    while True:
        if not slot.listening.listens(slot.index):
            raise ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))
        length = slot.queue_length()
        if length is None:
            await asyncio.sleep(_UNKNOWN_S)
            return
        # Ours may come into the queue a moment after it was made: an empty one counts when it is so twice.
        if length < most or (length == 0 and was_empty):
            return
        most, was_empty = max(most, length), length == 0
        await asyncio.sleep(pause_s)
        pause_s = min(pause_s * _LOOKS_GROW, _LAST_LOOK_S)
