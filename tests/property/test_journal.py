"""Reading a journal takes anything, and gives back what was written as far as that is whole."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from procwatch.runtime import census
from procwatch.runtime.journal import Leader, Supervisor, parse

BOOT, SPACE = "b", 5
numbers = st.integers(1, 2**40)
leaders = st.builds(
    Leader, st.text(), st.builds(census.Member, st.integers(2, 2**22), numbers), st.just("t-1"), st.integers(0, 2**40)
)
junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(
        st.sampled_from(["supervisor", "token", "boot", "space", "forks", "leader", "name", "mark", "pipe"]), inner
    ),
)  # fmt: skip


def own(**changes: object) -> bytes:
    """The first line."""
    line = {"supervisor": [7, 70], "token": "t", "boot": BOOT, "space": SPACE, "forks": 9} | changes
    return json.dumps(line).encode() + b"\n"


def line_of(leader: Leader) -> bytes:
    """A line as the journal writes it."""
    process = [leader.process.pid, leader.process.started]
    entry = {"leader": process, "name": leader.name, "mark": leader.mark, "pipe": leader.pipe}
    return json.dumps(entry).encode() + b"\n"


@given(st.lists(leaders), st.integers(0, 400))
def test_what_was_cut_loses_its_last_line_only(written: list[Leader], cut: int) -> None:
    whole = own() + b"".join(map(line_of, written))
    content = whole[: max(len(own()), len(whole) - cut)]
    found = parse(content, BOOT, SPACE)
    assert found == Supervisor(census.Member(7, 70), "t", 9, found.leaders if found else ())
    # A line that lacks only its end is whole.
    assert found.leaders == tuple(written[: (content + b"\n").count(b"}\n") - 1])


@given(st.binary() | st.lists(junk).map(lambda lines: b"\n".join(json.dumps(line).encode() for line in lines)))
def test_junk_tells_of_nobody(content: bytes) -> None:
    found = parse(own() + content, BOOT, SPACE)
    assert found is not None
    assert all(leader.process.pid > 1 and leader.mark.startswith("t-") for leader in found.leaders)
    parse(content, BOOT, SPACE)


@given(st.sampled_from(["supervisor", "token", "boot", "space", "forks"]), junk)
def test_a_first_line_with_junk_in_it_tells_of_nobody(key: str, value: object) -> None:
    found = parse(own(**{key: value}), BOOT, SPACE)
    assert found is None or (found.process.pid > 1 and found.process.started > 0 and found.token)
