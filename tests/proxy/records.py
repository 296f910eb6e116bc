"""Records of requests, for tests of what is told about them."""

from __future__ import annotations

import random
from typing import Any

from h2o_relay.accounting.record import Record

CHAT = "/v1/chat/completions"
AT = 1_790_000_000.25  # Unix time


def record(**changes: Any) -> Record:
    """A streamed chat that went well."""
    told: dict[str, Any] = {
        "id": "0190ab", "at": AT, "method": "POST", "route": CHAT, "status": 200, "key": "key_ab",
        "model": "llama", "deployment": "llama_1", "plugin": "vllm",
        "server": "vllm_chat:http://10.0.0.5:8000/v1", "streamed": True, "attempts": 1,
        "prompt_tokens": 100, "completion_tokens": 21, "cached_tokens": 40, "seconds": 2.3,
        "queued": 0.004, "first": 0.3, "overhead": 0.0004, "cost": 0.002,
    }  # fmt: skip
    return Record(**{**told, **changes})


def refused(**changes: Any) -> Record:
    """A request that reached no server."""
    told: dict[str, Any] = {
        "status": 404, "code": "model_not_found", "model": "", "deployment": "", "plugin": "",
        "server": "", "streamed": False, "attempts": 0, "prompt_tokens": None,
        "completion_tokens": None, "cached_tokens": None, "seconds": 0.001, "queued": 0.0,
        "first": None, "cost": None,
    }  # fmt: skip
    return record(**{**told, **changes})


def mixed(count: int) -> list[Record]:
    """Good, bad, aborted and failing ones, the same each time."""
    dice = random.Random(7)
    found = []
    for number in range(count):
        kind, about = dice.random(), {"id": f"r{number}", "at": AT + number / 100}
        if kind < 0.7:
            found.append(record(**about))
        elif kind < 0.8:
            found.append(refused(**about))
        elif kind < 0.9:
            found.append(record(**about, aborted=True, status=499, completion_tokens=3))
        else:
            found.append(record(**about, status=502, code="upstream_disconnected", attempts=3,
                                first=None, completion_tokens=None))  # fmt: skip
    return found
