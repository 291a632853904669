"""What a shell does in a new process before it becomes the program: only from inside can it be done.

Rule 1: one shell at most, and none where none is needed: it takes half a millisecond.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

_SHELL = ("/bin/sh", "-c")
# A program that is started without Python's help finds its folder only so.
_ENTER = 'cd -- "$1" && shift'
# The id must be that of the program: it is the shell's, which becomes the program.
_TELL_ID = "LISTEN_PID=$$ && export LISTEN_PID"
# A session's first process gets the terminal that it opens as its controlling one: only so does Ctrl-C work. The
# program's own descriptors are there already.
_ACQUIRE = 'exec <>"$1" && shift'
_BECOME = 'exec "$@"'
# A shell passes on only variables whose names it could write; `env` hands over the others.
_ENV = "/usr/bin/env"
# One program with its arguments, as far as that can be told at a glance: no operator, no assignment before it.
_SIMPLE = re.compile(r"\s*([A-Za-z0-9_./-]+)(\s[^;&|()`\n]*)?")
# What a shell does itself, and what only it can make sense of (POSIX, bash).
_SHELLS_OWN = re.compile(
    r"\.|alias|bg|break|builtin|case|cd|command|continue|declare|do|done|echo|elif|else|esac|eval|exec|exit|export|false|fg"
    r"|fi|for|function|getopts|hash|if|in|jobs|kill|local|printf|pwd|read|readonly|return|select|set|shift|source|test|then"
    r"|time|times|trap|true|type|typeset|ulimit|umask|unalias|unset|until|wait|while"
)


def becoming(command: str) -> str:
    """A shell command that its only program takes the place of the shell in, where it has just one.

    Many shells do that by themselves; where one does not, the program would have another id than LISTEN_PID says.
    """
    found = _SIMPLE.fullmatch(command)
    return command if found is None or _SHELLS_OWN.fullmatch(found[1]) else f"exec {command}"


def wrapped(
    argv: tuple[str, ...], env: Mapping[str, str], *, terminal: str | None = None, listens_in: Path | None = None
) -> tuple[str, ...]:
    """The command that becomes `argv`, which an absolute path begins if it is not wrapped.

    `terminal`: it is made the controlling one of the session that the command leads. `listens_in`: the folder of a
    program that is given sockets.
    """
    steps: list[str] = []
    words: list[str] = []
    if listens_in is not None:
        steps += [_ENTER, _TELL_ID]
        words.append(str(listens_in))
    if terminal is not None:
        steps.append(_ACQUIRE)
        words.append(terminal)
    if not steps:
        return argv
    unusual = [f"{name}={value}" for name, value in env.items() if not (name.isascii() and name.isidentifier())]
    through_env = (_ENV, *unusual) if unusual else ()
    return (*_SHELL, " && ".join((*steps, _BECOME)), "sh", *words, *through_env, *argv)
