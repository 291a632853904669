"""A moment as people write it: so long ago, a time of day, or a date."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from procwatch.errors import UsageError, printable

_AGO = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_TIME_OF_DAY = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?")
_FORMS = '"10m" (ago; ms, s, m, h, d), "12:00" or "12:00:01" (the last time it was that), or "2026-01-31T12:00:01Z"'


def moment(text: str, now_s: float) -> float:
    """Seconds since 1970; without a time zone it is this machine's. Raises UsageError."""
    try:
        found = _moment(text, datetime.fromtimestamp(now_s).astimezone())
    except (ValueError, OverflowError, OSError):
        found = None
    if found is None:
        raise UsageError(f'--since: "{printable(text)}" is no moment; say {_FORMS}')
    return found.timestamp()


def _moment(text: str, now: datetime) -> datetime | None:
    if ago := _AGO.fullmatch(text):
        return now - timedelta(seconds=float(ago[1]) * _SECONDS[ago[2]])
    if day := _TIME_OF_DAY.fullmatch(text):
        hour, minute, second = (int(part or 0) for part in day.groups())
        today = now.replace(tzinfo=None).replace(hour=hour, minute=minute, second=second, microsecond=0)
        return today if today.astimezone() <= now else today - timedelta(days=1)
    return datetime.fromisoformat(text)
