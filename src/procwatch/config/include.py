"""Take in the files that `project.include` names: each a watch.toml of its own folder, its units under longer names.

Rule 1: what a file says about paths and names means the same as if procwatch ran in its folder.
Rule 2: nothing is taken in twice, and nothing from a file that was taken in.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from procwatch.config.check import Findings, shown, wrong_value
from procwatch.config.globs import has_wildcard
from procwatch.config.layers import UNIT_KINDS, Layers, long_form, overlay
from procwatch.config.locate import KeyPath, Place, Places
from procwatch.config.source import Document, Source, read_toml
from procwatch.config.witness import matching
from procwatch.errors import ConfigError, Problem

# A start reads all of them; the largest monorepos have some hundreds of services.
MAX_INCLUDED = 1000
# Only the main file says these, for all.
_MAIN_ONLY = ("project", "watch", "alerts")
# What patterns, or the names of builds and services, would take for something else.
_AWKWARD = re.compile(r"[][*?{}\\!#]")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")
# A group, build or service that begins with one of these would be taken for a full name.
_TAKEN = ("build", "service")


@dataclass(frozen=True, slots=True)
class Part:
    """A file to take in: `home` is its folder as seen from the main one, `prefix` stands before its names."""

    path: Path
    home: str
    prefix: str


def parts(folder: Path, patterns: Iterable[object], findings: Findings) -> tuple[Part, ...]:
    """The files that the patterns match, in order. What is wrong with one is reported, one that matches nothing too."""
    found: dict[str, Part] = {}
    owners: dict[str, str] = {}
    for index, pattern in enumerate(patterns):
        where: KeyPath = ("project", "include", index)
        if not isinstance(pattern, str) or not pattern.strip() or "\0" in pattern:
            continue  # told where its type is checked
        if fault := _fault(pattern):
            findings.report(where, f'include "{pattern}" {fault}')
            continue
        names = matching(folder, posixpath.normpath(pattern))
        if not names:
            findings.warn(where, f'include "{pattern}" matches no file')
        for name in names:
            home = name.rpartition("/")[0]
            prefix = _prefix(pattern, home)
            if name in found:
                continue
            if _AWKWARD.search(home) or not prefix or prefix.split(".")[0] in _TAKEN:
                findings.report(where, f'include: no name can be made of the folder "{home}"; give it another one')
            elif prefix in owners:
                findings.report(where, f'include: "{home}" and "{owners[prefix]}" would both be "{prefix}"; '
                                'one pattern for both, such as "*/*/watch.toml", tells them apart')  # fmt: skip
            elif len(found) >= MAX_INCLUDED:
                findings.report(where, f"include: with this entry there are more than {MAX_INCLUDED} files")
                return tuple(found.values())
            else:
                owners[prefix] = home
                found[name] = Part(folder / name, home, prefix)
    return tuple(found.values())


def _fault(pattern: str) -> str | None:
    """What is wrong with a pattern."""
    folder, _, name = pattern.rpartition("/")
    if "$" in pattern or "{" in pattern:
        return "must not have variables or braces; write one entry for each"
    if pattern.startswith("/") or ".." in pattern.split("/"):
        return "must lead to a folder below that of watch.toml"
    if "**" in pattern:
        return 'must say how deep to look: "*/watch.toml", "*/*/watch.toml"'
    if folder.strip("./") == "" or not name or has_wildcard(name):
        return 'must be a folder and a file, such as "services/*/watch.toml"'
    return None


def _prefix(pattern: str, home: str) -> str:
    """The folders from the first wildcard on, as a name; without a wildcard the last folder."""
    folders = posixpath.normpath(pattern).split("/")[:-1]
    first = next((at for at, part in enumerate(folders) if has_wildcard(part)), len(folders) - 1)
    names = (_NOT_IN_NAMES.sub("-", part).lstrip("_.-") for part in home.split("/")[first:])
    return ".".join(filter(None, names))


def read(part: Part, label: str) -> tuple[Source, list[Problem]]:
    """The file as a part of the whole, and what it must not say; a ConfigError if it cannot be read."""
    source = read_toml(part.path, label)
    problems = list(_faults(source))
    document = long_form({key: value for key, value in source.document.items() if key not in _MAIN_ONLY})
    moved, places = _moved(document, part.prefix), _places(source, part.prefix)
    return replace(source, document=moved, places=places, home=part.home, prefix=part.prefix), problems


def _faults(source: Source) -> Iterator[Problem]:
    """Tables that stand in the main file only, and what is no table: that would be lost when all are merged."""
    for key, value in source.document.items():
        place = source.places.value((key,)) or Place(1, 1, 1)
        if key in _MAIN_ONLY:
            advice = "; for the variables of its own commands there is [defaults.service]" if key == "project" else ""
            yield source.at(place, f'"{key}" stands in the main watch.toml only, and this file is included{advice}')
        elif key in (*UNIT_KINDS, "groups", "defaults") and not isinstance(value, dict):
            yield source.at(place, wrong_value((key,), "a table", value))
        elif key == "defaults":
            yield from _defaults_faults(source, _table(value))


def _defaults_faults(source: Source, defaults: Document) -> Iterator[Problem]:
    """What no build or service would show."""
    for kind, value in defaults.items():
        path: KeyPath = ("defaults", kind)
        if kind not in UNIT_KINDS:
            place = source.places.key(path) or Place(1, 1, 1)
            yield source.at(place, f"defaults: unknown key {shown(kind)}; the keys here are: {', '.join(UNIT_KINDS)}")
        elif not isinstance(value, dict):
            yield source.at(source.places.value(path) or Place(1, 1, 1), wrong_value(path, "a table", value))


def _moved(document: Document, prefix: str) -> Document:
    """The document with long names, its defaults laid under its units."""
    rename = _renaming(document, prefix)
    defaults = _table(document.get("defaults"))
    moved = {key: value for key, value in document.items() if key not in (*UNIT_KINDS, "groups", "defaults")}
    for kind in UNIT_KINDS:
        units = _table(document.get(kind))
        full = {
            f"{prefix}.{name}": _unit(overlay(_table(defaults.get(kind)), unit, (kind, name)), rename)
            for name, unit in units.items()
        }
        if full:
            moved[kind] = full
    groups = {f"{prefix}.{name}": _renamed(of, rename) for name, of in _table(document.get("groups")).items()}
    return moved | ({"groups": groups} if groups else {})


def folder_groups(layers: Layers, taken: Container[str]) -> dict[str, tuple[str, ...]]:
    """Each folder's name stands for what a start in that folder would start, unless it is `taken`."""
    found: dict[str, tuple[str, ...]] = {}
    for source in layers.sources:
        if source.prefix and source.prefix not in taken:
            tables = [(kind, _table(source.document.get(kind))) for kind in UNIT_KINDS]
            units = [(f"{kind}.{name}", _table(unit)) for kind, table in tables for name, unit in table.items()]
            found[source.prefix] = tuple(name for name, unit in units if _is_started(unit))
    return found


