"""Whatever finds no room on the screen: each line is shown later from the log files, or counted; in bounded memory."""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from procwatch.core.model import LogPolicy, Service, Terminal
from procwatch.output import spill as spill_module
from procwatch.output.channel import Channel
from procwatch.output.logfile import Mark
from procwatch.output.logs import Logs
from procwatch.output.prefix import Prefixes
from procwatch.output.screen import Screen
from procwatch.output.spill import Span, Spill

DEADLINE_S = 30.0
NAMES = ("a", "bb", "ccc")
UNBOUNDED = LogPolicy(1 << 30, 0)
POLICIES = st.sampled_from([None, UNBOUNDED, LogPolicy(300, 1), LogPolicy(150, 0), LogPolicy(2000, 2)])
MODES: st.SearchStrategy[Terminal] = st.sampled_from(["all", "all", "on-failure"])
# Which process prints how many lines in one go; None: procwatch says something.
FEEDS = st.lists(st.tuples(st.sampled_from([0, 1, 2, 0, 1, 2, None]), st.integers(1, 20)), max_size=80)
MISSED = re.compile(rb"procwatch \| ([\d,]+) lines? not shown: [^\n]*\n")


class _Stopped:
    """A pipe that is full, and read only in the end."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()
        fcntl.fcntl(self.write_fd, fcntl.F_SETPIPE_SZ, 4096)
        os.set_blocking(self.write_fd, False)
        self.filled = 0
        with suppress(BlockingIOError):
            while True:
                self.filled += os.write(self.write_fd, b"." * 4096)
        os.set_blocking(self.write_fd, True)

    def read_on(self, screen: Screen) -> bytes:
        """All that is written until the screen has been closed."""
        got = bytearray()

        def read() -> None:
            while data := os.read(self.read_fd, 1 << 16):
                got.extend(data)

        reader = threading.Thread(target=read)
        reader.start()
        is_whole = screen.close(DEADLINE_S)
        os.close(self.write_fd)
        reader.join(DEADLINE_S)
        os.close(self.read_fd)
        assert is_whole
        return bytes(got[self.filled :])


@given(
    feeds=FEEDS,
    policies=st.tuples(POLICIES, POLICIES, POLICIES),
    modes=st.tuples(MODES, MODES, MODES),
    limit=st.integers(1, 3000),
)
def test_each_line_is_shown_in_its_order_or_counted(
    feeds: list[tuple[int | None, int]],
    policies: tuple[LogPolicy | None, ...],
    modes: tuple[Terminal, ...],
    limit: int,
) -> None:
    prefixes = Prefixes([Service(f"service.{name}", "x") for name in NAMES], color=False, now=lambda: 0.0)
    stopped = _Stopped()
    screen = Screen(stopped.write_fd, prefixes, limit_bytes=limit)
    printed, said = dict.fromkeys(NAMES, 0), 0
    with tempfile.TemporaryDirectory() as folder:
        logs = Logs(Path(folder), lambda line: None)
        channels = [
            Channel(screen, name, mode, logs.of(f"service.{name}", policy) if policy else None)
            for name, mode, policy in zip(NAMES, modes, policies, strict=True)
        ]
        for which, count in feeds:
            if which is None:
                screen.say(f"own {said}")
                said += 1
                continue
            first = printed[NAMES[which]]
            printed[NAMES[which]] += count
            channels[which].feed(b"".join(b"n%d\n" % number for number in range(first, first + count)))
        for channel in channels:
            channel.finish(failed=True)
        assert logs.close(DEADLINE_S)
        output = stopped.read_on(screen)
    lines = re.findall(rb"^\d\d:\d\d:\d\d (\w+) +\| (?:n|own )(\d+)\n", output, re.MULTILINE)
    missed = [int(count.replace(b",", b"")) for count in MISSED.findall(output)]
    assert output.count(b"\n") == len(lines) + len(missed)
    assert len(lines) + sum(missed) == sum(printed.values()) + said
    for name, policy in zip(NAMES, policies, strict=True):
        shown = [int(number) for found, number in lines if found.decode() == name]
        assert shown == sorted(set(shown))
        if policy is UNBOUNDED:
            assert shown == list(range(printed[name]))
    assert [int(number) for found, number in lines if found == b"procwatch"] == list(range(said))


class _Log:
    short = "api"

    def read(self, begin: Mark, end: Mark) -> Iterator[bytes | int]:
        raise NotImplementedError


@given(
    pieces=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 9), st.booleans(), st.booleans()), max_size=300),
    most=st.integers(1, 20),
)
def test_every_line_is_in_one_span_or_counted_and_there_are_few_spans(
    pieces: list[tuple[int, int, bool, bool]], most: int
) -> None:
    spill, logs = Spill(), [_Log() for _ in range(4)]
    ends, expected, said = [Mark()] * 4, 0, 0
    before = spill_module.MOST_SPANS
    spill_module.MOST_SPANS = most
    try:
        for which, lines, hidden_before, own in pieces:
            begin = ends[which]
            if hidden_before:
                begin = Mark(begin.offset + 5, begin.lines + 1)
            ends[which] = Mark(begin.offset + lines * 100_000, begin.lines + lines)
            spill.add([Span(logs[which], begin, ends[which])])
            expected += lines
            if own:
                spill.say(b"%d" % said)
                said += 1
    finally:
        spill_module.MOST_SPANS = before
    steps = []
    while spill:
        steps.append(spill.take())
    spans = [span for step in steps for span in step.spans.all]
    assert len(spans) <= 2 * most + 1
    assert sum(span.lines for span in spans) + spill.take_lost() == expected
    assert [int(line) for step in steps for line in step.own] == list(range(said))
    for log in logs:
        mine = [span for span in spans if span.log is log]
        assert all(one.end.offset <= two.begin.offset for one, two in pairwise(mine))
    assert spill.take_lost() == 0
