"""How many instances of each service run side by side: `replicas`, or what `-c` asks for; and what each is called.

Rule 1: a service of which there may be several is not there itself: "web" stands for "web.1", "web.2" and so on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from procwatch.config.check import Findings
from procwatch.config.procfile import DEFAULT_BASE_PORT, Procfile, base_port, ports
from procwatch.config.schema import ServiceTable
from procwatch.config.values import MAX_NAME_CHARS, MAX_REPLICAS, is_name, similar
from procwatch.config.variables import Variables
from procwatch.errors import ConfigError, Problem, UsageError


@dataclass(frozen=True, slots=True)
class Replica:
    """One to start: `name` is "web", or "web.2"; `given_port` is that of a Procfile's process."""

    name: str
    number: int = 1
    given_port: int | None = None


@dataclass(frozen=True, slots=True)
class Replicas:
    """Of each service by its short name; `counted` are those that have numbers."""

    of: Mapping[str, tuple[Replica, ...]]
    counted: frozenset[str]

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Of those that have numbers: what each of their names stands for."""
        return {name: tuple(each.name for each in self.of[name]) for name in self.of if name in self.counted}


def replicas(
    asked: str | None,
    services: Mapping[str, ServiceTable],
    procfile: Procfile | None,
    variables: Variables,
    findings: Findings,
    *,
    is_partial: bool,
) -> Replicas:
    """Of all services. `asked` is -c; `variables` have the PORT from which those of a Procfile are counted.

    `is_partial`: there are more services, whose names are not known. Raises UsageError for a wrong -c.
    """
    counts = {name: table.replicas for name, table in services.items() if table.replicas > 1}
    if asked is not None:
        counts |= _parse(asked, services, is_partial=is_partial)
    given = _ports(procfile, counts, variables.port, findings) if procfile else {}
    found = {}
    for name in services:
        if name in counts and not is_name(name, most=MAX_NAME_CHARS - 4):
            message = f"a name that gets a number has at most {MAX_NAME_CHARS - 4} characters"
            findings.report(("service", name), message, on_key=True)
        own = given.get(name, ()) or [None] * counts.get(name, 1)
        numbered = enumerate(own, 1)
        found[name] = tuple(Replica(f"{name}.{at}" if name in counts else name, at, number) for at, number in numbered)
    return Replicas(found, frozenset(counts))


def _ports(
    procfile: Procfile, counts: Mapping[str, int], port: str | None, findings: Findings
) -> Mapping[str, tuple[int, ...]]:
    """Of the processes of a Procfile."""
    base = base_port(port)
    if base is None:
        said = (port or "")[:20]
        findings.add(Problem(f'PORT is "{said}", and the ports of a Procfile are counted from it; set a number'))
    try:
        return ports(procfile, counts, base or DEFAULT_BASE_PORT)
    except ConfigError as error:
        for problem in error.problems:
            findings.add(problem)
        return {}


def _parse(written: str, known: Iterable[str], *, is_partial: bool) -> dict[str, int]:
    """The numbers of `-c web=2,worker=3`; a UsageError names what is wrong."""
    names = list(known)
    counts: dict[str, int] = {}
    for part in written.split(","):
        name, equals, number = (piece.strip() for piece in part.partition("="))
        if not equals or not re.fullmatch(r"[0-9]{1,4}", number) or int(number) > MAX_REPLICAS:
            raise UsageError(f'-c {written}: "{part}" is not NAME=NUMBER with a number from 0 to {MAX_REPLICAS}')
        if name not in names and not is_partial:
            meant = similar(name, names)
            advice = f'did you mean "{meant}"?' if meant else f"services are: {', '.join(names) or 'none'}"
            raise UsageError(f'-c {written}: there is no service "{name}"; {advice}')
        if name in counts:
            raise UsageError(f'-c {written}: "{name}" is there twice')
        counts[name] = int(number)
    return counts
