"""The settings of what a relay shows of itself: metrics, log, traces."""

from __future__ import annotations

from dataclasses import dataclass

from .settings_field import setting
from .settings_relay import RelaySettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SeeingSettings(RelaySettings):
    """See docs/observability.md."""

    metrics: bool = setting(True, "Answer GET /metrics, for Prometheus.")
    metrics_keys: bool = setting(
        False, "Tell the requests of different keys apart in /metrics, by the keys' ids."
    )
    request_log: str = setting(
        "stderr", "Where a line for each request is written: stderr, off, or a file, which gets "
        "lines of JSON.",
    )  # fmt: skip
    log_format: str = setting(
        "text", "How the log and its lines for requests are written on stderr.",
        choices=("text", "json"),
    )  # fmt: skip
    otel_endpoint: str | None = setting(
        None, "Where OpenTelemetry's traces and metrics are sent, as http://collector:4318; the "
        "other variables of OpenTelemetry are read as well.",
        env=("OTEL_EXPORTER_OTLP_ENDPOINT",), secret=True,
    )  # fmt: skip
