"""What a collector gets: spans and measurements as they go over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import gzip
import logging
import re
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from h2o_relay.http_head import encode_head
from h2o_relay.trace_headers import PASSED_ON, as_mapping
from h2o_relay_proxy.seeing import sending, tracing
from h2o_relay_proxy.seeing.spans import address
from h2o_relay_proxy.seeing.tracing import Tracing

from .records import AT, mixed, record, refused

PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NOT_SAMPLED = PARENT[:-2] + b"00"


@dataclass
class Collector:
    """A stand-in for a collector that speaks OTLP over HTTP."""

    url: str = ""
    status: int = 200
    slow: float = 0.0
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def spans(self) -> list[Span]:
        requests = [ExportTraceServiceRequest.FromString(b) for p, b in self.bodies
                    if p == "/v1/traces"]  # fmt: skip
        return [span for request in requests for resource in request.resource_spans
                for scope in resource.scope_spans for span in scope.spans]  # fmt: skip

    def resource(self) -> dict[str, Any]:
        body = next(body for path, body in self.bodies if path == "/v1/traces")
        request = ExportTraceServiceRequest.FromString(body)
        return attributes(request.resource_spans[0].resource)

    def points(self) -> dict[str, list[Any]]:
        """The last measurements, by the names of their instruments."""
        body = next(body for path, body in reversed(self.bodies) if path == "/v1/metrics")
        request = ExportMetricsServiceRequest.FromString(body)
        return {metric.name: list(metric.histogram.data_points)
                for resource in request.resource_metrics for scope in resource.scope_metrics
                for metric in scope.metrics}  # fmt: skip


def attributes(told: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value"))
            for each in told.attributes}  # fmt: skip


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Running, with nothing in the environment that would send elsewhere."""
    clear(monkeypatch)
    seen = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            time.sleep(seen.slow)
            if seen.status == 200:
                seen.bodies.append((self.path, body))
                seen.headers.append({k.lower(): v for k, v in self.headers.items()})
            self.send_response(seen.status)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    seen.url = f"http://127.0.0.1:{server.server_port}"
    yield seen
    server.shutdown()
    thread.join()
    server.server_close()


