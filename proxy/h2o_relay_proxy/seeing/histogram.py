"""`Histogram`: how many values fell into which bucket, and the buckets that fit for LLMs.

The bounds are those of OpenTelemetry's conventions for generative AI (gen-ai-metrics.md), gone on
with where answers take longer than its tables do: durations doubled up to 11 minutes, the first
token by vLLM's next bounds (its docs/design/metrics.md). So the same counts serve both names.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

DURATION: Final = tuple(0.01 * 2**n for n in range(17))
"""Seconds: 0.01 to 655.36. `gen_ai.client.operation.duration` ends at 81.92."""
FIRST: Final = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0,
                7.5, 10.0, 20.0, 40.0, 80.0, 160.0)  # fmt: skip
"""Seconds: `gen_ai.server.time_to_first_token`, which ends at 10."""
PER_TOKEN: Final = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
"""Seconds: `gen_ai.server.time_per_output_token`."""
TOKENS: Final = tuple(float(4**n) for n in range(14))
"""1 to 67,108,864: `gen_ai.client.token.usage`."""
OVERHEAD: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)
"""Seconds that the relay itself takes, or its event loop is late."""


class Histogram:
    """`counts[i]` are the values up to and with `bounds[i]`, the last one those above all bounds;
    they are not added up.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """A value below 0, as from a clock that was set, counts as 0."""
        if value < 0:
            value = 0.0
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def copy(self) -> Histogram:
        other = Histogram.__new__(Histogram)
        other.bounds, other.counts, other.sum = self.bounds, self.counts[:], self.sum
        return other

    def add(self, other: Histogram) -> None:
        """Count what another one with the same bounds has counted."""
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum

    def __bool__(self) -> bool:
        return any(self.counts)
