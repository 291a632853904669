"""Log files: what is in them, and what is told where they cannot be written."""

from __future__ import annotations

import os
import re
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from procwatch.core.model import LogPolicy
from procwatch.output import logs as logs_module
from procwatch.output.logfile import LogFile
from procwatch.output.logs import FULL_BYTES, MOST_BYTES, Log, Logs
from tests.rig.obey import descriptors
from tests.rig.privileges import bound_by_permissions

DEADLINE_S = 30.0
TIME = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "
LINE = b"x" * 63 + b"\n"


class _Kept:
    """Logs in a folder, and what they told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "logs"
        self.told: list[str] = []
        self.logs = Logs(self.folder, self.told.append)

    def of(self, name: str = "service.api", policy: LogPolicy | None = None) -> Log:
        return self.logs.of(name, policy or LogPolicy())

    def written(self, log: Log) -> None:
        """Wait until all that has been put is written or counted."""
        done = threading.Event()
        log.after(done.set)
        assert done.wait(DEADLINE_S)

    def raw(self, name: str = "service.api") -> bytes:
        return (self.folder / f"{name}.log").read_bytes()

    def text(self, name: str = "service.api") -> bytes:
        """Without the times; each line must have one."""
        lines = self.raw(name).split(b"\n")
        assert lines.pop() == b""
        assert all(re.match(TIME, line) for line in lines)
        return b"".join(re.sub(TIME, b"", line, count=1) + b"\n" for line in lines)


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[_Kept]:
    monkeypatch.setattr(logs_module, "_RETRY_S", 0.0)
    made = _Kept(tmp_path / ".procwatch")
    yield made
    assert made.logs.close(DEADLINE_S)


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """As on a full disk, a file finds no room beyond this size."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# --- what is in them -------------------------------------------------------------------------------------------------


def test_each_line_has_its_time_and_the_bytes_as_they_were_written(kept: _Kept) -> None:
    before = time.time()
    every_byte = bytes(byte for byte in range(256) if byte != 10) + b"\x1b[2J\x1b[31m\r\n\n"
    kept.of().put("process", every_byte)
    kept.written(kept.of())
    assert kept.text() == every_byte
    at = time.strptime(kept.raw()[:19].decode() + " UTC", "%Y-%m-%dT%H:%M:%S %Z")
    assert int(before) <= time.mktime(at) - time.timezone <= time.time()


def test_the_next_start_goes_on_below(kept: _Kept) -> None:
    kept.of().put("process", b"one\n")
    assert kept.logs.close(DEADLINE_S)
    again = Logs(kept.folder, kept.told.append)
    again.of("service.api", LogPolicy()).put("process", b"two\n")
    assert again.close(DEADLINE_S)
    assert kept.text() == b"one\ntwo\n"


def test_what_a_killed_procwatch_left_of_a_line_is_ended(kept: _Kept) -> None:
    kept.folder.mkdir(parents=True)
    (kept.folder / "service.api.log").write_bytes(b"2026-01-31T12:00:01.123Z half")
    kept.of().put("process", b"one\n")
    kept.written(kept.of())
    assert kept.text() == b"half\none\n"


def test_a_line_in_pieces_is_one_line_unless_another_process_writes_between(kept: _Kept) -> None:
    log = kept.of()
    for source, data in (("a", b"begin"), ("a", b" goes on"), ("b", b"other\n"), ("a", b"end\n"), ("b", b"last\n")):
        log.put(source, data)
    kept.written(log)
    assert kept.text() == b"begin goes on\nother\nend\nlast\n"


def test_they_are_for_the_user_only_and_made_with_the_first_output(kept: _Kept) -> None:
    log = kept.of()
    assert not kept.folder.parent.exists()
    log.put("process", b"one\n")
    kept.written(log)
    modes = [path.stat().st_mode & 0o777 for path in (kept.folder.parent, kept.folder, log.file.path)]
    assert modes == [0o700, 0o700, 0o600]


def test_many_logs_hold_few_descriptors(kept: _Kept) -> None:
    before = descriptors()
    for turn in (b"one\n", b"two\n"):
        for number in range(200):
            kept.of(f"service.s{number}").put("process", turn)
    kept.written(kept.of("service.s199"))
    for number in range(200):
        kept.written(kept.of(f"service.s{number}"))
    assert descriptors() <= before + 64
    assert all(kept.text(f"service.s{number}") == b"one\ntwo\n" for number in range(200))


# --- where they cannot be written ------------------------------------------------------------------------------------


def test_a_full_disk_is_told_once_and_when_there_is_room_again_what_is_missing(kept: _Kept) -> None:
    log = kept.of()
    log.put("process", LINE * 10)
    kept.written(log)
    with file_size_limit(len(kept.raw()) + 1000):
        for _ in range(30):
            log.put("process", LINE)
            kept.written(log)
    log.put("process", b"again\n")
    kept.written(log)
    room = 1000 // (25 + 64)
    assert kept.text() == LINE * (10 + room) + b"again\n"
    assert kept.told == [
        f"{log.file.path} cannot be written (File too large); what finds no room in it is counted",
        f"{log.file.path} is written again; it lacks {30 - room} lines",
    ]


