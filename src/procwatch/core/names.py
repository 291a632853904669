"""Names as a user writes them -> full names of builds and services."""

from __future__ import annotations

from collections.abc import Iterable

from procwatch.core.model import Project
from procwatch.errors import UsageError


def services(project: Project, words: Iterable[str]) -> tuple[str, ...]:
    """Full names for what `start` is given: services, groups, and builds by their full name.

    A UsageError names the unknown word and the nearest known one.
    """
    found: dict[str, None] = {}
    for word in words:
        members = _members(project, word)
        if not members:
            raise UsageError(f'"{word}" stands for nothing: the group is empty, or -c leaves it out')
        found.update(dict.fromkeys(members))
    return tuple(found)


def to_start(project: Project, words: Iterable[str]) -> tuple[str, ...]:
    """What takes part: the given names; without any `project.default`; without that everything with autostart."""
    if asked := services(project, words):
        return asked
    if project.default:
        return project.default
    builds = [build.name for build in project.builds.values() if not build.manual]
    return (*builds, *(service.name for service in project.services.values() if service.autostart))


def _members(project: Project, word: str) -> tuple[str, ...]:
    if word in project.units:
        return (word,)
    if f"service.{word}" in project.services:
        return (f"service.{word}",)
    if word in project.groups:
        return project.groups[word]
    if f"build.{word}" in project.builds:
        raise UsageError(f'"{word}" is a build; to start only that build and what it needs say "build.{word}"')
    if word.startswith("build."):
        raise UsageError(f'there is no "{word}"; builds are: {", ".join(project.builds) or "none"}')
    known = [*(service.short for service in project.services.values()), *project.groups, *project.units]
    from difflib import get_close_matches  # noqa: PLC0415 - only needed when something is wrong

    near = get_close_matches(word, known, n=1)
    hint = (
        f'did you mean "{near[0]}"?' if near else f"services are: {', '.join(known[: len(project.services)]) or 'none'}"
    )
    raise UsageError(f'there is no service or group "{word}"; {hint}')
