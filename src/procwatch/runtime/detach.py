"""`start -d`: let the caller go as soon as the supervisor listens, and keep nothing that is the caller's.

Rule 1: until then all is as without -d: what is told goes to the caller, and the end of procwatch is the caller's end.
Rule 2: it is done before the guardian's fork and before anything heavy is imported: the caller waits in a copy of this.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

# Options before and after `start` whose next word is a value.
_WITH_VALUE = frozenset({"-f", "--file", "-e", "--env-file", "-c", "--concurrency", "--except"})
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

# The end of a pipe that the caller waits at; -1 where nobody waits.
_waiting = -1
# A pipe that the supervisor puts the name of its log file into, for the guardian to read when that is needed.
_log: tuple[int, int] | None = None


def is_asked(words: Sequence[str]) -> bool:
    """Whether these are the words of a `start -d`."""
    command = ""
    is_value = False
    for word in words:
        if is_value or word in _WITH_VALUE:
            is_value = not is_value
        elif word == "--":
            return False
        elif command and word in ("-d", "--detach"):
            return True
        elif not command and not word.startswith("-"):
            command = word
            if command != "start":
                return False
    return False


def leave() -> None:
    """Fork: returns in the child, in a session of its own. The parent waits for `let_go`, or ends as the child does."""
    global _waiting, _log  # noqa: PLW0603 - a process is detached once
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    hears, _waiting = os.pipe()
    child = os.fork()
    if child:
        os.close(_waiting)
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _frame: _pass_on(child, number))
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os._exit(_wait(child, hears))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    os.setsid()
    _hold_nothing_else()
    nowhere = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nowhere, 0)
    os.close(nowhere)
    _log = os.pipe()


def is_begun() -> bool:
    """Whether somebody waits for `let_go`."""
    return _waiting >= 0


def let_go(log: str) -> None:
    """All runs: the caller ends with 0. From now on nothing of his is held, and last words go to the file `log`."""
    global _waiting  # noqa: PLW0603
    assert _log is not None
    os.write(_log[1], os.fsencode(log))
    os.close(_log[1])
    _forget_outputs()
    os.write(_waiting, b"1")
    os.close(_waiting)
    _waiting = -1


def let_guardian_go() -> None:
    """The guardian, too, holds nothing of the caller's."""
    global _waiting  # noqa: PLW0603
    if _waiting >= 0:
        os.close(_waiting)
        _waiting = -1
        _forget_outputs()


def last_words(line: str) -> bool:
    """Write a line to the log file of a detached supervisor that is gone; False where that has no such file."""
    if _log is None:
        return False
    from procwatch.output.events import stamp  # noqa: PLC0415 - as above: rarely needed

    os.set_blocking(_log[0], False)
    with suppress(OSError):  # it has ended before it had a log file, and has told why
        path = os.read(_log[0], 65536)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        os.write(file, f"{stamp(time.time())} {line}\n".encode())
        os.close(file)
    return True


def _wait(child: int, hears: int) -> int:
    """The exit status: 0 as soon as it has said that it runs, else its own."""
    if os.read(hears, 1):
        return 0
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 128 - code


def _pass_on(child: int, number: int, _frame: FrameType | None = None) -> None:
    with suppress(ProcessLookupError):
        os.kill(child, number)


def _hold_nothing_else() -> None:
    """Whatever else the caller had open is not to be held open by what runs in the background."""
    os.closerange(3, _waiting)
    os.closerange(_waiting + 1, os.sysconf("SC_OPEN_MAX"))


def _forget_outputs() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)
    os.close(nowhere)
