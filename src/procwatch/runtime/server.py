"""The control socket: take connections of this user, read requests, hand them on, send what comes back.

Rule 1: nobody can hold up the loop or fill the memory: lines, requests at once, connections and unsent answers are
        bounded, and whoever goes beyond is refused or closed.
Rule 2: only this user and root are answered, whatever the permissions of the socket say.
Rule 3: the socket is removed by the one who made it, and a stale one only by the holder of the project's lock.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path

from procwatch.control import protocol
from procwatch.control.place import OWN_FOLDER, make_runtime_folder
from procwatch.errors import ExitCode, ProcwatchError
from procwatch.frozen import frozen
from procwatch.runtime import descriptors

# What waits to be taken while the loop does something else.
_BACKLOG = 512
# More than any person or script opens; each costs a descriptor and some KiB.
MAX_CONNECTIONS = 400
# Requests of one connection that are being answered; reading goes on when one of them is.
_MAX_AT_ONCE = 32
# What one client may leave unread before it is let go: a stream of events that nobody reads.
MAX_UNSENT_BYTES = 4 * 1024 * 1024
# A client that has so much to take is slow; it is not any more when a quarter of that is left.
SLOW_BYTES = 1024 * 1024
# After "too many open files": until others have been closed.
_PAUSE_S = 0.5


@frozen
class Caller:
    """Who asks. `send` puts an item of a stream behind the answers; False when nobody is there to take it.

    `is_slow`: what was sent has not been taken yet, and `when_room` calls back once when most of it has.
    """

    uid: int
    pid: int
    send: Callable[[str, dict[str, object]], bool]
    is_slow: Callable[[], bool]
    when_room: Callable[[Callable[[], None]], None]


Handle = Callable[[protocol.Request, Caller], Awaitable[object]]


class Server:
    """Listens until it is closed. `report` gets what is wrong in words."""

    def __init__(self, report: Callable[[str], None]) -> None:
        self.path: Path | None = None
        # Set when all has been stopped, before those who still wait for an answer are let go.
        self.ended = asyncio.Event()
        self.connections: set[_Connection] = set()
        self._handle: Handle | None = None
        self.report = report
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._inode = 0
        self._arriving: dict[_Connection, asyncio.Task[object]] = {}

    def open(self, paths: Iterable[Path]) -> None:
        """Listen on the first of these paths that can be had. Where none can, it is told, and nobody can connect."""
        refusal: OSError | None = None
        for path in paths:
            try:
                self._bind(path)
            except OSError as error:
                refusal = error
                continue
            return
        words = os.strerror(refusal.errno).lower() if refusal and refusal.errno else str(refusal)
        self.report(f"there is no control socket ({words}): `procwatch status`, `stop` and others cannot be used")

    def serve(self, handle: Handle) -> None:
        """Take connections; `handle` answers a request: it returns the result or raises a Fault."""
        self._handle = handle
        self._go_on()

    def reopen(self, paths: Iterable[Path]) -> None:
        """Listen anew if the socket has been removed; who is connected stays so."""
        if self._socket is None or self._is_in_place():
            return
        self.shut()
        self.open(paths)
        self._go_on()

    def shut(self) -> None:
        """Take no more connections and remove the socket; to be called with the project's lock."""
        if self._socket is None or self.path is None:
            return
        self._loop.remove_reader(self._socket)
        self._socket.close()
        self._socket = None
        if self._is_in_place():
            self.path.unlink(missing_ok=True)

    def _is_in_place(self) -> bool:
        """Whether the socket has not gone, with its folder or without."""
        try:
            return self.path is not None and self.path.lstat().st_ino == self._inode
        except OSError:
            return False

    async def close(self) -> None:
        """Give the answers that are still to come, for a moment, and let everybody go."""
        self.shut()
        if answers := [task for connection in self.connections for task in connection.tasks]:
            await asyncio.wait(answers, timeout=_PAUSE_S)
        for connection in tuple(self.connections):
            connection.leave()
        while self.connections or self._arriving:  # noqa: ASYNC110 - at most as long as `leave` gives a slow reader
            await asyncio.sleep(0.01)

    def _listening(self) -> socket.socket:
        assert self._socket is not None
        return self._socket

    def _bind(self, path: Path) -> None:
        if path.parent.name != OWN_FOLDER:
            make_runtime_folder()
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            bound.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
            path.unlink(missing_ok=True)
            bound.bind(os.fspath(path))
            path.chmod(0o600)
            bound.listen(_BACKLOG)
            self._inode = path.lstat().st_ino
        except OSError:
            bound.close()
            raise
        self._socket, self.path = bound, path

    def _accept(self) -> None:
        """Take all who wait; without a descriptor they wait on, and the loop is not woken all the time."""
        listening = self._listening()
        for _ in range(_BACKLOG):
            try:
                connection, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS):
                    raise
                self._loop.remove_reader(listening)
                self._loop.call_later(_PAUSE_S, self._go_on)
                return
            self._take(connection)

    def _go_on(self) -> None:
        if self._socket is not None:
            self._loop.add_reader(self._socket, self._accept)

    def _take(self, connection: socket.socket) -> None:
        if (refusal := self._refusal(connection)) is not None:
            connection.setblocking(False)  # noqa: FBT003
            with suppress(OSError):
                connection.send(protocol.error(None, refusal))
            connection.close()
            return
        uid, pid = _peer(connection)
        handle = self._handle
        assert handle is not None
        made = _Connection(self, handle, uid, pid)
        task = self._loop.create_task(self._loop.connect_accepted_socket(lambda: made, connection))
        self._arriving[made] = task
        task.add_done_callback(lambda task: self._arrived(made, task))

    def begun(self, connection: _Connection) -> None:
        """It has arrived: each counts once, from when it is taken until it is lost."""
        self._arriving.pop(connection, None)
        self.connections.add(connection)

    def _arrived(self, connection: _Connection, task: asyncio.Task[object]) -> None:
        self._arriving.pop(connection, None)
        if not task.cancelled():
            task.exception()  # whoever has gone again already is nobody's error

    def _refusal(self, connection: socket.socket) -> protocol.Fault | None:
        try:
            uid, _ = _peer(connection)
        except OSError:
            uid = -1
        if uid not in (os.getuid(), 0):
            return protocol.Fault(ExitCode.REFUSED, "this procwatch is another user's")
        number = len(self.connections) + len(self._arriving)
        if number >= MAX_CONNECTIONS or descriptors.is_of_reserve(connection.fileno()):
            return protocol.Fault(ExitCode.REFUSED, "too many connections; close some")
        return None


