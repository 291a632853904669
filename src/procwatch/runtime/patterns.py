"""Patterns of `watch` and `ignore` in a project: what matches, and where something could still match.

Rule 1: a pattern that matches a folder matches all below it; the last pattern of a list that matches decides.
Rule 2: `leads_into` may say yes too often, never no where a file below could match: whole folders are left out by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from procwatch.config import globs
from procwatch.frozen import frozen
from procwatch.runtime.places import Base, count_ups, is_ancestor, is_outside, is_within


@frozen
class Pattern:
    """One pattern of a list. `source` is what the user wrote, `literal` the place that it names, where it names one.

    Otherwise `regex` matches a path as seen from `base`, a folder above the project or the project's ("").
    `segments` are those of a pattern that is anchored there; a floating one, which matches at any depth, has none.
    `is_wide`: what takes back or ignores at any depth does so outside of the project too.
    """

    source: str
    negated: bool
    place: Base
    literal: str | None = None
    base: str = ""
    regex: re.Pattern[str] | None = None
    segments: tuple[str, ...] = ()
    prefixes: tuple[re.Pattern[str] | None, ...] = ()
    is_wide: bool = False

    def matches(self, path: str, *, is_dir: bool = False) -> bool:
        """Whether it matches `path`, or a folder above it."""
        if self.literal is not None:
            return is_within(path, self.literal)
        seen = self._seen(path)
        return bool(seen and self.regex and self.regex.search(seen + "/" if is_dir else seen))

    def leads_into(self, folder: str) -> bool:
        """Whether something below `folder` could match."""
        if self.literal is not None:
            return is_within(folder, self.literal) or is_within(self.literal, folder)
        if is_within(self.base, folder):
            return True
        seen = self._seen(folder)
        if seen is None or not self.segments:
            return seen is not None
        depth = min(seen.count("/") + 1, len(self.prefixes))
        if depth == 0:
            return True
        prefix = self.prefixes[depth - 1]
        return bool(prefix and prefix.search(seen + "/"))

    def names(self, folder: str) -> frozenset[str] | None:
        """The only names in `folder` that lead to a match; None: any name may."""
        if not self.leads_into(folder):
            return frozenset()
        target = self.prefix()
        if is_within(folder, target):
            return None
        return frozenset([self.place.parts(target)[len(self.place.parts(folder))]])

    def prefix(self) -> str:
        """The deepest folder, or the literal path, that all matches are in."""
        if self.literal is not None:
            return self.literal
        path = self.base
        for segment in self.segments[:-1]:
            if globs.has_wildcard(segment):
                break
            path = self.place.join(path, segment)
        return path

    def _seen(self, path: str) -> str | None:
        """`path` as it is seen from `base`; None where it cannot be seen."""
        if not self.base and not is_outside(path):
            return path
        if is_within(path, self.base):
            return self.place.below(path, self.base)
        if not self.is_wide or is_ancestor(path):
            return None
        return "/".join(path.split("/")[count_ups(path) :])


def watch_patterns(place: Base, texts: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns of a `watch` list: those without a wildcard, or that name what exists, are that very path."""
    return tuple(
        _literal(place, text, one) if is_path else _glob(place, text, one)
        for text in texts
        for one, is_path in globs.watched(place.folder, text)
    )


def ignore_patterns(place: Base, texts: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns of an `ignore` list: gitignore syntax, all of them."""
    return tuple(_glob(place, text, one, is_ignore=True) for text in texts for one in globs.expand(text))


def literal_patterns(place: Base, paths: Iterable[str]) -> tuple[Pattern, ...]:
    """Patterns that are just these paths."""
    return tuple(_literal(place, path, path) for path in paths)


def _literal(place: Base, source: str, text: str) -> Pattern:
    return Pattern(source, negated=False, place=place, literal=place.relative(text or "."))


def _glob(place: Base, source: str, text: str, *, is_ignore: bool = False) -> Pattern:
    """A pattern in gitignore syntax, seen from the folder that it leads up to."""
    glob = globs.read(text)
    base = "/".join([".."] * min(glob.ups, len(place.trail)))
    is_wide = (glob.negated or is_ignore) and not base and glob.segments[:1] in {(), ("**",)}
    return Pattern(source, glob.negated, place, None, base, glob.regex, glob.segments, glob.prefixes, is_wide)
