"""Processes as the system shows them: read all of them, look one up, signal it, wait for its end.

Rule 1: a process is known by its id and its start time together, so that a recycled id is never signalled.
Rule 2: what has ended between two looks is no error.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from procwatch.frozen import field, frozen

# PR_SET_CHILD_SUBREAPER of prctl(2): orphans below this process become its children instead of init's.
_PR_SET_CHILD_SUBREAPER = 36
# Processes read before the loop gets its turn: about 2 ms (18 us each).
_SCAN_SHARE = 100
# A line of /proc/<pid>/stat has 52 fields and a name of 64 bytes at most.
_STAT_BYTES = 2048
# More than a page, which is what the kernel gives at once of a list of children.
_CHILDREN_BYTES = 64 * 1024
# A tree deeper than this, or one that grows faster than it is read, is found by reading every process once.
_ROUNDS = 50
# What execve(2) takes as arguments and environment together by default.
_ARGUMENTS_BYTES = 2 * 1024 * 1024
# In the midst of an exec a process shows an empty environment, for some 0.1 ms: 6 of 1,500 orphans were met in it.
_EXEC_LOOKS = 20
_EXEC_LOOK_S = 0.001
# How often to look where no pidfd can be had: an old kernel, macOS, no descriptor free.
_POLL_S = 0.02
# Where each look starts `ps`, which takes about 5 ms.
_PS_POLL_S = 0.1

HAS_PROC = Path("/proc/self/stat").exists()
HAS_CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children").exists()
HAS_PIDFD = hasattr(os, "pidfd_open")


@frozen
class Member:
    """One process as it was seen; `started` is its start time in clock ticks since boot (0: not known).

    Two are equal when they are the same process, however it was seen.
    """

    pid: int
    started: int
    parent: int = field(default=0, compare=False)
    group: int = field(default=0, compare=False)
    session: int = field(default=0, compare=False)
    zombie: bool = field(default=False, compare=False)


Census = Mapping[int, Member]


def become_subreaper() -> bool:
    """Adopt the orphans of all that this process starts; False where the system has no such thing."""
    if sys.platform != "linux":
        return False
    return bool(ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


async def scan() -> Census:
    """Every process of the machine, in one pass."""
    if not HAS_PROC:
        return await asyncio.to_thread(_ask_ps)
    found: dict[int, Member] = {}
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - half the time of iterdir
    for number, pid in enumerate(pids, 1):
        if member := look_up(pid):
            found[pid] = member
        await _pause(number)
    return found


async def family() -> Census:
    """All that this process has started or adopted, and what is below those; without this process itself.

    It takes 20 us for each of them, where `scan` takes nearly as much for each process of the machine. Like that, it
    can miss what is started meanwhile, but not what only gets another parent. Where it cannot be had, it is `scan`.
    """
    found: dict[int, Member] = {}
    asked: set[int] = set()
    for _ in range(_ROUNDS if HAS_PROC and HAS_CHILDREN else 0):
        new: list[int] = []
        for number, parent in enumerate((os.getpid(), *found), 1):
            new += [pid for pid in _children(parent) if pid not in asked]
            await _pause(number)
        if not new:
            return found
        asked.update(new)
        for number, pid in enumerate(new, 1):
            if member := look_up(pid):
                found[pid] = member
            await _pause(number)
    return await scan()


async def _pause(number: int) -> None:
    """Give the loop its turn now and then."""
    if number % _SCAN_SHARE == 0:
        await asyncio.sleep(0)


def descendants(root: int, without: Collection[int] = ()) -> list[Member]:
    """Everything below a process at one moment, but `without` and what is below those; empty where there is no /proc.

    For processes without a loop: it blocks for some milliseconds.
    """
    if not HAS_PROC:
        return []
    seen = [member for name in os.listdir("/proc") if name.isdigit() and (member := look_up(int(name)))]  # noqa: PTH208
    found: list[Member] = []
    below = {root}
    while more := [one for one in seen if one.parent in below and one.pid not in below and one.pid not in without]:
        found += more
        below |= {one.pid for one in more}
    return [one for one in found if not one.zombie]


def look_up(pid: int) -> Member | None:
    """What the system says of one process; None when there is none. OSError when no descriptor is free."""
    if not HAS_PROC:
        return Member(pid, 0)
    try:
        stat = _read(f"/proc/{pid}/stat", _STAT_BYTES)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None  # it has ended, or hidepid hides it, and then it is not ours
    # The name stands in brackets and may itself hold spaces and brackets: count from the last one.
    state, parent, group, session, *rest = stat.rpartition(b")")[2].split()
    # A main thread that has ended while other threads run on is shown as a zombie too; rest[13] counts the threads.
    zombie = state in b"ZX" and int(rest[13]) <= 1
    return Member(pid, int(rest[15]), int(parent), int(group), int(session), zombie)


def command_name(pid: int) -> str:
    """The short name of a running program; "?" when it cannot be known."""
    try:
        return os.fsdecode(_read(f"/proc/{pid}/comm", _STAT_BYTES)).rstrip("\n") or "?"
    except OSError:  # it has ended, or there is no /proc: a name is only for the message
        return "?"


def runs_as(pid: int, argv: tuple[str, ...]) -> bool:
    """Whether the process still runs what it was started as, and has not become another program by `exec`."""
    if not HAS_PROC:
        shown = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return shown.stdout.rstrip("\n") == " ".join(argv)
    try:
        return _read(f"/proc/{pid}/cmdline", _ARGUMENTS_BYTES) == b"".join(os.fsencode(one) + b"\0" for one in argv)
    except OSError:  # it has ended
        return False


async def variable_of(pid: int, name: str) -> str | None:
    """A variable of the environment that a process was started with; None when it has none, or it cannot be read."""
    environment = b""
    for _ in range(_EXEC_LOOKS):
        try:
            environment = _read(f"/proc/{pid}/environ", _ARGUMENTS_BYTES)
        except OSError:  # it has ended, or it belongs to another user
            return None
        if environment:
            break
        await asyncio.sleep(_EXEC_LOOK_S)
    start = f"{name}=".encode()
    entries = environment.split(b"\0")
    return next((os.fsdecode(entry[len(start) :]) for entry in entries if entry.startswith(start)), None)


def prints_into(pid: int) -> frozenset[str]:
    """What its standard output and error are, as the system names them: `pipe:[123]`, or a path."""
    found = set()
    for number in (1, 2):
        with suppress(OSError):  # it has ended, has closed it, or belongs to another user
            found.add(os.readlink(f"/proc/{pid}/fd/{number}"))  # noqa: PTH115 - no path: a name of the system's own
    return frozenset(found)


def catches(member: Member, number: int) -> bool:
    """Whether a process has set a handler for a signal; False where that cannot be known."""
    try:
        status = _read(f"/proc/{member.pid}/status", _ARGUMENTS_BYTES)
    except OSError:  # it has ended, or there is no /proc
        return False
    mask = next((line[7:] for line in status.split(b"\n") if line.startswith(b"SigCgt:")), b"0")
    return bool(int(mask, 16) >> (number - 1) & 1)


def send(member: Member, number: int) -> bool:
    """Signal just this process; False when it has ended. Raises PermissionError when it may not be signalled."""
    try:
        descriptor = _open_pidfd(member)
        if descriptor is None:
            os.kill(member.pid, number)
            return True
        try:
            signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)
    except ProcessLookupError:
        return False
    return True


def send_all(members: Iterable[Member], number: int) -> list[Member]:
    """Signal each of them that is there and may be signalled; gives those that got it."""
    return [member for member in members if _try_send(member, number)]


def _try_send(member: Member, number: int) -> bool:
    try:
        return send(member, number)
    except PermissionError:
        return False


def may_signal(member: Member) -> bool:
    """Whether this user may signal it."""
    try:
        send(member, 0)
    except PermissionError:
        return False
    return True


async def gone(member: Member) -> None:
    """Return when this process has ended (it may be a zombie still)."""
    try:
        descriptor = _open_pidfd(member)
    except ProcessLookupError:
        return
    if descriptor is None:
        while await _is_there(member):  # noqa: ASYNC110 - nothing tells of this end, so it is asked for
            await asyncio.sleep(_POLL_S if HAS_PROC else _PS_POLL_S)
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def all_gone(members: Iterable[Member]) -> None:
    """One after the other, so that a tree of a thousand processes needs one descriptor."""
    for member in members:
        await gone(member)


async def _is_there(member: Member) -> bool:
    if HAS_PROC:
        return is_alive(member)
    seen = (await scan()).get(member.pid)
    return seen is not None and not seen.zombie


def is_alive(member: Member) -> bool:
    """Whether this process runs; where there is no /proc that cannot be told from its id."""
    seen = look_up(member.pid)
    return seen is not None and seen == member and not seen.zombie


def _open_pidfd(member: Member) -> int | None:
    """A descriptor for this very process; None where there can be none. ProcessLookupError when it has ended."""
    descriptor = None
    if HAS_PIDFD:
        try:
            descriptor = os.pidfd_open(member.pid)
        except ProcessLookupError:
            raise
        except OSError:  # an old kernel, a sandbox, or no descriptor is free: the id alone has to do
            descriptor = None
    # The descriptor holds on to one process; only now can its start time tell whether it is the right one.
    if look_up(member.pid) != member:
        if descriptor is not None:
            os.close(descriptor)
        raise ProcessLookupError(member.pid)
    return descriptor


def _read(path: str, max_bytes: int) -> bytes:
    """A file of /proc; raises OSError when its process is gone."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, max_bytes)  # these files give all they have at the first read
    finally:
        os.close(descriptor)


def _children(pid: int) -> list[int]:
    """What all threads of a process have started or adopted; nothing when it has ended."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 - half the time of iterdir
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return []  # it has ended, or hidepid hides it
    return [child for thread in threads for child in _children_of_thread(f"/proc/{pid}/task/{thread}/children")]


def _children_of_thread(path: str) -> list[int]:
    found: list[int] = []
    try:
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - Path costs as much as the reading
            while numbers := file.read(_CHILDREN_BYTES):  # cut between numbers: each piece ends with a space
                found += map(int, numbers.split())
    except (FileNotFoundError, ProcessLookupError):
        pass  # the thread has ended: another one of its process has its children now
    return found


def _ask_ps() -> Census:
    """The processes as `ps` prints them, where there is no /proc: without sessions and start times."""
    shown = subprocess.run(["ps", "-axo", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, check=False)
    found = {}
    for line in shown.stdout.splitlines():
        pid, parent, group, state = line.split(None, 3)
        found[int(pid)] = Member(int(pid), 0, int(parent), int(group), 0, state.startswith("Z"))
    return found
