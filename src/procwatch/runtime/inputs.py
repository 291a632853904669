"""Answer what units read: who is meant by a changed path, what the content of a unit's inputs is, what to watch.

Rule 1: every method may be called from any thread, and may take as long as the disk does.
Rule 2: `look` and `sweep` alone move what is known for events; `check` has its own memory of each unit (contents.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Mapping
from pathlib import Path

from procwatch.core.model import Project, Service
from procwatch.errors import printable
from procwatch.frozen import frozen
from procwatch.runtime.contents import Checked, Contents, content_rules
from procwatch.runtime.engines import Events, WatchedFolder
from procwatch.runtime.fingerprints import Fingerprints
from procwatch.runtime.ignores import IgnoreFiles
from procwatch.runtime.patterns import literal_patterns, watch_patterns
from procwatch.runtime.places import Base
from procwatch.runtime.rules import Rules, UnitRules, unit_rules
from procwatch.runtime.stopping import Stop
from procwatch.runtime.territory import Changes, Territory

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
class Seen:
    """What a look at the disk found. `unfinished`: paths, changed or not, whose writer seems not to be done.

    `closed`: unchanged ones whose writer is.
    """

    readers: Readers
    unfinished: frozenset[str]
    closed: frozenset[str]
    has_new_folders: bool


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
        self._know(Fingerprints(self._place.absolute, kept, self._stop))
        self._told: set[str] = set()

    def _know(self, fingerprints: Fingerprints) -> None:
        self._fingerprints = fingerprints
        self._contents = Contents(self.project, self._units, self._territory, self._ignores, fingerprints)

    def renewed(self, project: Project, definitions: Iterable[Path]) -> Inputs:
        """The same for a project that has been read again: what is known of files and their content goes on.

        The first `sweep` tells what has changed since the last look of this one.
        """
        made = Inputs(project, definitions, stop=self._stop)
        made._know(self._fingerprints)
        made._contents.follow(self._contents)
        made._told = self._told
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

    def sweep(self, stop: Stop | None = None) -> Seen:
        """What has changed anywhere since the last look; the first one learns what there is.

        What `stop` raises, if given, ends the look, which might not have been begun then.
        """
        return self._seen(self._territory.sweep(stop))

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
                self._contents.note(name, path)
            if self._definitions.reads(path):
                definitions.add(path)
            if meant or served or path in definitions:
                concerned.append(path)
        return Readers(tuple(concerned), _frozen(readers), _frozen(touched), frozenset(definitions))

    # --- content -----------------------------------------------------------------------------------------------------

    def check(self, name: str) -> Checked:
        """What a unit reads holds now: of a build what it watches, of any unit its env files."""
        return self.check_all([name])[0]

    def check_all(self, names: Iterable[str]) -> list[Checked]:
        """The same for several."""
        return self._contents.check_all(names)

    def trust(self, caught_up: Callable[[], bool]) -> None:
        """From now on `look` is told of events; see `Contents`."""
        self._contents.trust(caught_up)

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
        unreadable = [text for text in tuple(self._contents.unreadable) if text not in self._told]
        self._told.update(unreadable)
        return tuple(printable(text) for text in (*idle, *unreadable))

    def _idle_patterns(self, name: str, rules: Rules) -> list[str]:
        """What to say of each pattern that no file of the unit matches."""
        found = self._territory.known_to([rules]) or self._territory.walk([rules])
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
            ignored = self._territory.walk([Rules(patterns, None, self._ignores)], limit=_MAX_SEARCHED).files
            texts.append(f'{name}: watch pattern "{source}" matches {"only ignored files" if ignored else "nothing"}')
        return texts


def _matches(rules: Rules, source: str, path: str) -> bool:
    return any(pattern.source == source and pattern.matches(path) for pattern in rules.patterns)


def _is_reader(unit: UnitRules, path: str) -> bool:
    """Whether a change of `path` makes a build stale, or a service outdated through an env file."""
    return any(rules.reads(path) for rules in content_rules(unit))


def _frozen(paths: Mapping[str, list[str]]) -> Mapping[str, tuple[str, ...]]:
    return {name: tuple(own) for name, own in paths.items()}


def _is_touched(unit: UnitRules, path: str) -> bool:
    """Whether any write of `path` restarts this service."""
    return isinstance(unit.unit, Service) and unit.watched.reads(path)
