"""Find the files that rules take in, and the folders whose events tell of them.

Rule 1: only folders in which something can count are entered, and listed only where any name may count.
Rule 2: symbolic links are followed, each real folder once, real ones before links; a link that a pattern spells out is
followed under its own name too.
Rule 3: what vanishes or cannot be read on the way is no error: it is not there, or is told of in `denied`.
"""

from __future__ import annotations

import os
import stat
import struct
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, NewType

from procwatch.frozen import field, frozen, record
from procwatch.runtime.ignores import nothing
from procwatch.runtime.places import Base, count_ups, parent_of
from procwatch.runtime.rules import Rules

_Id = tuple[int, int]

# A chain of links longer than this is a loop: Linux gives up after as many.
_MAX_HOPS = 40


# Kernels before 6.13 stamp files with a clock that ticks every 1 to 10 ms: a file that changed so shortly before it
# was looked at may change again without looking any different. 50 ms is five ticks of the slowest.
COARSE_CLOCK_NS = 50_000_000


# What differs when a file was written: `Marks`, packed. There is one for every file, and as bytes they take a third of
# the memory, and none of the time of Python's search for garbage (30 ms for 100,000 tuples, in which all else stands).
Signature = NewType("Signature", bytes)

_MARKS = struct.Struct("<qqqQI")
_TIMES = struct.Struct("<qq")


class Marks(NamedTuple):
    """What a signature is made of. `link`: where it points, if the name itself is a symbolic link."""

    mtime_ns: int
    ctime_ns: int
    size: int
    inode: int
    mode: int
    link: str | None = None

    def packed(self) -> Signature:
        """As a signature."""
        numbers = (self.mtime_ns, self.ctime_ns, self.size, self.inode, self.mode)
        return Signature(_MARKS.pack(*numbers) + os.fsencode(self.link or ""))


def marks(signature: Signature) -> Marks:
    """What a signature is made of."""
    numbers: tuple[int, int, int, int, int] = _MARKS.unpack_from(signature)
    return Marks(*numbers, link=os.fsdecode(signature[_MARKS.size :]) or None)


def link_of(signature: Signature) -> bytes:
    """Where the name points, if it is a symbolic link; else nothing."""
    return signature[_MARKS.size :]


def changed_ns(signature: Signature) -> int:
    """When the file was last changed, in content or otherwise, as far as its times tell."""
    times: tuple[int, int] = _TIMES.unpack_from(signature)
    return max(times)


@frozen
class Folder:
    """A folder that was entered: its real path and identity, and which names in it count (None: any)."""

    real: str
    identity: _Id
    names: frozenset[str] | None


@record
class Found:
    """What a walk found. `links`: each link that was followed to a folder, with its text.

    `targets`: real paths that links lead to, and the links: events there are theirs.
    `denied`: folders that cannot be listed, and why. `seen`: how many names were looked at.
    """

    files: dict[str, Signature] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    targets: dict[str, set[str]] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    seen: int = 0


def sign(absolute: str) -> Signature | None:
    """The signature of a file, through links; None if nothing is there. A link to nothing has its own."""
    try:
        own = os.lstat(absolute)
        if not stat.S_ISLNK(own.st_mode):
            return _signature(own)
        text = os.readlink(absolute)  # noqa: PTH115 - text as it stands, and called for every file
        try:
            return _signature(os.stat(absolute), text)  # noqa: PTH116
        except OSError:  # it leads to nothing, or in circles: the link itself is all there is
            return _signature(own, text)
    except OSError:  # not there, or not any more
        return None


def identify(absolute: str) -> tuple[int, int] | None:
    """What tells a folder from another, through links; None for what is none."""
    try:
        found = os.stat(absolute)  # noqa: PTH116
    except OSError:  # not there: its parent tells when it comes
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def _signature(found: os.stat_result, link: str = "") -> Signature:
    packed = _MARKS.pack(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode)
    return Signature(packed + os.fsencode(link) if link else packed)


