"""Lend the user's own terminal to a service: keys go in, output comes out, and all is as it was afterwards.

Rule 1: whatever ends it, the terminal is given back as it was found: its modes, its screen, its cursor.
Rule 2: the key that ends it works at any time, also while procwatch or the service takes nothing.
Rule 3: standard output has what the service prints and nothing else; own words go to standard error.
"""

from __future__ import annotations

import base64
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from types import FrameType
from typing import Any

from procwatch.control.borrowed import Keys, Modes, make_raw, raw_terminal
from procwatch.control.client import Client, result_of
from procwatch.errors import ExitCode, ProcwatchError, printable
from procwatch.streams import is_terminal, write_all

_READ_BYTES = 4096
# So many pieces of input are under way; more than procwatch answers at once would stop it from reading any.
_MOST_UNDER_WAY = 8
# What is typed while nobody takes it; a terminal keeps 4 KiB.
_MOST_TYPED_BYTES = 64 * 1024
# At the end of input that is no terminal, what the service says to it is still shown: until it says nothing for so
# long, but no longer than that.
_QUIET_S, _MOST_QUIET_S = 0.3, 5.0
# A supervisor that is stopped does not answer; it is left all the same.
_LEAVING_S = 2.0
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


def attach(client: Client, name: str, keys: Keys) -> int:
    """Stay until the keys are typed, or the service stays down; the exit status. Raises ProcwatchError."""
    return _Attachment(client, keys).run(name)


class _Signalled(Exception):  # noqa: N818 - no error: how a signal gets out of whatever is waiting
    """A signal that ends this."""

    def __init__(self, number: int) -> None:
        self.number = number


