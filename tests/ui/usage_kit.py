"""Reports of usage, as the relay's store would make them."""

from __future__ import annotations

from typing import Any

from h2o_relay.accounting.usage_query import UsageReport, UsageRow


def used(key: str, **changes: Any) -> UsageRow:
    """What a key used."""
    usual: dict[str, Any] = {
        "requests": 1234, "errors": 5, "aborted": 0, "prompt_tokens": 56789,
        "completion_tokens": 10, "cached_tokens": 0, "estimated": 0, "cost": 1.5, "unpriced": 0,
        "p50": 0.25, "p95": 1.0,
    }  # fmt: skip
    return UsageRow(group={"key": key}, **{**usual, **changes})


def by_key(*rows: UsageRow, **changes: Any) -> UsageReport:
    return UsageReport(since=0.0, until=None, by=("key",), rows=rows, **changes)
