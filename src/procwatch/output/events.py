"""A notice as one line of JSON: the lines of `--json` and `events`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from procwatch.core.messages import Notice
from procwatch.output.words import unicode_only


def as_data(notice: Notice, at_s: float, tail: Sequence[bytes] = ()) -> dict[str, Any]:
    """The fields of an event that say something.

    `at_s` counts from 1970, and is told in UTC, to the millisecond; `duration` is in seconds. `tail`: the last lines of
    output, as `output`.
    A byte that is not UTF-8 is written as `\\xff`, so that every reader of JSON takes the line.
    """
    told: dict[str, object] = {
        "at": stamp(at_s),
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
    return {key: value for key, value in told.items() if value not in (None, "", [])}


def as_json(event: Mapping[str, Any]) -> str:
    """One object without a line feed."""
    return json.dumps(event, allow_nan=False)


def stamp(at_s: float) -> str:
    """A moment as `--json` tells it: UTC, to the millisecond."""
    seconds, micros = divmod(round(at_s * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{micros // 1000:03d}Z"


def _text(text: str | None) -> str | None:
    return None if text is None else unicode_only(text)