def _is_started(unit: Document) -> bool:
    return unit.get("manual") is not True and unit.get("autostart") is not False


def _unit(unit: object, rename: Callable[[str], str]) -> object:
    if not isinstance(unit, dict) or "needs" not in unit:
        return unit
    return unit | {"needs": _renamed(unit["needs"], rename)}


def _renamed(names: object, rename: Callable[[str], str]) -> object:
    """A list of names, or of tables with names."""
    if not isinstance(names, list):
        return names
    return [
        rename(each) if isinstance(each, str)
        else each | {"name": rename(each["name"])} if isinstance(each, dict) and isinstance(each.get("name"), str)
        else each
        for each in names
    ]  # fmt: skip


def _renaming(document: Document, prefix: str) -> Callable[[str], str]:
    """Names as the file writes them -> names of the whole: its own ones come first."""
    own = {kind: _table(document.get(kind)) for kind in (*UNIT_KINDS, "groups")}

    def rename(written: str) -> str:
        kind, _, short = written.partition(".")
        if kind in UNIT_KINDS and short in own[kind]:
            return f"{kind}.{prefix}.{short}"
        return f"{prefix}.{written}" if any(written in names for names in own.values()) else written

    return rename


def _places(source: Source, prefix: str) -> Places:
    """Where everything stands, by the paths of the whole."""
    units = {kind: list(_table(source.document.get(kind))) for kind in UNIT_KINDS}

    def moved(places: Mapping[KeyPath, Place]) -> dict[KeyPath, Place]:
        found: dict[KeyPath, Place] = {}
        inherited: dict[KeyPath, Place] = {}
        for path, place in places.items():
            if path[0] in (*UNIT_KINDS, "groups") and len(path) > 1:
                found[(path[0], f"{prefix}.{path[1]}", *path[2:])] = place
            elif path[0] == "defaults" and len(path) > 2 and path[1] in UNIT_KINDS:
                inherited |= {(path[1], f"{prefix}.{name}", *path[2:]): place for name in units[str(path[1])]}
            elif path[0] not in (*_MAIN_ONLY, "defaults"):
                found[path] = place
        return inherited | found

    return Places(moved(source.places.keys), moved(source.places.values))


def _table(value: object) -> Document:
    return value if isinstance(value, dict) else {}


def read_all(found: Iterable[Part], label: Callable[[Path], str]) -> tuple[list[Source], list[Problem]]:
    """All of them, and all that is wrong with each by itself."""
    sources: list[Source] = []
    problems: list[Problem] = []
    for part in found:
        try:
            source, wrong = read(part, label(part.path))
        except ConfigError as error:
            problems += error.problems
        else:
            sources.append(source)
            problems += wrong
    return sources, problems