def clear(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*tracing.ENDPOINTS, "OTEL_SERVICE_NAME", "OTEL_TRACES_SAMPLER",
                 "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_BSP_MAX_QUEUE_SIZE",
                 "OTEL_RESOURCE_ATTRIBUTES"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def traced(collector: Collector, env: dict[str, str] | None = None) -> Tracing:
    found = Tracing.configured(collector.url, env or {})
    assert found is not None
    return found


async def test_a_request_is_a_span_in_its_callers_trace(collector: Collector) -> None:
    found = traced(collector)
    trace = found.begin({b"traceparent": PARENT, b"tracestate": b"vendor=1"})
    found.note(record(), trace)
    await found.close()
    (span,) = collector.spans()
    assert span.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert span.parent_span_id.hex() == "b7ad6b7169203331"
    assert span.trace_state == "vendor=1"
    assert span.name == "chat llama"
    assert span.kind == Span.SPAN_KIND_SERVER
    assert span.start_time_unix_nano == int(AT * 1e9)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 2_300_000_000
    assert span.status.code == 0
    assert attributes(span) == {
        "http.request.method": "POST", "http.route": "/v1/chat/completions",
        "http.response.status_code": 200, "h2o.request.id": "0190ab", "h2o.key": "key_ab",
        "h2o.attempts": 1, "h2o.queue.duration": 0.004, "h2o.overhead.duration": 0.0004,
        "h2o.aborted": False, "h2o.cost": 0.002, "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "vllm", "gen_ai.request.model": "llama",
        "gen_ai.response.model": "llama_1", "gen_ai.request.stream": True,
        "gen_ai.usage.input_tokens": 100, "gen_ai.usage.output_tokens": 21,
        "gen_ai.usage.cache_read.input_tokens": 40, "gen_ai.response.time_to_first_chunk": 0.3,
        "server.address": "10.0.0.5", "server.port": 8000,
    }  # fmt: skip
    assert collector.resource()["service.name"] == "h2o-relay"
    assert found.lost == 0


async def test_an_upstream_is_told_of_the_span_that_asks_it(collector: Collector) -> None:
    found = traced(collector)
    trace = found.begin({b"traceparent": PARENT, b"tracestate": b"vendor=1"})
    head = encode_head("POST", "/v1", "h", {"a": "b"}, b"{}", trace.head)
    sent = re.search(rb"\r\ntraceparent: 00-(\w{32})-(\w{16})-01\r\ntracestate: vendor=1\r\n", head)
    assert sent is not None
    assert head.endswith(b"\r\n\r\n{}")
    found.note(record(), trace)
    await found.close()
    (span,) = collector.spans()
    assert (span.trace_id.hex(), span.span_id.hex()) == (sent[1].decode(), sent[2].decode())
    told = as_mapping(trace.head)
    assert list(told) == ["traceparent", "tracestate"]
    assert PASSED_ON.get() == b""
    assert as_mapping(b"") == {}


@pytest.mark.parametrize(
    "sent",
    [b"", b"nonsense", b"00-" + b"0" * 32 + b"-b7ad6b7169203331-01", PARENT + b"\r\nx: y", b"\xff",
     b"ff" + PARENT[2:]],
)  # fmt: skip
async def test_what_is_no_trace_begins_a_new_one(collector: Collector, sent: bytes) -> None:
    found = traced(collector)
    trace = found.begin({b"traceparent": sent, b"tracestate": b"\x00=\n,,"})
    assert re.fullmatch(rb"traceparent: 00-\w{32}-\w{16}-01\r\n", trace.head)
    found.note(record(), trace)
    await found.close()
    (span,) = collector.spans()
    assert span.parent_span_id == b""
    assert span.trace_id.hex() != "0af7651916cd43dd8448eb211c80319c"


async def test_a_trace_that_is_not_sampled_is_passed_on_and_not_sent(collector: Collector) -> None:
    found = traced(collector)
    trace = found.begin({b"traceparent": NOT_SAMPLED})
    assert trace.head.startswith(NOT_SAMPLED[:36].join([b"traceparent: ", b""]))
    assert trace.head.endswith(b"-00\r\n")
    found.note(record(), trace)
    await found.close()
    assert collector.spans() == []
    assert collector.points()["gen_ai.server.request.duration"][0].count == 1


async def test_errors_are_as_the_conventions_say(collector: Collector) -> None:
    found = traced(collector)
    for each in (
        refused(),
        record(status=502, code="upstream_disconnected", model="llama"),
        record(code="upstream_incomplete"),
        record(status=400, code="sk-canary"),
        record(status=499, aborted=True),
        record(route="/v1/models", method="GET", model="", deployment="", plugin="", server=""),
    ):
        found.note(each)
    await found.close()
    spans = collector.spans()
    types = [attributes(span).get("error.type") for span in spans]
    assert types == ["model_not_found", "upstream_disconnected", "upstream_incomplete", "_OTHER",
                     "499", None]  # fmt: skip
    assert [span.status.code for span in spans] == [0, 2, 2, 0, 0, 0]
    assert [span.name for span in spans][::5] == ["chat", "GET /v1/models"]
    assert not any(b"canary" in body for _, body in collector.bodies)


async def test_measurements_have_the_names_and_buckets_of_the_conventions(
    collector: Collector,
) -> None:
    found = traced(collector)
    for each in (record(), record(), refused(), record(status=502, code="upstream_disconnected")):
        found.note(each)
    await found.close()
    points = collector.points()
    assert set(points) == {
        "gen_ai.client.operation.duration", "gen_ai.client.token.usage",
        "gen_ai.server.request.duration", "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
    }  # fmt: skip
    about = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "vllm",
             "gen_ai.request.model": "llama", "gen_ai.response.model": "llama_1",
             "server.address": "10.0.0.5", "server.port": 8000}  # fmt: skip
    durations = {
        attributes(p).get("error.type"): p for p in points["gen_ai.server.request.duration"]
    }
    assert {kind: point.count for kind, point in durations.items()} == {
        None: 2, "model_not_found": 1, "upstream_disconnected": 1,
    }  # fmt: skip
    assert attributes(durations[None]) == about
    assert list(durations[None].explicit_bounds)[:14] == [0.01 * 2**n for n in range(14)]
    assert durations[None].sum == pytest.approx(4.6)
    usage = {attributes(p)["gen_ai.token.type"]: p for p in points["gen_ai.client.token.usage"]}
    assert usage["input"].sum == 300
    assert usage["output"].sum == 63
    (first,) = points["gen_ai.server.time_to_first_token"]
    assert first.count == 2
    (each,) = points["gen_ai.server.time_per_output_token"]
    assert each.sum == pytest.approx(0.2)


async def test_the_sdks_own_variables_hold(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SERVICE_NAME": "llms",
           "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20abc",
           "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment=test",
           "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_METRICS_EXPORTER": "none"}  # fmt: skip
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    found = Tracing.configured(None, env)
    assert found is not None
    found.note(record())
    await found.close()
    assert len(collector.spans()) == 1
    assert collector.resource()["service.name"] == "llms"
    assert collector.resource()["deployment.environment"] == "test"
    assert collector.headers[0]["authorization"] == "Basic abc"
    assert {path for path, _ in collector.bodies} == {"/v1/traces"}


