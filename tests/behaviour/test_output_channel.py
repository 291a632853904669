"""Output of processes: shown, kept until something fails, or watched line by line."""

from __future__ import annotations

import io
import resource
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.core.model import Terminal
from procwatch.output.channel import KEPT_BYTES, LINE_LIMIT_BYTES, TAIL_BYTES, Channel
from procwatch.output.prefix import Prefixes
from procwatch.output.screen import Screen

DEADLINE_S = 30.0
CHUNK = (b"x" * 63 + b"\n") * 4096


class _Shown:
    """A screen that writes into a file."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("w+b")
        self.now_s = 0.0
        self.screen = Screen(self.file.fileno(), Prefixes([], color=False, now=lambda: self.now_s))
        self.prefix = self.screen.prefix("api")

    def channel(self, mode: Terminal = "all") -> Channel:
        return Channel(self.screen, "api", mode)

    def wait_for_room(self) -> None:
        if self.screen.is_full:
            room = threading.Event()
            self.screen.when_room(room.set)
            assert room.wait(DEADLINE_S)

    def text(self) -> bytes:
        assert self.screen.close(DEADLINE_S)
        self.file.seek(0)
        return self.file.read()


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[_Shown]:
    made = _Shown(tmp_path / "shown")
    yield made
    made.screen.close(DEADLINE_S)
    made.file.close()


# --- lines -----------------------------------------------------------------------------------------------------------


def test_an_unfinished_line_is_held_until_its_end(shown: _Shown) -> None:
    channel = shown.channel()
    channel.feed(b"be")
    channel.feed(b"gin")
    shown.screen.say("first")
    channel.feed(b" end\nnext")
    channel.finish()
    channel.finish()
    lines = shown.text().splitlines(keepends=True)
    assert lines[0].endswith(b"| first\n")
    assert lines[1:] == [shown.prefix + b"begin end\n", shown.prefix + b"next\n"]


def test_what_comes_after_the_end_is_shown_too(shown: _Shown) -> None:
    channel = shown.channel()
    channel.feed(b"one\n")
    channel.finish()
    channel.feed(b"from a child")
    channel.finish()
    assert shown.text() == shown.prefix + b"one\n" + shown.prefix + b"from a child\n"


def test_the_time_is_that_of_the_chunk_that_ends_the_line(shown: _Shown) -> None:
    channel = shown.channel("on-failure")
    channel.feed(b"one\ntw")
    shown.now_s = 61.0
    later = shown.screen.prefix("api")
    channel.feed(b"o\n")
    shown.now_s = 122.0
    channel.finish(failed=True)
    assert shown.text() == shown.prefix + b"one\n" + later + b"two\n"


def test_a_line_of_many_megabytes_comes_out_whole_and_is_never_held_whole(shown: _Shown) -> None:
    channel = shown.channel()
    piece = bytes(range(11, 256)) * 256
    for _ in range(600):
        channel.feed(piece)
        assert channel._held_bytes <= LINE_LIMIT_BYTES + len(piece)
        shown.wait_for_room()
    channel.feed(b"\nnext\n")
    assert shown.text() == shown.prefix + piece * 600 + b"\n" + shown.prefix + b"next\n"


# --- shown only after a failure, or never ----------------------------------------------------------------------------


def test_output_that_is_kept_is_shown_whole_after_a_failure_however_much_it_is(shown: _Shown) -> None:
    channel = shown.channel("on-failure")
    for _ in range(80):  # 20 MiB, more than the screen queues
        channel.feed(CHUNK)
    channel.feed(b"the error")
    channel.finish(failed=True)
    channel.finish(failed=True)
    shown.screen.say("after it")
    text = shown.text()
    kept = CHUNK.replace(b"\n", b"\n" + shown.prefix)
    body = shown.prefix + kept * 80 + b"the error\n"
    assert text.startswith(body)
    assert text[len(body) :].endswith(b"procwatch | after it\n")
    assert text.count(b"\n") == 80 * 4096 + 2


def test_output_that_is_kept_is_not_shown_after_a_success(shown: _Shown) -> None:
    channel = shown.channel("on-failure")
    channel.feed(CHUNK * 8)
    channel.feed(b"warning")
    channel.finish()
    assert shown.text() == b""


def test_much_that_is_kept_is_not_in_memory(shown: _Shown) -> None:
    channel = shown.channel("on-failure")
    channel.feed(CHUNK)
    assert channel._kept is not None
    assert isinstance(channel._kept.file, io.BytesIO)
    for _ in range(KEPT_BYTES // len(CHUNK)):
        channel.feed(CHUNK)
    on_disk = channel._kept.file
    assert isinstance(on_disk, io.FileIO)
    channel.finish()
    assert on_disk.closed


def test_what_a_full_disk_could_not_keep_is_told(shown: _Shown) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    channel = shown.channel("on-failure")
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * KEPT_BYTES, before[1]))
    try:
        for _ in range(20):
            channel.feed(CHUNK)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    channel.finish(failed=True)
    *lines, last = shown.text().splitlines()
    assert last.endswith(b"procwatch | the output of api could not be kept whole: File too large")
    assert len(lines) % 4096 == 0
    assert 0 < len(lines) < 20 * 4096
    assert set(lines) == {shown.prefix + b"x" * 63}


def test_without_a_place_on_disk_what_memory_holds_is_shown(shown: _Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(**_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_room)
    channel = shown.channel("on-failure")
    for _ in range(8):
        channel.feed(CHUNK)
    channel.finish(failed=True)
    *lines, last = shown.text().splitlines()
    assert last.endswith(b"could not be kept whole: No space left on device")
    assert 0 < len(lines) < 8 * 4096
    assert set(lines) == {shown.prefix + b"x" * 63}


def test_nothing_is_shown_of_a_channel_that_shows_nothing(shown: _Shown) -> None:
    channel = shown.channel("none")
    channel.feed(b"secret\nhalf")
    channel.finish(failed=True)
    assert shown.text() == b""
    assert channel.tail(10) == [b"secret", b"half"]


# --- watchers and the tail -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["all", "on-failure", "none"])
def test_who_watches_gets_each_whole_line_without_prefix(shown: _Shown, mode: Terminal) -> None:
    channel = shown.channel(mode)
    seen: list[bytes] = []
    channel.feed(b"before\nlis")
    stop = channel.watch(seen.append)
    channel.feed(b"tening on ")
    assert seen == []
    channel.feed(b"8000\r\n\n\x1b[32mready\x1b[0m\n")
    assert seen == [b"listening on 8000\r", b"", b"\x1b[32mready\x1b[0m"]
    stop()
    stop()
    channel.feed(b"more\n")
    assert len(seen) == 3


def test_who_stops_watching_in_the_middle_of_a_chunk_hears_no_more_of_it(shown: _Shown) -> None:
    channel = shown.channel()
    first: list[bytes] = []
    second: list[bytes] = []

    def once(line: bytes) -> None:
        first.append(line)
        stop()

    stop = channel.watch(once)
    channel.watch(second.append)
    channel.feed(b"1\n2\n3\n")
    assert first == [b"1"]
    assert second == [b"1", b"2", b"3"]


def test_the_tail_is_bounded_in_lines_and_in_bytes(shown: _Shown) -> None:
    channel = shown.channel("none")
    assert channel.tail(5) == []
    for number in range(200_000):
        channel.feed(b"%d\n" % number)
    assert channel.tail(3) == [b"199997", b"199998", b"199999"]
    assert channel.tail(0) == []
    assert sum(len(line) + 1 for line in channel.tail(10**6)) <= TAIL_BYTES
    assert channel._tail_bytes < 2 * TAIL_BYTES
    channel.feed(b"y" * (3 * TAIL_BYTES) + b"\nend")
    assert channel.tail(1) == [b"end"]
    assert sum(len(line) + 1 for line in channel.tail(10)) <= TAIL_BYTES + 1
