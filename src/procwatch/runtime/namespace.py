"""Make the supervisor the first process of a process-id namespace: when it ends, the kernel ends all that is in there.

Rule 1: it is done before there is any thread, and before anything is started: neither could come along.
Rule 2: the first process of a namespace hears only signals for which it has a handler: it has them from the beginning.
Rule 3: whoever is killed, the kernel kills the next one below: guardian, the parent that stays outside, supervisor.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, NoReturn

from procwatch.errors import ProcwatchError
from procwatch.runtime import guardian

# Flags of unshare(2) and mount(2); PR_SET_PDEATHSIG of prctl(2); the version of the structures of capset(2).
_NEW_MOUNTS, _NEW_USER, _NEW_PIDS = 0x00020000, 0x10000000, 0x20000000
_NO_SUID, _NO_DEVICES, _NO_PROGRAMS, _RECURSIVE, _SLAVE = 0x2, 0x4, 0x8, 0x4000, 0x80000
_SET_PDEATHSIG = 1
_CAPABILITY_VERSION = 0x20080522
# What an administrator may have set, and the value with which it forbids user namespaces.
_FORBIDDING = {
    "user.max_user_namespaces": "0",
    "kernel.unprivileged_userns_clone": "0",
    "kernel.apparmor_restrict_unprivileged_userns": "1",
}


class IsolationError(ProcwatchError):
    """There can be no namespace here; why, and what would help."""


def enter() -> None:
    """Fork: returns in the child, which is process 1 of a new namespace. The parent ends as the child does.

    Raises IsolationError where that is not possible, in the parent or, with nobody outside the wiser, in the child.
    """
    if sys.platform != "linux":
        raise IsolationError('isolation = "pidns" works on Linux only; leave it out, or say "tree"')
    before = signal.pthread_sigmask(signal.SIG_BLOCK, guardian.HEARD)
    try:
        in_user_namespace = _unshare()
        guardian.die_with_guardian(signal.SIGKILL)  # it was forgotten when the rights changed
        hold, held = os.pipe()
        child = os.fork()
        if child:
            os.close(hold)
            guardian.guard(child)
        os.close(held)
        for number in guardian.PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, _leave)
        _mount()
        if in_user_namespace and os.geteuid() != 0:
            _drop_capabilities()
        _die_with_parent(hold)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave(number: int, _frame: object) -> NoReturn:
    """End as a signal would: it cannot, where the process is the first one. The kernel ends what is left."""
    os._exit(128 + number)


def _unshare() -> bool:
    """Whoever is started from here on is in a new namespace of process ids; whether in one of users as well."""
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", _NEW_PIDS)
    except PermissionError:
        pass  # only root may do that: anybody may in a user namespace, where it is allowed
    else:
        return False
    try:
        _call("unshare", _NEW_USER | _NEW_PIDS)
        for name, content in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            Path("/proc/self", name).write_text(content, encoding="ascii")
    except OSError as error:
        raise _refusal("a namespace of users", error) from error
    return True


def _mount() -> None:
    """A /proc with the ids that count here; all other mounts stay as they are, and follow what is mounted outside."""
    try:
        _call("unshare", _NEW_MOUNTS)
        _call("mount", b"none", b"/", None, _RECURSIVE | _SLAVE, None)
        _call("mount", b"proc", b"/proc", b"proc", _NO_SUID | _NO_DEVICES | _NO_PROGRAMS, None)
    except OSError as error:
        raise _refusal("a /proc of its own", error) from error


def _drop_capabilities() -> None:
    """The rights of the first process of a user namespace: procwatch is to be bound by permissions as before."""
    header, rights = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0), (ctypes.c_uint32 * 6)()
    _call("capset", header, rights)


def _die_with_parent(hold: int) -> None:
    """The parent's id is not known here, so a pipe that it holds tells whether it has ended already."""
    _call("prctl", _SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if select.select([hold], [], [], 0)[0]:
        os._exit(128 + signal.SIGKILL)
    os.close(hold)


def _call(name: str, *arguments: Any) -> None:
    """A function of the C library; raises the OSError of its errno."""
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = [ctypes.c_ulong(one) if isinstance(one, int) else one for one in arguments]
    if libc[name](*numbers) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _refusal(what: str, error: OSError) -> IsolationError:
    """What could not be had, and the setting that forbids it if it is a known one."""
    setting = next((name for name, value in _FORBIDDING.items() if _setting(name) == value), None)
    remedy = "it takes root, or a system (a container: its runtime) that allows user namespaces"
    if setting is not None:
        remedy = f"{setting} is {_FORBIDDING[setting]}, which forbids user namespaces; an administrator can change that"
    return IsolationError(
        f'isolation = "pidns" is not possible here: {what} is refused ({error.strerror}); {remedy}; or say "tree"'
    )


def _setting(name: str) -> str | None:
    try:
        return Path("/proc/sys", *name.split(".")).read_text(encoding="ascii").strip()
    except (OSError, ValueError):  # this system has no such setting
        return None