class _Connection(asyncio.Protocol):
    """One client: its bytes cut into lines, its requests under way, its answers."""

    def __init__(self, server: Server, handle: Handle, uid: int, pid: int) -> None:
        self._server = server
        self._handle = handle
        self._is_slow = False
        self._waiting: list[Callable[[], None]] = []
        self._caller = Caller(uid, pid, self._send, lambda: self._is_slow, lambda go_on: self._waiting.append(go_on))
        self._transport: asyncio.Transport | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._lines: deque[bytes] = deque()
        self.tasks: set[asyncio.Task[None]] = set()
        self._ended = False

    # --- the transport calls -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(SLOW_BYTES, SLOW_BYTES // 4)
        self._server.begun(self)

    def data_received(self, data: bytes) -> None:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._lines.append(b"".join((*self._pieces, line)))
            self._pieces, self._size = [], 0
        self._size += len(rest)
        if rest:
            self._pieces.append(rest)
        if self._size > protocol.MAX_REQUEST_BYTES or any(len(one) > protocol.MAX_REQUEST_BYTES for one in self._lines):
            most = f"a request has at most {protocol.MAX_REQUEST_BYTES // 1024} KiB"
            self._write(protocol.error(None, protocol.Fault(protocol.NO_REQUEST, most)))
            self.leave()
            return
        self._go_on()

    def pause_writing(self) -> None:
        self._is_slow = True

    def resume_writing(self) -> None:
        self._is_slow = False
        waiting, self._waiting = self._waiting, []
        for go_on in waiting:
            go_on()

    def eof_received(self) -> bool:
        """It asks no more (`nc -N`): what it has asked is still answered."""
        self._ended = True
        return bool(self._lines or self.tasks)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - as asyncio calls it
        self._transport = None
        self._lines.clear()
        self._server.connections.discard(self)
        for task in self.tasks:
            task.cancel()

    # --- requests ----------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Begin as many requests as may be under way at once; until then nothing more is read."""
        while self._lines and len(self.tasks) < _MAX_AT_ONCE:
            line = self._lines.popleft()
            if line.strip():
                task = asyncio.get_running_loop().create_task(self._answer(line))
                self.tasks.add(task)
                task.add_done_callback(self._done)
        if self._transport is None or self._transport.is_closing():
            return
        if self._lines:
            self._transport.pause_reading()
        elif not self._ended:
            self._transport.resume_reading()

    def _done(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        self._go_on()
        if self._ended and not self.tasks and not self._lines:
            self.leave()

    async def _answer(self, line: bytes) -> None:
        identity: protocol.Id = None
        try:
            request = protocol.read_request(line)
            identity = request.id
            result = await self._handle(request, self._caller)
            answer = protocol.result(identity, result) if request.is_call else b""
        except protocol.Fault as fault:
            answer = protocol.error(identity if fault.id is None else fault.id, fault)
        except ProcwatchError as error:
            answer = protocol.error(identity, protocol.Fault(error.exit_code, str(error)))
        except Exception as error:  # told on both sides; what runs has no part in it
            words = f"internal error, please report it: {type(error).__name__}: {error}"
            self._server.report(words)
            answer = protocol.error(identity, protocol.Fault(protocol.BROKEN, words))
        self._write(answer)

    # --- answers -----------------------------------------------------------------------------------------------------

    def _send(self, method: str, params: dict[str, object]) -> bool:
        return self._write(protocol.notification(method, params))

    def _write(self, data: bytes) -> bool:
        if self._transport is None or self._transport.is_closing():
            return False
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > MAX_UNSENT_BYTES:
            self._transport.abort()
            return False
        return True

    def leave(self) -> None:
        """End it as soon as what was written has been taken; a reader that takes nothing is not waited for long."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.close()
            asyncio.get_running_loop().call_later(_PAUSE_S, self._transport.abort)


def _peer(connection: socket.socket) -> tuple[int, int]:
    """User id and process id of the other side; a process id of 0 where the system does not tell it."""
    if sys.platform == "linux":
        pid, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return uid, pid
    # LOCAL_PEERCRED of the level SOL_LOCAL: struct xucred, a version and then the user id.
    return int(struct.unpack("2I", connection.getsockopt(0, 1, 76)[:8])[1]), 0
