"""The terminal's filter: no matter how the bytes are cut, and nothing gets through that steers a terminal."""

from __future__ import annotations

import re
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from procwatch.output.controls import ControlFilter

_PARTS = [
    b"\x1b", b"\x1b[", b"\x1b]0;", b"\x1bP", b"\x1b\\", b"\x07", b"\x18", b"[", b"]", b"m", b"0m", b"31", b";", b"?",
    b" ", b"\x1b[31m", b"\x1b[0m", b"\x1b[m", b"\x1b[38;5;1m", b"\x1b[2J", b"\n", b"\r", b"\t", b"x", b"\\", b"\x9b",
    b"\xc2", b"\xc2\x9b", b"\xe2", b"\x80", b"\x94", b"\xf0\x9f", b"\xa6\x80", b"\xe9", b"\x1b[" + b"1;" * 70,
    "日本 é".encode(),
]  # fmt: skip
OUTPUT = st.lists(st.sampled_from(_PARTS) | st.binary(max_size=3), max_size=40).map(b"".join)
COLOUR = re.compile(rb"\x1b\[[0-9;:]*m")


def _filtered(chunks: list[bytes]) -> bytes:
    filter_ = ControlFilter()
    return b"".join(filter_.feed(chunk) for chunk in chunks)


@given(output=OUTPUT, cuts=st.lists(st.integers(0, 150)))
def test_the_result_does_not_depend_on_the_cuts(output: bytes, cuts: list[int]) -> None:
    places = [0, *sorted({min(cut, len(output)) for cut in cuts}), len(output)]
    chunks = [output[begin:end] for begin, end in pairwise(places)]
    ended = [b"\n"]
    assert _filtered(chunks + ended) == _filtered([output, *ended])
    assert _filtered([bytes([byte]) for byte in output] + ended) == _filtered([output, *ended])


@given(output=OUTPUT)
def test_no_escape_but_of_a_colour_and_no_control_but_tab_and_line_feed_come_out(output: bytes) -> None:
    text = COLOUR.sub(b"", _filtered([output, b"\n"]))
    assert not re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", text)
    assert not re.search("[\x80-\x9f]", text.decode(errors="ignore"))
    assert not re.search(rb"(?<![\x80-\xff])[\x80-\x9f]", text)


@given(output=OUTPUT)
def test_no_line_leaves_a_colour_open(output: bytes) -> None:
    for line in _filtered([output, b"\n"]).split(b"\n"):
        colours = COLOUR.findall(line)
        assert not colours or re.fullmatch(rb"\x1b\[0*m", colours[-1])


@given(output=OUTPUT)
def test_every_line_is_still_there(output: bytes) -> None:
    assert _filtered([output, b"\n"]).count(b"\n") == output.count(b"\n") + 1


@given(text=st.text(st.characters(exclude_categories=["Cc", "Cs"])), cuts=st.lists(st.integers(0, 50)))
def test_text_without_controls_is_left_as_it_is(text: str, cuts: list[int]) -> None:
    data = text.encode()
    places = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    chunks = [data[begin:end] for begin, end in pairwise(places)]
    assert _filtered([*chunks, b"\n"]) == data + b"\n"
