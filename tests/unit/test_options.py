"""A command line that is understood without click means what click makes of it; all others are left to click."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch import begin, cli
from procwatch.options import Options, plain_start

PLAIN = [
    "start",
    "start api",
    "start api db --no-watch",
    "start -v api",
    "start -q",
    "start -q -q --json --clear",
    "start --verbose",
    "start --quiet api",
    "start -f dev.toml",
    "-f dev.toml start",
    "--file dev.toml start api -f other/Procfile -v",
    "start start",
    "start -f -v",
    "-f start start",
]
LEFT = [
    "",
    "check",
    "check start",
    "start -v -q",
    "start --verbose --quiet",
    "start -vq",
    "start -fdev.toml",
    "start --file=dev.toml",
    "start -f",
    "start -- -x",
    "start -e dev.env",
    "start -c web=2",
    "start --help",
    "start -h",
    "-v start",
    "--json start",
    "--version",
    "start --no-wat",
    "start -x",
    "start -",
]


def by_click(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Options | None:
    """What the command line would start; None if nothing."""
    started: list[Options] = []
    monkeypatch.setattr("sys.argv", ["procwatch", *words])
    monkeypatch.setattr(begin, "start", started.append)
    cli.run()
    return started[0] if started else None


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_start_is_what_click_makes_of_it(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = plain_start(line.split())
    assert options is not None
    assert options == by_click(line.split(), monkeypatch)


@pytest.mark.parametrize("line", LEFT)
def test_what_is_not_plain_is_left_to_click(line: str) -> None:
    assert plain_start(line.split()) is None


WORDS = st.sampled_from(["start", "check", "api", "-f", "--file", "x.toml", "-v", "-q", "--json", "--no-watch", "--"])


@given(st.lists(WORDS, max_size=6))
def test_no_command_line_is_understood_in_another_way(words: list[str]) -> None:
    options = plain_start(words)
    if options is not None:
        with pytest.MonkeyPatch.context() as patch:
            assert options == by_click(words, patch)


def test_a_shell_that_asks_for_completions_is_answered_by_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PROCWATCH_COMPLETE", "bash_complete")
    assert plain_start(["start"]) is None


def test_a_file_is_a_path() -> None:
    assert plain_start(["start", "-f", "a/b"]) == Options(file=Path("a/b"))
