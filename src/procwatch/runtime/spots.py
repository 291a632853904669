"""Where in the file system events count, and which of the project's paths each of them concerns.

Rule 1: of one state of what was found; whoever finds other folders or links makes another one.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Literal

from procwatch.runtime.engines import WatchedFolder
from procwatch.runtime.places import Base, parent_of
from procwatch.runtime.walk import Folder, Found, identify

# A path that a real folder stands for, and which names in it count (None: any).
_Spot = tuple[str, frozenset[str] | None]


class Spots:
    """What was `found`, by its real places.

    `extra`: folders that count besides, as `_Spot`. `generations`: how often a real folder has been another one.
    """

    def __init__(self, place: Base, found: Found, extra: Iterable[_Spot], generations: Mapping[str, int]) -> None:
        self._place = place
        self._listed: dict[tuple[int, int], list[tuple[str, Folder]]] = {}
        for path, folder in found.folders.items():
            if folder.listing:
                self._listed.setdefault(folder.identity, []).append((path, folder))
        # By real folder.
        self._spots: dict[str, list[_Spot]] = {}
        # By real place: the files and links that an event there concerns, besides what its folder stands for.
        self._targets: dict[str, set[str]] = {}
        there = self._find(found, extra)
        # Folders above all of these: if one is moved or deleted, everything is looked at.
        self.above = _above(there)
        # The real folders, and files of several names, whose events are needed.
        self.watched = frozenset(self._wanted(found, there, generations))

    def listed(self, identity: tuple[int, int]) -> list[tuple[str, Folder]]:
        """Under which paths this folder was listed."""
        return self._listed.get(identity, [])

    def has(self, real: str) -> bool:
        """Whether events in this real folder count."""
        return real in self._spots

    def names_of(self, event: str) -> set[str]:
        """The project's names for a real path at which something happened."""
        paths = set(self._targets.get(event, ()))
        folder, _, name = event.rpartition("/")
        for logical, names in self._spots.get(folder or "/", ()):
            if names is None or name in names:
                paths.add(self._place.join(logical, name))
        return paths

    def stands_for(self, real: str) -> set[str]:
        """The project's names for a real folder."""
        return {logical for logical, _ in self._spots.get(real, ())}

    def below(self, reals: Collection[str]) -> set[str]:
        """The project's names for these real folders, and for the links that lead over them."""
        paths = {logical for real in reals for logical in self.stands_for(real)}
        for place, concerned in self._targets.items():
            if place in reals or _folder_of(place) in reals:
                paths |= concerned
        return paths

    def _find(self, found: Found, extra: Iterable[_Spot]) -> dict[str, tuple[int, int]]:
        """Fill in where events count; those of the real folders that are there."""
        identities: dict[str, tuple[int, int]] = {}
        for path, folder in found.folders.items():
            self._spots.setdefault(folder.real, []).append((path, folder.names))
            identities[folder.real] = folder.identity
        for path, names in extra:
            self._spots.setdefault(os.path.realpath(self._place.absolute(path)), []).append((path, names))
        for link, places in found.ways.items():
            for place in places:
                self._targets.setdefault(place, set()).add(link)
                self._spots.setdefault(_folder_of(place), [])
        for real in self._spots.keys() - identities.keys():
            identity = identify(real)
            if identity is not None:
                identities[real] = identity
        return identities

    def _wanted(
        self, found: Found, there: Mapping[str, tuple[int, int]], generations: Mapping[str, int]
    ) -> Iterator[WatchedFolder]:
        leading = {folder.real for folder in found.folders.values() if folder.leads_on}
        # Of one real folder as much is to be told as is needed under any of its names, or for links that lead there.
        leading = {real for real in leading if len(self._spots[real]) == 1}
        leading -= {_folder_of(place) for place in self._targets}
        for real, identity in there.items():
            yield WatchedFolder(real, identity, generations.get(real, 0), what_of(leads_on=real in leading))
        for real, identity, paths in self._files_of_several_names(found):
            self._targets.setdefault(real, set()).update(paths)
            yield WatchedFolder(real, identity, 0, "file")
        for real in self.above:
            if (above := identify(real)) is not None:
                yield WatchedFolder(real, above, 0, "itself")

    def _files_of_several_names(self, found: Found) -> Iterator[tuple[str, tuple[int, int], set[str]]]:
        """Each under one real path: what happens there happens under all of its names."""
        names: dict[tuple[int, int], set[str]] = {}
        for path, identity in found.shared.items():
            names.setdefault(identity, set()).add(path)
        for identity, paths in names.items():
            yield self._real_of(found, min(paths)), identity, paths

    def _real_of(self, found: Found, path: str) -> str:
        """Where the content of a file really is."""
        if path in found.ways:
            return found.ways[path][-1]
        folder = found.folders.get(parent_of(path))
        name = path.rpartition("/")[2]
        return f"{folder.real}/{name}" if folder else os.path.realpath(self._place.absolute(path))


def what_of(*, leads_on: bool) -> Literal["names", "entries"]:
    """What is to be told of a folder: of one that only leads on to others, less."""
    return "entries" if leads_on else "names"


def _folder_of(real: str) -> str:
    return real.rpartition("/")[0] or "/"


def _above(folders: Collection[str]) -> frozenset[str]:
    """All folders above these that are not among them; the root of all cannot go."""
    above: set[str] = set()
    for real in folders:
        parent = real.rpartition("/")[0]
        while parent and parent not in above:
            above.add(parent)
            parent = parent.rpartition("/")[0]
    return frozenset(above - set(folders))