def test_a_disk_that_stays_full_is_tried_ever_more_seldom_and_told_at_the_end(
    kept: _Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs_module, "_RETRY_S", 1000.0)
    log = kept.of()
    with file_size_limit(0):
        log.put("process", LINE * 5)
        kept.written(log)
    log.put("process", LINE * 5)
    assert kept.logs.close(DEADLINE_S)
    assert kept.told[1:] == [f"{log.file.path} lacks 10 lines (File too large)"]


def test_a_folder_without_permission_is_told_once(kept: _Kept) -> None:
    kept.folder.mkdir(parents=True, mode=0o500)
    with bound_by_permissions():
        log = kept.of()
        for _ in range(3):
            log.put("process", LINE)
            kept.written(log)
    assert kept.told == [f"{log.file.path} cannot be written (Permission denied); what finds no room in it is counted"]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to("/dev/null"), "Too many levels of symbolic links"),
        (os.mkfifo, "it is not a file"),
        (lambda path: path.mkdir(), "Is a directory"),
    ],
)
def test_what_is_no_file_is_not_written_to(kept: _Kept, make: Callable[[Path], object], reason: str) -> None:
    log = kept.of()
    kept.folder.mkdir(parents=True)
    make(log.file.path)
    log.put("process", LINE)
    kept.written(log)
    assert [reason in line for line in kept.told] == [True]


def test_without_a_free_descriptor_it_is_told_and_tried_again(kept: _Kept) -> None:
    log = kept.of()
    kept.of("service.other").put("process", b"other\n")
    kept.written(kept.of("service.other"))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        log.put("process", b"one\n")
        kept.written(log)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    log.put("process", b"two\n")
    kept.written(log)
    assert kept.text() == b"two\n"
    assert "Too many open files" in kept.told[0]
    assert kept.told[1:] == [f"{log.file.path} is written again; it lacks 1 line"]


@pytest.mark.parametrize("how", ["removed", "emptied", "moved", "with its folder"])
def test_whatever_is_done_to_the_file_output_goes_on_where_it_was(kept: _Kept, how: str) -> None:
    log = kept.of()
    log.put("process", b"one\n")
    kept.written(log)
    if how == "emptied":
        log.file.path.write_bytes(b"")
    elif how == "moved":
        log.file.path.rename(kept.folder / "mine")
    else:
        log.file.path.unlink()
    if how == "with its folder":
        kept.folder.rmdir()
        kept.folder.parent.rmdir()
    log.put("process", b"two\n")
    kept.written(log)
    assert kept.text() == b"two\n"
    assert kept.told == []


# --- a slow disk -----------------------------------------------------------------------------------------------------


def test_a_slow_disk_makes_the_caller_wait_and_beyond_all_bounds_it_is_counted(
    kept: _Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns, goes_on = threading.Event(), threading.Event()
    append = LogFile.append

    def slow(file: LogFile, data: bytes, lines: int) -> None:
        turns.set()
        assert goes_on.wait(DEADLINE_S)
        append(file, data, lines)

    monkeypatch.setattr(LogFile, "append", slow)
    log = kept.of(policy=LogPolicy(1 << 30, 0))
    chunk = LINE * 4096
    log.put("process", chunk)
    assert turns.wait(DEADLINE_S)
    put = 1
    while not kept.logs.is_full:
        log.put("process", chunk)
        put += 1
    assert put * len(chunk) < FULL_BYTES + len(chunk)
    room = threading.Event()
    kept.logs.when_room(room.set)
    for _ in range(2 * MOST_BYTES // len(chunk)):  # nobody waits
        log.put("process", chunk)
        put += 1
    assert not room.is_set()
    goes_on.set()
    assert room.wait(DEADLINE_S)
    log.put("process", b"last\n")
    kept.written(log)
    found = kept.text().count(b"\n")
    assert found <= MOST_BYTES // 64 + 4096 + 1
    assert kept.told[0].endswith("cannot be written (the disk is too slow); what finds no room in it is counted")
    assert kept.told[1:] == [f"{log.file.path} is written again; it lacks {put * 4096 + 1 - found:,} lines"]


def test_after_an_error_of_the_thread_nobody_waits_for_it(kept: _Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    def broken(file: LogFile, data: bytes, lines: int) -> None:
        assert goes_on.wait(DEADLINE_S)
        raise ValueError("a mistake")

    monkeypatch.setattr(LogFile, "append", broken)
    log, lost = kept.of(), []
    while not kept.logs.is_full:
        log.put("process", LINE * 4096, lambda span, lines, count: lost.append(lines))
    room = threading.Event()
    kept.logs.when_room(room.set)
    goes_on.set()
    assert room.wait(DEADLINE_S)
    log.put("process", LINE, lambda span, lines, count: lost.append(lines))
    assert lost[-1] == 1
    assert not kept.logs.is_full
    assert "a mistake" in kept.told[0]
