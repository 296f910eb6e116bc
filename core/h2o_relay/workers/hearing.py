"""What requests and looks have shown of a server's health in one process, taken over in another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..health import Health


def hear(health: Health, what: str, value: Any) -> None:
    """What a `Health.echo` was told elsewhere: as if it had been here, but for the echo."""
    heard: dict[str, Callable[[Any], None]] = {
        "ended": health.ended, "probed": health.probed, "unanswered": health.unanswered,
        "reported": lambda told: health.reported(*told),
    }  # fmt: skip
    echo, health.echo = health.echo, None
    try:
        heard[what](value)
    finally:
        health.echo = echo
