"""Settings for tests: the same relay, in less of a hurry to wait."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..settings import Settings


def quick(**changes: Any) -> Settings:
    """Timeouts that a test can wait for, the proportions kept; `changes` are set on top."""
    short = Settings(
        connect_timeout=2.0,
        first_byte_timeout=2.0,
        idle_timeout=2.0,
        request_timeout=2.0,
        answer_timeout=8.0,
        write_timeout=2.0,
        drain_timeout=2.0,
        retries=0,
        read_timeout=2.0,
    )
    return replace(short, **changes)
