"""Settings for tests: the same relay, whose clocks a test can wait for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..settings import Settings


def quick(**changes: Any) -> Settings:
    """Timeouts that a test can wait for, the proportions kept; `changes` are set on top. They are
    longer than a busy machine stalls: a test that waits for one sets its own.
    """
    short = Settings(
        connect_timeout=5.0,
        first_byte_timeout=5.0,
        idle_timeout=5.0,
        request_timeout=5.0,
        answer_timeout=20.0,
        write_timeout=5.0,
        drain_timeout=5.0,
        retries=0,
        read_timeout=5.0,
    )
    return replace(short, **changes)
