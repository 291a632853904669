"""Remember every file that some unit reads, so that events become changes: what is new, other or gone.

Rule 1: an event says where to look, never what happened: only what is found there counts.
Rule 2: a folder stands for all that was and is in it, so that moved, deleted and new folders lose nothing.
Rule 3: all methods may be called from any thread.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Mapping
from threading import RLock

from procwatch.frozen import field, record
from procwatch.runtime.engines import Events, WatchedFolder
from procwatch.runtime.fingerprints import read_content
from procwatch.runtime.ignores import RULE_FILES, IgnoreFiles
from procwatch.runtime.places import Base, is_within, parent_of
from procwatch.runtime.rules import Rules
from procwatch.runtime.walk import (
    COARSE_CLOCK_NS,
    Found,
    Signature,
    Walk,
    changed_ns,
    identify,
    marks,
    sign,
    walk_start,
)

# Files up to this size are read on an event to tell a second write from a late event of the first: 0.1 ms.
_MAX_PEEKED = 65_536


@record
class Changes:
    """What a look found. `paths`: changed files, and whether each looks as if its writer is not done with it.

    `closed`: files that look as before, and that nobody writes to any more.
    """

    paths: dict[str, bool] = field(default_factory=dict)
    closed: set[str] = field(default_factory=set)
    has_new_folders: bool = False

    def add(self, path: str, old: Signature | None, new: Signature | None, *, writing: bool = False) -> None:
        """Note a change. A file that has just lost all of its content, or its name, is about to be written."""
        is_emptied = new is not None and old is not None and marks(new).size == 0 < marks(old).size
        self.paths[path] = writing or new is None or is_emptied


class Territory:
    """The files and folders that the units' rules take in, as they were last seen."""

    def __init__(self, place: Base, rules: Iterable[Rules], ignores: IgnoreFiles) -> None:
        self._place = place
        self._ignores = ignores
        self._rules = tuple(one for one in rules if one.patterns)
        self._lock = RLock()
        self._found = Found()
        # Files that may change again without looking different, and where it is known what they held.
        self._unsettled: dict[str, bytes | None] = {}
        self._generations: dict[str, int] = {}
        self._spots: dict[str, list[tuple[str, frozenset[str] | None]]] = {}
        self._watched: frozenset[WatchedFolder] = frozenset()
        self._top: str | None = None  # it has not looked yet
        self._before: Territory | None = None

    def follow(self, before: Territory) -> None:
        """Take the place of another one: the first look tells what has changed since the last look of that one."""
        self._before = before if before._top is not None else before._before

    @property
    def denied(self) -> Mapping[str, str]:
        """Folders that could not be listed, and why."""
        return self._found.denied

    def folders(self) -> frozenset[WatchedFolder]:
        """The real folders whose events are needed, as of the last look."""
        with self._lock:
            return self._watched

    def known_below(self, folder: str) -> tuple[str, ...]:
        """The files that were last seen in `folder` and below it."""
        with self._lock:
            return tuple(path for path in self._found.files if is_within(path, folder))

    def find_folders(self) -> None:
        """Find out what is to be watched, and nothing of the files: in a quarter of the time."""
        with self._lock:
            self._found = self._walk_all(only_folders=True)
            self._index(Changes())

    def learn(self) -> None:
        """Look at everything for the first time: what there is."""
        with self._lock:
            began_ns = time.time_ns()
            self._found = self._walk_all()
            self._unsettled = {path: None for path, one in self._found.files.items() if _is_fresh(one, began_ns)}
            self._index(Changes())

    def sweep(self) -> Changes:
        """Look at everything."""
        with self._lock:
            changes, began_ns = Changes(), time.time_ns()
            found = self._walk_all()
            if self._before is not None:
                self._inherit(self._before, found)
                self._before = None
            self._compare(self._found.files, found.files, changes, began_ns)
            self._found = found
            self._index(changes)
            return changes

    def _walk_all(self, *, only_folders: bool = False) -> Found:
        self._ignores.refresh()
        self._top = self._start()
        return Walk(self._place, self._rules, only_folders=only_folders).run(self._top) if self._rules else Found()

    def _inherit(self, before: Territory, found: Found) -> None:
        """Know what that one knew. What only the rules of this one take in is no news."""
        with before._lock:
            self._found.files = dict(before._found.files)
            self._generations = dict(before._generations)
            for path, signature in found.files.items():
                if path not in self._found.files and not any(rules.reads(path) for rules in before._rules):
                    self._found.files[path] = signature

    def look(self, events: Events) -> Changes:
        """Look at the places, absolute real paths, at which something happened."""
        with self._lock:
            if any(self._is_rule_file(place) for place in events.places):
                self._ignores.forget()
                return self.sweep()
            changes = Changes()
            paths = {path: place in events.writing for place in events.places for path in self._names_of(place)}
            for path, writing in sorted(paths.items()):
                self._look_at(path, changes, writing=writing)
            if changes.has_new_folders:
                self._index(changes)
                if self._start() != self._top:  # what all walks begin at has gone or come back
                    changes.paths |= self.sweep().paths
                    changes.has_new_folders = True
            return changes

    def look_into(self, folders: Iterable[str]) -> Changes:
        """Look at all that is in these real folders."""
        with self._lock:
            paths = {logical for real in folders for logical, _ in self._spots.get(real, ())}
            changes = Changes()
            for path in sorted(paths):
                if parent_of(path) not in paths:
                    self._rescan(path, changes)
            self._index(changes)
            return changes

    def _is_rule_file(self, event: str) -> bool:
        folder, _, name = event.rpartition("/")
        if name == "exclude":
            return folder.endswith("/info") and folder in self._spots
        return name in RULE_FILES and folder in self._spots

    def _start(self) -> str:
        """Where walks begin: above all that is watched, where a folder exists."""
        start = parent_of(walk_start(self._rules))
        while not os.path.isdir(self._place.absolute(start)):  # noqa: PTH112
            start = parent_of(start)
        return start

    def _names_of(self, event: str) -> set[str]:
        """The project's names for a real path; a folder that had an event itself is no longer taken for the same."""
        paths = set(self._found.targets.get(event, ()))
        folder, _, name = event.rpartition("/")
        for logical, names in self._spots.get(folder or "/", ()):
            if names is None or name in names:
                paths.add(self._place.join(logical, name))
        if event in self._spots:
            self._generations[event] = self._generations.get(event, 0) + 1
            paths |= {logical for logical, _ in self._spots[event]}
        return paths

    def _look_at(self, path: str, changes: Changes, *, writing: bool) -> None:
        signature = sign(self._place.absolute(path))
        if signature is not None and stat.S_ISDIR(marks(signature).mode):
            self._rescan(path, changes)
            return
        if path in self._found.folders:
            self._replace(path, Found(), changes)
        old = self._found.files.get(path)
        if signature is None:
            if old is not None:
                del self._found.files[path]
                changes.add(path, old, None)
        elif any(rules.reads(path) for rules in self._rules):
            if signature != old or self._has_new_content(path, signature):
                changes.add(path, old, signature, writing=writing)
            elif marks(signature).size and not writing:
                changes.closed.add(path)
            self._found.files[path] = signature
            self._settle(path, signature, time.time_ns(), held=self._peek(path, signature))

    def _rescan(self, path: str, changes: Changes) -> None:
        """Walk a folder again. Folders that were entered from elsewhere stay those places' own."""
        others = {
            folder.identity: place
            for place, folder in self._found.folders.items()
            if folder.names is None and not is_within(place, path)
        }
        began_ns = time.time_ns()
        self._replace(path, Walk(self._place, self._rules, known=others).run(path), changes, began_ns)

    def _replace(self, path: str, found: Found, changes: Changes, began_ns: int = 0) -> None:
        """Put what was found at and below `path`, from a moment on, in the place of what was known of it."""
        mine = self._found
        old = {known: signature for known, signature in mine.files.items() if is_within(known, path)}
        self._compare(old, found.files, changes, began_ns)
        for known in old:
            del mine.files[known]
        mine.files.update(found.files)
        for known in [known for known in mine.folders if is_within(known, path)]:
            del mine.folders[known]
        mine.folders.update(found.folders)
        mine.links.update(found.links)
        mine.denied.update(found.denied)
        for target, links in found.targets.items():
            mine.targets.setdefault(target, set()).update(links)
        changes.has_new_folders = True

    def _compare(
        self, old: Mapping[str, Signature], new: Mapping[str, Signature], changes: Changes, began_ns: int
    ) -> None:
        """Note what differs between two looks, the second of which began then."""
        stayed = 0
        for path, after in new.items():
            before = old.get(path)
            stayed += before is not None
            if before != after:
                changes.add(path, before, after)
                self._settle(path, after, began_ns)
            elif path in self._unsettled:
                self._settle(path, after, began_ns)
        if stayed < len(old):
            for path, signature in old.items():
                if path not in new:
                    changes.add(path, signature, None)

    def _has_new_content(self, path: str, signature: Signature) -> bool:
        """Whether a file that looks the same was written all the same, and this is not an event of a write known of."""
        if path not in self._unsettled:
            return False
        held = self._unsettled[path]
        return held is None or held != self._peek(path, signature)

    def _peek(self, path: str, signature: Signature) -> bytes | None:
        """What a small file holds; None: it would take too long to say."""
        if marks(signature).size > _MAX_PEEKED or not _is_fresh(signature, time.time_ns()):
            return None
        return read_content(self._place.absolute(path), signature).digest

    def _settle(self, path: str, signature: Signature, looked_ns: int, held: bytes | None = None) -> None:
        """Note whether the file changed so lately before a look began that a next change may look the same."""
        if _is_fresh(signature, looked_ns):
            self._unsettled[path] = held
        else:
            self._unsettled.pop(path, None)

    def _index(self, changes: Changes) -> None:
        """Work out the real folders to watch from what was found."""
        spots: dict[str, list[tuple[str, frozenset[str] | None]]] = {}
        identities: dict[str, tuple[int, int]] = {}
        for path, folder in self._found.folders.items():
            spots.setdefault(folder.real, []).append((path, folder.names))
            identities[folder.real] = folder.identity
        for path, names in self._ignores.extra_folders() if self._rules else ():
            spots.setdefault(os.path.realpath(self._place.absolute(path)), []).append((path, names))
        for target in self._found.targets:
            spots.setdefault(target.rpartition("/")[0] or "/", [])
        for real in spots.keys() - identities.keys():
            identity = identify(real)
            if identity is not None:
                identities[real] = identity
        self._spots = spots
        watched = frozenset(
            WatchedFolder(real, identity, self._generations.get(real, 0)) for real, identity in identities.items()
        )
        changes.has_new_folders = watched != self._watched
        self._watched = watched


def _is_fresh(signature: Signature, looked_ns: int) -> bool:
    return changed_ns(signature) > looked_ns - COARSE_CLOCK_NS
