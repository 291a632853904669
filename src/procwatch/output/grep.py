"""Of lines those in which a regular expression is found: in their text, without control sequences and colours."""

from __future__ import annotations

import re
from collections.abc import Iterator

from procwatch.errors import UsageError, printable
from procwatch.output.controls import ControlFilter
from procwatch.output.runs import Reader, Run, text_of

_COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")


class Grep:
    """`pattern` as of Python's re. A byte that is not UTF-8 is a character of its own (U+DC80 to U+DCFF)."""

    def __init__(self, pattern: str) -> None:
        try:
            self._search = re.compile(pattern).search
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(f'--grep: "{printable(pattern)}" is not a regular expression: {error}') from error

    def filtered(self, portions: Iterator[list[Run]]) -> Iterator[list[Run]]:
        """The runs with only the lines that are meant."""
        for runs in portions:
            yield self._kept(runs)

    def count(self, data: bytes) -> int:
        """How many lines of a log file are meant."""
        return sum(lines.count(b"\n") for _, _, lines in self._kept(Reader().read(data, b"")))

    def _kept(self, runs: list[Run]) -> list[Run]:
        kept = [(key, mark, self._matching(text_of((key, mark, lines)), lines)) for key, mark, lines in runs]
        return [run for run in kept if run[2]]

    def _matching(self, text: bytes, lines: bytes) -> bytes:
        plain = _COLOUR.sub(b"", ControlFilter().feed(text)).decode("utf-8", "surrogateescape")
        both = zip(lines.split(b"\n")[:-1], plain.split("\n")[:-1], strict=True)
        return b"".join([line + b"\n" for line, shown in both if self._search(shown)])
