"""Listen at an address of a service: TCP or a unix socket; where that is not possible, say why and what helps.

Rule 1: nobody's address is shared or taken away: who has it already is named.
Rule 2: a file that is no socket is never removed, nor is the socket of somebody who listens.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from procwatch.core.model import Listener
from procwatch.errors import ProcwatchError
from procwatch.runtime.census import command_name
from procwatch.runtime.ports import holder_of
from procwatch.runtime.steering import BACKLOG, Listening, lifted, open_slots

# struct ucred: process, user, group (unix(7), SO_PEERCRED).
_CREDENTIALS = struct.Struct("3i")
_MAX_PATH_BYTES = 107 if sys.platform == "linux" else 103
# As a name in /proc/self/fd/NUMBER/, whatever the number.
_MAX_NAME_BYTES = 80


class ListenError(ProcwatchError):
    """It is not possible to listen there. `is_taken`: somebody does already; `holder` says who, where it is known."""

    def __init__(self, listener: Listener, reason: str, *, is_taken: bool = False) -> None:
        self.listener = listener
        self.is_taken = is_taken
        super().__init__(f"cannot listen at {listener.address}: {reason}")


async def explained(error: ListenError) -> ListenError:
    """The same error with the name of who listens at a port."""
    if not error.is_taken or not error.listener.port:
        return error
    return _taken(error.listener, await holder_of(error.listener.port))


def open_address(listener: Listener, folder: Path) -> Listening:
    """Listen there; a relative path is one in `folder`. Raises ListenError."""
    try:
        return _open_unix(listener, folder / listener.path) if listener.path else _open_tcp(listener)
    except OSError as error:
        raise ListenError(listener, in_words(error, listener)) from error


def own_way(listener: Listener) -> ListenError:
    """It is the service itself that has the port."""
    return ListenError(listener, "the instance that runs has this port at another address; stop it first")


def spoiled(listener: Listener) -> ListenError:
    """One of several programs that have it has ended the listening for all."""
    return ListenError(
        listener, "a program has shut this socket down, which other replicas have too; use proxy instead"
    )


def _taken(listener: Listener, holder: str | None) -> ListenError:
    return ListenError(listener, f"it is taken by {holder or 'another program'}", is_taken=True)


def in_words(error: OSError, listener: Listener) -> str:
    """Why it is not possible to listen there."""
    match error.errno:
        case errno.EACCES | errno.EPERM if listener.port:
            return "this port is only for root, or a program that it has allowed to; choose one from 1024 on"
        case errno.EADDRNOTAVAIL | errno.EAFNOSUPPORT:
            return "this machine has no such address"
        case errno.EMFILE | errno.ENFILE | errno.EINVAL if listener.port:
            return "too many open files: raise the limit (ulimit -n)"
        case errno.ENAMETOOLONG:
            return f"the path is longer than {_MAX_PATH_BYTES} bytes; choose a shorter one"
    return os.strerror(error.errno).lower() if error.errno else str(error)


# --- TCP -------------------------------------------------------------------------------------------------------------


def _open_tcp(listener: Listener) -> Listening:
    family, _, _, _, address = _sockaddr(listener.host, listener.port)
    try:
        # Alone first: two programs of one user that both allow it share a port without a word.
        bound_tcp(family, address, shared=False).close()
        opener = partial(bound_tcp, family, address, shared=sys.platform == "linux")
        return open_slots(opener, _sockaddr(listener.reached_at, listener.port)[4])
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _taken(listener, None) from error
        raise


def _sockaddr(host: str, port: int) -> tuple[Any, ...]:
    (found, *_) = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    return found


def bound_tcp(family: int, address: Any, *, shared: bool) -> socket.socket:
    """A socket for `listen` at a port, out of the way of those that are handed over. Raises OSError."""
    own = lifted(socket.socket(family, socket.SOCK_STREAM))
    try:
        # As servers do: connections of a predecessor that linger are no obstacle then.
        own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            own.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, address[0] != "::")
        # Accepted connections inherit it: small answers of servers that do not set it came 44 ms later.
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own.bind(address)
    except BaseException:
        own.close()
        raise
    return own


# --- unix sockets ----------------------------------------------------------------------------------------------------


class UnixListening(Listening):
    """A unix socket, whose file goes with it."""

    def __init__(self, own: socket.socket, path: Path, bound_name: str) -> None:
        super().__init__([own], path, bound_name)
        self._path = path
        self._identity = _identity(path)

    def is_sound(self) -> bool:
        """Whether clients still find it: some programs remove the file as they end."""
        return super().is_sound() and _identity(self._path) == self._identity

    def close(self) -> None:
        """Listen no more, and remove the file if it is still the same."""
        super().close()
        if self._identity is not None and _identity(self._path) == self._identity:
            with suppress(OSError):
                self._path.unlink()


def _open_unix(listener: Listener, path: Path) -> Listening:
    path.parent.mkdir(parents=True, exist_ok=True)
    with short_name(path) as name:
        _clear(listener, path, name)
        own = lifted(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        try:
            own.bind(name)
            own.listen(BACKLOG)
            return UnixListening(own, path, name)
        except BaseException:
            own.close()
            raise


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """A name of the path that fits into an address, for as long as this goes on. Raises OSError where there is none."""
    if len(os.fsencode(path)) <= _MAX_PATH_BYTES:
        yield str(path)
        return
    if sys.platform != "linux" or len(os.fsencode(path.name)) > _MAX_NAME_BYTES:
        raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _clear(listener: Listener, path: Path, name: str) -> None:
    """Remove the file of a socket that nobody listens at any more. Raises ListenError for anything else."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(listener, "there is a file that is no socket; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
        try:
            trial.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
        except BlockingIOError:  # more wait there than it takes: somebody does listen
            raise _taken(listener, None) from None
        else:
            raise _taken(listener, _peer(trial))


def _peer(connection: socket.socket) -> str | None:
    """Who listens at the other end."""
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = _CREDENTIALS.unpack(credentials)[0]
    return f"{command_name(pid)} (process {pid})" if pid else None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