@pytest.mark.parametrize(
    ("endpoint", "env", "why"),
    [
        (None, {}, ""),
        (None, {"OTEL_EXPORTER_OTLP_HEADERS": "a=b"}, ""),
        ("http://127.0.0.1:1", {"OTEL_SDK_DISABLED": "true"}, ""),
        ("http://127.0.0.1:1", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "speaks http/protobuf"),
    ],
)
def test_it_is_off_unless_it_can_be_done(
    endpoint: str | None, env: dict[str, str], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert Tracing.configured(endpoint, env) is None
    assert why in caplog.text
    assert bool(why) == bool(caplog.text)


def test_without_the_extra_the_operator_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "NEEDED", ("not_there.at_all",))
    assert Tracing.configured("http://127.0.0.1:1", {}) is None
    assert "pip install 'h2o-relay[otel]'" in caplog.text


def test_nothing_is_imported_while_it_is_off() -> None:
    code = (
        "import sys; from h2o_relay_proxy.seeing import tracing, metrics, request_log; "
        "assert tracing.Tracing.configured(None, {}) is None; "
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'prometheus'))])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clear(monkeypatch)
    monkeypatch.setattr(tracing, "LAST", 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    found = Tracing.configured(f"http://user:canary@127.0.0.1:{port}?key=canary", {})
    assert found is not None
    began = time.monotonic()
    for each in mixed(600):  # more than one batch
        found.note(each, found.begin({b"traceparent": PARENT}))
    assert time.monotonic() - began < 5
    await found.close()
    assert time.monotonic() - began < 15
    assert found.lost == 600
    assert "OpenTelemetry: 600 spans were not delivered" in caplog.text
    assert "canary" not in caplog.text
    assert "Traceback" not in caplog.text
    assert len(caplog.records) == 2, "one line a minute, and the last one"


async def test_a_collector_that_refuses_is_told_once_and_counted(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.status = 400
    found = traced(collector, {"OTEL_METRICS_EXPORTER": "none"})
    for each in mixed(600):
        found.note(each)
    await found.close()
    assert found.lost == 600
    told = [each.getMessage() for each in caplog.records]
    assert told == [
        "OpenTelemetry: Failed to export spans batch code: 400, reason: Bad Request",
        "OpenTelemetry: 600 spans were not delivered",
    ]


async def test_20_000_spans_arrive(collector: Collector) -> None:
    found, records = traced(collector), mixed(20_000)
    for start in range(0, len(records), 1000):
        for each in records[start : start + 1000]:
            found.note(each)
        await asyncio.sleep(0.15)
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(20):
            while len(collector.spans()) < 15_000:  # noqa: ASYNC110, threads' doing
                await asyncio.sleep(0.3)
    await found.close()
    ids = [attributes(span)["h2o.request.id"] for span in collector.spans()]
    assert len(ids) == len(set(ids)) == len(records) - found.lost
    assert found.lost == 0
    counts = collector.points()["gen_ai.server.request.duration"]
    assert sum(point.count for point in counts) == len(records)


async def test_notes_take_microseconds_and_memory_is_flat(collector: Collector) -> None:
    """10,000 of them, as fast as the thread takes them while memory is traced."""
    found, records, best, begun = traced(collector), mixed(500), 1.0, 1.0
    collector.status = 400  # a stand-in need not keep them
    trace = found.begin({})
    for each in records:
        found.note(each, trace)
    await worked_on(found, 500)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for turn in range(20):
            start = time.perf_counter()
            for each in records:
                found.note(each, trace)
            best = min(best, (time.perf_counter() - start) / len(records))
            start = time.perf_counter()
            for _ in range(20):
                found.begin({b"traceparent": PARENT})
            begun = min(begun, (time.perf_counter() - start) / 20)
            await worked_on(found, 500 * (turn + 2))
        await found.close()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert found.lost == 10_500
    assert best < 20e-6
    assert begun < 500e-6
    assert grown < 500_000, f"{grown} bytes for 10,000 requests"


async def worked_on(found: Tracing, count: int) -> None:
    """Wait until the thread has handed so many spans to the SDK."""
    async with asyncio.timeout(20):
        while found._sending._taken < count:  # noqa: ASYNC110, a thread's doing
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("server", "found"),
    [
        ("vllm_chat:http://10.0.0.5:8000/v1", ("10.0.0.5", 8000)),
        ("https://***@api.example.com/v1", ("api.example.com", 443)),
        ("openai_chat:http://[::1]/v1:***", ("::1", 80)),
        ("vllm:10.0.0.5:8000:***", ("10.0.0.5", 8000)),
        ("vllm:host:5000", ("host", 5000)),
        ("openai_chat", None),
        ("http://[broken", None),
        ("http://h:99999999/", None),
        ("", None),
    ],
)
def test_a_server_string_says_where_its_server_is(
    server: str, found: tuple[str, int] | None
) -> None:
    assert address(server) == found


def test_the_logs_of_the_sdk_are_given_back() -> None:
    voice = sending.Voice()
    assert not logging.getLogger("opentelemetry").propagate
    voice.leave()
    assert logging.getLogger("opentelemetry").propagate