class _Attachment:
    """One stay. `typing`: the keys come from a terminal, and not from a file or a pipe."""

    def __init__(self, client: Client, keys: Keys) -> None:
        self._client = client
        self._typing = is_terminal(0)
        self._shows = is_terminal(1)
        self._keys = keys
        self._modes = Modes()
        self._call = 0
        self._under_way: set[int] = set()
        self._typed = bytearray()
        self._has_input = True
        self._in_line = False
        self._answer: dict[str, Any] | None = None
        self._leave_s: float | None = None
        self._is_detaching = False
        self._input_ended_s = 0.0

    def run(self, name: str) -> int:
        """From the call to its answer."""
        inside = os.environ.get("PROCWATCH_NAME", "")
        self._call = self._client.send("attach", {"name": name, "inside": inside, **self._size()})
        messages = self._client.receive()
        for message in messages or ():  # an error is told before anything is changed
            if "error" in message:
                result_of(message)
        try:
            with _ended_by_signals(), raw_terminal(self._modes) if self._typing else nullcontext(), _woken() as woken:
                self._take(messages)
                while not self._is_over():
                    self._wait(woken)
        except _Signalled as ended:
            return 128 + ended.number
        self._typing = False
        return self._tell_end(name)

    def _is_over(self) -> bool:
        if self._answer is not None:
            return True
        return self._leave_s is not None and time.monotonic() >= self._leave_s

    # --- wait --------------------------------------------------------------------------------------------------------

    def _wait(self, woken: int) -> None:
        """For keys, for what the service prints, for another size of the terminal."""
        poll = select.poll()
        poll.register(self._client.fileno(), select.POLLIN)
        poll.register(woken, select.POLLIN)
        if self._wants_input():
            poll.register(0, select.POLLIN)
        left_ms = None if self._leave_s is None else max(0.0, self._leave_s - time.monotonic()) * 1000
        ready = dict(poll.poll(left_ms))
        if woken in ready:
            self._wake(os.read(woken, _READ_BYTES))
        if self._client.fileno() in ready:
            self._take(self._client.receive())
        if 0 in ready:
            self._read_input()
        self._send_typed()

    def _wants_input(self) -> bool:
        """From a terminal always, for the keys that end this; from elsewhere only what can be sent on."""
        return self._has_input and (self._typing or len(self._under_way) < _MOST_UNDER_WAY)

    def _wake(self, numbers: bytes) -> None:
        if signal.SIGCONT in numbers and self._typing:  # the shell has given the terminal its own modes meanwhile
            make_raw()
        if size := self._size():
            self._client.send("resize", size)

    # --- input -------------------------------------------------------------------------------------------------------

    def _read_input(self) -> None:
        try:
            data = os.read(0, _READ_BYTES)
        except OSError:  # it is closed, or the terminal has gone
            data = b""
        if not data:
            self._has_input = False
            self._input_ended_s = time.monotonic()
            if self._typing:  # nobody is there any more
                self._leave_s = self._input_ended_s
            self._ends_soon()
            return
        if not self._typing:
            self._typed += data
            return
        passed, is_end = self._keys.feed(data)
        self._typed += passed[: _MOST_TYPED_BYTES - len(self._typed)]
        if is_end:
            self._has_input, self._is_detaching = False, True
            self._leave_s = time.monotonic() + _LEAVING_S

    def _send_typed(self) -> None:
        while self._typed and len(self._under_way) < _MOST_UNDER_WAY:
            piece = bytes(self._typed[:_READ_BYTES])
            del self._typed[:_READ_BYTES]
            self._under_way.add(self._client.send("type", {"data": base64.b64encode(piece).decode()}))
        if self._is_detaching and not self._typed:
            self._client.send("detach", {})
            self._is_detaching = False

    def _ends_soon(self) -> None:
        """Input that was no terminal has ended: stay until the service has had its say."""
        if self._has_input or self._typing:
            return
        if not self._under_way and not self._typed:
            self._leave_s = min(time.monotonic() + _QUIET_S, self._input_ended_s + _MOST_QUIET_S)

    # --- output ------------------------------------------------------------------------------------------------------

    def _take(self, messages: list[dict[str, Any]] | None) -> None:
        if messages is None:
            raise ProcwatchError("procwatch has gone, and the service with it")
        for message in messages:
            if message.get("id") == self._call:
                self._answer = result_of(message)
            elif "method" in message:
                self._told(message["method"], message.get("params", {}))
            else:
                self._under_way.discard(message.get("id", 0))
        self._ends_soon()

    def _told(self, method: str, params: Mapping[str, Any]) -> None:
        match method:
            case "attached":
                end = f"; {self._keys.text} detaches" if self._typing else ""
                self._say(f"attached to {params['name']} (run {params['run']}){end}")
            case "output":
                self._show(base64.b64decode(params["data"]))
            case "skipped":
                self._say(f"{params['bytes']:,} bytes of output are not shown: they came too fast")
            case "ended":
                self._say(f"run {params['run']} has ended ({params['reason']})")
            case "began":
                self._say(f"run {params['run']} has begun (process {params['pid']})")

    def _show(self, data: bytes) -> None:
        self._modes.feed(data)
        self._in_line = not data.endswith(b"\n")
        write_all(1, data)

    def _say(self, words: str) -> None:
        """A line of its own, which a raw terminal needs to be told about."""
        end = "\r\n" if self._typing else "\n"
        begin = end if self._in_line and self._shows else ""
        self._in_line = False
        write_all(2, f"{begin}procwatch: {printable(words)}{end}".encode())

    def _tell_end(self, name: str) -> int:
        if self._answer is None:
            self._say(f"left; {name} goes on")
            return ExitCode.DONE
        outcome, reason = self._answer.get("outcome"), self._answer.get("reason", "")
        if outcome == "detached":
            self._say(f"detached; {self._answer['name']} goes on")
        else:
            self._say(f"detached from {self._answer['name']}: {reason}")
        return ExitCode.FAILED if outcome == "failed" else ExitCode.DONE

    # --- the terminal ------------------------------------------------------------------------------------------------

    def _size(self) -> dict[str, int]:
        """Of the terminal on which all this is seen, if it is one that somebody types on."""
        if self._typing:
            with suppress(OSError):
                columns, rows = os.get_terminal_size(0)
                if rows and columns:
                    return {"rows": rows, "columns": columns}
        return {}


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Inside, what would kill this process ends what it waits for, so that all is put back."""

    heard: list[int] = []

    def end(number: int, _frame: FrameType | None) -> None:
        heard.append(number)
        if len(heard) == 1:  # a second one must not disturb the putting back
            raise _Signalled(number)

    before = {number: signal.signal(number, end) for number in _ENDING if _is_heard(number)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _is_heard(number: signal.Signals) -> bool:
    """Not what was ignored by whoever started this (nohup)."""
    return signal.getsignal(number) is not signal.SIG_IGN


@contextmanager
def _woken() -> Iterator[int]:
    """A descriptor that can be read when the terminal has another size, or when this goes on after it was stopped."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in (signal.SIGWINCH, signal.SIGCONT):
        signal.signal(number, lambda _number, _frame: None)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(before)
        for number in (signal.SIGWINCH, signal.SIGCONT):
            signal.signal(number, signal.SIG_DFL)
        os.close(reader)
        os.close(writer)
