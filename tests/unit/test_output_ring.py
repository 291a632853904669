"""The last output of a unit without a log file: in the form of one, bounded, and nothing is shown twice or hidden."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from procwatch.output.ring import Ring

PIECES = st.lists(st.tuples(st.sampled_from("ab"), st.binary(min_size=1, max_size=30)), max_size=30)


def lines_of(data: bytes) -> bytes:
    """Without the times, which differ by a millisecond."""
    return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ", b"", data)


@given(PIECES, st.integers(1, 200))
def test_pages_follow_each_other_and_lack_only_what_was_pushed_out(pieces: list[tuple[str, bytes]], size: int) -> None:
    small, large = Ring(size), Ring()
    read, place = b"", 0
    gone = 0
    for source, data in pieces:
        small.put(source, data)
        large.put(source, data)
        page = small.page(place, 50)
        gone += page.begin - place
        read += page.data
        place = page.begin + len(page.data)
        assert page.is_last == (not small.page(place, 50).data)
    while (page := small.page(place, 50)).data:
        gone += page.begin - place
        read += page.data
        place = page.begin + len(page.data)
    whole = large.page(0).data
    assert len(read) + gone == len(whole)
    if not gone:
        assert lines_of(read) == lines_of(whole)


def test_it_is_what_a_log_file_would_hold() -> None:
    ring = Ring()
    ring.put("one", b"first\nsecond\n")
    ring.put("one", b"unfini")
    ring.put("one", b"shed\n")
    ring.put("one", b"broken ")
    ring.put("two", b"off\n")
    assert lines_of(ring.page(0).data) == b"first\nsecond\nunfinished\nbroken \noff\n"


def test_it_keeps_no_more_than_it_may() -> None:
    ring = Ring(1000)
    for number in range(1000):
        ring.put("one", b"%063d\n" % number)
    page = ring.page(0)
    assert 1000 <= len(page.data) < 1200
    assert lines_of(page.data).endswith(b"%063d\n" % 999)
    assert ring.page(10**9).data == b""
