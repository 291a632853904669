"""Names as a user writes them -> full names of builds and services.

Rule 1: an unknown name is a UsageError that names the nearest known one.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from typing import Literal

from procwatch.core.model import Project
from procwatch.errors import UsageError

# What a command is about: `start` and its like, `build`, or `status`, `logs`, `why`, `wait`, `pause`.
Kind = Literal["service", "build", "any"]


def services(project: Project, words: Iterable[str]) -> tuple[str, ...]:
    """Full names for what `start` is given: services, groups, and builds by their full name."""
    return _found(project, words, "service")


def builds(project: Project, words: Iterable[str]) -> tuple[str, ...]:
    """Full names of builds; of a group those that are in it."""
    return _found(project, words, "build")


def units(project: Project, words: Iterable[str]) -> tuple[str, ...]:
    """Full names of both; where a build and a service share a short name, it means both."""
    return _found(project, words, "any")


def _found(project: Project, words: Iterable[str], kind: Kind) -> tuple[str, ...]:
    found: dict[str, None] = {}
    for word in words:
        members = _members(project, word, kind)
        if not members:
            raise UsageError(f'"{word}" stands for nothing: the group is empty, or -c leaves it out')
        found.update(dict.fromkeys(members))
    return tuple(found)


def excepted(project: Project, words: Iterable[str]) -> frozenset[str]:
    """Full names for `--except`: services, and of a group those that are in it."""
    found: set[str] = set()
    for word in words:
        members = {name for name in services(project, (word,)) if name in project.services}
        if not members:
            raise UsageError(f'--except leaves out services, and "{word}" is none')
        found |= members
    return frozenset(found)


def to_start(project: Project, words: Iterable[str], without: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """What takes part from the beginning, but `without` these (full names). A UsageError if nothing is left."""
    found = tuple(name for name in _to_start(project, words) if name not in without)
    if without and not found:
        raise UsageError("--except leaves nothing to start")
    return found


def _to_start(project: Project, words: Iterable[str]) -> tuple[str, ...]:
    """The given names; without any `project.default`; without that everything with autostart."""
    if asked := services(project, words):
        return asked
    if project.default:
        return project.default
    builds = [build.name for build in project.builds.values() if not build.manual]
    return (*builds, *(service.name for service in project.services.values() if service.autostart))


def still_to_start(project: Project, words: Iterable[str]) -> tuple[str, ...]:
    """The same for a project that has changed since: words that it does not know any more stand for nothing."""
    if not (words := tuple(words)):
        return to_start(project, ())
    found: dict[str, None] = {}
    for word in words:
        with suppress(UsageError):
            found.update(dict.fromkeys(services(project, (word,))))
    return tuple(found)


def _members(project: Project, word: str, kind: Kind) -> tuple[str, ...]:
    kinds = ("build", "service") if kind == "any" else (kind,)
    full = tuple(name for name in (f"{each}.{word}" for each in kinds) if name in project.units)
    if word in project.units and (kind != "build" or word in project.builds):
        return (word,)
    if full:
        return full
    if word in project.groups:
        members = project.groups[word]
        return tuple(name for name in members if name in project.builds) if kind == "build" else members
    raise UsageError(_unknown(project, word, kind))


def _unknown(project: Project, word: str, kind: Kind) -> str:
    """That there is no such name, and what would be one."""
    if kind == "service" and f"build.{word}" in project.builds:
        return f'"{word}" is a build; to start only that build and what it needs say "build.{word}"'
    if kind == "build" and (word in project.services or f"service.{word}" in project.services):
        return f'"{word}" is a service; builds are: {_list(project.builds)}'
    for each, known in (("build", project.builds), ("service", project.services)):
        if word.startswith(f"{each}."):
            return f'there is no "{word}"; {each}s are: {_list(known)}'
    from difflib import get_close_matches  # noqa: PLC0415 - only needed when something is wrong

    own = project.services if kind == "service" else project.builds if kind == "build" else project.units
    shorts = list(dict.fromkeys(name.partition(".")[2] for name in own))
    near = get_close_matches(word, [*shorts, *project.groups, *project.units], n=1)
    noun = {"service": "service or group", "build": "build", "any": "build, service or group"}[kind]
    listed = {"service": "services are", "build": "builds are", "any": "there are"}[kind]
    return f'there is no {noun} "{word}"; ' + (
        f'did you mean "{near[0]}"?' if near else f"{listed}: {', '.join(shorts) or 'none'}"
    )


def _list(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
