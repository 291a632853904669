"""Pass connections on to one instance: those of `verify`, and those that waited for an instance that has died.

Rule 1: bytes pass as they come, both ways at once; an end of one direction is passed on as just that.
Rule 2: a connection that breaks on one side is broken on the other, never ended as if all had been said.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress

from procwatch.runtime.steering import BACKLOG

_PIECE_BYTES = 64 * 1024
# After a refusal to open one more descriptor.
_PAUSE_S = 0.1
# Closing then resets the connection (socket(7), SO_LINGER): on, for no time.
_RESET = struct.pack("ii", 1, 0)

# Makes a connection to the instance: non-blocking, and closed by who gets it. Raises OSError.
Connect = Callable[[], Awaitable[socket.socket]]


class Forwarder:
    """Passes each connection on to a new one that `connect` makes; use it as an async context manager."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    async def __aenter__(self) -> Forwarder:
        """Nothing yet: `listen` and `take_over` begin."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """Break what is still under way."""
        tasks = [*self._passing, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._listener is not None:
            self._listener.close()

    def listen(self) -> int:
        """Listen on a free port of 127.0.0.1: that port. Raises OSError."""
        self._listener = listener = socket.socket()
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        self._accepting = self._loop.create_task(self._accept(listener))
        return int(listener.getsockname()[1])

    def take_over(self, listener: socket.socket) -> int:
        """Pass on all connections that wait in the queue of this socket, which nobody else may accept: how many."""
        blocking = listener.getblocking()
        listener.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        number = 0
        try:
            while True:
                try:
                    client, _ = listener.accept()
                except BlockingIOError:
                    return number
                except ConnectionAbortedError:
                    continue
                self._begin(client)
                number += 1
        finally:
            listener.setblocking(blocking)

    async def ended(self) -> None:
        """Return when no connection is under way."""
        while self._passing:
            await asyncio.wait(self._passing)

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = await self._loop.sock_accept(listener)
            except OSError:  # it has gone again, or no descriptor is free
                await asyncio.sleep(_PAUSE_S)
            else:
                self._begin(client)

    def _begin(self, client: socket.socket) -> None:
        client.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        task = self._loop.create_task(self._pass_on(client))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)

    async def _pass_on(self, client: socket.socket) -> None:
        with client:
            try:
                server = await self._connect()
            except BaseException as error:
                _break(client)
                if isinstance(error, OSError):
                    return
                raise
            with server:
                both = [asyncio.create_task(self._pump(*way)) for way in ((client, server), (server, client))]
                try:
                    await asyncio.gather(*both)
                except BaseException as error:
                    for task in both:
                        task.cancel()
                    await asyncio.gather(*both, return_exceptions=True)
                    _break(client)
                    _break(server)
                    if not isinstance(error, OSError):
                        raise

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        """Pass one direction on, to its end."""
        while data := await self._loop.sock_recv(source, _PIECE_BYTES):
            await self._loop.sock_sendall(sink, data)
        with suppress(OSError):  # it has closed both ways by now
            sink.shutdown(socket.SHUT_WR)


def _break(connection: socket.socket) -> None:
    """Have its end be a reset: what was sent is not all."""
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
