"""Name every file by one path: relative to the project's folder, with leading `..` for what is outside of it.

Rule 1: "" is the project's folder, ".." the one above; `..` stands at the front only, so each place has one name.
Rule 2: names are text with surrogate escapes, so that any name that the system allows survives the way there and back.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path

# From so many folders on it is quicker to look up all the folders that a path is in.
_MANY = 64


def is_outside(path: str) -> bool:
    """Whether `path` leads out of the project's folder."""
    return path == ".." or path.startswith("../")


def is_ancestor(path: str) -> bool:
    """Whether `path` is a folder above the project's."""
    return path == ".." or path.endswith("/..")


def count_ups(path: str) -> int:
    """How many folders up `path` begins."""
    return path.split("/").count("..") if is_outside(path) else 0


def is_within(path: str, folder: str) -> bool:
    """Whether `path` is `folder` or something below it."""
    if not folder or is_ancestor(folder):
        return count_ups(path) <= count_ups(folder)
    return path == folder or path.startswith(folder + "/")


def within(folders: AbstractSet[str]) -> Callable[[str], bool]:
    """Whether a path is one of these or something below one of them: to be asked of very many paths."""
    if any(not folder or is_ancestor(folder) for folder in folders):
        return lambda path: any(is_within(path, folder) for folder in folders)
    if len(folders) > _MANY:
        return lambda path: any(above in folders for above in _upwards(path))
    prefixes = tuple(f"{folder}/" for folder in folders)
    return lambda path: f"{path}/".startswith(prefixes)


def _upwards(path: str) -> Iterator[str]:
    while path and not is_ancestor(path):
        yield path
        path = parent_of(path)


def parent_of(path: str) -> str:
    """The folder that holds `path`."""
    if not path or is_ancestor(path):
        return f"{path}/.." if path else ".."
    return path.rpartition("/")[0]


class Base:
    """The project's folder: turns absolute paths into the project's and back."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.trail = tuple(part for part in folder.split("/") if part)

    def parts(self, path: str) -> tuple[str, ...]:
        """The names from the root of the file system down to `path`."""
        ups = count_ups(path)
        kept = self.trail[: max(0, len(self.trail) - ups)]
        return kept + tuple(part for part in path.split("/")[ups:] if part)

    def absolute(self, path: str) -> str:
        """The path for the system. It must not hold `folder/..`: the project's folder may be missing."""
        if not path:
            return self.folder
        return "/" + "/".join(self.parts(path)) if is_outside(path) else f"{self.folder}/{path}"

    def relative(self, path: str | Path) -> str:
        """The project's name for a path that is absolute or relative to the project's folder."""
        text = os.path.normpath(os.path.join(self.folder, path))  # noqa: PTH118 - Path drops nothing we need and is slow
        if text.startswith(self.folder + "/"):
            return text[len(self.folder) + 1 :]
        relative = os.path.relpath(text, self.folder)
        return "" if relative == "." else relative

    def join(self, folder: str, name: str) -> str:
        """The place `name` in `folder`: in a folder above the project the way down may lead to the project again."""
        if not folder:
            return name
        if is_ancestor(folder) and count_ups(folder) <= len(self.trail) and name == self.trail[-count_ups(folder)]:
            return folder[:-3] if len(folder) > len("..") else ""
        return f"{folder}/{name}"

    def below(self, path: str, folder: str) -> str:
        """`path` as it is seen from `folder`, which holds it."""
        if not folder:
            return path
        if is_outside(folder):
            return "/".join(self.parts(path)[len(self.parts(folder)) :])
        return path[len(folder) + 1 :]
