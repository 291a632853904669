"""What commands are asked to do, and their plainest command lines, understood without the library for all the others.

Rule 1: what is understood here means what `cli` makes of it; all else, and whatever is wrong, is left to `cli`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from procwatch.frozen import frozen


@frozen
class Ask:
    """What a command asks a running supervisor: `file` is -f, `count` -n, `to` --to.

    `timeout_s` None: as long as it takes.
    """

    command: str
    names: tuple[str, ...] = ()
    file: Path | None = None
    as_json: bool = False
    wait: bool = True
    timeout_s: float | None = None
    count: int | None = None
    to: int | None = None


@frozen
class Options:
    """What the command line asks of a start: `file` is -f, `env_files` -e, `concurrency` -c, `excepted` --except.

    `once`: what `build` asks for where no supervisor runs; that is done, and procwatch ends.
    """

    names: tuple[str, ...] = ()
    file: Path | None = None
    env_files: tuple[str, ...] = ()
    concurrency: str | None = None
    watch: bool = True
    clear: bool = False
    as_json: bool = False
    verbosity: int = 0
    detach: bool = False
    excepted: tuple[str, ...] = ()
    once: Ask | None = None


@frozen
class LogOptions:
    """What the command line asks of `logs`: `file` is -f before the command. `lines`: the last so many."""

    names: tuple[str, ...] = ()
    file: Path | None = None
    follow: bool = False
    lines: int | None = None
    since: str | None = None
    grep: str | None = None
    as_json: bool = False
    prefix: bool = True


_FLAGS = frozenset({"--no-watch", "--clear", "--json", "-v", "--verbose", "-q", "--quiet", "-d", "--detach"})
# With it set click answers a shell's question instead of running.
_COMPLETION = "_PROCWATCH_COMPLETE"


@frozen
class _Line:
    """A plain command line: `[-f FILE] COMMAND`, names, and flags written out."""

    command: str
    names: tuple[str, ...]
    file: Path | None
    flags: frozenset[str]


def _plain(arguments: Sequence[str], flags_of: Mapping[str, frozenset[str]]) -> _Line | None:
    """None if it is another command than these, or anything else than their flags and names."""
    words = list(arguments)
    file: Path | None = None
    flags: set[str] = set()
    found: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("-f", "--file") and words and words[0]:
            file = Path(words.pop(0))
        elif found and word in flags_of[found[0]]:
            flags.add(word)
        elif word.startswith("-") or (not found and word not in flags_of):
            return None
        else:
            found.append(word)
    if not found or _COMPLETION in os.environ:
        return None
    return _Line(found[0], tuple(found[1:]), file, frozenset(flags))


def plain_start(arguments: Sequence[str]) -> Options | None:
    """The options of `[-f FILE] start`, names, and flags written out; None for any other command line."""
    line = _plain(arguments, {"start": _FLAGS})
    if line is None:
        return None
    pairs = (("-v", "--verbose"), ("-q", "--quiet"), ("-d", "--detach"))
    verbose, quiet, detach = (not line.flags.isdisjoint(each) for each in pairs)
    if (verbose and quiet) or (detach and "--json" in line.flags):
        return None
    return Options(
        names=line.names,
        file=line.file,
        watch="--no-watch" not in line.flags,
        clear="--clear" in line.flags,
        as_json="--json" in line.flags,
        verbosity=verbose - quiet,
        detach=detach,
    )


_JSON = frozenset({"--json"})
_JSON_NO_WAIT = frozenset({"--json", "--no-wait"})
# The flags of each command that asks a running supervisor; which of them need names, and which take none.
_ASKS = {
    "status": _JSON, "why": _JSON, "stop": _JSON_NO_WAIT, "restart": _JSON_NO_WAIT, "build": _JSON_NO_WAIT,
    "rollback": _JSON_NO_WAIT, "wait": _JSON, "pause": _JSON, "resume": _JSON, "reload": _JSON_NO_WAIT,
}  # fmt: skip
_NEED_NAMES = frozenset({"why", "restart", "build", "rollback", "wait"})
_TAKE_NO_NAMES = frozenset({"reload"})


def plain_ask(arguments: Sequence[str]) -> Ask | None:
    """The same for the commands that ask a supervisor; options with a value, but -f, are left to `cli`."""
    line = _plain(arguments, _ASKS)
    if line is None or line.command in (_TAKE_NO_NAMES if line.names else _NEED_NAMES):
        return None
    as_json, wait = "--json" in line.flags, "--no-wait" not in line.flags
    return Ask(line.command, line.names, line.file, as_json=as_json, wait=wait)


_LOG_FLAGS = frozenset({"-f", "--follow", "--json", "--no-prefix"})
_LOG_VALUES = {"-n": "lines", "--lines": "lines", "--since": "since", "--grep": "grep"}
# Of a number of lines: more are for click to complain of.
_MOST_DIGITS = 15


def plain_logs(arguments: Sequence[str]) -> LogOptions | None:
    """The same for `logs`, whose own -f is to follow."""
    words = list(arguments)
    file: Path | None = None
    while words[:1] in (["-f"], ["--file"]) and words[1:] and words[1]:
        file = Path(words[1])
        del words[:2]
    if words[:1] != ["logs"] or _COMPLETION in os.environ:
        return None
    flags: set[str] = set()
    values: dict[str, str] = {}
    names: list[str] = []
    del words[0]
    while words:
        word = words.pop(0)
        if word in _LOG_VALUES and words:
            values[_LOG_VALUES[word]] = words.pop(0)
        elif word in _LOG_FLAGS:
            flags.add(word)
        elif word.startswith("-"):
            return None
        else:
            names.append(word)
    lines = values.get("lines")
    if lines is not None and not (lines.isascii() and lines.isdecimal() and len(lines) <= _MOST_DIGITS):
        return None
    return LogOptions(
        names=tuple(names),
        file=file,
        follow=not flags.isdisjoint(("-f", "--follow")),
        lines=None if lines is None else int(lines),
        since=values.get("since"),
        grep=values.get("grep"),
        as_json="--json" in flags,
        prefix="--no-prefix" not in flags,
    )