class Walk:
    """One walk over what `rules` take in, from `start` down; `known`: folders that were entered before, and as what.

    `only_folders`: files are not looked at, which takes a quarter of the time.
    """

    def __init__(
        self,
        place: Base,
        rules: Sequence[Rules],
        *,
        known: Mapping[_Id, str] | None = None,
        limit: int = 0,
        only_folders: bool = False,
    ) -> None:
        self.found = Found()
        self._place = place
        self._rules = rules
        self._known = known or {}
        self._listed: set[_Id] = set()
        self._limit = limit
        self._only_folders = only_folders
        self._todo: list[str] = []
        self._later: deque[str] = deque()

    def run(self, start: str) -> Found:
        """Walk everything below `start`."""
        is_link = os.path.islink(self._place.absolute(start))  # noqa: PTH114
        (self._later if is_link else self._todo).append(start)
        while self._todo or self._later:
            if self._limit and self.found.seen > self._limit:
                break
            is_link = not self._todo
            self._enter(self._later.popleft() if is_link else self._todo.pop(), is_link=is_link)
        return self.found

    def _enter(self, path: str, *, is_link: bool) -> None:
        active = [rules for rules in self._rules if rules.enters(path)]
        absolute = self._place.absolute(path)
        try:
            status = os.stat(absolute)  # noqa: PTH116
        except OSError:  # gone meanwhile; the event of that is still to come
            return
        if not active or not stat.S_ISDIR(status.st_mode):
            return
        identity = (status.st_dev, status.st_ino)
        names = _union(rules.names(path) for rules in active)
        if names is None:
            if self._is_listed(identity) and not (is_link and any(rules.spells_out(path) for rules in active)):
                return
            self._listed.add(identity)
        parent = None if is_link else self.found.folders.get(parent_of(path))
        real = (
            f"{parent.real}/{absolute.rpartition('/')[2]}".replace("//", "/") if parent else os.path.realpath(absolute)
        )
        self.found.folders[path] = Folder(real, identity, names)
        if is_link:
            self.found.links[path] = os.readlink(absolute)  # noqa: PTH115
            self._note_target(path, absolute)
        if names is None:
            self._list(path, absolute, active)
        else:
            for name in sorted(names):
                self._take_name(self._place.join(path, name), active)

    def _is_listed(self, identity: _Id) -> bool:
        """Whether a folder has its place already. One that was moved here is known by a place that it has left."""
        known = self._known.get(identity)
        return identity in self._listed or (known is not None and identify(self._place.absolute(known)) == identity)

    def _list(self, path: str, absolute: str, active: Sequence[Rules]) -> None:
        try:
            with os.scandir(absolute) as entries:
                listing = list(entries)
        except FileNotFoundError:  # gone meanwhile
            return
        except OSError as error:
            self.found.denied[path] = (error.strerror or "unreadable").lower()
            return
        prefix = path + "/" if path else ""
        self.found.seen += len(listing)
        files, links, folders = self.found.files, [], []
        reads = self._reads_in(path, active)
        for entry in listing:
            name = entry.name
            if entry.is_symlink():
                links.append(name)
            elif entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif reads(name):
                try:
                    files[prefix + name] = _signature(entry.stat(follow_symlinks=False))
                except OSError:  # gone meanwhile
                    continue
        for name in sorted(links, reverse=True):
            self._take_link(self._place.join(path, name), active)
        self._todo += [self._place.join(path, name) for name in sorted(folders, reverse=True)]

    def _reads_in(self, folder: str, active: Sequence[Rules]) -> Callable[[str], object]:
        """Whether any of the rules takes in a file, by its name in `folder`."""
        if self._only_folders:
            return nothing
        tests = [rules.reads_in(folder) for rules in active]
        return tests[0] if len(tests) == 1 else lambda name: any([test(name) for test in tests])  # noqa: C419 - faster

    def _take_name(self, path: str, active: Sequence[Rules]) -> None:
        """Something in a folder of which only a few names count."""
        absolute = self._place.absolute(path)
        signature = sign(absolute)
        if signature is None:
            return
        if marks(signature).link is not None:
            self._take_link(path, active)
        elif stat.S_ISDIR(marks(signature).mode):
            self._todo.append(path)
        elif any(rules.reads(path) for rules in active):
            self.found.files[path] = signature

    def _take_link(self, path: str, active: Sequence[Rules]) -> None:
        absolute = self._place.absolute(path)
        signature = sign(absolute)
        if signature is None:
            return
        if stat.S_ISDIR(marks(signature).mode):
            self._later.append(path)
        elif any(rules.reads(path) for rules in active):
            self.found.files[path] = signature
            self._note_target(path, absolute)

    def _note_target(self, path: str, absolute: str) -> None:
        """Remember every place that a link leads over: a change there is a change of the link."""
        for _ in range(_MAX_HOPS):
            try:
                text = os.readlink(absolute)  # noqa: PTH115
            except OSError:  # no link: the end of the chain
                return
            folder, name = os.path.split(os.path.join(os.path.realpath(os.path.dirname(absolute)), text.rstrip("/")))  # noqa: PTH118, PTH120
            if name in {"", ".", ".."}:
                return
            absolute = os.path.join(os.path.realpath(folder), name)  # noqa: PTH118
            self.found.targets.setdefault(absolute, set()).add(path)


def _union(lists: Iterable[frozenset[str] | None]) -> frozenset[str] | None:
    """All names of all lists; None, any name, swallows the others."""
    names: frozenset[str] = frozenset()
    for one in lists:
        if one is None:
            return None
        names |= one
    return names


def links_to(found: Found, path: str) -> tuple[str, ...]:
    """The links to folders that the way to `path` goes over."""
    crossed: list[str] = []
    folder = parent_of(path) if found.links else ""
    while folder and not folder.endswith(".."):
        if folder in found.links:
            crossed.append(folder)
        folder = parent_of(folder)
    return tuple(crossed)


def walk_start(rules: Iterable[Rules]) -> str:
    """The project's folder, or the one above it in which a pattern that leads out begins."""
    prefixes = [pattern.prefix() for one in rules for pattern in one.patterns if not pattern.negated]
    return "/".join([".."] * max((count_ups(path) for path in prefixes), default=0))
