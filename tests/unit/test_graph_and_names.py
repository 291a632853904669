"""Cycles, order, closure; names as a user writes them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from procwatch.core import graph, names
from procwatch.errors import UsageError
from tests.rig.world import build, project, service


def test_a_cycle_is_given_with_its_path() -> None:
    edges = {"build.a": ("service.b",), "service.b": ("build.a",), "build.c": ("build.a",)}
    assert graph.cycle(edges) == ("build.a", "service.b", "build.a")
    assert graph.cycle({"a": ("a",)}) == ("a", "a")
    assert graph.cycle({"a": ("b",), "c": ("b",)}) is None


def test_the_order_puts_needed_ones_first_and_keeps_the_rest() -> None:
    assert graph.order({"z": (), "b": ("c",), "a": (), "c": ()}) == ("z", "c", "b", "a")
    with pytest.raises(ValueError, match="a -> b -> a"):
        graph.order({"a": ("b",), "b": ("a",)})


def test_a_chain_of_any_length_is_handled() -> None:
    edges = {str(number): (str(number + 1),) for number in range(50_000)}
    assert graph.order(edges)[0] == "50000"
    assert len(graph.closure(edges, ["0"])) == 50_001


PROJECT = replace(
    project(
        build("api"), build("seed", manual=True), build("only"), service("api", "build.api"),
        service("db", autostart=False),
    ),
    groups={"backend": ("service.api", "service.db"), "none": ()},
)  # fmt: skip


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["api"], ("service.api",)),
        (["service.api", "api"], ("service.api",)),
        (["backend"], ("service.api", "service.db")),
        (["build.only"], ("build.only",)),
        ([], ("build.api", "build.only", "service.api")),
    ],
)
def test_what_start_is_given(words: list[str], found: tuple[str, ...]) -> None:
    assert names.to_start(PROJECT, words) == found


def test_the_projects_default_is_what_a_bare_start_starts() -> None:
    assert names.to_start(replace(PROJECT, default=("service.db",)), []) == ("service.db",)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("apo", 'did you mean "api"'),
        ("xyzzy", "services are: api, db"),
        ("build.xyzzy", 'no "build.xyzzy"; builds are: build.api, build.seed, build.only'),
        ("none", '"none" stands for nothing'),
        ("only", 'say "build.only"'),
    ],
)
def test_an_unknown_name_is_an_error_with_a_suggestion(word: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        names.services(PROJECT, [word])
