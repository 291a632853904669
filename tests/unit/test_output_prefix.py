"""Time, name and colour before each line."""

from __future__ import annotations

import time

import pytest

from procwatch.core.model import Build, Service
from procwatch.errors import UsageError
from procwatch.output.prefix import Prefixes, wants_color
from procwatch.streams import is_terminal

NOON_S = time.mktime((2026, 1, 31, 12, 0, 1, 0, 0, -1))


class _Clock:
    def __init__(self, now_s: float = NOON_S) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


def test_names_are_padded_to_the_widest_and_procwatch_is_one_of_them() -> None:
    prefixes = Prefixes([Build("build.api", "x")], color=False, now=_Clock())
    assert prefixes.of("api") == b"12:00:01 api       | "
    assert prefixes.own() == b"12:00:01 procwatch | "
    wide = Prefixes([Build("build.a-longer-name", "x"), Service("service.api", "x")], color=False, now=_Clock())
    assert wide.of("api") == b"12:00:01 api           | "
    assert wide.of("a-longer-name") == b"12:00:01 a-longer-name | "


def test_the_time_is_that_of_the_call() -> None:
    clock = _Clock()
    prefixes = Prefixes([], color=False, now=clock)
    assert prefixes.of("api").startswith(b"12:00:01 ")
    clock.now_s += 0.9
    assert prefixes.of("api").startswith(b"12:00:01 ")
    clock.now_s += 0.2
    assert prefixes.of("api").startswith(b"12:00:02 ")


def test_colours_go_by_order_and_build_and_service_of_one_name_share_theirs() -> None:
    units = [Build("build.api", "x"), Build("build.lib", "x"), Service("service.api", "x"), Service("service.web", "x")]
    prefixes = Prefixes(units, color=True, now=_Clock())
    assert prefixes.of("api") == b"\x1b[0m\x1b[36m12:00:01 api       | \x1b[0m"
    assert prefixes.of("lib").startswith(b"\x1b[0m\x1b[33m")
    assert prefixes.of("web").startswith(b"\x1b[0m\x1b[32m")


def test_a_colour_of_its_own_wins_and_moves_nobody_else() -> None:
    units = [Build("build.api", "x"), Build("build.lib", "x"), Service("service.api", "x", color="intense_red")]
    prefixes = Prefixes(units, color=True, now=_Clock())
    assert prefixes.of("api").startswith(b"\x1b[0m\x1b[31;1m")
    assert prefixes.of("lib").startswith(b"\x1b[0m\x1b[33m")


def test_a_name_that_was_not_announced_gets_the_next_colour_and_keeps_it() -> None:
    prefixes = Prefixes([Build("build.api", "x")], color=True, now=_Clock())
    late = prefixes.of("late")
    assert late.startswith(b"\x1b[0m\x1b[33m")
    assert prefixes.of("later").startswith(b"\x1b[0m\x1b[32m")
    assert prefixes.of("late") == late


def test_an_unknown_colour_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(UsageError, match=r'^log\.color: there is no colour "mauve"; colours are: grey, red, green'):
        Prefixes([Build("build.api", "x", color="mauve")], color=True)


@pytest.mark.parametrize(
    ("environ", "terminal", "wanted"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"TERM": "dumb"}, True, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"FORCE_COLOR": ""}, False, False),
        ({"FORCE_COLOR": "0"}, False, False),
        ({"FORCE_COLOR": "3", "TERM": "dumb"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
    ],
)
def test_no_color_wins_then_force_color_then_the_terminal(
    environ: dict[str, str], terminal: bool, wanted: bool
) -> None:
    assert wants_color(environ, terminal=terminal) is wanted


def test_a_descriptor_that_is_not_open_is_no_terminal() -> None:
    assert not is_terminal(987_654)
