"""Requests that are over, for tests of what is kept of them."""

from __future__ import annotations

from typing import Any

from h2o_relay.accounting.record import Record

NOW = 1_800_000_000.0
"""2027-01-15T08:00:00Z"""
DAY = 86400.0


def record(id: str = "r", **changes: Any) -> Record:
    """A request that was answered."""
    usual: dict[str, Any] = {
        "at": NOW, "method": "POST", "route": "/v1/chat/completions", "status": 200, "key": "k",
        "model": "m", "deployment": "m", "plugin": "vllm", "server": "vllm:h:1:***",
        "prompt_tokens": 100, "completion_tokens": 10, "cached_tokens": 40, "seconds": 0.5,
        "first": 0.1, "cost": 0.25, "attempts": 1,
    }  # fmt: skip
    return Record(id=id, **{**usual, **changes})
