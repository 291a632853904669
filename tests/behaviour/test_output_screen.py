"""One writer to standard output: it never waits for its reader, and says what the reader missed."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import resource
import select
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from procwatch.core.model import LogPolicy, Service
from procwatch.output import drain
from procwatch.output.channel import Channel
from procwatch.output.logfile import LogFile
from procwatch.output.logs import Logs
from procwatch.output.prefix import Prefixes
from procwatch.output.screen import Screen

DEADLINE_S = 30.0
LINE = b"x" * 63 + b"\n"
CHUNK = LINE * 4096


def _prefixes(*, color: bool = False) -> Prefixes:
    return Prefixes([Service("service.api", "x"), Service("service.web", "x")], color=color, now=lambda: 0.0)


class _Pipe:
    """A pipe as standard output; nothing reads before `read_all`."""

    def __init__(self) -> None:
        self.read_fd, self.write_fd = os.pipe()

    def close_reader(self) -> None:
        os.close(self.read_fd)
        self.read_fd = -1

    def close_writer(self) -> None:
        os.close(self.write_fd)
        self.write_fd = -1

    def read_some(self, at_least: int) -> bytes:
        got = b""
        while len(got) < at_least and (data := os.read(self.read_fd, 1 << 16)):
            got += data
        return got

    def reading(self) -> tuple[threading.Thread, list[bytes]]:
        got: list[bytes] = []

        def read() -> None:
            while data := os.read(self.read_fd, 1 << 20):
                got.append(data)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread, got


@pytest.fixture
def pipe() -> Iterator[_Pipe]:
    made = _Pipe()
    yield made
    for fd in (made.read_fd, made.write_fd):
        if fd >= 0:
            os.close(fd)


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """The two ends of a pseudo-terminal, without its own changes to line feeds."""
    master, slave = pty.openpty()
    settings = termios.tcgetattr(slave)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(slave, termios.TCSANOW, settings)
    yield master, slave
    os.close(master)
    os.close(slave)


def _read_terminal(master: int) -> bytes:
    """Up to the word and line feed that end what these tests write; it may come in pieces."""
    got = b""
    while not got.endswith((b"plain\n", b"after\n")):
        assert select.select([master], [], [], DEADLINE_S)[0], got
        got += os.read(master, 4096)
    return got


def _finish(pipe: _Pipe, screen: Screen) -> bytes:
    thread, got = pipe.reading()
    assert screen.close(DEADLINE_S)
    pipe.close_writer()
    thread.join(DEADLINE_S)
    assert not thread.is_alive()
    return b"".join(got)


# --- what it looks like ----------------------------------------------------------------------------------------------


def test_own_words_stand_under_the_name_procwatch_on_every_line(pipe: _Pipe) -> None:
    prefixes = _prefixes()
    screen = Screen(pipe.write_fd, prefixes)
    screen.say("one\ntwo é", error=True)
    shown = _finish(pipe, screen).decode()
    assert re.fullmatch(r"\d\d:\d\d:\d\d procwatch \| one\n\d\d:\d\d:\d\d procwatch \| two é\n", shown)


def test_colours_of_own_lines_tell_an_error_from_the_rest(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes(color=True))
    screen.say("fine")
    screen.say("wrong", error=True)
    fine, wrong = _finish(pipe, screen).splitlines()
    assert fine.startswith(b"\x1b[0m\x1b[1m")
    assert wrong.startswith(b"\x1b[0m\x1b[1;31m")


def test_off_a_terminal_the_bytes_are_those_of_the_process(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes())
    channel = Channel(screen, "api")
    written = bytes(byte for byte in range(256) if byte != 10) + b"\x1b[31mred\r\n\x1b[2J\xff\n"
    channel.feed(written)
    prefix = screen.prefix("api")
    assert _finish(pipe, screen) == b"".join(prefix + line + b"\n" for line in written[:-1].split(b"\n"))


def test_on_a_terminal_colours_stay_and_do_not_reach_the_next_prefix(terminal: tuple[int, int]) -> None:
    master, slave = terminal
    screen = Screen(slave, _prefixes(color=True))
    assert screen.terminal
    channel = Channel(screen, "api")
    channel.feed(b"\x1b[31mred\r\n\x1b]0;ti")
    channel.feed(b"tle\x07\x1b[2Jplain\n")
    assert screen.close(DEADLINE_S)
    prefix = screen.prefix("api")
    assert _read_terminal(master) == prefix + b"\x1b[31mred\x1b[0m\n" + prefix + b"plain\n"


def test_the_screen_is_cleared_only_on_a_terminal(terminal: tuple[int, int], pipe: _Pipe) -> None:
    master, slave = terminal
    on_terminal = Screen(slave, _prefixes())
    on_terminal.clear()
    on_terminal.plain("after")
    assert on_terminal.close(DEADLINE_S)
    assert _read_terminal(master) == b"\x1b[H\x1b[2J\x1b[3Jafter\n"
    off_terminal = Screen(pipe.write_fd, _prefixes())
    off_terminal.clear()
    off_terminal.plain("after")
    assert _finish(pipe, off_terminal) == b"after\n"


def test_own_words_never_land_in_a_line_that_goes_on(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes())
    prefix, source = screen.prefix("api"), object()
    screen.write(source, prefix, b"begin")
    screen.write(source, prefix, b" goes on")
    screen.say("meanwhile")
    screen.write(source, prefix, b"end\n")
    shown = [line.split(b"| ")[1] for line in _finish(pipe, screen).splitlines()]
    assert shown == [b"begin goes on", b"meanwhile", b"end"]


def test_only_output_of_processes_is_told_to_whoever_listens(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes())
    heard: list[bool] = []
    screen.on_output = lambda: heard.append(True)
    screen.say("own")
    screen.plain("{}")
    assert not heard
    Channel(screen, "api").feed(b"line\n")
    assert len(heard) == 1
    _finish(pipe, screen)


# --- a slow reader ---------------------------------------------------------------------------------------------------


def test_a_reader_that_does_not_read_blocks_nothing_and_is_told_how_much_it_missed(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes(), limit_bytes=1 << 20)
    channel = Channel(screen, "api")
    for _ in range(64):
        channel.feed(CHUNK)
    channel.feed(b"the last\n")
    screen.say("own words come through")
    lines = _finish(pipe, screen).splitlines()
    prefix = screen.prefix("api")
    whole = prefix + LINE.rstrip()
    told = [line for line in lines if b"not shown" in line]
    assert len(told) == 1
    missed = re.search(rb"procwatch \| ([\d,]+) lines not shown: standard output is not read fast", told[0])
    assert missed
    assert lines.count(whole) > 0
    assert lines.count(whole) + int(missed.group(1).replace(b",", b"")) == 64 * 4096 + 1
    assert any(b"own words come through" in line for line in lines)
    assert len(lines) == lines.count(whole) + 2


def test_after_a_loss_output_flows_again(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes(), limit_bytes=1 << 20)
    channel = Channel(screen, "api")
    for _ in range(16):
        channel.feed(CHUNK)
    room = threading.Event()
    screen.when_room(room.set)
    thread, got = pipe.reading()
    assert room.wait(DEADLINE_S)
    channel.feed(b"again\n")
    assert screen.close(DEADLINE_S)
    pipe.close_writer()
    thread.join(DEADLINE_S)
    shown = b"".join(got)
    assert shown.endswith(screen.prefix("api") + b"again\n")
    assert shown.count(b"not shown") == 1


def test_who_waits_for_room_loses_nothing(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes(), limit_bytes=1 << 20)
    channel = Channel(screen, "api")
    thread, got = pipe.reading()
    waits = 0
    for number in range(200):
        if screen.is_full:
            room = threading.Event()
            screen.when_room(room.set)
            assert room.wait(DEADLINE_S)
            waits += 1
        channel.feed(b"%06d\n" % number + CHUNK)
    assert screen.close(DEADLINE_S)
    pipe.close_writer()
    thread.join(DEADLINE_S)
    shown = b"".join(got)
    assert shown.count(b"\n") == 200 * 4097
    numbers = [int(number) for number in re.findall(rb"\| (\d{6})\n", shown)]
    assert numbers == list(range(200))


def test_nothing_overtakes_what_its_log_has_not_written_yet(
    pipe: _Pipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = threading.Event()
    append = LogFile.append

    def slow(file: LogFile, data: bytes, lines: int) -> None:
        assert goes_on.wait(DEADLINE_S)
        append(file, data, lines)

    monkeypatch.setattr(LogFile, "append", slow)
    logs = Logs(tmp_path / "logs", lambda line: None)
    screen = Screen(pipe.write_fd, _prefixes(), limit_bytes=1 << 20)
    channel = Channel(screen, "api", log=logs.of("service.api", LogPolicy()))
    for number in range(20):
        channel.feed(b"%06d\n" % number + CHUNK)
    queued = screen.prefix("api") + b"000000\n"
    thread, got = pipe.reading()
    while screen._drain._queued_bytes:  # until the reader has all that was queued
        os.sched_yield()
    room = threading.Event()
    screen.when_room(room.set)
    assert not room.wait(0.1)
    assert screen.is_full
    channel.feed(b"%06d\n" % 20)
    screen.say("own words wait as well")
    assert not room.is_set()
    goes_on.set()
    assert room.wait(DEADLINE_S)
    channel.feed(b"%06d\n" % 21)
    assert logs.close(DEADLINE_S)
    assert screen.close(DEADLINE_S)
    pipe.close_writer()
    thread.join(DEADLINE_S)
    shown = b"".join(got)
    assert shown.startswith(queued)
    assert [int(number) for number in re.findall(rb"\| (\d{6})\n", shown)] == list(range(22))
    assert shown.count(b"\n") == 20 * 4097 + 3


def test_a_loss_among_json_lines_is_told_as_json(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes(), limit_bytes=1)
    event = json.dumps({"event": "x" * 100_000})
    for _ in range(30):
        screen.plain(event)
    lines = [json.loads(line) for line in _finish(pipe, screen).splitlines()]
    lost = [line for line in lines if line["event"] == "lines_lost"]
    assert len(lost) == 1
    missed = re.match(r"(\d+) lines not shown", lost[0]["reason"])
    assert missed
    assert len(lines) - 1 + int(missed.group(1)) == 30


def test_closing_does_not_wait_longer_than_its_deadline(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes())
    Channel(screen, "api").feed(CHUNK)
    assert not screen.close(0.01)
    pipe.close_reader()
    assert screen.close(DEADLINE_S)


def test_a_descriptor_that_somebody_made_non_blocking_still_gets_everything(pipe: _Pipe) -> None:
    flags = fcntl.fcntl(pipe.write_fd, fcntl.F_GETFL)
    fcntl.fcntl(pipe.write_fd, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    screen = Screen(pipe.write_fd, _prefixes())
    channel = Channel(screen, "api")
    for _ in range(8):
        channel.feed(CHUNK)
    assert _finish(pipe, screen).count(b"\n") == 8 * 4096


# --- no reader, no room ----------------------------------------------------------------------------------------------


def test_a_reader_that_has_gone_is_no_error(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes(), limit_bytes=1 << 20)
    channel = Channel(screen, "api")
    channel.feed(CHUNK)
    pipe.read_some(1)
    pipe.close_reader()
    for _ in range(64):
        channel.feed(CHUNK)
        screen.say("on it goes")
    kept = Channel(screen, "web", "on-failure")
    kept.feed(CHUNK * 20)
    kept.finish(failed=True)
    assert screen.close(DEADLINE_S)
    assert not screen.is_full


def test_who_waits_for_room_is_woken_when_the_reader_has_gone(pipe: _Pipe) -> None:
    screen = Screen(pipe.write_fd, _prefixes(), limit_bytes=1 << 20)
    channel = Channel(screen, "api")
    while not screen.is_full:
        channel.feed(CHUNK)
    room = threading.Event()
    screen.when_room(room.set)
    pipe.close_reader()
    assert room.wait(DEADLINE_S)
    assert screen.close(DEADLINE_S)


def test_a_standard_output_that_is_not_open_is_no_error() -> None:
    screen = Screen(987_654, _prefixes())
    assert not screen.terminal
    screen.say("nobody hears it")
    assert screen.close(DEADLINE_S)


def test_a_full_disk_is_waited_for_and_nothing_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "_RETRY_S", 0.01)
    tried = threading.Event()
    write = os.write

    def watched(fd: int, data: bytes) -> int:
        try:
            return write(fd, data)
        except OSError:
            tried.set()
            raise

    monkeypatch.setattr(os, "write", watched)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with (tmp_path / "out").open("w+b") as file:
        screen = Screen(file.fileno(), _prefixes())
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            Channel(screen, "api").feed(CHUNK)
            assert tried.wait(DEADLINE_S)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert screen.close(DEADLINE_S)
        file.seek(0)
        prefix = screen.prefix("api")
        assert file.read() == (prefix + LINE) * 4096


def test_a_disk_that_stays_full_does_not_hold_up_the_end() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        screen = Screen(full.fileno(), _prefixes())
        screen.say("no room for it")
        assert screen.close(DEADLINE_S)
