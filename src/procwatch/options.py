"""What `start` is asked to do, and its plainest command lines, understood without the library for all the others.

Rule 1: what is understood here means what `cli` makes of it; all else, and whatever is wrong, is left to `cli`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from procwatch.frozen import frozen


@frozen
class Options:
    """What the command line asks of a start: `file` is -f, `env_files` -e, `concurrency` -c."""

    names: tuple[str, ...] = ()
    file: Path | None = None
    env_files: tuple[str, ...] = ()
    concurrency: str | None = None
    watch: bool = True
    clear: bool = False
    as_json: bool = False
    verbosity: int = 0


_FLAGS = frozenset({"--no-watch", "--clear", "--json", "-v", "--verbose", "-q", "--quiet"})
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
    verbose, quiet = (not flags.isdisjoint(each) for each in (("-v", "--verbose"), ("-q", "--quiet")))
    if not names or (verbose and quiet) or _COMPLETION in os.environ:
        return None
    return Options(
        names=tuple(names[1:]),
        file=file,
        watch="--no-watch" not in flags,
        clear="--clear" in flags,
        as_json="--json" in flags,
        verbosity=verbose - quiet,
    )
