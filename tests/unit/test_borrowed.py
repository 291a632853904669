"""The keys that detach, and what a program has switched in a terminal, wherever the bytes are cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.control.borrowed import Keys, Modes, parse_keys
from procwatch.errors import UsageError


@pytest.mark.parametrize(
    ("text", "keys"),
    [("ctrl-]", b"\x1d"), ("ctrl-p,ctrl-q", b"\x10\x11"), ("CTRL-A", b"\x01"), ("ctrl-@,x", b"\0x"), ("~,.", b"~.")],
)
def test_keys_are_written_as_a_person_says_them(text: str, keys: bytes) -> None:
    assert parse_keys(text) == keys


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-1", "ab", "ctrl-p,", "ü", "\x1b"])
def test_what_is_no_key_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="is no key"):
        parse_keys(text)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.sampled_from(b"ab"), max_size=30).map(bytes), st.lists(st.integers(0, 30)), st.data())
def test_nothing_that_is_typed_is_lost_but_the_keys(typed: bytes, places: list[int], data: st.DataObject) -> None:
    wanted = data.draw(st.lists(st.sampled_from("ab"), min_size=1, max_size=4))
    keys = "".join(wanted).encode()
    finder = Keys(",".join(wanted))
    passed, is_end = b"", False
    for piece in cut(typed, places):
        more, is_end = finder.feed(piece)
        passed += more
        if is_end:
            break
    assert is_end == (keys in typed)
    before = typed[: typed.find(keys)] if is_end else typed
    assert before.startswith(passed)
    held = before[len(passed) :]
    assert held == b"" if is_end else keys.startswith(held)


SEEN = b"a\x1b[?1049hb\x1b[?25l\x1b[?7l\x1b[?1000;1002h\x1b[?1002l\x1b=\x1b[>1u\x1b[>3u\x1b[<u\x1b[31mtext"


@given(st.lists(st.integers(0, len(SEEN))))
def test_what_was_switched_is_switched_back(places: list[int]) -> None:
    modes = Modes()
    for piece in cut(SEEN, places):
        modes.feed(piece)
    assert modes.undone() == b"\x1b[?7h\x1b[?25h\x1b[?1000l\x1b[?1049l\x1b>\x1b[<1u\x1b[0m"


@pytest.mark.parametrize(
    "seen", [b"text\n", SEEN + b"\x1bc", b"\x1b[?1049h\x1b[?1049l", b"\x1b[?99999999999999999999h"]
)
def test_nothing_is_switched_that_is_as_usual(seen: bytes) -> None:
    modes = Modes()
    modes.feed(seen)
    assert modes.undone() == b"\x1b[0m"


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
def test_any_bytes_are_taken(seen: bytes, places: list[int]) -> None:
    modes = Modes()
    for piece in cut(seen, places):
        modes.feed(piece)
    assert modes.undone().endswith(b"\x1b[0m")
