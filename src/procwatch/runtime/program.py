"""Find the program that a command names, and say in words why one cannot be started.

Rule 1: the search is that of the child: its PATH, its folder.
Rule 2: every refusal has the exit code that a shell would give, and words that name the thing and the remedy.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from procwatch.core.model import Exit
from procwatch.errors import ProcwatchError

# What a shell gives for a command that is not there, and for one that cannot be run.
NOT_FOUND = 127
NOT_RUNNABLE = 126
# The first line of a script as far as Linux reads it (BINPRM_BUF_SIZE).
_FIRST_LINE_BYTES = 256

# Why the system itself refuses to start anything more, and what helps.
_SYSTEM_REFUSALS = {
    errno.EMFILE: "too many open files: raise the limit (ulimit -n) or run less at once",
    errno.ENFILE: "too many open files on this machine: end what is not needed",
    errno.EAGAIN: "no more processes are allowed: raise the limit (ulimit -u) or run less at once",
    errno.ENOMEM: "out of memory: end what is not needed",
    errno.E2BIG: "the command and its environment are too long for the system: pass on less, or use a file",
}


def refused(error: ProcwatchError) -> Exit:
    """How a command ended that could not even be put together: its env file or a variable is missing."""
    return Exit(1, str(error))


def check_folder(folder: Path) -> Exit | None:
    """Why nothing can be started in this folder; None when it can."""
    try:
        mode = folder.stat().st_mode
    except PermissionError:
        return Exit(NOT_RUNNABLE, f"no access to the folder {folder} (permission denied)")
    except OSError:
        return Exit(NOT_FOUND, f"no such folder: {folder}")
    if not stat.S_ISDIR(mode):
        return Exit(NOT_FOUND, f"not a folder: {folder}")
    if not os.access(folder, os.X_OK):
        return Exit(NOT_RUNNABLE, f"no access to the folder {folder} (permission denied)")
    return None


def find_program(name: str, folder: Path, path: str) -> str | Exit:
    """The file to run for `name`: relative to `folder` if it holds a slash, else looked up in `path`."""
    if "/" in name:
        return _check_program(folder / name, name) or name
    first_refusal = None
    for place in path.split(os.pathsep) if name else ():
        candidate = folder / place / name
        refusal = _check_program(candidate, name)
        if refusal is None:
            return str(candidate)
        if refusal.code == NOT_RUNNABLE and not candidate.is_dir():
            first_refusal = first_refusal or refusal
    return first_refusal or Exit(NOT_FOUND, f"no such command: {name or 'its name is empty'}")


def explain(error: OSError | ValueError, name: str, file: Path) -> Exit:
    """Why the system did not start `file`, which had been found for `name`."""
    if isinstance(error, ValueError):
        return Exit(NOT_RUNNABLE, f"cannot pass on the command {name!a} or its environment: {error}")
    if error.errno in _SYSTEM_REFUSALS:
        return Exit(NOT_RUNNABLE, _SYSTEM_REFUSALS[error.errno])
    return Exit(NOT_RUNNABLE, f"not executable: {name} ({_why_not_executable(error, file)})")


def _check_program(file: Path, name: str) -> Exit | None:
    try:
        mode = file.stat().st_mode
    except PermissionError:
        return Exit(NOT_RUNNABLE, f"not executable: {name} (permission denied)")
    except OSError:
        return Exit(NOT_FOUND, f"no such command: {name}")
    if stat.S_ISDIR(mode):
        return Exit(NOT_RUNNABLE, f"not executable: {name} (it is a folder)")
    if not os.access(file, os.X_OK):
        return Exit(NOT_RUNNABLE, f"not executable: {name} (permission denied)")
    return None


def _why_not_executable(error: OSError, file: Path) -> str:
    if error.errno == errno.EACCES:
        return "permission denied"
    if error.errno == errno.ENOEXEC:
        return "it is no program, and has no first line such as #!/bin/sh"
    if error.errno == errno.ETXTBSY:
        return "it is still being written"
    if error.errno == errno.ENOENT:
        return f"what runs it is missing: {_interpreter(file)}"
    return os.strerror(error.errno or 0).lower()


def _interpreter(file: Path) -> str:
    """What a script names in its first line; for other files the loader of programs."""
    try:
        with file.open("rb") as opened:
            line = opened.read(_FIRST_LINE_BYTES).split(b"\n")[0]
    except OSError:  # it may be run and not be read: the words are the poorer for it
        line = b""
    return os.fsdecode(line[2:]).strip() if line.startswith(b"#!") else "the loader that it was built for"
