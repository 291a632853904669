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
from procwatch.runtime.walk import COARSE_CLOCK_NS, Found, Signature, Walk, identify, sign, walk_start

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
        self.paths[path] = writing or new is None or (new.size == 0 and old is not None and old.size > 0)


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

    def sweep(self) -> Changes:
        """Look at everything."""
        with self._lock:
            self._ignores.refresh()
            changes = Changes()
            self._top = self._start()
            found = Found() if not self._rules else Walk(self._place, self._rules).run(self._top)
            if self._before is not None:
                self._inherit(self._before, found)
                self._before = None
            self._compare(self._found.files, found.files, changes)
            self._found = found
            self._index(changes)
            return changes

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
        if signature is not None and stat.S_ISDIR(signature.mode):
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
            elif signature.size and not writing:
                changes.closed.add(path)
            self._found.files[path] = signature
            self._settle(path, signature, held=self._peek(path, signature))

    def _rescan(self, path: str, changes: Changes) -> None:
        """Walk a folder again. Folders that were entered from elsewhere stay those places' own."""
        others = {
            folder.identity: place
            for place, folder in self._found.folders.items()
            if folder.names is None and not is_within(place, path)
        }
        self._replace(path, Walk(self._place, self._rules, known=others).run(path), changes)

    def _replace(self, path: str, found: Found, changes: Changes) -> None:
        """Put what was found at and below `path` in the place of what was known of it."""
        mine = self._found
        old = {known: signature for known, signature in mine.files.items() if is_within(known, path)}
        self._compare(old, found.files, changes)
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

    def _compare(self, old: Mapping[str, Signature], new: Mapping[str, Signature], changes: Changes) -> None:
        for path in old.keys() | new.keys():
            before, after = old.get(path), new.get(path)
            if before != after:
                changes.add(path, before, after)
            if after is not None:
                self._settle(path, after)

    def _has_new_content(self, path: str, signature: Signature) -> bool:
        """Whether a file that looks the same was written all the same, and this is not an event of a write known of."""
        if path not in self._unsettled:
            return False
        held = self._unsettled[path]
        return held is None or held != self._peek(path, signature)

    def _peek(self, path: str, signature: Signature) -> bytes | None:
        """What a small file holds; None: it would take too long to say."""
        if signature.size > _MAX_PEEKED or not _is_fresh(signature):
            return None
        return read_content(self._place.absolute(path), signature).digest

    def _settle(self, path: str, signature: Signature, held: bytes | None = None) -> None:
        """Note whether the file changed so lately that a next change may look the same."""
        if _is_fresh(signature):
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


def _is_fresh(signature: Signature) -> bool:
    return time.time_ns() - max(signature.mtime_ns, signature.ctime_ns) < COARSE_CLOCK_NS
