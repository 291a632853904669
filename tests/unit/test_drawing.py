"""The graph as text, DOT, Mermaid and data."""

from __future__ import annotations

from dataclasses import replace

from procwatch.core import drawing
from procwatch.core.model import Need
from tests.rig.world import build, project, service

DIAMOND = project(
    build("lib"), build("left", "build.lib"), build("right", "build.lib!"), build("seed", manual=True), service("db"),
    replace(service("app", "build.left", "build.right"), needs=(
        Need("build.left", restart=True), Need("build.right", restart=True),
        Need("service.db", restart=False, until="started"),
    )),
)  # fmt: skip


def test_the_tree_unfolds_each_part_once() -> None:
    assert drawing.text(DIAMOND) == (
        "build.seed  (manual)\n"
        "service.app\n"
        "├─ build.left\n"
        "│  └─ build.lib\n"
        "├─ build.right\n"
        "│  └─ build.lib (does not restart)\n"
        "└─ service.db (until started)\n"
    )
    twice = project(build("a"), build("b", "build.a"), service("x", "build.b"), service("y", "build.b"))
    assert drawing.text(twice) == "service.x\n└─ build.b\n   └─ build.a\nservice.y\n└─ build.b …\n"


def test_dot_points_from_what_needs_to_what_is_needed() -> None:
    lines = drawing.dot(DIAMOND).splitlines()
    assert lines[0] == 'digraph "world" {'
    assert '  "build.left" -> "build.lib";' in lines
    assert '  "service.app" -> "service.db" [label="until started"];' in lines
    assert lines[-1] == "}"


def test_mermaid_names_every_unit_and_edge() -> None:
    lines = drawing.mermaid(DIAMOND).splitlines()
    assert lines[0] == "flowchart LR"
    assert '  n0["build.lib"]' in lines
    assert '  n4(["service.db"])' in lines
    assert '  n2 -- "does not restart" --> n0' in lines


def test_the_data_keeps_an_order_in_which_everything_can_start() -> None:
    units = drawing.data(DIAMOND)["units"]
    seen: set[str] = set()
    for unit in units:
        assert {need["name"] for need in unit["needs"]} <= seen
        seen.add(unit["name"])
    assert len(seen) == 6
