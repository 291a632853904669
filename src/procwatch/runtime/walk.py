"""Find the files that rules take in, and the folders whose events tell of them.

Rule 1: only folders in which something can count are entered, and listed only where any name may count.
Rule 2: symbolic links are followed, of each unit each real folder once, real ones before links; what a pattern spells
out is followed under its own name too. A link to a folder that the project is in is followed only if a pattern spells
it out.
Rule 3: what vanishes or cannot be read on the way is no error: it is not there, or is told of in `denied`.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections import deque
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import NamedTuple, NewType

from procwatch.frozen import field, frozen, record
from procwatch.runtime.places import Base, count_ups, parent_of
from procwatch.runtime.rules import Rules
from procwatch.runtime.stopping import NEVER, Stop

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


def changed_since(files: Mapping[str, Signature], since_ns: int) -> list[str]:
    """Those files that were last changed after this moment."""
    times = _TIMES.unpack_from
    return [path for path, one in files.items() if max(times(one)) > since_ns]


@frozen
class Folder:
    """A folder that was entered: its real path and identity, which names in it count (None: any), and for which rules.

    `listing`: those for which any name may count. `leads_on`: no file in it counts, only other folders do.
    """

    real: str
    identity: _Id
    names: frozenset[str] | None
    listing: tuple[Rules, ...]
    leads_on: bool = False


class Alias(NamedTuple):
    """A folder that was not listed for these rules, which find it under another path."""

    identity: _Id
    rules: tuple[Rules, ...]


@record
class Found:
    """What a walk found, all by its path. `links`: each link that was followed to a folder, with its text.

    `ways`: of each link that counts or could, the real places that decide where it leads: events there are its own.
    `shared`: files with several names. `denied`: folders that cannot be listed, and why. `seen`: how many names were
    looked at.
    """

    files: dict[str, Signature] = field(default_factory=dict)
    folders: dict[str, Folder] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    ways: dict[str, tuple[str, ...]] = field(default_factory=dict)
    aliases: dict[str, Alias] = field(default_factory=dict)
    shared: dict[str, _Id] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    seen: int = 0

    def has(self, path: str) -> bool:
        """Whether anything is known of a folder, be it that it is left out or cannot be listed."""
        return any(path in known for known in (self.folders, self.links, self.aliases, self.denied))


def sign(absolute: str) -> Signature | None:
    """The signature of a file, through links; None if nothing is there. A link to nothing has its own."""
    try:
        own = os.lstat(absolute)
        if not stat.S_ISLNK(own.st_mode):
            return signature(own)
        text = os.readlink(absolute)  # noqa: PTH115 - text as it stands
        try:
            return signature(os.stat(absolute), text)  # noqa: PTH116
        except OSError:  # it leads to nothing, or in circles: the link itself is all there is
            return signature(own, text)
    except OSError:  # not there, or not any more
        return None


def identify(absolute: str) -> tuple[int, int] | None:
    """What tells a folder from another, through links; None for what is none."""
    try:
        found = os.stat(absolute)  # noqa: PTH116
    except OSError:  # not there: its parent tells when it comes
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISDIR(found.st_mode) else None


def signature(found: os.stat_result, link: str = "") -> Signature:
    """What tells this state of a file from the next."""
    packed = _MARKS.pack(found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino, found.st_mode)
    return Signature(packed + os.fsencode(link) if link else packed)


def way_of(link: str) -> tuple[str, ...]:
    """The real places that decide where a link leads: further links on the way, and its end or what is missing."""
    folder, name = os.path.split(link)
    at = os.path.realpath(folder)
    todo = [name]
    places: dict[str, None] = {}
    while todo and len(places) <= _MAX_HOPS:
        part = todo.pop()
        if part == "..":
            at = os.path.dirname(at)  # noqa: PTH120 - called for every part of every link
        elif part not in {"", "."}:
            place = f"{at if at != '/' else ''}/{part}"
            try:
                text = os.readlink(place)  # noqa: PTH115
            except OSError as error:
                if error.errno != errno.EINVAL:  # it is not there: once it is, there is more to look at
                    return (*places, place)[1:]
                at = place
            else:
                if place in places:  # a circle
                    break
                places[place] = None
                at = "/" if text.startswith("/") else at
                todo += reversed(text.split("/"))
    return (*places, at)[1:]


class Walk:
    """One walk over what `rules` take in; `elsewhere`: where a folder is known already, outside of what is walked now.

    `before`: is told of each folder before it is looked into. `left_out`: for which rules a place where the walk begins
    does not count, as they find the same elsewhere. `stop` is looked at before each folder: Stopped.
    """

    def __init__(
        self,
        place: Base,
        rules: Sequence[Rules],
        *,
        elsewhere: Callable[[_Id], Iterable[tuple[str, Folder]]] = lambda _: (),
        left_out: Callable[[str], Container[Rules]] = lambda _: (),
        before: Callable[[Folder], None] = lambda _: None,
        limit: int = 0,
        stop: Stop = NEVER,
    ) -> None:
        self.found = Found()
        self._place = place
        self._rules = rules
        self._elsewhere = elsewhere
        self._left_out = left_out
        self._listed: dict[_Id, list[Folder]] = {}
        self._before = before
        self._limit = limit
        self._stop = stop
        # Folders, and links to such, with the rules that count above them.
        self._todo: list[tuple[str, Sequence[Rules]]] = []
        self._later: deque[tuple[str, Sequence[Rules]]] = deque()

    def run(self, *starts: str) -> Found:
        """Take in these files and folders, and walk everything below."""
        for start in starts:
            left_out = self._left_out(start)
            self._take_name(start, [rules for rules in self._rules if rules not in left_out])
        while self._todo or self._later:
            if self._limit and self.found.seen > self._limit:
                break
            is_link = not self._todo
            self._enter(*(self._later.popleft() if is_link else self._todo.pop()), is_link=is_link)
        return self.found

    def _enter(self, path: str, above: Sequence[Rules], *, is_link: bool) -> None:
        self._stop.look()
        active = [rules for rules in above if rules.enters(path)]
        absolute = self._place.absolute(path)
        try:
            status = os.stat(absolute)  # noqa: PTH116
        except PermissionError as error:
            self.found.denied[path] = (error.strerror or "out of reach").lower()
            return
        except OSError:  # gone meanwhile; the event of that is still to come
            return
        if not active or not stat.S_ISDIR(status.st_mode):
            return
        identity = (status.st_dev, status.st_ino)
        parent = None if is_link else self.found.folders.get(parent_of(path))
        real = (
            f"{parent.real}/{absolute.rpartition('/')[2]}".replace("//", "/") if parent else os.path.realpath(absolute)
        )
        used = self._not_elsewhere(path, real, identity, active, is_link=is_link)
        if not used:
            return
        folder = self.found.folders[path] = self._folder(path, real, identity, used)
        if folder.listing:
            self._listed.setdefault(identity, []).append(folder)
        self._before(folder)
        if is_link:
            self.found.links[path] = os.readlink(absolute)  # noqa: PTH115
        if folder.names is None:
            self._list(path, absolute, used)
        else:
            others = len(self._todo)
            for name in sorted(folder.names):
                self._take_name(self._place.join(path, name), used)
            self._todo[others:] = reversed(self._todo[others:])  # the first one first, as in a listing

    def _folder(self, path: str, real: str, identity: _Id, used: Sequence[Rules]) -> Folder:
        wanted = [rules.names(path) for rules in used]
        names = _union(wanted)
        listing = tuple(rules for rules, own in zip(used, wanted, strict=True) if own is None)
        paths = [self._place.join(path, name) for name in names or ()]
        leads_on = names is not None and not any(rules.reads(each) for rules in used for each in paths)
        return Folder(real, identity, names, listing, leads_on)

    def _not_elsewhere(
        self, path: str, real: str, identity: _Id, active: Sequence[Rules], *, is_link: bool
    ) -> Sequence[Rules]:
        """Those rules for which this is the place of that folder, or that say so."""
        # One that was moved here is known by a place that it has left.
        known = [folder for one, folder in self._elsewhere(identity) if identify(self._place.absolute(one)) == identity]
        known += self._listed.get(identity, ())
        leads_up = is_link and self._place.folder.startswith(real if real == "/" else f"{real}/")
        if not known and not leads_up:
            return active
        used = [
            rules
            for rules in active
            if rules.names(path) is not None
            or rules.spells_out(path, is_link=is_link)
            or not (leads_up or any(rules in folder.listing for folder in known))
        ]
        if leads_up:
            if not used:
                self.found.denied[path] = "it leads to a folder that the project is in"
        elif len(used) < len(active):
            self.found.aliases[path] = Alias(identity, tuple(rules for rules in active if rules not in used))
        return used

    def _list(self, path: str, absolute: str, active: Sequence[Rules]) -> None:
        try:
            with os.scandir(absolute) as entries:
                listing = list(entries)
            self.found.seen += len(listing)
            self._sort_out(path, listing, active)
        except FileNotFoundError:  # gone meanwhile
            return
        except OSError as error:
            self.found.denied[path] = (error.strerror or "unreadable").lower()

    def _sort_out(self, path: str, listing: Sequence[os.DirEntry[str]], active: Sequence[Rules]) -> None:
        """Take in the files, and see to folders and links later, in the order of their names."""
        prefix = path + "/" if path else ""
        files, links, folders = self.found.files, [], []
        reads = self._reads_in(path, active)
        for entry in listing:
            name = entry.name
            is_file = entry.is_file(follow_symlinks=False)  # most are: asked first
            if not is_file and entry.is_symlink():
                links.append(name)
            elif not is_file and entry.is_dir(follow_symlinks=False):
                folders.append(name)
            elif reads(name):
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:  # gone meanwhile
                    continue
                files[prefix + name] = signature(status)
                if status.st_nlink > 1:
                    self._note_shared(prefix + name, status)
        for name in sorted(links):
            self._take_link(self._place.join(path, name), active)
        self._todo += [(self._place.join(path, name), active) for name in sorted(folders, reverse=True)]

    def _reads_in(self, folder: str, active: Sequence[Rules]) -> Callable[[str], object]:
        """Whether any of the rules takes in a file, by its name in `folder`."""
        tests = [rules.reads_in(folder) for rules in active]
        return tests[0] if len(tests) == 1 else lambda name: any([test(name) for test in tests])  # noqa: C419 - faster

    def _take_name(self, path: str, active: Sequence[Rules]) -> None:
        """Something that may be anything, or not be there."""
        try:
            status = os.lstat(self._place.absolute(path))
        except OSError:
            return
        if stat.S_ISLNK(status.st_mode):
            self._take_link(path, active)
        elif stat.S_ISDIR(status.st_mode):
            self._todo.append((path, active))
        elif any(rules.reads(path) for rules in active):
            self._take_file(path, status)

    def _take_file(self, path: str, status: os.stat_result, link: str = "") -> None:
        self.found.files[path] = signature(status, link)
        self._note_shared(path, status)

    def _note_shared(self, path: str, status: os.stat_result) -> None:
        if status.st_nlink > 1 and stat.S_ISREG(status.st_mode):
            self.found.shared[path] = (status.st_dev, status.st_ino)

    def _take_link(self, path: str, active: Sequence[Rules]) -> None:
        """A link to a file counts as that, one to a folder is followed; one to nothing may come to lead to either."""
        is_read = any(rules.reads(path) for rules in active)
        if not is_read and not any(rules.enters(path) for rules in active):
            return
        absolute = self._place.absolute(path)
        try:
            own, text = os.lstat(absolute), os.readlink(absolute)  # noqa: PTH115
        except OSError:  # gone meanwhile, or a link no more
            return
        try:
            status = os.stat(absolute)  # noqa: PTH116
        except OSError:  # it leads to nothing, or in circles: the link itself is all there is
            status = own
        if stat.S_ISDIR(status.st_mode):
            self._later.append((path, active))
        elif is_read:
            self._take_file(path, status, text)
        elif status is not own:  # a file that does not count
            return
        self.found.ways[path] = way_of(absolute)


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
