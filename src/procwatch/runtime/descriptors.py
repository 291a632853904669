"""How many files procwatch may have open: room for all its services, and a reserve that none of them gets.

Rule 1: what is started has the limit that procwatch itself was started with, from its first instruction on.
Rule 2: no process is started with the last descriptors: without any, procwatch could not see what to stop, or which
        files have changed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# A walk through folders, a survey of processes and the answer to a client take one or two at a time each.
RESERVE = 32
# What one unit holds while it runs: its output, its end, its standard input, its log file, a probe's connection.
_PER_UNIT = 5
# What an address that a service listens at holds as long as procwatch runs.
_PER_ADDRESS = 2

_STANDARD_ERROR = 2

# The limit that was found; None as long as it has not been raised.
_inherited: int | None = None


def make_room(units: int, addresses: int = 0) -> None:
    """Raise the limit, as far as the system allows, if so many running units could need more.

    `addresses`: how many of these they listen at.
    """
    global _inherited  # noqa: PLW0603 - a process has one limit
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = RESERVE + _PER_UNIT * units + _PER_ADDRESS * addresses
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limit = soft + wanted if hard == resource.RLIM_INFINITY else min(soft + wanted, hard)
    if limit < 2 * soft:
        return  # what is kept for long goes above the old limit (`lift`), where there would be less room than below
    with suppress(OSError, ValueError):  # macOS has a second limit; what cannot be had is told by the start that fails
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        _inherited = soft


def keep_to_ourselves() -> None:
    """What was handed to procwatch, besides its standard input and output, is not for what it starts."""
    with suppress(OSError):
        for name in os.listdir("/dev/fd"):  # noqa: PTH208 - numbers
            if int(name) > _STANDARD_ERROR:
                with suppress(OSError):  # the one of this list itself
                    os.set_inheritable(int(name), False)  # noqa: FBT003 - the name of the function says what it is


def lift(descriptor: int, least: int = 0) -> int:
    """The same one under a number above the limit that is handed on, for one that is kept as long as a process runs.

    So there is always a number free below that limit. It is at least `least`. Raises OSError (EMFILE) when only the
    reserve is left.
    """
    floor = max(least, _inherited or 0)
    if descriptor < floor:
        low = descriptor
        try:
            descriptor = fcntl.fcntl(low, fcntl.F_DUPFD_CLOEXEC, floor)
        finally:
            os.close(low)
    if is_of_reserve(descriptor):
        os.close(descriptor)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    return descriptor


def is_of_reserve(newest: int) -> bool:
    """Whether a descriptor that was just opened is one of the last."""
    # The system gives the lowest free number, so all below it are in use.
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return soft != resource.RLIM_INFINITY and newest >= soft - RESERVE


@contextmanager
def handing_on() -> Iterator[None]:
    """Inside, this process has the limit that it found, and hands it on to what it starts."""
    if _inherited is None:
        yield
        return
    raised, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (_inherited, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
