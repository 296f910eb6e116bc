"""Keys as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

COLUMNS = ("Name", "Id", "Key", "State", "Models", "Limits", "Budget", "Expires", "Used")
LIMITS = (
    ("requests_per_minute", "requests/min"), ("tokens_per_minute", "tokens/min"),
    ("concurrent", "at once"),
)  # fmt: skip


def cells(key: Mapping[str, Any], now: float) -> tuple[Any, ...]:
    """One row; None is a dash."""
    limits = [f"{key[name]:,} {unit}" for name, unit in LIMITS if key.get(name) is not None]
    return (
        key.get("name"),
        key.get("id"),
        f"…{key.get('last4')}",
        state(key),
        ", ".join(map(str, key.get("models") or ())) or "all",
        ", ".join(limits) or None,
        budget(key),
        date(key.get("expires")),
        ago(key.get("used"), now),
    )


def state(key: Mapping[str, Any]) -> str:
    return f"{key.get('state')}, admin" if key.get("admin") else str(key.get("state"))


def budget(key: Mapping[str, Any]) -> str | None:
    """`5 a month`, `5 in all`."""
    if key.get("budget") is None:
        return None
    period = key.get("budget_period")
    return f"{key['budget']:,.15g} " + ("in all" if period == "total" else f"a {period}")


def date(at: Any) -> str | None:
    """A Unix time, in UTC: the day, or the minute where it is not the day's first."""
    if not isinstance(at, int | float):
        return None
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (OverflowError, OSError, ValueError):
        return "never"
    midnight = not (moment.hour or moment.minute or moment.second)
    return moment.strftime("%Y-%m-%d" if midnight else "%Y-%m-%d %H:%M")


def ago(at: Any, now: float) -> str | None:
    from .status_table import duration

    return f"{duration(now - at)} ago" if isinstance(at, int | float) else None
