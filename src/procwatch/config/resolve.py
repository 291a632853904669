"""Names -> full names: "api" -> "build.api", a group -> its members, with what is wrong about them.

Rule 1: a name that cannot be resolved is a ValueError whose text tells what would be right.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from procwatch.config.check import Findings
from procwatch.config.procfile import RELEASE, is_process_name
from procwatch.config.values import similar
from procwatch.core import graph

# What a bare name means that is both a build and a service: an error, both of them, or the service.
Ambiguous = Literal["error", "both", "service"]
# As many names as fit into a message; of more only the most similar one is told.
_LISTED = 12
# "api" is not taken for "app": the list of names says more than a wrong guess.
_SIMILAR = 0.8
# Guessing takes time for each name; no real project has more.
_GUESSED = 500


@dataclass(frozen=True, slots=True)
class Names:
    """All names of a project: short ones of builds and services, groups with the builds and services that they list.

    `copies` are the replicas that a service with a number of them stands for. `is_partial`: a Procfile
    that could not be read may hold more names.
    """

    builds: Collection[str]
    services: Collection[str]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    copies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    is_partial: bool = False

    def may_be_in_procfile(self, kind: str, short: str) -> bool:
        """Whether a Procfile that could not be read may give this service, or the build of its release."""
        return self.is_partial and (short == RELEASE if kind == "build" else is_process_name(short))

    def find(self, written: str, ambiguous: Ambiguous = "error") -> tuple[str, ...]:
        """The full names that a name stands for; a ValueError if it stands for none, or for too many."""
        if written in self.groups:
            return self._members(written, "both" if ambiguous == "error" else ambiguous)
        return self._unit(written, ambiguous)

    def _unit(self, written: str, ambiguous: Ambiguous) -> tuple[str, ...]:
        """A build or service, by its full or its bare name."""
        kind, _, short = written.partition(".")
        if kind == "build" and short in self.builds:
            return (written,)
        if kind == "service" and short in self.services:
            return self._instances(short)
        is_build, is_service = written in self.builds, written in self.services
        if is_build and is_service and ambiguous == "error":
            raise ValueError(
                f'"{written}", which is both a build and a service; write "build.{written}" or "service.{written}"'
            )
        found = self._instances(written) if is_service else ()
        if is_build and not (is_service and ambiguous == "service"):
            found = (f"build.{written}", *found)
        if not (is_build or is_service or self._is_untold(written)):
            raise ValueError(self._unknown(written))
        return found

    def _is_untold(self, written: str) -> bool:
        """Whether nobody can say that there is no such name; it stands for nothing then."""
        kind, dot, short = written.partition(".")
        is_full = bool(dot) and kind in ("build", "service")
        return self.may_be_in_procfile(kind if is_full else "service", short if is_full else written)

    def _instances(self, short: str) -> tuple[str, ...]:
        return tuple(f"service.{name}" for name in self.copies.get(short, (short,)))

    def _members(self, group: str, ambiguous: Ambiguous) -> tuple[str, ...]:
        """All that a group lists, each once."""
        found: dict[str, None] = {}
        for name in self.groups[group]:
            found |= dict.fromkeys(self._unit(name, ambiguous))
        return tuple(found)

    def _unknown(self, written: str) -> str:
        """There is no such name: which there are, or which was probably meant."""
        kind, _, short = written.partition(".")
        if kind == "build":
            return f'"{written}", but {_which("build", short, self.builds, prefix="build.")}'
        if kind == "service":
            return f'"{written}", but {_which("service", short, self.services, prefix="service.")}'
        names = dict.fromkeys((*self.builds, *self.services, *self.groups))
        return f'"{written}", but {_which("build, service or group", written, names)}'


def _which(kind: str, name: str, known: Iterable[str], prefix: str = "") -> str:
    """`there is no such build; did you mean "x"? builds are: a, b`."""
    names = list(known)
    said = f"there is no such {kind}"
    if not names:
        return said
    close = similar(name, names[:_GUESSED], cutoff=_SIMILAR)
    listed = f"{kind}s are: {', '.join(names)}" if prefix else f"names are: {', '.join(names)}"
    parts = [f'did you mean "{prefix}{close}"?'] if close else []
    if len(names) <= _LISTED:
        parts.append(listed)
    elif not close:
        parts.append(f"there are {len(names)} others")
    return f"{said}; {' '.join(parts)}"


def check_groups(names: Names, findings: Findings) -> Names:
    """The names with what is right of the groups, groups in groups unfolded; the rest is reported.

    A group that is wrong stays known, as an empty one, so that its uses are not told to be wrong too.
    """
    groups = dict(names.groups)
    for group in names.groups:
        kind = group.partition(".")[0]
        if "." in group and kind in ("build", "service"):
            findings.report(("groups", group), f'a name that begins with "{kind}." is that of a {kind}', on_key=True)
            del groups[group]
    for group in groups:
        kinds = [kind for kind, taken in (("build", names.builds), ("service", names.services)) if group in taken]
        if kinds:
            message = f"a {' and a '.join(kinds)} has this name too; give the group another"
            findings.report(("groups", group), message, on_key=True)
            groups[group] = ()
    while around := graph.cycle(_edges(groups)):
        findings.report(("groups", around[0]), f"is a member of itself: {' -> '.join(around)}", on_key=True)
        groups |= dict.fromkeys(around, ())
    for group in graph.order(_edges(groups)):
        flat: dict[str, None] = {}
        for index, member in enumerate(groups[group]):
            if member in groups:
                flat |= dict.fromkeys(groups[member])
            elif _is_known(names, group, index, findings):
                flat[member] = None
        groups[group] = tuple(flat)
    return replace(names, groups=groups)


def _edges(groups: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    return {group: tuple(member for member in members if member in groups) for group, members in groups.items()}


def _is_known(names: Names, group: str, index: int, findings: Findings) -> bool:
    """Whether there is such a member; if not, that is reported."""
    try:
        names.find(names.groups[group][index], "both")
    except ValueError as error:
        findings.report(("groups", group, index), f"lists {error}")
        return False
    return True
