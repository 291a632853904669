"""The graph of a project as text, DOT, Mermaid or plain data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from procwatch.core.model import Build, Need, Project, Service


def text(project: Project) -> str:
    """A tree for everything that nothing else needs; what stands above already is not unfolded again."""
    needed = {need.name for unit in project.units.values() for need in unit.needs}
    shown: set[str] = set()
    lines: list[str] = []
    for name, unit in project.units.items():
        if name not in needed:
            lines.append(name + _remarks(unit))
            lines.extend(_branches(project, name, "", shown))
    return "\n".join(lines) + "\n" if lines else ""


def _branches(project: Project, name: str, indent: str, shown: set[str]) -> Iterator[str]:
    """The lines below `name`; recursion is as deep as the longest chain of needs."""
    shown.add(name)
    needs = project.units[name].needs
    for need in needs:
        last = need is needs[-1]
        below = project.units[need.name]
        seen = need.name in shown and bool(below.needs)
        yield f"{indent}{'└─ ' if last else '├─ '}{need.name}{_label(need, ' ')}{_remarks(below)}{' …' if seen else ''}"
        if not seen:
            yield from _branches(project, need.name, indent + ("   " if last else "│  "), shown)


def _remarks(unit: Build | Service) -> str:
    """What keeps a unit from starting by itself."""
    if isinstance(unit, Build):
        return "  (manual)" if unit.manual else ""
    return "" if unit.autostart else "  (autostart = false)"


def _label(need: Need, before: str) -> str:
    """How an edge differs from the plain one of its kind."""
    words = []
    if need.until == "started":
        words.append("until started")
    if need.name.startswith("build.") != need.restart:
        words.append("restarts" if need.restart else "does not restart")
    return f"{before}({', '.join(words)})" if words else ""


def dot(project: Project) -> str:
    """Graphviz: an arrow from what needs to what is needed."""
    lines = [f"digraph {_quoted(project.name)} {{", "  rankdir=LR;"]
    for name in project.units:
        shape = "box" if name in project.builds else "ellipse"
        lines.append(f"  {_quoted(name)} [shape={shape}];")
    for unit in project.units.values():
        for need in unit.needs:
            label = _label(need, "").strip("()")
            style = f" [label={_quoted(label)}]" if label else ""
            lines.append(f"  {_quoted(unit.name)} -> {_quoted(need.name)}{style};")
    return "\n".join([*lines, "}"]) + "\n"


def mermaid(project: Project) -> str:
    """A Mermaid flowchart: boxes are builds, rounded boxes services."""
    ids = {name: f"n{number}" for number, name in enumerate(project.units)}
    lines = ["flowchart LR"]
    for name, key in ids.items():
        left, right = ("[", "]") if name in project.builds else ("([", "])")
        lines.append(f'  {key}{left}"{name}"{right}')
    for unit in project.units.values():
        for need in unit.needs:
            label = _label(need, "").strip("()")
            arrow = f'-- "{label}" -->' if label else "-->"
            lines.append(f"  {ids[unit.name]} {arrow} {ids[need.name]}")
    return "\n".join(lines) + "\n"


def data(project: Project) -> dict[str, Any]:
    """Names in an order in which they can start, and what each needs, as plain data."""
    units = [
        {
            "name": unit.name,
            "kind": "build" if isinstance(unit, Build) else "service",
            "needs": [{"name": need.name, "restart": need.restart, "until": need.until} for need in unit.needs],
        }
        for unit in project.units.values()
    ]
    return {"project": project.name, "units": units}


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
