"""Spans and measurements on their way to a collector: the only module that imports OpenTelemetry.

`Sending` is used by `tracing.py` alone: `begin` on the event loop, `send` in its thread.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from h2o_relay.accounting.record import Record
from h2o_relay.commands.printable import one_line

from . import spans
from .histogram import DURATION, FIRST, PER_TOKEN, TOKENS
from .tracing import Trace
from .vocabulary import OPERATIONS

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, Meter

SERVICE: Final = "h2o-relay"
RECORDED: Final = Decision.RECORD_AND_SAMPLE
MOST: Final = 20_000  # spans that wait for the collector
SECONDS: Final = 60.0  # between lines of the log about a collector that is away
SECRETIVE: Final = re.compile(r"(?<=//)[^/\s@]*@|\?\S*")
"""What may be secret in a URL: what is before the host, and the query."""
log = logging.getLogger(__name__)


class Sending:
    def __init__(self, endpoint: str | None, env: Mapping[str, str]) -> None:
        """`endpoint` is the base URL; the SDK's own variables, if they name more, win."""
        self._voice = Voice()
        resource = _resource()
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._sampler, self._ids = provider.sampler, provider.id_generator
        self._resource = resource
        self._scope = InstrumentationScope("h2o_relay", _version())
        self._propagator = TraceContextTextMapPropagator()
        self.measurements = self._spans = None
        self._exporters: list[OTLPMetricExporter | OTLPSpanExporter] = []
        if env.get("OTEL_METRICS_EXPORTER", "otlp") != "none":
            url = _signal(endpoint, "metrics", env)
            self._exporters.append(metrics := OTLPMetricExporter(url))
            reader = PeriodicExportingMetricReader(metrics)
            self._meters = MeterProvider([reader], resource, shutdown_on_exit=False)
            self.measurements = Measurements(self._meters.get_meter("h2o_relay", _version()))
        if env.get("OTEL_TRACES_EXPORTER", "otlp") != "none":
            self._exporters.append(traces := OTLPSpanExporter(_signal(endpoint, "traces", env)))
            self._exporter = Counting(traces)
            size = None if env.get("OTEL_BSP_MAX_QUEUE_SIZE") else MOST
            self._spans = BatchSpanProcessor(self._exporter, size)
        self._taken = self._overflow = 0

    @property
    def lost(self) -> int:
        """Spans that were not delivered."""
        return self._overflow + (self._exporter.lost if self._spans else 0)

    def begin(self, traceparent: str, tracestate: str) -> Trace:
        """The caller's trace goes on; without one, or with one that cannot be read, a new one
        begins (W3C Trace Context, 4.3).
        """
        parent, above = None, None
        if traceparent:
            carrier = {"traceparent": traceparent, "tracestate": tracestate}
            above = self._propagator.extract(carrier)
            found = get_current_span(above).get_span_context()
            parent = found if found.is_valid else None
        trace_id = parent.trace_id if parent else self._ids.generate_trace_id()
        sampled = self._sampler.should_sample(above, trace_id, "request", SpanKind.SERVER)
        flags = TraceFlags(TraceFlags.SAMPLED if sampled.decision is RECORDED else 0)
        state = parent.trace_state if parent else None
        context = SpanContext(trace_id, self._ids.generate_span_id(), False, flags, state)
        head = f"traceparent: 00-{trace_id:032x}-{context.span_id:016x}-{flags:02x}\r\n"
        if state:
            head += f"tracestate: {state.to_header()}\r\n"
        return Trace(context, parent, head.encode("latin-1", "replace"))

    def send(self, items: Sequence[tuple[Record, Trace]]) -> None:
        """Hand spans and measurements to the SDK, which sends them in threads of its own."""
        for record, trace in items:
            if self.measurements is not None:
                self.measurements.note(record)
            if self._spans is None or not trace.context.trace_flags.sampled:
                continue
            if self._taken - self._exporter.done >= MOST:
                self._overflow += 1
                continue
            self._taken += 1
            self._spans.on_end(self._span(record, trace))

    def _span(self, record: Record, trace: Trace) -> ReadableSpan:
        start = int(record.at * 1e9)
        return ReadableSpan(
            name=spans.name(record),
            context=trace.context,
            parent=trace.parent,
            resource=self._resource,
            attributes=spans.attributes(record),
            kind=SpanKind.SERVER,
            status=Status(StatusCode.ERROR if spans.failed(record) else StatusCode.UNSET),
            start_time=start,
            end_time=start + int(max(record.seconds, 0.0) * 1e9),
            instrumentation_scope=self._scope,
        )

    def close(self, seconds: float) -> None:
        """Send what is left. Blocks, for longer than `seconds` if a collector does not answer."""
        if self._spans is not None:
            self._spans.shutdown()  # type: ignore[no-untyped-call]
        if self.measurements is not None:
            self._meters.shutdown(seconds * 1000)

    def abandon(self) -> None:
        """What is on its way is tried no more: those that wait in `close` go on, and the rest is
        counted as lost.
        """
        for exporter in self._exporters:
            exporter.shutdown()

    def hush(self) -> None:
        """The SDK's words go where they went before."""
        self._voice.leave()


