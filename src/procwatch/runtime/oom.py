"""How often the kernel has ended a process because memory had run out.

Rule 1: cheap, as it is asked in every turn of the loop that starts something: one small file is read.
Rule 2: the nearest count that the system keeps, so that what happens to others is not taken for ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_MACHINE = Path("/")


class OomKills:
    """Counts in this process's control group, where its children are too; without one on the whole machine.

    `root` is where the system's files are found.
    """

    def __init__(self, root: Path = _MACHINE) -> None:
        self._root = root
        self._source = next((path for path in self._sources() if _read(path) is not None), None)
        self._last = 0

    def __call__(self) -> int:
        """The count so far; always 0 where the system does not count (macOS)."""
        found = None if self._source is None else _read(self._source)
        if found is not None:  # else no descriptor is free: nothing is known to have happened
            self._last = found
        return self._last

    def _sources(self) -> Iterator[Path]:
        """Lines of cgroup(7): `0::/PATH` is version 2, `4:memory:/PATH` version 1."""
        groups = self._root / "sys/fs/cgroup"
        with suppress(OSError):
            for line in (self._root / "proc/self/cgroup").read_text(errors="replace").splitlines():
                number, controllers, path = line.split(":", 2)
                if number == "0":
                    yield groups / path.lstrip("/") / "memory.events"
                elif "memory" in controllers.split(","):
                    yield groups / "memory" / path.lstrip("/") / "memory.oom_control"
        yield self._root / "proc/vmstat"


def _read(path: Path) -> int | None:
    try:
        with open(path) as file:  # noqa: PTH123 - half the time of pathlib
            found = _COUNT.search(file.read())
    except OSError:
        return None
    return int(found[1]) if found else None
