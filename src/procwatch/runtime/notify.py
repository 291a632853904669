"""The socket to which a service tells how it is doing, in the words of sd_notify(3).

Rule 1: whatever can write to the socket is believed: it is in a folder that only the same user can enter.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

# The longest path of a unix socket: 107 bytes on Linux, 103 on macOS.
_SOCKET_PATH_BYTES = 103
# sd_notify(3) messages are a few short lines; systemd takes no more of one either.
_MESSAGE_BYTES = 4096
# As long as the queue of a socket may be (net.unix.max_dgram_qlen is 10 or 512).
_MOST_AT_ONCE = 512
_READY, _RELOADING, _STOPPING, _STATUS = b"READY=1", b"RELOADING=1", b"STOPPING=1", b"STATUS="


def _ignore() -> None:
    """Nobody wants to know."""


class NotifySocket:
    """A socket in a folder of its own. `ready` is set by READY=1, `status` is the last STATUS=.

    `on_reloading` is called at RELOADING=1, `on_reloaded` at a READY=1 that follows another one, `on_stopping` at
    STOPPING=1. Other lines are ignored, as sd_notify(3) asks for.
    """

    def __init__(
        self,
        on_reloading: Callable[[], None] = _ignore,
        on_reloaded: Callable[[], None] = _ignore,
        on_stopping: Callable[[], None] = _ignore,
    ) -> None:
        self.ready = asyncio.Event()
        self.status = ""
        self._on_reloading = on_reloading
        self._on_reloaded = on_reloaded
        self._on_stopping = on_stopping
        self._folder = _short_folder()
        self.path = str(self._folder / "s")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
            self._socket.bind(self.path)
        except OSError:
            self._remove()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self.receive)

    def close(self) -> None:
        """Remove the socket and its folder."""
        self._loop.remove_reader(self._socket)
        self._remove()

    def receive(self) -> None:
        """Take in the messages that have come so far; of a flood the rest in the next turn of the loop."""
        with suppress(BlockingIOError):
            for _ in range(_MOST_AT_ONCE):
                # Descriptors that come with a message are closed by the system, as no room is given for them.
                for line in self._socket.recv(_MESSAGE_BYTES).split(b"\n"):
                    self._hear(line)

    def _hear(self, line: bytes) -> None:
        if line == _READY and self.ready.is_set():
            self._on_reloaded()
        elif line == _READY:
            self.ready.set()
        elif line == _RELOADING:
            self._on_reloading()
        elif line == _STOPPING:
            self._on_stopping()
        elif line.startswith(_STATUS):
            self.status = line.removeprefix(_STATUS).decode(errors="replace")

    def _remove(self) -> None:
        self._socket.close()
        import shutil  # noqa: PLC0415 - few services have such a socket

        shutil.rmtree(self._folder, ignore_errors=True)  # what cannot be removed is an empty private folder


def _short_folder() -> Path:
    """A new folder of mode 0700 that is short enough for a socket's path."""
    import tempfile  # noqa: PLC0415 - as above

    folder = Path(tempfile.mkdtemp(prefix="procwatch-"))
    if len(os.fsencode(folder)) + len("/s") <= _SOCKET_PATH_BYTES:
        return folder
    folder.rmdir()
    return Path(tempfile.mkdtemp(prefix="procwatch-", dir="/tmp"))
