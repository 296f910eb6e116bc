"""`Tracing`: a span and measurements for each request, sent by OpenTelemetry's own SDK.

    tracing = Tracing.configured(settings.otel_endpoint, environment())    # None where it is off
    trace = tracing.begin(exchange.headers)         # whose trace it is, before anything is asked
    trace_headers.PASSED_ON.set(trace.head)         # upstreams are told
    tracing.note(record, trace)
    await tracing.close()

The span is made when its request is over, so that a running one costs nothing; what is needed
before, its id and whether it is sampled, is decided by `begin`. All variables of the SDK hold
(OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_SERVICE_NAME ...). A collector that is away
costs spans, which are counted, and never a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from h2o_relay.accounting.record import Record

from .backlog import Backlog

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

    from .sending import Sending

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")  # fmt: skip
PROTOCOL: Final = "http/protobuf"
NEEDED: Final = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
LAST: Final = 5.0  # seconds that the last spans may take
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a request stands in its caller's trace, or in one of its own."""

    context: SpanContext
    """Of the request's own span."""
    parent: SpanContext | None
    head: bytes
    """`traceparent` and, if the caller sent one, `tracestate`, each with its line end."""


class Tracing:
    """For one event loop."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._backlog: Backlog[tuple[Record, Trace]] = Backlog("traces", sending.send)
        self._failed = 0

    @classmethod
    def configured(cls, endpoint: str | None, env: Mapping[str, str]) -> Tracing | None:
        """What `--otel-endpoint` and OpenTelemetry's variables ask for; None where that is nothing,
        or cannot be done, which the log tells.
        """
        if not wanted(endpoint, env):
            return None
        if not _installed():
            log.warning("OpenTelemetry has an endpoint, but nothing is sent: that needs "
                        "pip install 'h2o-relay[otel]'")  # fmt: skip
            return None
        protocol = env.get("OTEL_EXPORTER_OTLP_PROTOCOL") or PROTOCOL
        if protocol != PROTOCOL:
            log.warning("OTEL_EXPORTER_OTLP_PROTOCOL is %s, and nothing is sent: the relay speaks "
                        "%s", protocol[:40], PROTOCOL)  # fmt: skip
            return None
        from .sending import Sending

        return cls(Sending(endpoint, env))

    @property
    def lost(self) -> int:
        """Requests that have no span although they were to have one."""
        return self._backlog.lost + self._sending.lost + self._failed

    def begin(self, headers: Mapping[bytes, bytes]) -> Trace:
        """Where a request with these headers, lower-case names, stands."""
        return self._sending.begin(
            headers.get(b"traceparent", b"").decode("latin-1"),
            headers.get(b"tracestate", b"").decode("latin-1"),
        )

    def note(self, record: Record, trace: Trace | None = None) -> None:
        """A request is over. Takes a microsecond or two and never raises."""
        try:
            self._backlog.put((record, trace or self.begin({})))
        except Exception:
            self._failed += 1
            if self._failed == 1:
                log.exception("a request could not be traced")

    async def close(self) -> None:
        """Send what is left; takes little more than `LAST` seconds at most."""
        ending = threading.Thread(target=self._end, name="traces' end", daemon=True)
        ending.start()
        await asyncio.to_thread(ending.join, LAST)
        if ending.is_alive():
            self._sending.abandon()
            await asyncio.to_thread(ending.join, 1.0)
        if self.lost:
            log.warning("OpenTelemetry: %d spans were not delivered", self.lost)
        if not ending.is_alive():
            self._sending.hush()

    def _end(self) -> None:
        self._backlog.close(LAST / 2)
        self._sending.close(LAST / 2)


def wanted(endpoint: str | None, env: Mapping[str, str]) -> bool:
    """Whether anything is to be sent: there is an endpoint, and the SDK is not switched off."""
    off = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not off and bool(endpoint or any(env.get(variable) for variable in ENDPOINTS))


def _installed() -> bool:
    with contextlib.suppress(ModuleNotFoundError):
        return all(find_spec(module) is not None for module in NEEDED)
    return False