class Counting(SpanExporter):
    """Counts the spans that went through another exporter."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.done = self.lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            self.done += len(spans)
            self.lost += 0 if result is SpanExportResult.SUCCESS else len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


class Measurements:
    """The metrics of the GenAI conventions (gen-ai-metrics.md)."""

    def __init__(self, meter: Meter) -> None:
        def seconds(name: str, help: str, bounds: Sequence[float]) -> Histogram:
            return meter.create_histogram(
                name, "s", help, explicit_bucket_boundaries_advisory=bounds
            )

        self._operation = seconds("gen_ai.client.operation.duration", "GenAI operation duration.",
                                  DURATION)  # fmt: skip
        self._duration = seconds("gen_ai.server.request.duration", "Request duration.", DURATION)
        self._first = seconds("gen_ai.server.time_to_first_token", "To the first token.", FIRST)
        self._per_token = seconds("gen_ai.server.time_per_output_token",
                                  "Per token after the first.", PER_TOKEN)  # fmt: skip
        self._usage = meter.create_histogram(
            "gen_ai.client.token.usage", "{token}", "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=TOKENS,
        )  # fmt: skip

    def note(self, record: Record) -> None:
        """What the relay did as its callers' server, and as its upstreams' client."""
        if record.route not in OPERATIONS:
            return
        told = spans.gen_ai(record)
        self._duration.record(max(record.seconds, 0.0), told)
        if not record.attempts:
            return
        self._operation.record(max(record.seconds - record.queued, 0.0), told)
        if "error.type" not in told and record.first is not None:
            self._first.record(record.first, told)
            if record.completion_tokens is not None and record.completion_tokens > 1:
                rest = max(record.seconds - record.first, 0.0)
                self._per_token.record(rest / (record.completion_tokens - 1), told)
        told.pop("error.type", None)
        for kind, count in (("input", record.prompt_tokens), ("output", record.completion_tokens)):
            if count is not None:
                self._usage.record(count, {**told, "gen_ai.token.type": kind})


class Voice(logging.Handler):
    """What the SDK logs, as lines of ours: no traceback, no secret of a URL, one a minute."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next = 0.0
        self._sdk = logging.getLogger("opentelemetry")
        self._before = self._sdk.propagate
        self._sdk.addHandler(self)
        self._sdk.propagate = False

    def emit(self, record: logging.LogRecord) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + SECONDS
        log.warning("OpenTelemetry: %s", one_line(SECRETIVE.sub("", record.getMessage()), 300))

    def leave(self) -> None:
        self._sdk.removeHandler(self)
        self._sdk.propagate = self._before


def _resource() -> Resource:
    found = Resource.create()
    ours = {SERVICE_NAME: SERVICE, SERVICE_VERSION: _version()}
    if not str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        del ours[SERVICE_NAME]  # the operator has named it
    return found.merge(Resource(ours))


def _signal(endpoint: str | None, signal: str, env: Mapping[str, str]) -> str | None:
    """The URL for a signal, None where the SDK finds it in its variables (OTLP exporter
    specification, "Endpoint URLs for OTLP/HTTP").
    """
    if endpoint is None or env.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"):
        return None
    return f"{endpoint.rstrip('/')}/v1/{signal}"


def _version() -> str:
    try:
        return version("h2o-relay")
    except PackageNotFoundError:
        return ""
