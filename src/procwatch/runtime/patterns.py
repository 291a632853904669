"""Read the patterns of `watch`, `ignore` and ignore files: what matches, and where something could still match.

Rule 1: this is the only door to pathspec.
Rule 2: a pattern that matches a folder matches all below it; the last pattern of a list that matches decides.
Rule 3: `leads_into` may say yes too often, never no where a file below could match: whole folders are left out by it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern

from procwatch.errors import ProcwatchError
from procwatch.runtime.places import Base, count_ups, is_ancestor, is_outside, is_within

# Nested braces multiply; more than this is a mistake or an attack, and would take minutes to match.
_MAX_EXPANSIONS = 1000

# The group with which pathspec marks "matched as a folder", `foo/` of the path `foo/bar`.
_FOLDER_MARK = "ps_d"


def expand(pattern: str) -> tuple[str, ...]:
    """`{a,b}` written out, nested too; a brace without partner or comma stands for itself."""
    done: list[str] = []
    todo = [(pattern, 0)]
    while todo:
        text, start = todo.pop()
        found = _first_group(text, start)
        if found is None:
            done.append(text)
        else:
            begin, end, choices = found
            todo += [(text[:begin] + choice + text[end:], begin) for choice in reversed(choices)]
        if len(done) + len(todo) > _MAX_EXPANSIONS:
            raise ProcwatchError(
                f'pattern "{pattern[:80]}" stands for more than {_MAX_EXPANSIONS} patterns; write less'
            )
    return tuple(dict.fromkeys(done))


def _first_group(text: str, start: int) -> tuple[int, int, list[str]] | None:
    """Where the first `{...}` with a comma at or after `start` begins and ends, and its choices."""
    for begin in range(start, len(text)):
        if text[begin] == "{":
            end, choices = _choices(text, begin)
            if len(choices) > 1:
                return begin, end, choices
    return None


def _choices(text: str, begin: int) -> tuple[int, list[str]]:
    """The choices of the group that opens at `begin`, and where it ends; none if it never closes."""
    depth, last, choices = 0, begin + 1, []
    for at in range(begin, len(text)):
        char = text[at]
        depth += {"{": 1, "}": -1}.get(char, 0)
        if (char == "," and depth == 1) or depth == 0:
            choices.append(text[last:at])
            last = at + 1
        if depth == 0:
            return at + 1, choices
    return len(text), []


@dataclass(frozen=True, slots=True)
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
            if has_wildcard(segment):
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


def has_wildcard(text: str) -> bool:
    """Whether a pattern has what makes it more than a path."""
    return any(char in text for char in "*?[")


def watch_patterns(place: Base, texts: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns of a `watch` list: those without a wildcard, or that name an existing file, are that very path."""
    patterns: list[Pattern] = []
    for text in texts:
        if _exists(place, text):
            patterns.append(_literal(place, text, text))
            continue
        for one in expand(text):
            plain = not has_wildcard(one) and not one.startswith("!")
            patterns.append(_literal(place, text, one) if plain or _exists(place, one) else _glob(place, text, one))
    return tuple(patterns)


def ignore_patterns(place: Base, texts: Iterable[str]) -> tuple[Pattern, ...]:
    """The patterns of an `ignore` list: gitignore syntax, all of them."""
    return tuple(_glob(place, text, one, is_ignore=True) for text in texts for one in expand(text))


def literal_patterns(place: Base, paths: Iterable[str]) -> tuple[Pattern, ...]:
    """Patterns that are just these paths."""
    return tuple(_literal(place, path, path) for path in paths)


def _exists(place: Base, text: str) -> bool:
    """Whether a pattern with wildcards is the exact name of a file that exists."""
    try:
        return has_wildcard(text.removeprefix("!")) and Path(place.folder, text).is_file()
    except (OSError, ValueError):  # too long for a name, or with a NUL: then no file has it
        return False


def _literal(place: Base, source: str, text: str) -> Pattern:
    return Pattern(source, negated=False, place=place, literal=place.relative(text or "."))


def _glob(place: Base, source: str, text: str, *, is_ignore: bool = False) -> Pattern:
    """A pattern in gitignore syntax, with `./` and `../` before it as the contract has them."""
    negated = text.startswith("!")
    body = text[negated:]
    is_anchored = "/" in body.rstrip("/") or body in {".", "..", "./"}
    ups, segments = _normal(body)
    end = "/" if body.endswith("/") or not segments else ""
    base = "/".join([".."] * min(ups, len(place.trail)))
    joined = "/".join(segments) or "**"
    anchored = tuple(segments or ["**"]) if is_anchored else ()
    until = anchored.index("**") if "**" in anchored else len(anchored)
    prefixes = [_compile(source, "/" + "/".join(anchored[: depth + 1])) for depth in range(until)]
    regex = _compile(source, f"/{joined}{end if segments else ''}" if is_anchored else _no_comment(joined + end))
    is_wide = (negated or is_ignore) and not base and anchored[:1] in {(), ("**",)}
    return Pattern(source, negated, place, None, base, regex, anchored, tuple(prefixes), is_wide)


def _normal(body: str) -> tuple[int, list[str]]:
    """How many folders a pattern leads up, and its segments after that."""
    ups, segments = 0, list[str]()
    for segment in body.split("/"):
        if segment == ".." and segments and not has_wildcard(segments[-1]):
            segments.pop()
        elif segment == ".." and not segments:
            ups += 1
        elif segment not in {"", "."}:
            segments.append(segment)
    return ups, segments


def _no_comment(text: str) -> str:
    """In a list a leading # or ! is part of the name: only files with one pattern a line have comments."""
    return "\\" + text if text.startswith(("#", "!")) else text


def _compile(source: str, text: str) -> re.Pattern[str] | None:
    """What pathspec makes of gitignore syntax; None for what git would skip, `[` without an end."""
    try:
        compiled: re.Pattern[str] | None = GitIgnoreSpecPattern(text).regex
    except (ValueError, re.error) as error:
        raise ProcwatchError(f'pattern "{source}" cannot be read; gitignore syntax is expected') from error
    return compiled


@dataclass(frozen=True, slots=True)
class Line:
    """One line of an ignore file. Unlike the lists in watch.toml it matches a path itself, not what is below it."""

    negated: bool
    regex: re.Pattern[str]

    def matches(self, path: str, *, is_dir: bool) -> bool:
        """Whether this very path is meant, seen from the ignore file's folder."""
        found = self.regex.search(path)
        if found and not found.groupdict().get(_FOLDER_MARK):
            return True
        found = self.regex.search(path + "/") if is_dir else None
        if not found or not found.groupdict().get(_FOLDER_MARK):
            return False
        return found.end() == len(path) + 1 or self.regex.pattern == f"(?P<{_FOLDER_MARK}>/)"


def ignore_lines(text: str) -> tuple[Line, ...]:
    """The lines of an ignore file; git skips those that it cannot read, and so do we."""
    lines: list[Line] = []
    for line in text.removeprefix("\ufeff").split("\n"):
        text = line.removesuffix("\r")
        # To git `a/**/` is every folder below a, to pathspec also a itself.
        text = text.rstrip() + "*/" if text.rstrip().endswith("/**/") else text
        try:
            pattern = GitIgnoreSpecPattern(text)
        except (ValueError, re.error):  # such a line matches nothing in git either
            continue
        if pattern.include is not None and pattern.regex is not None:
            lines.append(Line(negated=not pattern.include, regex=pattern.regex))
    return tuple(lines)
