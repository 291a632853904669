"""Remember every file that some unit reads, so that events become changes: what is new, other or gone.

Rule 1: an event says where to look, never what happened: only what is found there counts.
Rule 2: a folder stands for all that was and is in it, so that moved, deleted and new folders lose nothing.
Rule 3: all methods may be called from any thread.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from threading import RLock
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeVar

from procwatch.frozen import field, record
from procwatch.runtime.engines import Events, WatchedFolder
from procwatch.runtime.fingerprints import read_content
from procwatch.runtime.ignores import RULE_FILES, IgnoreFiles
from procwatch.runtime.places import Base, is_ancestor, is_within, parent_of, within
from procwatch.runtime.rules import Rules
from procwatch.runtime.spots import Spots, what_of
from procwatch.runtime.stopping import NEVER, Stop
from procwatch.runtime.walk import (
    COARSE_CLOCK_NS,
    Alias,
    Folder,
    Found,
    Signature,
    Walk,
    changed_ns,
    changed_since,
    identify,
    marks,
    sign,
    walk_start,
)

# Files up to this size are read on an event to tell a second write from a late event of the first: 0.1 ms.
_MAX_PEEKED = 65_536


# What is known of a file from its event: see `Events`; "": that there was one.
_Event = Literal["", "writing", "created"]


class _Learned(NamedTuple):
    """When everything was looked at for the first time, and by which state of the ignore files."""

    at_s: float
    epoch: int


@record
class Changes:
    """What a look found. `paths`: changed files, and whether each looks as if its writer is not done with it.

    `open`: files that look as before, and that somebody is still writing to; `closed`: or nobody any more.
    """

    paths: dict[str, bool] = field(default_factory=dict)
    open: set[str] = field(default_factory=set)
    closed: set[str] = field(default_factory=set)
    has_new_folders: bool = False

    def add(self, path: str, old: Signature | None, new: Signature | None, event: _Event | None = None) -> None:
        """Note a change. A file that has just lost all of its content, or its name, is about to be written.

        So is a new one that is empty, unless it has been closed.
        """
        is_empty = new is not None and marks(new).size == 0
        is_begun = is_empty and (event in {None, "created"} if old is None else marks(old).size > 0)
        self.paths[path] = event == "writing" or new is None or is_begun


class Territory:
    """The files and folders that the units' rules take in, as they were last seen. `stop`: looks raise Stopped then."""

    def __init__(self, place: Base, rules: Iterable[Rules], ignores: IgnoreFiles, stop: Stop = NEVER) -> None:
        self._place = place
        self._stop = stop
        self._ignores = ignores
        self._rules = tuple(one for one in rules if one.patterns)
        self._lock = RLock()
        self._found = Found()
        # Files that may change again without looking different, and where it is known what they held.
        self._unsettled: dict[str, bytes | None] = {}
        # Files that were made and had not been closed yet when they were seen: once closed, they are as they are to be.
        self._begun: set[str] = set()
        self._generations: dict[str, int] = {}
        self._spots = Spots(place, self._found, (), self._generations)
        self._top: str | None = None  # it has not looked yet
        self._learned: _Learned | None = None
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
            return self._spots.watched

    def known_to(self, rules: Sequence[Rules], within_s: float = math.inf) -> Found | None:
        """What a walk over these rules would find, from what is known; `learn` must not have been longer ago than that.

        Not where links could lead to a file in several ways: which of them counts, each walk decides for its rules.
        """
        with self._lock:
            found, learned = self._found, self._learned
            if learned is None or learned.epoch != self._ignores.epoch or found.links or found.aliases:
                return None
            if time.monotonic() > learned.at_s + within_s:
                return None
            return Found(_read_by(rules, found.files), denied=dict(found.denied))

    def walk(self, rules: Sequence[Rules], limit: int = 0) -> Found:
        """What these rules take in now, whatever is known. `limit`: of names that are looked at."""
        used = [one for one in rules if one.patterns]
        return Walk(self._place, used, limit=limit, stop=self._stop).run(walk_start(used)) if used else Found()

    def sign(self, path: str) -> Signature | None:
        """What tells this state of a file from the next; None if there is none."""
        return sign(self._place.absolute(path))

    @property
    def has_links(self) -> bool:
        """Whether links could lead to a file in several ways."""
        with self._lock:
            return bool(self._found.links or self._found.aliases)

    def has_other_names(self, paths: Iterable[str]) -> bool:
        """Whether one of these files has further names, which may not be known yet."""
        with self._lock:
            return any(path in self._found.shared for path in paths)

    def known_below(self, folder: str) -> tuple[str, ...]:
        """The files that were last seen in `folder` and below it."""
        with self._lock:
            return tuple(path for path in self._found.files if is_within(path, folder))

    def learn(self, watch: Callable[[WatchedFolder], None] = lambda _: None) -> None:
        """Look at everything for the first time: what there is. `watch` gets each folder before it is looked into."""
        with self._lock:
            began_ns = time.time_ns()
            self._found = self._walk_all(
                lambda folder: watch(WatchedFolder(folder.real, folder.identity, 0, what_of(leads_on=folder.leads_on)))
            )
            self._unsettled = dict.fromkeys(changed_since(self._found.files, began_ns - COARSE_CLOCK_NS))
            self._index(Changes())
            self._learned = _Learned(time.monotonic(), self._ignores.epoch)

    def sweep(self, stop: Stop | None = None) -> Changes:
        """Look at everything; what `stop` raises leaves all as it was."""
        with self._lock:
            changes, began_ns = Changes(), time.time_ns()
            found = self._walk_all(stop=stop)
            if self._ignores.refresh():  # a file that is ignored by now may have been found
                found = self._walk_all(stop=stop)
            if self._before is not None:
                self._inherit(self._before, found)
                self._before = None
            self._compare(self._found.files, found.files, changes, began_ns)
            self._found = found
            self._index(changes)
            return changes

    def _walk_all(self, before: Callable[[Folder], None] = lambda _: None, stop: Stop | None = None) -> Found:
        self._ignores.refresh()
        self._top = self._start()
        if not self._rules:
            return Found()
        return Walk(self._place, self._rules, before=before, stop=stop or self._stop).run(self._top)

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
            paths = {path: _event(place, events) for place in events.places for path in self._names_of(place)}
            if not self._spots.above.isdisjoint(events.places):
                return self.sweep()
            changes = Changes()
            self._look_at(paths, changes)
            if self._start() != self._top:  # what all walks begin at has gone or come back
                changes.paths |= self.sweep().paths
                changes.has_new_folders = True
            return changes

    def look_into(self, folders: Iterable[str]) -> Changes:
        """Look at all that is in these real folders, and at the links that lead over them."""
        with self._lock:
            changes = Changes()
            self._look_at(dict.fromkeys(self._spots.below(set(folders))), changes)
            return changes

    def _is_rule_file(self, event: str) -> bool:
        folder, _, name = event.rpartition("/")
        if name == "exclude":
            return folder.endswith("/info") and self._spots.has(folder)
        return name in RULE_FILES and self._spots.has(folder)

    def _start(self) -> str:
        """Where walks begin: above all that is watched, where a folder exists."""
        start = parent_of(walk_start(self._rules))
        while not os.path.isdir(self._place.absolute(start)):  # noqa: PTH112
            start = parent_of(start)
        return start

    def _names_of(self, event: str) -> set[str]:
        """The project's names for a real path; a folder that had an event itself is no longer taken for the same."""
        if not self._spots.has(event):
            return self._spots.names_of(event)
        self._generations[event] = self._generations.get(event, 0) + 1
        return self._spots.names_of(event) | self._spots.stands_for(event)

    def _look_at(self, asked: Mapping[str, _Event | None], changes: Changes) -> None:
        """Look again at these paths, and at all that is below those that are or were folders.

        Folders that have had events are to be watched anew, whatever is found there.
        """
        found = self._found
        folders = {path for path in asked if path in found.folders or identify(self._place.absolute(path))}
        is_inner = within(folders)
        tops = {path for path in folders if not is_inner(parent_of(path))}
        is_below = within(tops)
        if tops:
            self._ignores.refresh(self._place.absolute(path) for path in tops)
        exact = {path for path in asked if not is_below(path)}

        def elsewhere(identity: tuple[int, int]) -> list[tuple[str, Folder]]:
            return [known for known in self._spots.listed(identity) if not is_below(known[0])]

        began_ns = time.time_ns()
        walk = Walk(self._place, self._rules, elsewhere=elsewhere, left_out=self._left_out_above, stop=self._stop)
        fresh = walk.run(*sorted(tops | exact))
        known = {path for path in tops if found.has(path)}
        drop = within(known) if known else None
        exact |= tops - known
        self._compare(_taken_out(found.files, drop, exact), fresh.files, changes, began_ns, asked)
        found.files.update(fresh.files)
        is_other = False
        for mine, news in _by_path(found, fresh):
            taken = _taken_out(mine, drop, exact)
            mine.update(news)
            is_other = is_other or taken != news
        if is_other or any(asked[path] is not None for path in tops):
            self._index(changes)
            # What was not listed because it had been elsewhere, where it is no more.
            orphans = [path for path, alias in found.aliases.items() if self._is_orphan(path, alias)]
            if orphans:
                self._look_at(dict.fromkeys(orphans), changes)

    def _left_out_above(self, path: str) -> set[Rules]:
        """The rules for which a folder that the path is in was left out."""
        found: set[Rules] = set()
        aliases = self._found.aliases
        while aliases and path and not is_ancestor(path):
            path = parent_of(path)
            if path in aliases:
                found.update(aliases[path].rules)
        return found

    def _is_orphan(self, path: str, alias: Alias) -> bool:
        """Whether one of the rules for which it was left out finds it nowhere else any more."""
        places = [folder for one, folder in self._spots.listed(alias.identity) if one != path]
        return any(all(rules not in folder.listing for folder in places) for rules in alias.rules)

    def _compare(
        self,
        old: Mapping[str, Signature],
        new: Mapping[str, Signature],
        changes: Changes,
        began_ns: int,
        asked: Mapping[str, _Event | None] = MappingProxyType({}),
    ) -> None:
        """Note what differs between two looks, the second of which began then.

        `asked`: paths that had an event, and which; None: they had none.
        """
        stayed = 0
        for path, after in new.items():
            before = old.get(path)
            stayed += before is not None
            is_same = before == after
            if not is_same or path in self._unsettled:
                is_same = self._is_the_same(path, before, after, began_ns, is_asked=path in asked)
            if not is_same:
                changes.add(path, before, after, asked.get(path))
                self._note_begun(path, is_begun=before is None and changes.paths[path])
            elif asked.get(path) == "writing":
                changes.open.add(path)
            elif path in asked and (marks(after).size or path in self._begun):
                changes.closed.add(path)
                self._begun.discard(path)
        if stayed < len(old):
            for path, signature in old.items():
                if path not in new:
                    self._unsettled.pop(path, None)
                    self._begun.discard(path)
                    changes.add(path, signature, None)

    def _note_begun(self, path: str, *, is_begun: bool) -> None:
        if is_begun:
            self._begun.add(path)
        else:
            self._begun.discard(path)

    def _is_the_same(
        self, path: str, before: Signature | None, after: Signature, began_ns: int, *, is_asked: bool
    ) -> bool:
        """Whether a file is what it was. Changed so shortly before a look, it may have been written since unseen."""
        is_same, is_fresh = before == after, _is_fresh(after, began_ns)
        held = self._peek(path, after) if is_fresh or is_same else None
        if is_same:
            known = self._unsettled[path]
            is_same = known == held if known is not None else not is_asked
        if is_fresh:
            self._unsettled[path] = held
        else:
            self._unsettled.pop(path, None)
        return is_same

    def _peek(self, path: str, signature: Signature) -> bytes | None:
        """What a small file holds; None: it would take too long to say."""
        if marks(signature).size > _MAX_PEEKED:
            return None
        return read_content(self._place.absolute(path), signature).digest

    def _index(self, changes: Changes) -> None:
        """Work out from what was found what is to be watched, and what events there concern."""
        before, extra = self._spots.watched, self._ignores.extra_folders() if self._rules else ()
        self._spots = Spots(self._place, self._found, extra, self._generations)
        changes.has_new_folders = changes.has_new_folders or self._spots.watched != before


