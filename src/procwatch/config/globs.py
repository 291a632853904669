"""Read the patterns of `watch`, `ignore` and ignore files: braces, and gitignore syntax.

Rule 1: this is the only door to pathspec.
Rule 2: a pattern that passes `check` can be read by all others.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from procwatch.config.witness import leads_somewhere
from procwatch.errors import ProcwatchError
from procwatch.frozen import frozen

# Nested braces multiply; more than this is a mistake or an attack, and would take minutes to match.
_MAX_EXPANSIONS = 1000
# Patterns are read when the file is loaded and once more by what watches.
_REMEMBERED = 20_000

# The group with which pathspec marks "matched as a folder", `foo/` of the path `foo/bar`.
_FOLDER_MARK = "ps_d"
# And how it stands in a regular expression.
_AS_FOLDER = f"(?P<{_FOLDER_MARK}>/)"


class PatternError(ProcwatchError):
    """A pattern that cannot be read; `noun` is what it must be."""

    def __init__(self, pattern: str, noun: str) -> None:
        self.noun = noun
        super().__init__(f'pattern "{pattern[:80]}" must be {noun}')


# --- braces ----------------------------------------------------------------------------------------------------------


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
            raise PatternError(pattern, f"a pattern that stands for at most {_MAX_EXPANSIONS}; write fewer braces")
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


# --- entries of lists ------------------------------------------------------------------------------------------------


@frozen
class Glob:
    """One pattern in gitignore syntax. It leads `ups` folders up; `regex` matches a path as seen from there.

    `segments` are those of a pattern that is anchored there, `prefixes` match the folders on the way to what it
    matches; one that matches at any depth has none of both.
    """

    negated: bool
    ups: int
    regex: re.Pattern[str] | None
    segments: tuple[str, ...]
    prefixes: tuple[re.Pattern[str] | None, ...]


def has_wildcard(text: str) -> bool:
    """Whether a pattern has what makes it more than a path."""
    return any(char in text for char in "*?[")


def watched(folder: str | Path, text: str) -> Iterator[tuple[str, bool]]:
    """What an entry of `watch` stands for, braces written out, and of each whether it is that very path.

    That is what has no wildcard, and what is the exact name of a file or folder that exists.
    """
    if _exists(folder, text):
        yield text, True
        return
    for one in expand(text):
        yield one, (not has_wildcard(one) and not one.startswith("!")) or _exists(folder, one)


def _exists(folder: str | Path, text: str) -> bool:
    """Whether what looks like a pattern is the exact name of something that exists."""
    try:
        return (text.startswith("!") or any(char in text for char in "*?[{")) and leads_somewhere(Path(folder, text))
    except (OSError, ValueError):  # too long for a name, or with a NUL: then nothing has it
        return False


def check_watch(folder: str | Path, text: str) -> int:
    """How many patterns an entry of `watch` stands for; a PatternError if one of them cannot be read."""
    ones = tuple(watched(folder, text))
    for one, is_path in ones:
        _check(text, one, is_path=is_path)
    return len(ones)


def check_ignore(text: str) -> int:
    """The same for an entry of `ignore`, where all is gitignore syntax."""
    ones = expand(text)
    for one in ones:
        _check(text, one, is_path=False)
    return len(ones)


def _check(written: str, one: str, *, is_path: bool) -> None:
    body = one.removeprefix("!")
    if not body.strip():
        raise PatternError(written, "a path or pattern that is not empty")
    if body.startswith("/"):
        raise PatternError(written, f'relative to the folder of watch.toml; it stands for "{one[:80]}"')
    if not is_path:
        read(one)


@lru_cache(_REMEMBERED)
def read(text: str) -> Glob:
    """A pattern in gitignore syntax, with `./` and `../` before it as the contract has them."""
    negated = text.startswith("!")
    body = text[negated:]
    is_anchored = "/" in body.rstrip("/") or body in {".", "..", "./"}
    ups, segments = _normal(body)
    end = "/" if body.endswith("/") and segments else ""
    joined = "/".join(segments) or "**"
    anchored = tuple(segments or ["**"]) if is_anchored else ()
    until = anchored.index("**") if "**" in anchored else len(anchored)
    prefixes = [_regex(text, "/" + "/".join(anchored[: depth + 1])) for depth in range(until)]
    regex = _regex(text, f"/{joined}{end}" if is_anchored else _no_comment(joined + end))
    return Glob(negated, ups, regex, anchored, tuple(prefixes))


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


def _regex(pattern: str, text: str) -> re.Pattern[str] | None:
    """What pathspec makes of gitignore syntax; None for what git would skip, `[` without an end."""
    try:
        _, regex = _gitignore(text)
    except (ValueError, re.error) as error:
        raise PatternError(pattern, "a path, or a pattern in the syntax of .gitignore") from error
    return regex


def _gitignore(text: str) -> tuple[bool | None, re.Pattern[str] | None]:
    """What pathspec reads: whether a match is taken in (False: taken back; None: no pattern at all), and when it is."""
    from pathspec.patterns.gitignore.spec import GitIgnoreSpecPattern  # noqa: PLC0415 - many files have no pattern

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `[[:alpha:]]` is doubtful to Python, which is not the user's concern
        regex, include = GitIgnoreSpecPattern.pattern_to_regex(text)
        return include, None if regex is None else _compiled(regex)


def _compiled(regex: str) -> re.Pattern[str]:
    """As pathspec would, but that a name may hold any character: to it a newline ends one."""
    return re.compile(regex.removesuffix("|$)") + r"|\Z)" if regex.endswith("|$)") else regex, re.DOTALL)


# --- ignore files ----------------------------------------------------------------------------------------------------


@frozen
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
        return found.end() == len(path) + 1 or self.regex.pattern == _AS_FOLDER


# Gives something if it finds something.
Search = Callable[[str], object]


class Lines:
    """The lines of one ignore file, of which the last that matches decides."""

    def __init__(self, lines: Iterable[Line] = ()) -> None:
        self._lines = tuple(lines)
        self._searches: tuple[tuple[Search, bool], ...] | None = None
        self._any: Search | None = None

    def __bool__(self) -> bool:
        return bool(self._lines)

    def searches(self) -> tuple[tuple[Search, bool], ...]:
        """For paths of files, seen from the ignore file's folder: the first that finds something says this of it."""
        if self._searches is None:
            self._searches = _grouped(self._lines)
        return self._searches

    def of_folder(self, path: str) -> bool | None:
        """Whether a folder is left out; None: nothing is said of it."""
        if self._any is None:
            every = "|".join(f"(?:{line.regex.pattern.replace(_AS_FOLDER, '/')})" for line in self._lines)
            self._any = _compiled(every or "(?!)").search
        if not self._any(path) and not self._any(path + "/"):
            return None
        for line in reversed(self._lines):
            if line.matches(path, is_dir=True):
                return not line.negated
        return None


