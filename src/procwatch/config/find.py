"""Find the file that a project is read from."""

from __future__ import annotations

import os
from pathlib import Path

from procwatch.errors import UsageError

WATCH_TOML = "watch.toml"
PROCFILE = "Procfile"
# Beside it: what procwatch keeps on disk.
FOLDER = ".procwatch"


def here() -> Path:
    """The working folder, which may have been deleted."""
    try:
        return Path.cwd()
    except OSError:
        raise UsageError("the working folder does not exist any more; change to another one") from None


def find(start: Path) -> Path:
    """The watch.toml or Procfile that counts in a folder; a UsageError says what to do if there is none."""
    folders = [start, *start.parents]
    candidates = [start / WATCH_TOML, start / PROCFILE]
    candidates += [folder / name for name in (WATCH_TOML, PROCFILE) for folder in folders[1:]]
    found = next((path for path in candidates if os.path.lexists(path)), None)
    if found is None:
        raise UsageError(
            f"there is no {WATCH_TOML} here or in a folder above, and no {PROCFILE}; `procwatch init` writes one"
        )
    return found


def is_procfile(path: Path) -> bool:
    """Procfile, or a variant such as Procfile.dev."""
    return path.name == PROCFILE or path.name.startswith(f"{PROCFILE}.")
