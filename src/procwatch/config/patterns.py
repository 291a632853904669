"""Check all patterns of watch.toml: each can be read, and all together can be matched in time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from procwatch.config import globs
from procwatch.config.check import Findings, wrong_value
from procwatch.config.locate import KeyPath
from procwatch.config.schema import BuildTable, WatchToml

# All patterns of a project, braces written out: a real one has some hundreds, and this many take a second to read.
MAX_PATTERNS = 10_000


def check_patterns(file: WatchToml, folder: Path, findings: Findings) -> None:
    """Report what is wrong with entries of `watch`, `ignore`, `outputs`, and the one with which they are too many."""
    number = 0
    for path, text in _entries(file):
        try:
            home = findings.layers.home(path[:-1])
            number += globs.check_ignore(text) if path[-2] == "ignore" else globs.check_watch(folder / home, text)
        except globs.PatternError as error:
            findings.add(findings.at(path, wrong_value(path, error.noun, text)))
        if number > MAX_PATTERNS:
            findings.report(path, f"with this entry there are more than {MAX_PATTERNS} patterns; write fewer braces")
            return


def _entries(file: WatchToml) -> Iterator[tuple[KeyPath, str]]:
    """Every entry, and where it stands."""
    lists: list[tuple[KeyPath, list[str]]] = [(("watch", "ignore"), file.watch.ignore)]
    for kind, units in (("build", file.build), ("service", file.service)):
        for name, unit in units.items():
            lists += [((kind, name, "watch"), unit.watch), ((kind, name, "ignore"), unit.ignore)]
            lists += [((kind, name, "outputs"), unit.outputs)] if isinstance(unit, BuildTable) else []
    for path, texts in lists:
        yield from (((*path, index), text) for index, text in enumerate(texts))
