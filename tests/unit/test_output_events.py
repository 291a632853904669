"""A notice as one line of JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

from procwatch.core.messages import Notice
from procwatch.output.events import as_data, as_json

AT = datetime(2026, 1, 31, 12, 0, 1, 123_900, UTC)
AT_S = AT.timestamp()


def test_the_example_of_the_contract() -> None:
    notice = Notice("build_failed", "build.api", run=7, exit_code=101, duration_s=1.3104)
    assert as_json(as_data(notice, AT_S)) == (
        '{"at": "2026-01-31T12:00:01.123Z", "event": "build_failed", "name": "build.api", "run": 7, '
        '"exit_code": 101, "duration": 1.31}'
    )


def test_every_field_has_its_key_and_its_place() -> None:
    notice = Notice(
        "build_failed", "build.api", run=7, exit_code=2, duration_s=1.0, reason="exit 2", effect="service.api stays",
        paths=("a", "b"), names=("build.api",), pid=42,
    )  # fmt: skip
    told = as_data(notice, AT_S, [b"one", b"two"])
    assert list(told) == [
        "at", "event", "name", "run", "exit_code", "duration", "reason", "effect", "paths", "names", "pid", "output",
    ]  # fmt: skip
    assert told["output"] == ["one", "two"]


def test_fields_that_say_nothing_are_left_out_and_zero_is_not_nothing() -> None:
    told = as_data(Notice("service_stopped", "service.api", exit_code=0, reason="", duration_s=0.0), AT_S)
    assert set(told) == {"at", "event", "name", "exit_code", "duration"}


def test_the_time_is_told_in_utc() -> None:
    local = AT.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert as_data(Notice("stopping"), local.timestamp())["at"] == "2026-01-31T12:00:01.123Z"


def test_bytes_that_are_not_utf8_and_control_characters_make_valid_json_in_one_ascii_line() -> None:
    notice = Notice("files_changed", paths=("bad\udcff", "two\nlines"), reason="\ud800")
    line = as_json(as_data(notice, AT_S, [b"\xff\x1b[31m", "é".encode(), b"a\x00b"]))
    assert line.isascii()
    assert line.isprintable()
    told = json.loads(line)
    assert told["paths"] == ["bad\\xff", "two\nlines"]
    assert told["reason"] == "\\ud800"
    assert told["output"] == ["\\xff\x1b[31m", "é", "a\x00b"]
