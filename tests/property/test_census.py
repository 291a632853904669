"""Processes are read from /proc whatever they call themselves."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from procwatch.runtime import census

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

_COMM = Path("/proc/self/comm")
# Of what would mislead a reader of /proc/<pid>/stat, and any bytes; the system keeps 15 of them.
_PARTS = [b") S 1 1 1", b"(", b")", b" ", b"\n", b"\t", b"Z", b") Z 0", b"1", b"\xff", b"\xc3", "é".encode()]
NAMES = st.lists(st.sampled_from(_PARTS) | st.binary(min_size=1, max_size=3), min_size=1, max_size=6).map(
    lambda parts: b"".join(parts).replace(b"\0", b"")[:15] or b"x"
)


@pytest.fixture(autouse=True, scope="module")
def the_name_is_given_back() -> Iterator[None]:
    before = _COMM.read_bytes().rstrip(b"\n")
    yield
    _COMM.write_bytes(before)


@given(name=NAMES)
@example(name=b") Z 1 2 3 4 5 6")
@example(name=b"\n\n) (\xff")
def test_a_process_is_known_for_what_it_is_under_any_name(name: bytes) -> None:
    _COMM.write_bytes(name)
    seen = census.look_up(os.getpid())
    assert seen is not None
    assert (seen.pid, seen.parent, seen.group, seen.session) == (os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0))
    assert not seen.zombie
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    uptime_s = float(Path("/proc/uptime").read_text().split()[0])
    assert 0 < seen.started / ticks_per_s <= uptime_s
    assert census.send(seen, 0)


@given(name=NAMES)
def test_its_name_can_be_put_into_a_message(name: bytes) -> None:
    _COMM.write_bytes(name)
    assert os.fsencode(census.command_name(os.getpid())) in {name, name.rstrip(b"\n"), b"?"}
