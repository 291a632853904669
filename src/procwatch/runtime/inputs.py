"""Answer what units read: who is meant by a changed path, what the content of a unit's inputs is, what to watch.

Rule 1: every method may be called from any thread, and may take as long as the disk does.
Rule 2: `check` without news trusts no event: it looks at each file, and is therefore also the net under lost events.
Rule 3: `look` and `sweep` alone move what is known for events; `check` has its own memory of each unit.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from pathlib import Path
from threading import Lock

from procwatch.core.model import Build, Project, Service, definition
from procwatch.errors import printable
from procwatch.frozen import frozen
from procwatch.runtime.engines import Events, WatchedFolder
from procwatch.runtime.fingerprints import Fingerprints, Reading
from procwatch.runtime.ignores import IgnoreFiles
from procwatch.runtime.patterns import literal_patterns, watch_patterns
from procwatch.runtime.places import Base
from procwatch.runtime.rules import Rules, UnitRules, unit_rules
from procwatch.runtime.stopping import Stop
from procwatch.runtime.territory import Changes, Territory
from procwatch.runtime.walk import Found, Walk, links_to, marks, sign, walk_start
from procwatch.runtime.weights import WEIGHTS, difference, digest, weigh

# A save concerns few files: one, and what an editor writes beside it. More are a burst, which is looked at as a whole.
_FEW = 16

# So long after watching has begun no unit is looked at once more for its first check: events tell what happens.
_JUST_S = 1.0

# To tell "only ignored files" from "nothing" ignored folders must be searched; after so many names we say "nothing".
_MAX_SEARCHED = 20_000


@frozen
class Readers:
    """Whom changed paths concern, as in core.messages.FilesChanged; `definitions`: those the project was read from."""

    paths: tuple[str, ...]
    readers: Mapping[str, tuple[str, ...]]
    touched: Mapping[str, tuple[str, ...]]
    definitions: frozenset[str] = frozenset()


@frozen
class Checked:
    """The content of a unit's inputs, and what differs from the check before.

    `changed`: paths whose content differs (none at the first check). `touched`: something was written, be it the same.
    """

    digest: str
    changed: tuple[str, ...]
    touched: bool = False


@frozen
class Seen:
    """What a look at the disk found. `unfinished`: paths, changed or not, whose writer seems not to be done.

    `closed`: unchanged ones whose writer is.
    """

    readers: Readers
    unfinished: frozenset[str]
    closed: frozenset[str]
    has_new_folders: bool


@frozen
class _Memory:
    """What the last check of a unit has come to. `definition` and `links` are part of the digest, besides the files.

    `weight`: that of all files together. `epoch`: of the ignore files by which they were found.

    Of a file its content counts, and what shows that it was written; not its events: one that comes late tells of a
    write that has been seen.
    """

    files: dict[str, Reading]
    definition: str
    links: Mapping[str, str]
    weight: int
    epoch: int
    digest: str


class Inputs:
    """The files that the units of a project read. Raises ProcwatchError for a pattern that cannot be read.

    `definitions`: the files that the project was read from; a change of one of them is told too. `kept`: where what is
    known of files is kept for the next time.
    """

    def __init__(
        self, project: Project, definitions: Iterable[Path] = (), kept: Path | None = None, stop: Stop | None = None
    ) -> None:
        self.project = project
        self._stop = stop or Stop()
        self._place = Base(os.path.realpath(project.folder))
        self._ignores = IgnoreFiles(self._place, enabled=project.watch.gitignore)
        self._units = unit_rules(project, self._place, self._ignores)
        named = tuple(self._place.relative(path) for path in definitions)
        declaring = (*literal_patterns(self._place, named), *watch_patterns(self._place, project.include))
        self._definitions = Rules(declaring, None, self._ignores)
        rules = dict.fromkeys(rules for unit in self._units.values() for rules in (unit.watched, unit.env, unit.made))
        self._territory = Territory(self._place, (*rules, self._definitions), self._ignores, self._stop)
        self._fingerprints = Fingerprints(self._place.absolute, kept, self._stop)
        self._locks = {name: Lock() for name in self._units}
        self._memories: dict[str, _Memory] = {}
        # Of each build that has been checked: the paths that have had events since.
        self._news: dict[str, set[str]] = {}
        self._news_lock = Lock()
        self._unreadable: dict[str, None] = {}
        self._told: set[str] = set()

    def renewed(self, project: Project, definitions: Iterable[Path]) -> Inputs:
        """The same for a project that has been read again: what is known of files and their content goes on.

        The first `sweep` tells what has changed since the last look of this one.
        """
        made = Inputs(project, definitions, stop=self._stop)
        for name in self._memories.keys() - made._units:
            self._memories.pop(name, None)
        made._fingerprints, made._memories = self._fingerprints, self._memories
        made._unreadable, made._told = self._unreadable, self._told
        made._locks = {name: self._locks.get(name, lock) for name, lock in made._locks.items()}
        made._territory.follow(self._territory)
        return made

    # --- events ------------------------------------------------------------------------------------------------------

    def readers(self, paths: Iterable[str | Path]) -> Readers:
        """Which units read these paths, relative to the project or absolute; they are read again at the next check."""
        named = [self._place.relative(path) for path in paths]
        every = sorted({one for path in named for one in (path, *self._territory.known_below(path))})
        self.fresh_events(every)
        return self._readers(every)

    def fresh_events(self, paths: Iterable[str | Path]) -> None:
        """These paths had an event: the next check reads them, whatever their times say."""
        self._fingerprints.note_events(self._place.relative(path) for path in paths)

    def look(self, events: Events) -> Seen:
        """What has changed where something happened, and whom it concerns."""
        return self._seen(self._territory.look(events))

    def look_into(self, folders: Iterable[str]) -> Seen:
        """What has changed in these real folders and below: to be asked when they are newly watched."""
        return self._seen(self._territory.look_into(folders))

    def learn(self, watch: Callable[[WatchedFolder], None] = lambda _: None) -> None:
        """Look at all files for the first time: nothing of that is news.

        `watch` is given each folder whose events are needed, before it is looked into.
        """
        self._territory.learn(watch)

    def sweep(self) -> Seen:
        """What has changed anywhere since the last look; the first one learns what there is."""
        return self._seen(self._territory.sweep())

    def folders(self) -> frozenset[WatchedFolder]:
        """The real folders whose events are needed, as of the last look or sweep."""
        return self._territory.folders()

    def git_folder(self) -> str | None:
        """The absolute path of the folder in which git's `index.lock` appears."""
        return self._ignores.git_folder()

    def denied(self) -> tuple[str, ...]:
        """What to tell of folders that cannot be listed; `warnings` leaves those out then."""
        self._told.update(self._territory.denied)
        return tuple(f'cannot look into "{path}": {why}' for path, why in sorted(self._territory.denied.items()))

    def _seen(self, changes: Changes) -> Seen:
        self._fingerprints.note_events(changes.paths)
        readers = self._readers(sorted(changes.paths))
        unfinished = changes.open.union(path for path in readers.paths if changes.paths[path])
        return Seen(readers, frozenset(unfinished), frozenset(changes.closed), changes.has_new_folders)

    def _readers(self, paths: Iterable[str]) -> Readers:
        readers: dict[str, list[str]] = {}
        touched: dict[str, list[str]] = {}
        concerned: list[str] = []
        definitions: set[str] = set()
        for path in paths:
            meant = [name for name, unit in self._units.items() if _is_reader(unit, path)]
            served = [name for name, unit in self._units.items() if _is_touched(unit, path)]
            for name in served:
                touched.setdefault(name, []).append(path)
            for name in meant:
                readers.setdefault(name, []).append(path)
                self._note_news(name, path)
            if self._definitions.reads(path):
                definitions.add(path)
            if meant or served or path in definitions:
                concerned.append(path)
        return Readers(tuple(concerned), _frozen(readers), _frozen(touched), frozenset(definitions))

    # --- content -----------------------------------------------------------------------------------------------------

    def check(self, name: str) -> Checked:
        """Look at every file that a unit reads: of a build what it watches, of any unit its env files."""
        return self.check_all([name])[0]

    def check_all(self, names: Iterable[str]) -> list[Checked]:
        """The same for several; what some of them read in common is looked for once."""
        walks: dict[tuple[Rules, ...], Found] = {}
        with self._news_lock:
            news = {name: self._news.get(name, set()) for name in names}
            self._news |= {name: set() for name in news if self._can_be_quick(name)}
        return [self._check(name, news[name], walks) for name in news]

    def _check(self, name: str, news: set[str], walks: dict[tuple[Rules, ...], Found]) -> Checked:
        with self._locks[name]:
            checked = self._check_news(name, news) or self._check_files(name, walks)
        self._fingerprints.keep()
        return checked

    def _check_files(self, name: str, walks: dict[tuple[Rules, ...], Found]) -> Checked:
        unit = self._units[name]
        rules = _content_rules(unit)
        if rules not in walks:
            walks[rules] = self._look_for(unit, rules)
        found, epoch = walks[rules], self._ignores.epoch
        files = self._read(name, found)
        before = self._memories.get(name)
        changed, touched = difference(before.files, files) if before else (set[str](), False)
        written, links = definition(self.project, unit.unit), _links(found)
        if before is not None and not changed and not (touched and _counts_writes(unit)):
            weight = before.weight
        else:
            weight = weigh(files, counts_writes=_counts_writes(unit))
        total = digest(written, links, weight)
        self._memories[name] = _Memory(files, written, links, weight, epoch, total)
        self._fingerprints.forget(path for path in changed if path not in files)
        return Checked(total, tuple(sorted(changed)), touched)

    def _check_news(self, name: str, news: set[str]) -> Checked | None:
        """Look only at the files that have had events, if they are known ones, a few, and one has another content.

        That is the usual save, for which nobody should wait until 100,000 files have been looked at. Whether there was
        more is seen when the run has ended: before its outcome counts all files are looked at.
        """
        unit, before = self._units[name], self._memories.get(name)
        if not 0 < len(news) <= _FEW or before is None or before.links or before.epoch != self._ignores.epoch:
            return None
        found = {path: sign(self._place.absolute(path)) for path in sorted(news)}
        there = {path: one for path, one in found.items() if one is not None and not stat.S_ISDIR(marks(one).mode)}
        if there.keys() != found.keys() & before.files.keys():  # files have come, or gone
            return None
        now = self._read(name, Found(there))
        then = {path: before.files[path] for path in now}
        changed, touched = difference(then, now)
        if not changed:
            return None
        counts_writes = _counts_writes(unit)
        added = weigh(now, counts_writes=counts_writes) - weigh(then, counts_writes=counts_writes)
        weight = (before.weight + added) % WEIGHTS
        total = digest(before.definition, {}, weight)
        before.files.update(now)  # no copy: there may be 100,000
        self._memories[name] = _Memory(before.files, before.definition, {}, weight, before.epoch, total)
        return Checked(total, tuple(sorted(changed)), touched)

    def _can_be_quick(self, name: str) -> bool:
        """Whether events tell of all that a unit reads: what another build has just made may be told of too late."""
        unit = self._units[name].unit
        return isinstance(unit, Build) and not unit.build_needs

    def _note_news(self, name: str, path: str) -> None:
        with self._news_lock:
            if (news := self._news.get(name)) is not None and len(news) <= _FEW:
                news.add(path)

    def _look_for(self, unit: UnitRules, rules: Sequence[Rules]) -> Found:
        """What a unit reads; not once more when watching has just begun, unless something may have been built since."""
        found = self._territory.known_to(rules, _JUST_S) if not unit.unit.build_needs else None
        if found is None:
            self._ignores.refresh()
            found = self._walk(rules)
        return found

    def _walk(self, rules: Sequence[Rules], limit: int = 0) -> Found:
        used = [one for one in rules if one.patterns]
        return Walk(self._place, used, limit=limit, stop=self._stop).run(walk_start(used)) if used else Found()

    def _read(self, name: str, found: Found) -> dict[str, Reading]:
        files: dict[str, Reading] = {}
        for path in found.files:
            files[path], problem = self._fingerprints.read(path, found.files[path])
            if problem is not None:
                self._unreadable[f'{name}: cannot read "{path}": {problem}'] = None
        return files

    def stop(self) -> None:
        """All that is looked at now or later, in any thread, raises Stopped: nobody waits for it any more."""
        self._stop.set()

    def close(self) -> None:
        """Keep what is known of files, for the next start."""
        self._fingerprints.keep(at_the_end=True)

    # --- what to warn of ---------------------------------------------------------------------------------------------

    def warnings(self, names: Container[str] | None = None) -> tuple[str, ...]:
        """What `check` and `start` say: patterns that take in nothing, and, each once, files that cannot be read.

        `names`: of these units only.
        """
        units = [(name, unit) for name, unit in self._units.items() if names is None or name in names]
        idle = [text for name, unit in units for text in self._idle_patterns(name, unit.watched)]
        unreadable = [text for text in tuple(self._unreadable) if text not in self._told]
        self._told.update(unreadable)
        return tuple(printable(text) for text in (*idle, *unreadable))

    def _idle_patterns(self, name: str, rules: Rules) -> list[str]:
        """What to say of each pattern that no file of the unit matches."""
        found = self._territory.known_to([rules]) or self._walk([rules])
        idle = dict.fromkeys(pattern.source for pattern in rules.patterns if not pattern.negated)
        for source in list(idle):
            if any(_matches(rules, source, path) for path in found.files):
                del idle[source]
        taken_back = [pattern.source for pattern in rules.patterns if pattern.negated]
        texts = [
            f'{name}: cannot look into "{path}": {why}'
            for path, why in sorted(found.denied.items())
            if path not in self._told and rules.enters(path)
        ]
        if taken_back and len(taken_back) == len(rules.patterns):
            texts.append(f'{name}: watch takes in nothing that "{taken_back[0]}" could take back')
        for source in idle:
            patterns = tuple(one for one in rules.patterns if one.source == source)
            ignored = self._walk([Rules(patterns, None, self._ignores)], limit=_MAX_SEARCHED).files
            texts.append(f'{name}: watch pattern "{source}" matches {"only ignored files" if ignored else "nothing"}')
        return texts


def _matches(rules: Rules, source: str, path: str) -> bool:
    return any(pattern.source == source and pattern.matches(path) for pattern in rules.patterns)


def _is_reader(unit: UnitRules, path: str) -> bool:
    """Whether a change of `path` makes a build stale, or a service outdated through an env file."""
    return any(rules.reads(path) for rules in _content_rules(unit))


def _frozen(paths: Mapping[str, list[str]]) -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(own) for name, own in paths.items()}


def _is_touched(unit: UnitRules, path: str) -> bool:
    """Whether any write of `path` restarts this service."""
    return isinstance(unit.unit, Service) and unit.watched.reads(path)


def _content_rules(unit: UnitRules) -> tuple[Rules, ...]:
    return (unit.watched, unit.env, unit.made) if isinstance(unit.unit, Build) else (unit.env,)


def _counts_writes(unit: UnitRules) -> bool:
    return isinstance(unit.unit, Build) and unit.unit.unchanged == "run"


def _links(found: Found) -> dict[str, str]:
    """The links that the ways to the files go over, and where they point."""
    crossed = {link for path in found.files for link in links_to(found, path)} if found.links else ()
    return {link: found.links[link] for link in sorted(crossed)}
