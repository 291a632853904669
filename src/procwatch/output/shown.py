"""Lines of log files as they are shown: with prefixes as `start` shows them, bare, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from procwatch.output.controls import ControlFilter
from procwatch.output.prefix import Prefixes
from procwatch.output.runs import MARK_BYTES, Placed, Run, text_of

# Turns a portion of runs into what is written. Logs go by their number, as in `Placed`.
Form = Callable[[Sequence[Placed]], bytes]
# Prefixes of so many seconds and logs are remembered.
_MOST_MADE = 4096


class Prefixed:
    """`12:00:01 api | text`. `names`: the full names of the logs."""

    def __init__(self, names: Sequence[str], prefixes: Prefixes, *, terminal: bool) -> None:
        """`terminal`: control sequences other than colours are dropped."""
        self._names = names
        self._prefixes = prefixes
        self._filter = ControlFilter() if terminal else None
        self._made: dict[tuple[int, bytes], bytes] = {}

    def __call__(self, portion: Sequence[Placed]) -> bytes:
        """The lines of a portion."""
        if self._filter is not None:
            return b"".join([self._filtered(self._filter, number, run) for number, run in portion])
        made = self._made
        parts: list[bytes] = []
        for number, (_, mark, lines) in portion:
            prefix = made.get((number, mark[:19])) or self._prefix(number, mark[:19])
            parts += (prefix, lines[MARK_BYTES:].replace(b"\n" + mark, b"\n" + prefix))
        return b"".join(parts)

    def _filtered(self, controls: ControlFilter, number: int, run: Run) -> bytes:
        prefix = self._prefix(number, run[1][:19])
        return (prefix + controls.feed(text_of(run)).replace(b"\n", b"\n" + prefix))[: -len(prefix)]

    def _prefix(self, number: int, second: bytes) -> bytes:
        made = self._made.get((number, second))
        if made is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            short = self._names[number].partition(".")[2]
            made = self._made[number, second] = self._prefixes.at(short, _seconds(second))
        return made


class Bare:
    """The lines alone."""

    def __init__(self, *, terminal: bool) -> None:
        self._filter = ControlFilter() if terminal else None

    def __call__(self, portion: Sequence[Placed]) -> bytes:
        """The lines of a portion."""
        text = b"".join([text_of(run) for _, run in portion])
        return self._filter.feed(text) if self._filter else text


class AsJson:
    """An object for each line. A byte that is not UTF-8 is written as `\\xff`, as in events."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names

    def __call__(self, portion: Sequence[Placed]) -> bytes:
        """The lines of a portion."""
        return b"".join([self._lines(self._names[number], run) for number, run in portion])

    def _lines(self, name: str, run: Run) -> bytes:
        head = f'{{"at": "{run[1][:-1].decode()}", "name": {json.dumps(name)}, "line": '
        lines = text_of(run).decode("utf-8", "backslashreplace").split("\n")[:-1]
        return "".join([f"{head}{json.dumps(line)}}}\n" for line in lines]).encode()


def _seconds(second: bytes) -> float:
    """Since 1970; 0 where the digits are no time."""
    from datetime import datetime  # noqa: PLC0415 - `--json` does not need it

    try:
        return datetime.fromisoformat(second.decode() + "+00:00").timestamp()
    except ValueError:
        return 0.0
