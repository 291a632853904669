"""What the files of each unit hold, check by check: as one digest, and what differs from the check before.

Rule 1: every method may be called from any thread, and may take as long as the disk does.
Rule 2: a check goes by events where those are known to tell of all that has happened, and looks at what they name;
        anywhere else it looks at every file.
Rule 3: what is built from declared outputs is looked at whole: linkers write through memory, without events.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import Lock

from procwatch.core.model import Build, Project, definition
from procwatch.frozen import frozen
from procwatch.runtime.fingerprints import Fingerprints, Reading
from procwatch.runtime.ignores import IgnoreFiles
from procwatch.runtime.rules import Rules, UnitRules
from procwatch.runtime.territory import Territory
from procwatch.runtime.walk import Found, Signature, link_of, links_to, marks
from procwatch.runtime.weights import WEIGHTS, difference, digest, weigh

# A save concerns few files: one, and what an editor writes beside it. More are a burst, which is looked at as a whole.
_FEW = 16

# So long after watching has begun no unit is looked at once more for its first check: events tell what happens.
_JUST_S = 1.0


@frozen
class Checked:
    """The content of a unit's inputs, and what differs from the check before.

    `changed`: paths whose content differs (none at the first check). `touched`: something was written, be it the same.
    """

    digest: str
    changed: tuple[str, ...]
    touched: bool = False


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


class Contents:
    """Of the units of a project. `unreadable`: what to warn of, each once."""

    def __init__(
        self,
        project: Project,
        units: Mapping[str, UnitRules],
        territory: Territory,
        ignores: IgnoreFiles,
        fingerprints: Fingerprints,
    ) -> None:
        self._project = project
        self._units = units
        self._territory = territory
        self._ignores = ignores
        self._fingerprints = fingerprints
        self._locks = {name: Lock() for name in units}
        self._memories: dict[str, _Memory] = {}
        # Of each build that has been checked: the paths that have had events since.
        self._news: dict[str, set[str]] = {}
        self._news_lock = Lock()
        self._caught_up: Callable[[], bool] = lambda: False
        self.unreadable: dict[str, None] = {}

    def follow(self, before: Contents) -> None:
        """Take the place of that one: what is known of files and their content goes on."""
        for name in before._memories.keys() - self._units:
            before._memories.pop(name, None)
        self._memories, self.unreadable = before._memories, before.unreadable
        self._locks = {name: before._locks.get(name, lock) for name, lock in self._locks.items()}

    def trust(self, caught_up: Callable[[], bool]) -> None:
        """From now on events come. `caught_up`: blocks until what has happened is noted; whether it is all for sure.

        What was checked before may have changed before the first look for events, which takes that for how things are.
        """
        with self._news_lock:
            self._news.clear()
            self._caught_up = caught_up

    def note(self, name: str, path: str) -> None:
        """A file of this unit has changed, come or gone."""
        with self._news_lock:
            if (news := self._news.get(name)) is not None and len(news) <= _FEW:
                news.add(path)

    def check_all(self, names: Iterable[str]) -> list[Checked]:
        """Of several units; what some of them read in common is looked for once."""
        walks: dict[tuple[Rules, ...], Found] = {}
        return [self._check(name, walks) for name in names]

    def _check(self, name: str, walks: dict[tuple[Rules, ...], Found]) -> Checked:
        with self._locks[name]:
            checked = self._check_by_events(name) or self._check_files(name, walks)
        self._fingerprints.keep()
        return checked

    # --- by looking at every file ------------------------------------------------------------------------------------

    def _check_files(self, name: str, walks: dict[tuple[Rules, ...], Found]) -> Checked:
        unit = self._units[name]
        rules = content_rules(unit)
        if rules not in walks:
            walks[rules] = self._look_for(unit, rules)
        found, epoch = walks[rules], self._ignores.epoch
        files = self._read(name, found.files)
        before = self._memories.get(name)
        changed, touched = difference(before.files, files) if before else (set[str](), False)
        written, links = definition(self._project, unit.unit), _links(found)
        if before is not None and not changed and not (touched and _counts_writes(unit)):
            weight = before.weight
        else:
            weight = weigh(files, counts_writes=_counts_writes(unit))
        total = digest(written, links, weight)
        self._memories[name] = _Memory(files, written, links, weight, epoch, total)
        self._fingerprints.forget(path for path in changed if path not in files)
        return Checked(total, tuple(sorted(changed)), touched)

    def _look_for(self, unit: UnitRules, rules: Sequence[Rules]) -> Found:
        """What a unit reads; at first not once more if watching has just begun and nothing can be built yet."""
        is_first = unit.unit.name not in self._memories and not unit.unit.build_needs
        found = self._territory.known_to(rules, _JUST_S) if is_first else None
        if found is None:
            self._ignores.refresh()
            found = self._territory.walk(rules)
        return found

    # --- by looking at what has had events ---------------------------------------------------------------------------

    def _check_by_events(self, name: str) -> Checked | None:
        """That is the usual save, for which nobody should wait until 100,000 files have been looked at.

        None where events may not tell of all, or of too much. Where files that are known have another content, that
        there may be more can wait until the run for it has ended; not if another build has just made them.
        """
        news, before = self._take_news(name), self._memories.get(name)
        if news is None or before is None or before.links:
            return None
        checked = None if self._units[name].unit.build_needs else self._check_known(name, before, news)
        return checked or self._check_all_news(name, before, news)

    def _check_known(self, name: str, before: _Memory, news: set[str]) -> Checked | None:
        """If all that are there are known, and one has another content."""
        if not news or self._is_too_much(before, news):
            return None
        there = self._there(news)
        if there.keys() != news & before.files.keys():
            return None
        now = self._read(name, there)
        changed, _ = difference({path: before.files[path] for path in now}, now)
        return self._put(name, before, news, now) if changed else None

    def _check_all_news(self, name: str, before: _Memory, news: set[str]) -> Checked | None:
        """Whatever they are, once nothing is missing among them."""
        if not self._caught_up() or (more := self._take_news(name)) is None:
            return None
        news |= more
        if self._is_too_much(before, news):
            return None
        there = self._there(news)
        come = there.keys() - before.files.keys()
        if come and (self._territory.has_links or any(link_of(there[path]) for path in come)):
            return None  # by which of its names it counts, if by any, a walk decides
        return self._put(name, before, news, self._read(name, there))

    def _is_too_much(self, before: _Memory, news: set[str]) -> bool:
        """Whether there is more to be looked at than these files: a further name of one is another file."""
        is_other = before.epoch != self._ignores.epoch
        return is_other or len(news) > _FEW or self._territory.has_other_names(news)

    def _put(self, name: str, before: _Memory, news: set[str], now: Mapping[str, Reading]) -> Checked:
        """Remember what these files are now, those that are gone too."""
        counts_writes = _counts_writes(self._units[name])
        then = {path: before.files[path] for path in news if path in before.files}
        changed, touched = difference(then, now)
        added = weigh(now, counts_writes=counts_writes) - weigh(then, counts_writes=counts_writes)
        weight = (before.weight + added) % WEIGHTS
        total = digest(before.definition, {}, weight)
        gone = then.keys() - now.keys()
        for path in gone:
            del before.files[path]
        self._fingerprints.forget(gone)
        before.files.update(now)  # no copy: there may be 100,000
        self._memories[name] = _Memory(before.files, before.definition, {}, weight, before.epoch, total)
        return Checked(total, tuple(sorted(changed)), touched)

    def _take_news(self, name: str) -> set[str] | None:
        """What has had events since the last check; None where there was none, or where they do not tell of all."""
        unit = self._units[name]
        if not isinstance(unit.unit, Build) or unit.made.patterns:
            return None
        with self._news_lock:
            news = self._news.get(name)
            self._news[name] = set()
        return news

    def _there(self, paths: Iterable[str]) -> dict[str, Signature]:
        """Those of them that are files, or links to nothing."""
        found = {path: self._territory.sign(path) for path in sorted(paths)}
        return {path: one for path, one in found.items() if one is not None and not stat.S_ISDIR(marks(one).mode)}

    # --- both --------------------------------------------------------------------------------------------------------

    def _read(self, name: str, files: Mapping[str, Signature]) -> dict[str, Reading]:
        read: dict[str, Reading] = {}
        for path, signature in files.items():
            read[path], problem = self._fingerprints.read(path, signature)
            if problem is not None:
                self.unreadable[f'{name}: cannot read "{path}": {problem}'] = None
                with self._news_lock:  # of that it can be read again there is no event
                    self._news.pop(name, None)
        return read


def content_rules(unit: UnitRules) -> tuple[Rules, ...]:
    """Which files a unit's digest is of."""
    return (unit.watched, unit.env, unit.made) if isinstance(unit.unit, Build) else (unit.env,)


def _counts_writes(unit: UnitRules) -> bool:
    return isinstance(unit.unit, Build) and unit.unit.unchanged == "run"


def _links(found: Found) -> dict[str, str]:
    """The links that the ways to the files go over, and where they point."""
    crossed = {link for path in found.files for link in links_to(found, path)} if found.links else ()
    return {link: found.links[link] for link in sorted(crossed)}
