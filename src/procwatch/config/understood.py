"""The document as procwatch understands it: defaults laid under, the Procfile's lines taken in, every default written.

Rule 1: a document in, a document out, in the form of watch.toml: what is made here can be loaded again.
"""

from __future__ import annotations

from collections.abc import Mapping

from procwatch.config.layers import PROBE_KINDS, UNIT_KINDS, Layers, overlay
from procwatch.config.procfile import RELEASE, Procfile
from procwatch.config.schema import BuildTable, ServiceTable, Table, WatchToml, sub_table
from procwatch.config.source import Document
from procwatch.core.model import DEFAULT_READY, Project


def effective(document: Document, procfile: Procfile | None) -> Document:
    """The document with `[defaults.*]` and the Procfile laid under each table."""
    whole = {key: value for key, value in document.items() if key != "defaults"}
    defaults = _table(document.get("defaults"))
    for kind in ("build", "service"):
        units = _from_procfile(procfile, kind)
        for name, table in _table(document.get(kind)).items():
            units[name] = overlay(units.get(name, {}), table, (kind, name))
        if units:
            below = _table(defaults.get(kind))
            whole[kind] = {name: overlay(below, table, (kind, name)) for name, table in units.items()}
    if procfile is not None and procfile.release is not None:
        for process in procfile.services:
            _need_release(_table(_table(whole["service"])[process.name]))
    return whole


def _from_procfile(procfile: Procfile | None, kind: str) -> Document:
    """The Procfile's processes of a kind as tables."""
    if procfile is None:
        return {}
    if kind == "service":
        return {process.name: {"run": process.command} for process in procfile.services}
    return {RELEASE: {"run": procfile.release.command, "at_start": "always"}} if procfile.release else {}


def _need_release(service: Document) -> None:
    """Every process of the Procfile waits for its release, and is not restarted by it."""
    full = f"build.{RELEASE}"
    needs = service.get("needs", [])
    if isinstance(needs, list):
        named = [need.get("name") if isinstance(need, dict) else need for need in needs]
        if full not in named and RELEASE not in named:
            service["needs"] = [*needs, {"name": full, "restart": False}]


def filled(document: Document, project: Document) -> Document:
    """The effective document with every default written out; `project` has those that no schema can know."""
    whole: Document = {"project": _fill(WatchToml.model_fields["project"].annotation, _table(document.get("project")))}
    whole["project"] = {key: value for key, value in project.items() if value is not None} | _table(whole["project"])
    if groups := document.get("groups"):
        whole["groups"] = groups
    whole["watch"] = _fill(WatchToml.model_fields["watch"].annotation, _table(document.get("watch")))
    for kind, table in (("build", BuildTable), ("service", ServiceTable)):
        units = _table(document.get(kind))
        if units:
            whole[kind] = {name: _fill_unit(table, _table(unit)) for name, unit in units.items()}
    return whole


def at_home(document: Document, made: Project, layers: Layers) -> Document:
    """The document with what was included as if it stood in the main file."""
    project = {key: value for key, value in _table(document["project"]).items() if key != "include"}
    whole = document | {"project": project}
    for kind in UNIT_KINDS:
        units = dict(_table(document.get(kind)))
        for name, table in units.items():
            unit = made.units.get(f"{kind}.{name}")
            if unit is not None and layers.first_home((kind, name)):
                lists = {"watch": unit.watch, "ignore": unit.ignore, "env_file": unit.env_files}
                units[name] = _table(table) | {"dir": unit.dir, **{key: list(value) for key, value in lists.items()}}
        if units:
            whole[kind] = units
    return whole


def _fill_unit(table: type[Table], unit: Document) -> Document:
    """A build or service with its defaults; a service also with the probe that it has by default."""
    full = _fill(table, unit)
    if table is ServiceTable:
        is_listened_for = bool(unit.get("listen") or unit.get("proxy"))
        ready = _fill(sub_table(ServiceTable.model_fields["ready"].annotation), _table(unit.get("ready")))
        if not any(kind in ready for kind in PROBE_KINDS):
            ready = ({"tcp": True} if "port" in unit or is_listened_for else {"delay": DEFAULT_READY.delay_s}) | ready
        full["ready"] = ready
        full.setdefault("switch", "overlap" if is_listened_for else "replace")
    return full


def _fill(annotation: object, table: Mapping[str, object]) -> Document:
    """A table with the defaults of its type; keys without a default are left out."""
    fields = (sub_table(annotation) or Table).model_fields
    full: Document = {}
    for key, field in fields.items():
        if isinstance(field.default, Table):
            full[key] = _fill(field.annotation, _table(table.get(key)))
        elif isinstance(inner := table.get(key), dict) and sub_table(field.annotation):
            full[key] = _fill(field.annotation, inner)
        elif key in table:
            full[key] = table[key]
        elif field.default is not None:
            full[key] = field.default
    return full


def _table(value: object) -> Document:
    return value if isinstance(value, dict) else {}
