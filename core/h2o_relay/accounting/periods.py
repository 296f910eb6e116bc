"""Points in time as people write them, and when a budget's period began. All of it in UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from ..errors import InvalidRequest
from . import moments
from .caller import Period

DAY: Final = 86400.0
UNIX: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,9})?")
WANTED: Final = "7d, 12h, 30m, 2w, today, month, 2026-01-31, 2026-01-31T08:00 or a Unix time"


def moment(text: str, now: float, name: str) -> float:
    """A Unix time: so long before `now` (Unix time), a date or a date with its time (ISO 8601, UTC
    unless it says otherwise), `today`, `month` (its first day), or a Unix time.

    Raises InvalidRequest, `name` its `param`.
    """
    word = text.strip()
    if word.lower() in ("today", "month"):
        return start_of("day" if word.lower() == "today" else "month", now)
    if UNIX.fullmatch(word):
        return float(word)
    try:
        ago = moments.SPAN.fullmatch(word.lower())
        return now - moments.span(word) if ago else moments.moment(word, now)
    except ValueError:
        raise InvalidRequest(f"{name!r} is a point in time: {WANTED}.", param=name) from None


def start_of(period: Period, now: float) -> float:
    """The Unix time at which the period that `now` is in began; 0 for one without an end."""
    if period == "total":
        return 0.0
    first = datetime.fromtimestamp(now, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (first if period == "day" else first.replace(day=1)).timestamp()


def day_of(at: float) -> int:
    """The day of a Unix time, in days since 1970-01-01."""
    return int(at // DAY)


def date_of(day: int) -> str:
    """`2026-01-31`."""
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()
