"""Outlive the supervisor, and end whatever it leaves: `procwatch start` is two processes, this one is the parent.

Rule 1: nothing heavy is imported and no thread started before the fork: this process stays small, and does nothing.
Rule 2: what the supervisor has started is below this process for good: when the supervisor is gone, be it by SIGKILL,
        all of that is killed in rounds until nothing is left.
Rule 3: the supervisor watches over its parent likewise (`is_orphan`): whichever of the two is killed, all ends.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn

from procwatch.runtime import detach, relay

# PR_SET_PDEATHSIG and PR_SET_CHILD_SUBREAPER of prctl(2).
_SET_PDEATHSIG = 1
_SET_CHILD_SUBREAPER = 36
# si_code of a signal that the terminal sends for a key: the supervisor, in the same group, has got it too. The hang-up
# of a terminal goes to the session's first process alone, which may be this one.
_SI_KERNEL = 128
_KEYS = frozenset({signal.SIGINT, signal.SIGQUIT})
PASSED_ON = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
HEARD = PASSED_ON | {signal.SIGCHLD, relay.MESSAGE}
# What is still there after so long hangs in the kernel, or belongs to another user.
_KILL_LIMIT_S = 10.0
_ROUND_S = 0.005

# The modes of the terminal before anything of procwatch has changed them; None where standard input is none.
_modes: list[Any] | None = None
# Who watches over this process; None where nobody does.
_guardian: int | None = None


def stand_guard() -> None:
    """Fork: returns in the child, which is the supervisor. The parent never returns, and ends as the child does.

    Where the system cannot give orphans to anybody but init (macOS) it does nothing: `is_orphan` is always false.
    """
    global _guardian  # noqa: PLW0603 - a process has one parent
    _hear()
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None)
    if libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        return
    _note_modes()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HEARD)
    relay.open_way()
    guardian = os.getpid()
    strangers = _children(guardian)
    try:
        child = os.fork()
    except OSError as error:
        tell_no_process(error)
        os._exit(1)
    if child:
        guard(child, strangers)
    _guardian = guardian
    relay.keep_own_end()
    # TERM is deadly until the supervisor has its own handlers, and asks `is_orphan` from then on.
    die_with_guardian(signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def tell_no_process(error: OSError) -> None:
    """There can be no further process."""
    words = os.strerror(error.errno or 0).lower()
    with suppress(OSError):
        os.write(2, f"procwatch: cannot start a process: {words}; try `ulimit -u`\n".encode())


def _hear() -> None:
    """Undo what whoever has started this may have ignored or blocked, and what is heard later on anyway.

    SIGINT is ignored in the background of a script: sent before the supervisor has its handlers it would be lost. With
    SIGCHLD ignored the guardian would never learn of an end.
    """
    for number in (signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)


def front_pid() -> int:
    """The process that the user has started, and sends signals to."""
    return os.getpid() if _guardian is None else _guardian


def die_with_guardian(number: signal.Signals) -> None:
    """Have the kernel send this signal when the guardian ends; end at once if it has ended already."""
    if _guardian is None:
        return
    ctypes.CDLL(None).prctl(_SET_PDEATHSIG, number, 0, 0, 0)
    if is_orphan():
        os.kill(os.getpid(), signal.SIGKILL)


def is_orphan() -> bool:
    """Whether this process had a guardian, and that has been killed.

    A parent of id 0 is outside of the namespace that this process is the first one of, and ends together with it.
    """
    return _guardian is not None and os.getppid() not in (_guardian, 0)


def guard(child: int, strangers: frozenset[int] = frozenset()) -> NoReturn:
    """Pass signals on until the child has ended, end what it has left, and end as it did.

    `strangers` are children that were there before: `sh -c 'agent & exec procwatch start'` is no reason to end agent.
    """
    _let_go()
    code = os.waitstatus_to_exitcode(_wait_for(child))
    left = _end_all(strangers)
    if code < 0:
        _give_terminal_back()
    if code < 0 and -code not in PASSED_ON:
        ended = "what it had started cannot be ended" if left else "what it had started has been ended"
        _tell(f"procwatch was killed by {signal.Signals(-code).name}; {ended}")
    if code < 0 and -code in PASSED_ON:
        # Ended by the signal itself, as a shell wants to know: a script that was interrupted must not go on.
        signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HEARD)
        os.kill(os.getpid(), -code)
    os._exit(code if code >= 0 else 128 - code)


def _note_modes() -> None:
    global _modes  # noqa: PLW0603 - a process has one terminal
    if os.isatty(0):
        import termios  # noqa: PLC0415 - only where there is a terminal

        with suppress(termios.error):
            _modes = termios.tcgetattr(0)


def _give_terminal_back() -> None:
    """The supervisor could not do it: set the modes that the terminal had, if it is still this process group's."""
    if _modes is None:
        return
    import termios  # noqa: PLC0415 - as above

    with suppress(OSError, termios.error):  # there is no terminal any more
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        if os.tcgetpgrp(terminal) == os.getpgrp():
            termios.tcsetattr(terminal, termios.TCSANOW, _modes)


def _let_go() -> None:
    """Hold neither end of a pipe: who reads procwatch's output sees its end when the supervisor has ended."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    os.close(nowhere)
    detach.let_guardian_go()


def _wait_for(child: int) -> int:
    """The status with which the child has ended. It is waited for here alone, so its id is its own until then.

    Whatever else ends below this process is reaped.
    """
    while True:
        heard = signal.sigwaitinfo(HEARD)
        by_key = heard.si_signo in _KEYS and heard.si_code == _SI_KERNEL
        if heard.si_signo in PASSED_ON and not by_key:
            os.kill(child, heard.si_signo)
        relay.pass_on()
        for ended, status in _ended():
            if ended == child:
                return status


def _ended() -> Iterator[tuple[int, int]]:
    """Id and status of each child that has ended. As process 1 of a container it is given the orphans of others too."""
    with suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            yield found


def _tell(line: str) -> None:
    if detach.last_words(line):
        return
    try:
        os.write(2, f"{line}\n".encode())
    except OSError:  # nobody is there to be told
        return


def _children(pid: int) -> frozenset[int]:
    """The children of a process, by the system's own list; none where the system keeps no such list."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123 - pathlib is not imported here
            return frozenset(map(int, file.read().split()))
    except OSError:
        return frozenset()


def _end_all(strangers: frozenset[int]) -> bool:
    """Kill and reap everything below this process but strangers; whether something is left that cannot be ended."""
    end_s = time.monotonic() + _KILL_LIMIT_S
    while left := _reap() and not (strangers and _children(os.getpid()) <= strangers):
        if time.monotonic() > end_s:
            break
        from procwatch.runtime import census  # noqa: PLC0415 - only when something is left: see rule 1

        for member in census.descendants(os.getpid(), without=strangers):
            try:
                census.send(member, signal.SIGKILL)
            except PermissionError:  # another user's: nobody but that user can end it
                continue
        time.sleep(_ROUND_S)
    return left


def _reap() -> bool:
    """Take the status of every child that has ended; whether there is any child left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True
