"""The words for how a process ended, and where the kernel says that memory has run out."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from procwatch.runtime.oom import OomKills
from procwatch.runtime.spawn import exit_of
from tests.rig.live import write

_CORE = 0x80  # the bit of a wait status that says that a core was dumped


@pytest.mark.parametrize(
    ("status", "memory_ran_out", "code", "words"),
    [
        (0, False, 0, "exit 0"),
        (2 << 8, True, 2, "exit 2"),
        (signal.SIGKILL, False, 137, "killed by SIGKILL"),
        (signal.SIGKILL, True, 137, "killed by SIGKILL (out of memory?)"),
        (signal.SIGTERM, True, 143, "killed by SIGTERM"),
        (signal.SIGSEGV, False, 139, "killed by SIGSEGV"),
        (signal.SIGSEGV | _CORE, True, 139, "killed by SIGSEGV (core dumped)"),
        (137 << 8, False, 137, "exit 137"),
        (137 << 8, True, 137, "exit 137 (out of memory?)"),
        (40, False, 168, "killed by signal 40"),
    ],
)
def test_an_end_in_words(status: int, *, memory_ran_out: bool, code: int, words: str) -> None:
    ended = exit_of(status, memory_ran_out=memory_ran_out)
    assert (ended.code, ended.words) == (code, words)


@pytest.mark.parametrize(
    ("groups", "file"),
    [
        ("0::/user/shell\n", "sys/fs/cgroup/user/shell/memory.events"),
        ("0::/\n", "sys/fs/cgroup/memory.events"),
        ("4:cpuset,memory:/job\n0::/\n", "sys/fs/cgroup/memory/job/memory.oom_control"),
        ("0::/user/shell\n", "proc/vmstat"),
        ("", "proc/vmstat"),
        (None, "proc/vmstat"),
    ],
)
def test_the_count_is_the_nearest_one(tmp_path: Path, groups: str | None, file: str) -> None:
    write(tmp_path / "proc/vmstat", "pgfault 1\noom_kill 100\n")
    if groups is not None:
        write(tmp_path / "proc/self/cgroup", groups)
    write(tmp_path / file, "low 0\noom 5\noom_kill 3\noom_group_kill 7\n")
    count = OomKills(tmp_path)
    assert count() == 3
    write(tmp_path / file, "oom_kill 4\n")
    assert count() == 4
    (tmp_path / file).unlink()
    assert count() == 4, "what cannot be read is no news"


def test_where_the_system_does_not_count_there_are_none(tmp_path: Path) -> None:
    assert OomKills(tmp_path)() == 0
    write(tmp_path / "proc/vmstat", "pgfault 1\n")
    assert OomKills(tmp_path)() == 0
