"""What needs what: `needs` -> full names, and what is wrong about them.

Rule 1: whatever is wrong is reported where the need is written.
"""

from __future__ import annotations

from collections.abc import Mapping

from procwatch.config import home
from procwatch.config.locate import KeyPath
from procwatch.config.schema import UnitTable, WatchToml
from procwatch.config.scope import Scope
from procwatch.core import graph
from procwatch.core.model import Build, Need, Service

# After as many cycles one has seen the point, and a hostile file has thousands.
_MAX_CYCLES = 10


def written_outputs(scope: Scope, path: KeyPath, written: list[str]) -> tuple[str, ...]:
    """Outputs, each once and relative to the project's folder."""
    where = scope.findings.layers.home(path)
    return tuple(dict.fromkeys(one for text in written for one in home.watched(scope.folder, where, text)))


def needs_of(scope: Scope, path: KeyPath, table: UnitTable) -> tuple[Need, ...]:
    """All needs by their full names. What is named itself counts, whatever a group says of it."""
    direct: dict[str, Need] = {}
    grouped: dict[str, Need] = {}
    for index, entry in enumerate(table.needs):
        where = _need_path(scope, path, table, index)
        try:
            names = scope.names.find(entry.name)
        except ValueError as error:
            scope.report(where, f"needs {error}")
            continue
        is_group = entry.name in scope.names.groups
        if entry.until and names and not any(name.startswith("service.") for name in names):
            scope.report(where, f'"until" is for services, and "{entry.name}" is not one')
        if entry.uses and not (len(names) == 1 and names[0].startswith("build.")):
            scope.report(where, f'"uses" is for a build, and "{entry.name}" is not one')
        uses = written_outputs(scope, (*path, "needs"), entry.uses or [])
        for name in names:
            if name in direct and not is_group:
                scope.report(where, f'needs "{name}" twice')
            restart = name.startswith("build.") if entry.restart is None else entry.restart
            (grouped if is_group else direct)[name] = Need(name, restart, entry.until or "ready", uses)
    return tuple((grouped | direct).values())


def _need_path(scope: Scope, path: KeyPath, table: UnitTable, index: int) -> KeyPath:
    """Of a list with one entry the whole list is shown, which is more to see."""
    whole = (*path, "needs")
    return whole if len(table.needs) == 1 and not scope.findings.is_broken_below(whole) else (*whole, index)


def check_needs(scope: Scope, file: WatchToml, units: Mapping[str, Build | Service]) -> None:
    """Report what is wrong about needs once all units are known."""
    _check_needed_builds(scope, file, units)
    _check_release_variables(scope, file, units)
    _check_cycles(scope, units)


def _check_needed_builds(scope: Scope, file: WatchToml, units: Mapping[str, Build | Service]) -> None:
    """Nothing may need a build that runs only when asked for, or use what is none of its outputs."""
    for unit in units.values():
        for need in unit.build_needs:
            build = units.get(need.name)
            if not isinstance(build, Build):
                continue
            if build.manual:
                where = _where_needed(scope, file, unit, need.name)
                scope.report(where, f'needs "{need.name}", which is manual: it runs only when asked for by name')
            if unknown := [one for one in need.uses if one not in build.outputs]:
                where = _where_needed(scope, file, unit, need.name)
                known = f"its outputs are: {', '.join(build.outputs)}" if build.outputs else "it has no outputs"
                scope.report(where, f'uses "{unknown[0]}", which is no output of "{need.name}"; {known}')


def _check_release_variables(scope: Scope, file: WatchToml, units: Mapping[str, Build | Service]) -> None:
    """A service cannot be told of two releases by one variable."""
    for unit in units.values():
        told: dict[str, str] = {}
        for need in unit.build_needs:
            build = units.get(need.name)
            if isinstance(build, Build) and build.outputs:
                other = told.setdefault(build.release_variable, need.name)
                if other != need.name:
                    message = (
                        f'{build.release_variable} would tell of "{other}" and of "{need.name}"; rename one of them'
                    )
                    scope.report(_where_needed(scope, file, unit, need.name), message)


def _written_as(unit: Build | Service) -> str:
    """The full name of the table that declares it, which replicas share."""
    return (unit.of if isinstance(unit, Service) else "") or unit.name


def _where_needed(scope: Scope, file: WatchToml, unit: Build | Service, need: str) -> KeyPath:
    """Where a need of a unit is written."""
    kind, _, declared = _written_as(unit).partition(".")
    table: UnitTable = file.build[declared] if kind == "build" else file.service[declared]
    for index, entry in enumerate(table.needs):
        try:
            if need in scope.names.find(entry.name):
                return _need_path(scope, (kind, declared), table, index)
        except ValueError:  # reported where it was resolved
            continue
    return (kind, declared)


def edges_of(units: Mapping[str, Build | Service]) -> dict[str, tuple[str, ...]]:
    """Who needs whom, by full names."""
    return {name: tuple(need.name for need in unit.needs) for name, unit in units.items()}


def _check_cycles(scope: Scope, units: Mapping[str, Build | Service]) -> None:
    """Each cycle is told with its path, at a need of it that is written in a file."""
    written_as = {name: _written_as(unit) for name, unit in units.items()}
    edges = {written_as[name]: needs for name, needs in edges_of(units).items()}
    edges = {name: tuple(dict.fromkeys(written_as.get(need, need) for need in needs)) for name, needs in edges.items()}
    for _ in range(_MAX_CYCLES):
        around = graph.cycle(edges)
        if around is None:
            return
        written = [(kind, short, "needs") for kind, _, short in (name.partition(".") for name in around[:-1])]
        first = next((at for at, path in enumerate(written) if scope.findings.layers.has(path)), 0)
        turned = (*around[first:-1], *around[: first + 1])
        scope.report(written[first], f"needs itself: {' -> '.join(turned)}")
        edges[around[-2]] = tuple(name for name in edges[around[-2]] if name != around[-1])
    scope.findings.notes.append("there may be more cycles; mend these first")
