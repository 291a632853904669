"""Decide what one unit reads: its patterns, its `ignore` and `[watch].ignore`, the built-in list, the ignore files.

Rule 1: a path counts if the last pattern of `watch` that matches it is not a `!`, and nothing ignores it.
Rule 2: the built-in list beats `ignore`, which beats ignore files; a path that is named in full is exempt from the
first and the last, with the folders that it is in, but not from `ignore`.
Rule 3: a folder is left out only when no path below it can count.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache

from procwatch.core.model import Build, Project, Service
from procwatch.errors import ProcwatchError
from procwatch.frozen import frozen
from procwatch.runtime.ignores import IgnoreFiles, Test, nothing
from procwatch.runtime.patterns import Pattern, ignore_patterns, literal_patterns, watch_patterns
from procwatch.runtime.places import Base, is_ancestor, is_within

# More folders than this are forgotten at once: they must not grow with every folder that ever was.
_MAX_REMEMBERED = 100_000

_Counts = Callable[[str], bool]


class Rules:
    """What a list of patterns takes in. `ignored` None: nothing is left out (files named in the configuration)."""

    def __init__(self, patterns: tuple[Pattern, ...], ignored: tuple[Pattern, ...] | None, files: IgnoreFiles) -> None:
        self.patterns = patterns
        self._ignored = ignored
        self._files = files
        self._epoch = files.epoch
        self._within: dict[str, _Counts] = {}
        self._folders: dict[str, bool] = {}

    def reads(self, path: str) -> bool:
        """Whether a file counts, there or not."""
        if not path or is_ancestor(path):  # a folder, whatever stands in its place for a moment
            return False
        folder, _, name = path.rpartition("/")
        return self.reads_in(folder)(name)

    def reads_in(self, folder: str) -> _Counts:
        """The same by names in `folder`: what is so for all of them is decided once. To be asked for anew each time."""
        self._keep_up()
        known = self._within.get(folder)
        if known is None:
            if len(self._within) >= _MAX_REMEMBERED:
                self._within.clear()
            known = self._within[folder] = self._decide_in(folder)
        return known

    def enters(self, folder: str) -> bool:
        """Whether something in `folder` or below it could count."""
        self._keep_up()
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = self._enters(folder)
        return known

    def names(self, folder: str) -> frozenset[str] | None:
        """The only names in `folder` that can count or lead to what counts; None: any name may."""
        wanted: set[str] = set()
        for pattern in self.patterns:
            if not pattern.negated:
                names = pattern.names(folder)
                if names is None:
                    return None
                wanted |= names
        return frozenset(wanted)

    def spells_out(self, folder: str, *, is_link: bool) -> bool:
        """Whether a pattern names this folder or something below it without a wildcard.

        If it is no link, what is below a folder that a pattern names is meant, too.
        """
        named = [pattern.prefix() for pattern in self.patterns if not pattern.negated]
        return any(is_within(one, folder) or (one and not is_link and is_within(folder, one)) for one in named)

    def _keep_up(self) -> None:
        """Drop what was decided by ignore files that have changed."""
        if self._epoch != self._files.epoch:
            self._epoch = self._files.epoch
            self._within, self._folders = {}, {}

    def _decide_in(self, folder: str) -> _Counts:
        fixed, open_ones = _split(self.patterns, folder)
        is_in, literal = False, None
        for pattern in fixed:
            is_in = not pattern.negated
            literal = _deeper(literal, pattern.literal) if is_in else None
        if not open_ones and not is_in:
            return nothing
        leaves_out = self._leaves_out_in(folder, literal)
        if not open_ones:
            return lambda name: not leaves_out(name)
        prefix = f"{folder}/" if folder else ""

        def counts(name: str) -> bool:
            path, is_taken, deepest = prefix + name, is_in, literal
            for pattern in open_ones:
                if pattern.matches(path):
                    is_taken = not pattern.negated
                    deepest = _deeper(deepest, pattern.literal) if is_taken else None
            if not is_taken:
                return False
            if deepest == literal:
                return not leaves_out(name)
            return not self._leaves_out_in(folder, deepest, is_itself=deepest == path)(name)

        return counts

    def _leaves_out_in(self, folder: str, literal: str | None, *, is_itself: bool = False) -> Test:
        """Whether files in `folder` are ignored, by their names; `is_itself`: the only one meant is named in full."""
        if self._ignored is None:
            return nothing
        by_list = nothing if is_itself else self._files.built_in_in(folder, literal)
        by_files = nothing if is_itself else self._files.ignores_in(folder, literal)
        fixed, open_ones = _split(self._ignored, folder)
        known = not fixed[-1].negated if fixed else None
        if not open_ones and known is None:
            return by_list if by_files is nothing else lambda name: by_list(name) or by_files(name)
        prefix = f"{folder}/" if folder else ""

        def leaves_out(name: str) -> object:
            verdict = known
            for pattern in open_ones:
                if pattern.matches(prefix + name):
                    verdict = not pattern.negated
            return by_list(name) or (by_files(name) if verdict is None else verdict)

        return leaves_out

    def _enters(self, folder: str) -> bool:
        leads, literal = False, None
        for pattern in self.patterns:
            if pattern.negated and pattern.matches(folder, is_dir=True):
                leads, literal = False, None
            elif not pattern.negated and pattern.leads_into(folder):
                if pattern.literal is not None and is_within(pattern.literal, folder):
                    return True
                leads = True
                literal = _deeper(literal, pattern.literal)
        return leads and not self._shuts(folder, literal)

    def _shuts(self, folder: str, literal: str | None) -> bool:
        """Whether everything below `folder` is ignored."""
        if self._ignored is None:
            return False
        if self._files.is_built_in(folder, literal):
            return True
        verdict, may_return = None, False
        for pattern in self._ignored:
            if pattern.matches(folder, is_dir=True):
                verdict, may_return = not pattern.negated, False
            elif pattern.negated and pattern.leads_into(folder):
                may_return = True
        if may_return:
            return False
        return self._files.ignores(folder, literal) if verdict is None else verdict


def _split(patterns: tuple[Pattern, ...], folder: str) -> tuple[tuple[Pattern, ...], tuple[Pattern, ...]]:
    """Those that match every file in `folder`, up to the first that has to see names; that and what follows.

    Patterns that can match nothing in `folder` are left out.
    """
    able = [pattern for pattern in patterns if pattern.leads_into(folder)]
    every = [_matches_all_in(pattern, folder) for pattern in able]
    first = every.index(False) if False in every else len(able)
    return tuple(able[:first]), tuple(able[first:])


def _matches_all_in(pattern: Pattern, folder: str) -> bool:
    if pattern.literal is not None:
        return is_within(folder, pattern.literal)
    return pattern.matches(folder, is_dir=True)


def _deeper(one: str | None, other: str | None) -> str | None:
    """The longer of two paths that both hold the same file."""
    return other if one is None or (other is not None and is_within(other, one)) else one


@frozen
class UnitRules:
    """The ways in which a unit depends on files: what it watches, its and the project's env files, and of a build what
    those that it needs have made, ignored or not.
    """

    unit: Build | Service
    watched: Rules
    env: Rules
    made: Rules


def unit_rules(project: Project, place: Base, files: IgnoreFiles) -> Mapping[str, UnitRules]:
    """The rules of every unit, by its full name. Raises ProcwatchError for a pattern that cannot be read."""

    @cache  # most units have the same env files, which can be looked for together
    def env_rules(names: tuple[str, ...]) -> Rules:
        return Rules(literal_patterns(place, names), None, files)

    return {name: _one(project, unit, place, files, env_rules) for name, unit in project.units.items()}


def _one(
    project: Project,
    unit: Build | Service,
    place: Base,
    files: IgnoreFiles,
    env_rules: Callable[[tuple[str, ...]], Rules],
) -> UnitRules:
    try:
        ignored = ignore_patterns(place, (*project.watch.ignore, *unit.ignore))
        own, made = (unit.outputs, _made_for(project, unit)) if isinstance(unit, Build) else ((), ())
        watched = Rules(watch_patterns(place, unit.watch), (*ignored, *watch_patterns(place, own)), files)
    except ProcwatchError as error:
        raise ProcwatchError(f"{unit.name}: {error}") from error
    env = env_rules((*project.env_files, *unit.env_files))
    without = tuple(replace(pattern, negated=True) for pattern in watch_patterns(place, own))
    return UnitRules(unit, watched, env, Rules((*watch_patterns(place, made), *without) if made else (), None, files))


def _made_for(project: Project, build: Build) -> tuple[str, ...]:
    """The outputs of other builds that a build uses."""
    needed = ((need, project.builds[need.name]) for need in build.build_needs)
    return tuple(dict.fromkeys(output for need, other in needed for output in need.uses or other.outputs))
