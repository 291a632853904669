"""Lines of log files as they are shown."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

from procwatch.output.prefix import Prefixes
from procwatch.output.runs import Placed, Reader
from procwatch.output.shown import AsJson, Bare, Prefixed

NAMES = ["service.api", "build.app"]


class Named(NamedTuple):
    short: str
    color: str | None = None


def portion(*texts: bytes) -> list[Placed]:
    data = b"".join(b"2026-01-31T12:00:01.123Z " + text + b"\n" for text in texts)
    return [(0, run) for run in Reader().read(data, b"")]


def prefixed(*, terminal: bool) -> Prefixed:
    return Prefixed(NAMES, Prefixes([Named("api"), Named("app")], color=False), terminal=terminal)


AT = time.strftime("%H:%M:%S", time.localtime(1_769_860_801)).encode()


def test_into_a_pipe_the_bytes_are_as_they_were() -> None:
    shown = prefixed(terminal=False)(portion(b"one", b"\x1b[2J\x1b[31mred\xff\r"))
    assert shown == AT + b" api       | one\n" + AT + b" api       | \x1b[2J\x1b[31mred\xff\r\n"
    assert Bare(terminal=False)(portion(b"one", b"\x1b[2J")) == b"one\n\x1b[2J\n"


def test_on_a_terminal_only_colours_are_left_and_none_is_left_open() -> None:
    shown = prefixed(terminal=True)(portion(b"one", b"\x1b[2J\x1b[31mred\r"))
    assert shown == AT + b" api       | one\n" + AT + b" api       | \x1b[31mred\x1b[0m\n"
    assert Bare(terminal=True)(portion(b"\x1b[2Jone")) == b"one\n"


def test_json_takes_any_bytes() -> None:
    (line,) = AsJson(NAMES)(portion(b'"\x1b\xff\\')).splitlines()
    assert json.loads(line) == {"at": "2026-01-31T12:00:01.123Z", "name": "service.api", "line": '"\x1b\\xff\\'}


def test_a_time_that_is_none_is_no_failure() -> None:
    data = b"2026-99-99T99:99:99.999Z text\n"
    shown = prefixed(terminal=False)([(1, run) for run in Reader().read(data, b"")])
    assert shown.endswith(b" app       | text\n")
