"""Times as people write them: `30d`, `12h`, `2030-01-01`."""

from __future__ import annotations

import re
from datetime import UTC, datetime

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
LONGEST = 100 * UNITS["y"]
SPAN = re.compile(r"(\d{1,12}) ?([smhdwy])")


def span(text: str) -> float:
    """A length of time, in seconds. Raises ValueError, in words."""
    found = SPAN.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no time such as 90s, 30m, 12h, 30d, 2w or 1y")
    seconds = int(found[1]) * UNITS[found[2]]
    if seconds > LONGEST:
        raise ValueError(f"{text[:40]!r} is more than 100 years")
    return float(seconds)


def moment(text: str, now: float) -> float:
    """A Unix time: so long after `now`, or a date or time of ISO 8601, in UTC unless it says
    otherwise; a date is its first moment. Raises ValueError, in words.
    """
    word = text.strip()
    if SPAN.fullmatch(word.lower()):
        return now + span(word)
    try:
        found = datetime.fromisoformat(word)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"{text[:40]!r} is neither a time from now such as 30d nor a date such as 2030-01-01"
        ) from None
