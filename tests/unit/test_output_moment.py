"""A moment as people write it."""

from __future__ import annotations

from datetime import datetime

import pytest

from procwatch.errors import UsageError
from procwatch.output.moment import moment

NOW = datetime(2026, 1, 31, 12, 30, 0).astimezone()


def at(text: str) -> str:
    found = datetime.fromtimestamp(moment(text, NOW.timestamp())).astimezone()
    return found.replace(tzinfo=None).isoformat(timespec="milliseconds")


@pytest.mark.parametrize(("text", "meant"), [
    ("10m", "2026-01-31T12:20:00.000"),
    ("1.5h", "2026-01-31T11:00:00.000"),
    ("250ms", "2026-01-31T12:29:59.750"),
    ("2d", "2026-01-29T12:30:00.000"),
    ("12:00", "2026-01-31T12:00:00.000"),
    ("9:05:07", "2026-01-31T09:05:07.000"),
    ("12:30:01", "2026-01-30T12:30:01.000"),
    ("2026-01-30", "2026-01-30T00:00:00.000"),
    ("2026-01-30T08:00:01.250", "2026-01-30T08:00:01.250"),
    ("2026-01-30 08:00", "2026-01-30T08:00:00.000"),
])  # fmt: skip
def test_a_moment(text: str, meant: str) -> None:
    assert at(text) == meant


def test_a_zone_counts() -> None:
    assert moment("2026-01-31T12:00:01Z", 0.0) == 1_769_860_801.0
    assert moment("2026-01-31T14:00:01+02:00", 0.0) == 1_769_860_801.0


@pytest.mark.parametrize(
    "text", ["", "soon", "10", "10 m", "-5m", "25:00", "12:60", "9999999999999d", "2026-13-01", "٣m"]
)
def test_what_is_none_is_told_with_what_would_be(text: str) -> None:
    with pytest.raises(UsageError, match=r'is no moment; say "10m" \(ago'):
        moment(text, NOW.timestamp())
