"""However a process's bytes are cut, its lines come out whole, in order, each behind its prefix."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procwatch.core.model import Service, Terminal
from procwatch.output import channel as channel_module
from procwatch.output.channel import Channel
from procwatch.output.prefix import Prefixes
from procwatch.output.screen import Screen

NAMES = ("a", "bb", "ccc")
# Bytes that matter, and any others.
BYTES = st.lists(
    st.sampled_from([b"\n", b"\r", b"\x00", b"\x1b[31m", b"\xff", b"text", b"\x0b\x85"]) | st.binary()
).map(b"".join)


def _noon() -> float:
    return 0.0


def _cut(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    return [data[begin:end] for begin, end in pairwise(places)]


def _lines(data: bytes) -> list[bytes]:
    return data.removesuffix(b"\n").split(b"\n") if data else []


def _shown(feeds: Iterable[tuple[str, bytes]], mode: Terminal = "all") -> tuple[bytes, Prefixes]:
    """What stands in a file after the chunks were fed in this order, and all channels were finished as failed."""
    prefixes = Prefixes([Service(f"service.{name}", "x") for name in NAMES], color=False, now=_noon)
    with tempfile.TemporaryFile() as file:
        screen = Screen(file.fileno(), prefixes)
        channels = {name: Channel(screen, name, mode) for name in NAMES}
        for name, chunk in feeds:
            channels[name].feed(chunk)
        for channel in channels.values():
            channel.finish(failed=True)
            channel.finish(failed=True)
        assert screen.close(30.0)
        file.seek(0)
        return file.read(), prefixes


@given(data=BYTES, cuts=st.lists(st.integers(0, 200)), mode=st.sampled_from(["all", "on-failure"]))
def test_one_process_has_its_lines_in_order_each_with_the_exact_prefix(
    data: bytes, cuts: list[int], mode: Terminal
) -> None:
    shown, prefixes = _shown((("bb", chunk) for chunk in _cut(data, cuts)), mode)
    assert shown == b"".join(prefixes.of("bb") + line + b"\n" for line in _lines(data))


@given(
    outputs=st.tuples(BYTES, BYTES, BYTES), cuts=st.lists(st.integers(0, 60)), order=st.randoms(use_true_random=False)
)
def test_three_processes_at_once_have_each_their_lines_whole_and_in_order(
    outputs: tuple[bytes, bytes, bytes], cuts: list[int], order: object
) -> None:
    waiting = {name: _cut(data, cuts) for name, data in zip(NAMES, outputs, strict=True)}
    feeds: list[tuple[str, bytes]] = []
    while any(waiting.values()):
        name = order.choice([name for name in NAMES if waiting[name]])  # type: ignore[attr-defined]  # a random.Random
        feeds.append((name, waiting[name].pop(0)))
    shown, prefixes = _shown(feeds)
    lines = _lines(shown)
    assert len(lines) == sum(len(_lines(data)) for data in outputs)
    for name, data in zip(NAMES, outputs, strict=True):
        prefix = prefixes.of(name)
        assert [line.removeprefix(prefix) for line in lines if line.startswith(prefix)] == _lines(data)


@given(data=BYTES, cuts=st.lists(st.integers(0, 200)), limit=st.integers(1, 30))
def test_a_line_beyond_the_limit_comes_out_as_it_is_while_nothing_comes_between(
    data: bytes, cuts: list[int], limit: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel_module, "LINE_LIMIT_BYTES", limit)
        shown, prefixes = _shown(("bb", chunk) for chunk in _cut(data, cuts))
    assert shown == b"".join(prefixes.of("bb") + line + b"\n" for line in _lines(data))


@given(outputs=st.tuples(BYTES, BYTES), size=st.integers(1, 20), limit=st.integers(1, 10))
def test_pieces_of_long_lines_stay_whole_and_none_is_lost(outputs: tuple[bytes, bytes], size: int, limit: int) -> None:
    first, second = (_cut(data, range(0, len(data), size)) for data in outputs)
    feeds = [("a", chunk) for chunk in first]
    for place, chunk in enumerate(second):
        feeds.insert(min(2 * place, len(feeds)), ("bb", chunk))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(channel_module, "LINE_LIMIT_BYTES", limit)
        shown, prefixes = _shown(feeds)
    for name, data in zip(("a", "bb"), outputs, strict=True):
        prefix = prefixes.of(name)
        pieces = [line.removeprefix(prefix) for line in _lines(shown) if line.startswith(prefix)]
        assert b"".join(pieces) == data.replace(b"\n", b"")
        assert len(pieces) >= len(_lines(data))
    assert all(re.match(rb"\d\d:\d\d:\d\d (a|bb) +\| ", line) for line in _lines(shown))


@given(data=BYTES, cuts=st.lists(st.integers(0, 200)))
def test_watchers_and_the_tail_get_the_bytes_as_they_were_written(data: bytes, cuts: list[int]) -> None:
    prefixes = Prefixes([], color=True, now=_noon)
    with tempfile.TemporaryFile() as file:
        screen = Screen(file.fileno(), prefixes, terminal=True)
        channel = Channel(screen, "a", "none")
        seen: list[bytes] = []
        channel.watch(seen.append)
        for chunk in _cut(data, cuts):
            channel.feed(chunk)
        assert channel.tail(1000) == _lines(data)
        channel.finish()
        assert seen == _lines(data)
        assert channel.tail(3) == _lines(data)[-3:]
        assert screen.close(30.0)
        assert file.tell() == 0