def _grouped(lines: tuple[Line, ...]) -> tuple[tuple[Search, bool], ...]:
    """Lines that follow one another and are of a kind, put together, the last ones first."""
    groups: list[tuple[bool, list[str]]] = []
    for line in reversed(lines):
        if line.regex.pattern.endswith(_AS_FOLDER):  # of folders only
            continue
        if not groups or groups[-1][0] != line.negated:
            groups.append((line.negated, []))
        # What matches as a folder does not mean the file itself: that way fails.
        groups[-1][1].append(line.regex.pattern.replace(_AS_FOLDER, "(?!)"))
    return tuple((_compiled("|".join(f"(?:{one})" for one in ones)).search, not negated) for negated, ones in groups)


def ignore_lines(text: str) -> Lines:
    """The lines of an ignore file; git skips those that it cannot read, and so do we."""
    lines: list[Line] = []
    for line in text.removeprefix("\ufeff").split("\n"):
        text = line.removesuffix("\r")
        # To git `a/**/` is every folder below a, to pathspec also a itself.
        text = text.rstrip() + "*/" if text.rstrip().endswith("/**/") else text
        try:
            include, regex = _gitignore(text)
        except (ValueError, re.error):  # such a line matches nothing in git either
            continue
        if include is not None and regex is not None:
            lines.append(Line(negated=not include, regex=regex))
    return Lines(lines)
