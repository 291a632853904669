"""A `logs` that is understood without click means what click makes of it; all others are left to click."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch import cli, show_logs
from procwatch.options import LogOptions, plain_logs

PLAIN = [
    "logs",
    "logs api -f -n 5 worker",
    "-f dev.toml logs --follow --lines 0 --json",
    "-f logs logs logs --no-prefix",
    "--file a --file b logs",
    "logs --since 10m --grep -x",
    "logs -n 1 --lines 2",
    "logs start",
]
LEFT = [
    "",
    "start",
    "start logs",
    "-f logs",
    "logs -n",
    "logs -n five",
    "logs -n -1",
    "logs -n 0x1",
    "logs -n5",
    "logs -fn 5",
    "logs --since=10m",
    "logs --file dev.toml",
    "logs -- -x",
    "logs --help",
    "logs -v",
    "logs -",
]


def by_click(words: list[str], monkeypatch: pytest.MonkeyPatch) -> LogOptions | None:
    """What the command line would show; None if nothing."""
    asked: list[LogOptions] = []
    monkeypatch.setattr("sys.argv", ["procwatch", *words])
    monkeypatch.setattr(show_logs, "show", asked.append)
    cli.run()
    return asked[0] if asked else None


@pytest.mark.parametrize("line", PLAIN)
def test_a_plain_logs_is_what_click_makes_of_it(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    options = plain_logs(line.split())
    assert options is not None
    assert options == by_click(line.split(), monkeypatch)


@pytest.mark.parametrize("line", LEFT)
def test_what_is_not_plain_is_left_to_click(line: str) -> None:
    assert plain_logs(line.split()) is None


WORDS = st.sampled_from(
    [*"logs api -f --file x.toml -n --lines 5 -1 --since --grep --follow --no-prefix --json --".split(), ""]  # noqa: SIM905
)


@given(st.lists(WORDS, max_size=6))
def test_no_command_line_is_understood_in_another_way(words: list[str]) -> None:
    options = plain_logs(["logs", *words])
    if options is not None:
        with pytest.MonkeyPatch.context() as patched:
            assert options == by_click(["logs", *words], patched)


def test_a_shell_that_asks_for_completions_is_answered_by_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_PROCWATCH_COMPLETE", "bash_complete")
    assert plain_logs(["logs"]) is None


def test_before_the_command_f_names_a_file_and_behind_it_follows() -> None:
    assert plain_logs(["-f", "a/b", "logs", "-f"]) == LogOptions(file=Path("a/b"), follow=True)
