"""A command line that is understood without click means what click makes of it; all others are left to click."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch import begin, build, cli, remote
from procwatch.options import Ask, Options, plain_ask, plain_start

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
    "start -d",
    "start api --detach -q",
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
    "start -vd",
    "start -d --json",
    "start --except api",
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


PLAIN_ASKS = [
    "status",
    "status --json api",
    "-f dev.toml why api",
    "restart api db --no-wait --json",
    "build app",
    "stop",
    "stop api -f dev.toml",
    "wait api --json",
    "pause",
    "resume api",
    "reload --no-wait",
]
ASKS_LEFT = [
    "",
    "start",
    "why",
    "restart",
    "restart api --timeout 3",
    "wait api --no-wait",
    "status -x",
    "events",
    "stop --help",
]


def asked_by_click(words: list[str], monkeypatch: pytest.MonkeyPatch) -> Ask | None:
    """What the command line would ask for; None if nothing."""
    asked: list[Ask] = []
    monkeypatch.setattr("sys.argv", ["procwatch", *words])
    monkeypatch.setattr(remote, "ask", asked.append)
    monkeypatch.setattr(build, "build", asked.append)
    cli.run()
    return asked[0] if asked else None


@pytest.mark.parametrize("line", PLAIN_ASKS)
def test_what_is_plainly_asked_is_what_click_makes_of_it(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    what = plain_ask(line.split())
    assert what is not None
    assert what == asked_by_click(line.split(), monkeypatch)


@pytest.mark.parametrize("line", ASKS_LEFT)
def test_what_is_not_plainly_asked_is_left_to_click(line: str) -> None:
    assert plain_ask(line.split()) is None


ASK_WORDS = st.sampled_from(
    ["status", "why", "stop", "wait", "restart", "api", "-f", "x.toml", "--json", "--no-wait", "-h", "--"]
)


@given(st.lists(ASK_WORDS, max_size=6))
def test_any_question_means_the_same_with_and_without_click(words: list[str]) -> None:
    what = plain_ask(words)
    if what is not None:
        with pytest.MonkeyPatch.context() as patched:
            assert what == asked_by_click(words, patched)


def test_a_limit_is_a_duration(monkeypatch: pytest.MonkeyPatch) -> None:
    found = asked_by_click(["wait", "api", "--timeout", "2m"], monkeypatch)
    assert found == Ask("wait", ("api",), timeout_s=120.0)
    assert asked_by_click(["wait", "api", "--timeout", "soon"], monkeypatch) is None