_T = TypeVar("_T")


def _taken_out(known: dict[str, _T], is_below: Callable[[str], bool] | None, exact: AbstractSet[str]) -> dict[str, _T]:
    """Take out of what is known by path all that is below something, and `exact`."""
    taken = {path: known[path] for path in exact if path in known}
    if is_below is not None:
        taken.update((path, value) for path, value in known.items() if is_below(path))
    for path in taken:
        del known[path]
    return taken


def _by_path(one: Found, other: Found) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """What two walks found besides files."""
    for name in ("folders", "links", "ways", "aliases", "shared", "denied"):
        yield getattr(one, name), getattr(other, name)


def _event(place: str, events: Events) -> _Event:
    return "writing" if place in events.writing else "created" if place in events.created else ""


def _read_by(rules: Sequence[Rules], files: Mapping[str, Signature]) -> dict[str, Signature]:
    """Those files that one of the rules takes in."""
    taken: dict[str, Signature] = {}
    folder, tests = None, list[Callable[[str], object]]()
    for path, one in files.items():
        head, _, name = path.rpartition("/")
        if head != folder:  # those of a folder follow one another
            folder, tests = head, [each.reads_in(head) for each in rules if each.enters(head)]
        for test in tests:
            if test(name):
                taken[path] = one
                break
    return taken


def _is_fresh(signature: Signature, looked_ns: int) -> bool:
    """Whether a file changed so lately before a look began that a next change may look the same."""
    return changed_ns(signature) > looked_ns - COARSE_CLOCK_NS
