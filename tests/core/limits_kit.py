"""What tests of limits share: a clock that stands until it is moved, and callers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from h2o_relay.accounting.caller import Allowance, Caller
from h2o_relay.accounting.windows import SECOND, Clock

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()


class Standstill:
    """Both clocks, moved by hand."""

    def __init__(self, unix: float = NOON) -> None:
        self.steady = 7 * SECOND
        self.unix = unix
        self.clock = Clock(steady=lambda: self.steady, unix=lambda: self.unix)

    def pass_by(self, seconds: float) -> None:
        self.steady += round(seconds * SECOND)
        self.unix += seconds


def caller(key: str = "key_1", **allowance: Any) -> Caller:
    return Caller(id=key, allowance=Allowance(**allowance))
