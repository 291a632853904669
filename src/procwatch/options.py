"""What commands are asked to do, and their plainest command lines, understood without the library for all the others.

Rule 1: what is understood here means what `cli` makes of it; all else, and whatever is wrong, is left to `cli`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from procwatch.frozen import frozen


@frozen
class Options:
    """What the command line asks of a start: `file` is -f, `env_files` -e, `concurrency` -c, `excepted` --except."""

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


@frozen
class Ask:
    """What a command asks a running supervisor: `file` is -f, `count` -n; `timeout_s` None: as long as it takes."""

    command: str
    names: tuple[str, ...] = ()
    file: Path | None = None
    as_json: bool = False
    wait: bool = True
    timeout_s: float | None = None
    count: int | None = None


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


def plain_start(arguments: Sequence[str]) -> Options | None:
    """The options of `[-f FILE] start`, names, and flags written out; None for any other command line."""
    words = list(arguments)
    file: Path | None = None
    flags: set[str] = set()
    names: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("-f", "--file") and words and words[0]:
            file = Path(words.pop(0))
        elif word in _FLAGS and names:
            flags.add(word)
        elif word.startswith("-") or (not names and word != "start"):
            return None
        else:
            names.append(word)
    pairs = (("-v", "--verbose"), ("-q", "--quiet"), ("-d", "--detach"))
    verbose, quiet, detach = (not flags.isdisjoint(each) for each in pairs)
    if not names or (verbose and quiet) or (detach and "--json" in flags) or _COMPLETION in os.environ:
        return None
    return Options(
        names=tuple(names[1:]),
        file=file,
        watch="--no-watch" not in flags,
        clear="--clear" in flags,
        as_json="--json" in flags,
        verbosity=verbose - quiet,
        detach=detach,
    )


# The flags of each command that asks a running supervisor, and whether it takes, or even needs, names.
_ASKS: dict[str, tuple[frozenset[str], bool, bool]] = {
    "status": (frozenset({"--json"}), True, False),
    "why": (frozenset({"--json"}), True, True),
    "stop": (frozenset({"--json", "--no-wait"}), True, False),
    "restart": (frozenset({"--json", "--no-wait"}), True, True),
    "build": (frozenset({"--json", "--no-wait"}), True, True),
    "wait": (frozenset({"--json"}), True, True),
    "pause": (frozenset({"--json"}), True, False),
    "resume": (frozenset({"--json"}), True, False),
    "reload": (frozenset({"--json"}), False, False),
}


def plain_ask(arguments: Sequence[str]) -> Ask | None:
    """The same for the commands that ask a supervisor; options with a value, but -f, are left to `cli`."""
    words = list(arguments)
    file: Path | None = None
    flags: set[str] = set()
    names: list[str] = []
    while words:
        word = words.pop(0)
        if word in ("-f", "--file") and words and words[0]:
            file = Path(words.pop(0))
        elif names and names[0] in _ASKS and word in _ASKS[names[0]][0]:
            flags.add(word)
        elif word.startswith("-") or (not names and word not in _ASKS):
            return None
        else:
            names.append(word)
    if not names or _COMPLETION in os.environ:
        return None
    _, takes_names, needs_names = _ASKS[names[0]]
    if (needs_names and len(names) == 1) or (len(names) > 1 and not takes_names):
        return None
    return Ask(names[0], tuple(names[1:]), file, as_json="--json" in flags, wait="--no-wait" not in flags)


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
