"""Talk to a project's supervisor: connect, ask, wait for the answer, follow a stream. It blocks.

Rule 1: the standard library's json and socket, and nothing that takes long to import.
Rule 2: whoever does not answer, answers nonsense or goes away in the middle is told as an error in words.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from procwatch.control import protocol
from procwatch.control.place import socket_paths
from procwatch.errors import ExitCode, ProcwatchError, RefusedError

# How much of an answer is read at once.
_CHUNK_BYTES = 64 * 1024
# A supervisor whose queue of new connections is full is busy, not gone: it is asked again so often, for so long.
_BUSY_S, _BUSY_STEP_S = 5.0, 0.01
# A supervisor that is stopped or hangs answers nothing at all, not even how long it will take.
ANSWER_S = 10.0


Told = Callable[[str, Mapping[str, Any]], None]


class NoSupervisorError(ProcwatchError):
    """Nothing listens for this project."""

    exit_code = ExitCode.NO_SUPERVISOR


class AnswerError(ProcwatchError):
    """What was asked for was not done; `fault` is the supervisor's answer."""

    def __init__(self, fault: protocol.Fault) -> None:
        self.fault = fault
        known = [code for code in ExitCode if code == fault.code]
        self.exit_code = known[0] if known else ExitCode.FAILED
        super().__init__(fault.message)


class Client:
    """One connection to a supervisor; calls are answered one after the other."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines = b""
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def call(
        self, method: str, params: Mapping[str, Any], answer_s: float | None = ANSWER_S, told: Told | None = None
    ) -> Any:
        """The result. `answer_s`: how long to wait for it; None: as long as it takes. Raises ProcwatchError.

        `told` gets the method and the parameters of what the supervisor tells before it answers.
        """
        self.send(method, params)
        while True:
            message = self._message(answer_s)
            if "method" not in message:
                return result_of(message)
            if told is not None:
                told(message["method"], message.get("params", {}))

    def stream(self, method: str, params: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
        """What follows the answer to this call, each with its method, until the supervisor ends."""
        self.call(method, params)
        while line := self._line(None):
            message = _read(line)
            yield message.get("method", ""), message.get("params", {})

    def send(self, method: str, params: Mapping[str, Any]) -> int:
        """Ask, without waiting for the answer; the number that it will have as its `id`."""
        self._number += 1
        try:
            self._connection.settimeout(ANSWER_S)
            self._connection.sendall(protocol.call(method, params, self._number))
        except BrokenPipeError:
            pass  # whoever is refused is told why, and that can be read
        except OSError as error:
            raise ProcwatchError(f"procwatch does not listen any more: {_words(error)}") from error
        return self._number

    def fileno(self) -> int:
        """What can be read when there is something to `receive`."""
        return self._connection.fileno()

    def receive(self) -> list[dict[str, Any]] | None:
        """The messages that have come, none if that is only a part of one; None at the end of the connection."""
        try:
            data = b"" if (has_some := b"\n" in self._lines) else self._connection.recv(_CHUNK_BYTES)
        except TimeoutError:
            raise ProcwatchError(f"procwatch has not answered within {ANSWER_S:g} s; is it stopped?") from None
        except ConnectionResetError:
            data = b""
        if not data and not has_some:
            return None
        *lines, self._lines = (self._lines + data).split(b"\n")
        return [_read(line) for line in lines]

    def _message(self, answer_s: float | None) -> dict[str, Any]:
        line = self._line(answer_s)
        if not line:
            raise ProcwatchError("procwatch ended before it answered")
        return _read(line)

    def _line(self, answer_s: float | None) -> bytes:
        """The next line; empty at the end of the connection."""
        end_s = None if answer_s is None else time.monotonic() + answer_s
        while b"\n" not in self._lines:
            try:
                self._connection.settimeout(None if end_s is None else max(0.001, end_s - time.monotonic()))
                data = self._connection.recv(_CHUNK_BYTES)
            except TimeoutError:
                raise ProcwatchError(f"procwatch has not answered within {answer_s:g} s; is it stopped?") from None
            except ConnectionResetError:
                data = b""
            if not data:
                return b""
            self._lines += data
        line, _, self._lines = self._lines.partition(b"\n")
        return line


def connect(project: Path) -> Client:
    """A connection to the supervisor of the project in this folder. Raises NoSupervisorError or RefusedError."""
    for path in socket_paths(project):
        if client := _try(path):
            return client
    raise NoSupervisorError(f"no procwatch runs for {project}; `procwatch start` starts it")


def connect_to(path: Path) -> Client:
    """A connection to the supervisor that has this socket (PROCWATCH_SOCKET)."""
    if client := _try(path):
        return client
    raise NoSupervisorError(f"no procwatch listens on {path} any more")


def _try(path: Path) -> Client | None:
    """A connection, if anybody listens there."""
    end_s = time.monotonic() + _BUSY_S
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)  # noqa: FBT003 - the name of the method says what it is
            connection.connect(os.fspath(path))
        except OSError as error:
            connection.close()
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ECONNREFUSED):
                return None
            if error.errno in (errno.EACCES, errno.EPERM):
                raise RefusedError(f"{path} belongs to another user") from error
            if error.errno != errno.EAGAIN:
                raise ProcwatchError(f"cannot connect to {path}: {_words(error)}") from error
        else:
            return Client(connection)
        if time.monotonic() > end_s:
            raise ProcwatchError(f"procwatch takes no connection on {path}; is it stopped?")
        time.sleep(_BUSY_STEP_S)


def _read(line: bytes) -> dict[str, Any]:
    try:
        return protocol.read_reply(line)
    except protocol.Fault as fault:
        raise ProcwatchError(f"procwatch answered with nonsense: {fault.message}") from fault


def result_of(message: Mapping[str, Any]) -> Any:
    """What an answer says; AnswerError for one that is an error."""
    if "error" in message:
        told = message["error"]
        raise AnswerError(protocol.Fault(told.get("code", 1), told.get("message", "?"), told.get("data")))
    return message.get("result")


def _words(error: OSError) -> str:
    return os.strerror(error.errno or 0).lower()
