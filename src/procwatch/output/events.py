"""A notice as one line of JSON: the lines of `--json` and `events`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from procwatch.core.messages import Notice
from procwatch.output.words import unicode_only


def as_json(notice: Notice, at: datetime, tail: Sequence[bytes] = ()) -> str:
    """One object without a line feed; fields that say nothing are left out.

    `at` is told in UTC, to the millisecond; `duration` is in seconds. `tail`: the last lines of output, as `output`.
    A byte that is not UTF-8 is written as `\\xff`, so that every reader of JSON takes the line.
    """
    told: dict[str, object] = {
        "at": stamp(at),
        "event": notice.event,
        "name": _text(notice.name),
        "run": notice.run,
        "exit_code": notice.exit_code,
        "duration": None if notice.duration_s is None else round(notice.duration_s, 3),
        "reason": _text(notice.reason),
        "effect": _text(notice.effect),
        "paths": [unicode_only(path) for path in notice.paths],
        "names": [unicode_only(name) for name in notice.names],
        "pid": notice.pid,
        "output": [line.decode("utf-8", "backslashreplace") for line in tail],
    }
    return json.dumps({key: value for key, value in told.items() if value not in (None, "", [])}, allow_nan=False)


def stamp(at: datetime) -> str:
    """A moment as `--json` tells it: UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(text: str | None) -> str | None:
    return None if text is None else unicode_only(text)
