"""Several documents over one another, and where in which file a key of the result was written.

Rule 1: tables merge key by key, everything else replaces what lies below it.
Rule 2: of the kinds of a probe just one may stand, so one that is given replaces that of the layer below.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from procwatch.config.locate import KeyPath, Place
from procwatch.config.source import Document, Source
from procwatch.errors import Location, Problem

# The probes that can be asked again and again, and all of them.
ASKED_KINDS = ("http", "tcp", "run")
PROBE_KINDS = (*ASKED_KINDS, "log", "notify", "delay")
# Keys that may be written as a string instead of a table, and the key of the table that the string is for.
SHORT_FORMS = {"stop": "signal", "restart": "policy"}

UNIT_KINDS = ("build", "service")


def within_unit(path: KeyPath) -> KeyPath | None:
    """The rest of a path inside a build or service, or inside its defaults; None elsewhere."""
    if len(path) > 2 and (path[0] in UNIT_KINDS or (path[0] == "defaults" and path[1] in UNIT_KINDS)):
        return path[2:]
    return None


def overlay(under: object, over: object, path: KeyPath = ()) -> object:
    """`over` on top of `under`; neither is changed. The depth is that of the documents, which `locate` limits."""
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    below = dict(under)
    if within_unit(path) in (("ready",), ("health",)) and any(kind in over for kind in PROBE_KINDS):
        below = {key: value for key, value in under.items() if key not in (*PROBE_KINDS, "status")}
    for key, value in over.items():
        below[key] = overlay(below[key], value, (*path, key)) if key in below else value
    return below


def long_form(document: Document) -> Document:
    """The document with `stop = "SIGINT"` and `restart = "never"` written as tables, so that they merge."""
    long = dict(document)
    for kind in UNIT_KINDS:
        if isinstance(units := document.get(kind), dict):
            long[kind] = {name: _long_unit(unit) for name, unit in units.items()}
    if isinstance(defaults := document.get("defaults"), dict):
        long["defaults"] = {name: _long_unit(unit) for name, unit in defaults.items()}
    return long


def _long_unit(unit: object) -> object:
    if not isinstance(unit, dict):
        return unit
    return {
        key: {SHORT_FORMS[key]: value} if key in SHORT_FORMS and isinstance(value, str) else value
        for key, value in unit.items()
    }


@dataclass(frozen=True, slots=True)
class Layers:
    """The files that were merged, the lowest first."""

    sources: tuple[Source, ...]
    # Those of the main folder, and for each build or service those others that say something of it: there may be many.
    _main: tuple[Source, ...] = field(init=False)
    _others: dict[KeyPath, list[Source]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_main", tuple(source for source in self.sources if not source.home))
        for source in self.sources:
            if source.home:
                for unit in {path[:2] for path in source.places.keys if len(path) > 1}:
                    self._others.setdefault(unit, []).append(source)

    def problem(self, path: KeyPath, message: str, *, on_key: bool = False) -> Problem:
        """A problem with what stands at `path`: in the topmost file that has it, or else with what is around it."""
        for candidate in _around(path):
            found = self._find(candidate, on_key=on_key)
            if found is not None:
                source, place = found
                return source.at(place, message)
        return Problem(message, Location(self._main[0].label, 1, 1)) if self._main else Problem(message)

    def home(self, path: KeyPath) -> str:
        """The folder of the file that says what stands at `path`, as seen from the main one."""
        having = self._having(path)
        return having[-1].home if having else ""

    def first_home(self, path: KeyPath) -> str:
        """The folder of the file that declares the build or service at `path`."""
        having = self._having(path)
        return having[0].home if having else ""

    def has(self, path: KeyPath) -> bool:
        """Whether this very path is written in one of the files."""
        return bool(self._having(path))

    def _having(self, path: KeyPath) -> list[Source]:
        """The files in which something stands at this very path, the lowest first."""
        candidates = (*self._others.get(path[:2], ()), *self._main) if len(path) > 1 else self.sources
        return [source for source in candidates if path in source.places]

    def _find(self, path: KeyPath, *, on_key: bool) -> tuple[Source, Place] | None:
        """A table that is in several files is meant where it was first; anything else where it was last."""
        having = self._having(path)
        if not having:
            return None
        source = having[0] if all(isinstance(_at(each.document, path), dict) for each in having) else having[-1]
        place = source.places.key(path) if on_key else source.places.value(path)
        return None if place is None else (source, place)


def _around(path: KeyPath) -> Iterator[KeyPath]:
    """The path, where a default for it would stand, then the same for all that is around it."""
    for length in range(len(path), 0, -1):
        yield path[:length]
        if length > 2 and path[0] in UNIT_KINDS:
            yield ("defaults", path[0], *path[2:length])


def _at(document: object, path: KeyPath) -> object:
    """What stands at a path; None if nothing does."""
    for part in path:
        if isinstance(document, dict) and isinstance(part, str):
            document = document.get(part)
        elif isinstance(document, list) and isinstance(part, int) and part < len(document):
            document = document[part]
        else:
            return None
    return document
