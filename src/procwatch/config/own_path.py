"""Warn where a service runs what a build makes where the build makes it: the next run writes over it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from procwatch.config import globs
from procwatch.config.check import Findings, shown
from procwatch.config.locate import KeyPath
from procwatch.core.model import Build, Service

# What separates words for a shell, and what stands before a value: `--root=dist`, `>file`. A `$` stays part of a word.
_BETWEEN = re.compile(r"[\s'\"=:;,|&()<>`]+")


def check_own_path(
    service: Service, path: KeyPath, builds: Mapping[str, Build], folder: Path, report: Findings
) -> None:
    """Warn of the first word of what `service`, declared at `path`, runs that names an output of one of `builds`."""
    for word in _words(service):
        where = posixpath.normpath(posixpath.join(service.dir, word.removeprefix(f"{folder}/")))
        for build in builds.values():
            if any(_is_in(where, output, folder) for output in build.outputs):
                seen = posixpath.relpath(where, build.home or ".")
                advice = f"${build.release_variable}/{seen}"
                also = "" if any(need.name == build.name for need in service.needs) else f' and need "{build.name}"'
                report.warn(
                    (*path, "run"),
                    f"runs {shown(word)}, which the next run of {build.name} writes to; write {advice}{also}",
                )
                return


def _words(service: Service) -> Iterator[str]:
    """The words of a command that may be paths."""
    words = _BETWEEN.split(service.run) if isinstance(service.run, str) else service.run
    return (word for word in words if word and "$" not in word and not word.startswith("-"))


def _is_in(path: str, output: str, folder: Path) -> bool:
    """Whether a path is an output or inside of one."""
    for one, is_path in globs.watched(folder, output):
        regex = None if is_path else globs.read(one).regex
        if (is_path and f"{path}/".startswith(f"{one}/")) or (regex is not None and regex.search(path)):
            return True
    return False
