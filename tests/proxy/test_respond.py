"""Errors as raw ASGI messages, where no upstream can provoke them."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay.errors import RateLimited
from h2o_relay_proxy.respond import send_error


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.0, b"0"), (0.1, b"1"), (7.0, b"7"), (float("inf"), b"31536000")]
)
async def test_a_plugins_wait_is_told_in_whole_seconds(seconds: float, told: bytes) -> None:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await send_error(send, RateLimited("wait", retry_after=seconds))
    assert sent[0]["status"] == 429
    assert dict(sent[0]["headers"])[b"retry-after"] == told
