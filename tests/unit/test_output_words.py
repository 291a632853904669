"""How durations, paths and lists are put into words."""

from __future__ import annotations

import pytest

from procwatch.output.words import changed, duration, listed, printable, unicode_only


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "0 ms"),
        (-1.0, "0 ms"),
        (0.085, "85 ms"),
        (0.0994, "99 ms"),
        (0.0996, "0.1 s"),
        (0.2, "0.2 s"),
        (1.31, "1.3 s"),
        (9.94, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 0 s"),
        (125, "2 min 5 s"),
        (3599.7, "1 h 0 min"),
        (3780, "1 h 3 min"),
    ],
)
def test_a_duration_is_told_in_the_unit_that_fits_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, ""), (1, "b0"), (6, "b0, b1, b2, b3, b4, b5"), (7, "b0, b1, b2, b3, b4 and 2 more")],
)
def test_of_many_names_the_first_are_shown_and_the_rest_counted(count: int, words: str) -> None:
    assert listed([f"b{number}" for number in range(count)]) == words


@pytest.mark.parametrize(
    ("paths", "words"),
    [
        ((), "files changed"),
        (("a.rs",), "a.rs changed"),
        (("a.rs", "b.rs", "c.rs", "d.rs"), "a.rs and 3 more changed"),
    ],
)
def test_changed_paths_are_told_by_the_first_and_how_many_more(paths: tuple[str, ...], words: str) -> None:
    assert changed(paths) == words


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("src/é ü/日本.rs", "src/é ü/日本.rs"),
        ("a\nb\x1b[2J\t", "a\\nb\\x1b[2J\\t"),
        ("bad\udcff\udc80", "bad\\xff\\x80"),
        ("\ud800", "\\ud800"),
        ("turn\u202eround", "turn\\u202eround"),
        ("c1\x9b", "c1\\x9b"),
    ],
)
def test_what_would_steer_a_terminal_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_for_json_only_bytes_that_are_not_utf8_are_written_out() -> None:
    assert unicode_only("a\n\udcffé\ud800") == "a\n\\xffé\\ud800"
