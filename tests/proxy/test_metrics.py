"""What /metrics tells, in both of its forms."""

from __future__ import annotations

import asyncio
import gc
import json
import re
import sys
import time
import tracemalloc
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as plain_text

from h2o_relay.testing.scripts import json as answering
from h2o_relay.testing.scripts import sse
from h2o_relay_proxy.seeing.exposition import families
from h2o_relay_proxy.seeing.histogram import DURATION, Histogram
from h2o_relay_proxy.seeing.metrics import Metrics
from h2o_relay_proxy.seeing.vocabulary import error_codes

from .kit import MODEL, POOL, chat, get, pooled, post, relay, request, said
from .records import CHAT, mixed, record, refused

ROOT = Path(__file__).parents[2]
OPEN = "application/openmetrics-text; version=1.0.0"
UNITS = ("_seconds", "_bytes", "_tokens", "_info", "_total", "_usage")
UNITLESS = {
    "h2o_requests_in_flight", "h2o_streams_open", "h2o_deployment_running", "h2o_pool_queue",
    "h2o_deployment_waiting", "h2o_server_running", "h2o_server_waiting", "h2o_deployment_state",
    "h2o_deployment_breaker", "process_open_fds", "process_max_fds",
}  # fmt: skip
"""Gauges of things that are counted, which have no unit."""
Labels = tuple[tuple[str, str], ...]
Page = dict[str, dict[Labels, float]]


async def page(metrics: Metrics, kernel: Any = None, accept: str = "") -> Page:
    """Samples by their names and their labels, as a scraper reads them."""
    body, _ = await metrics.encoded(kernel, accept)
    found: Page = {}
    for family in (open_metrics if accept == OPEN else plain_text)(body.decode()):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            samples = found.setdefault(sample.name, {})
            assert labels not in samples, f"{sample.name}{labels} is there twice"
            samples[labels] = sample.value
    return found


def total(samples: dict[Labels, float] | None, **wanted: str) -> float:
    """The sum of the samples that have these labels."""
    return sum(
        value for labels, value in (samples or {}).items() if wanted.items() <= dict(labels).items()
    )


def counted(records: list[Any], **options: Any) -> Metrics:
    metrics = Metrics(**options)
    for each in records:
        metrics.note(each)
    return metrics


@pytest.mark.parametrize("accept", ["", OPEN])
async def test_every_request_is_counted_once(accept: str) -> None:
    records = mixed(2000)
    found = await page(counted(records), accept=accept)
    outcomes = Counter((str(each.status), each.code or "") for each in records)
    assert len(outcomes) == 4
    for (status, error), count in outcomes.items():
        assert total(found["h2o_requests_total"], status=status, error=error) == count
    assert total(found["h2o_requests_total"]) == 2000
    assert total(found["h2o_request_duration_seconds_count"]) == 2000
    assert total(found["h2o_requests_aborted_total"]) == sum(each.aborted for each in records)
    assert total(found["h2o_retries_total"]) == 2 * outcomes["502", "upstream_disconnected"]
    tokens = sum(each.completion_tokens or 0 for each in records)
    assert total(found["h2o_tokens_total"], type="completion") == tokens
    assert total(found["h2o_cost_total"]) == pytest.approx(sum(each.cost or 0 for each in records))


async def test_the_content_type_is_what_was_asked_for() -> None:
    metrics = counted([record()])
    for accept, kind in {
        "": "text/plain; version=0.0.4",
        "*/*": "text/plain; version=0.0.4",
        "text/plain;version=0.0.4;q=0.5,*/*;q=0.1": "text/plain; version=0.0.4",
        f"{OPEN},text/plain;version=0.0.4;q=0.5": "application/openmetrics-text; version=1.0.0",
        "application/openmetrics-text; version=nonsense": "text/plain; version=0.0.4",
        ";;,=": "text/plain; version=0.0.4",
    }.items():
        body, found = await metrics.encoded(None, accept)
        assert found.startswith(kind), accept
        assert body.endswith(b"# EOF\n") == kind.startswith("application")


async def test_histograms_count_what_is_up_to_a_bound() -> None:
    found = await page(counted([record(seconds=each) for each in (0.01, 0.011, 1e6, -3.0)]))
    buckets = found["h2o_request_duration_seconds_bucket"]
    by_bound = {dict(labels)["le"]: value for labels, value in buckets.items()}
    assert by_bound["0.01"] == 2  # the one below zero counts as zero
    assert by_bound["0.02"] == 3
    assert by_bound[str(DURATION[-1])] == 3
    assert by_bound["+Inf"] == 4
    assert total(found["h2o_request_duration_seconds_sum"]) == pytest.approx(1e6 + 0.021)


async def test_the_time_per_token_leaves_out_the_first() -> None:
    found = await page(counted([record(), record(completion_tokens=1), record(first=None)]))
    assert total(found["h2o_time_per_output_token_seconds_count"]) == 1
    assert total(found["h2o_time_per_output_token_seconds_sum"]) == pytest.approx(0.1)
    assert total(found["h2o_time_to_first_token_seconds_count"]) == 2


async def test_the_genai_names_say_the_same_for_all_routes_of_an_operation() -> None:
    records = [record(), record(route="/v1/messages"), record(route="/v1/completions"), refused()]
    found = await page(counted(records))
    duration = found["gen_ai_server_request_duration_seconds_count"]
    about = {"gen_ai_provider_name": "vllm", "gen_ai_request_model": "llama",
             "gen_ai_response_model": "llama_1"}  # fmt: skip
    assert total(duration, gen_ai_operation_name="chat", **about) == 2
    assert total(duration, gen_ai_operation_name="text_completion", **about) == 1
    assert total(duration) == 3
    assert total(found["gen_ai_client_token_usage_sum"], gen_ai_token_type="input") == 300


async def test_labels_are_bounded() -> None:
    metrics = Metrics(most=10)
    for number in range(500):
        metrics.note(record(model=f"m{number}"))
    found = await page(metrics)
    assert total(found["h2o_requests_total"]) == 500
    assert total(found["h2o_requests_total"], model="other", route="other") == 490
    assert len(found["h2o_requests_total"]) == 11
    assert total(found["h2o_metrics_overflow_total"]) == 490


async def test_words_of_an_upstream_are_no_labels() -> None:
    codes = [f"sk-canary-{number}" for number in range(50)]
    metrics = counted([record(status=400, code=code) for code in codes])
    metrics.note(record(status=477, code="content_filter"))
    body, _ = await metrics.encoded(None)
    assert b"canary" not in body
    found = await page(metrics)
    assert total(found["h2o_requests_total"], error="other", status="400") == 50
    assert total(found["h2o_requests_total"], error="content_filter", status="4xx") == 1


def test_every_code_of_ours_is_a_known_word() -> None:
    named = re.compile(r'\bcode\s*=\s*"([a-z_]+)"')
    sources = [path for part in ("core", "proxy") for path in (ROOT / part).rglob("*.py")]
    used = {code for path in sources for code in named.findall(path.read_text("utf-8"))}
    assert "model_not_found" in used
    assert not used - error_codes()


async def test_keys_are_told_apart_only_where_that_is_asked_for() -> None:
    records = [record(key="key_a"), record(key="key_b"), record(key="key_b")]
    body, _ = await counted(records).encoded(None)
    assert b"key_" not in body
    found = await page(counted(records, keys=True))
    assert total(found["h2o_requests_total"], key="key_b") == 2


async def test_names_with_anything_in_them_are_one_line() -> None:
    name = 'a"b\\c\nh2o_fake_total 1\n'
    for accept in ("", OPEN):
        found = await page(counted([record(model=name)]), accept=accept)
        assert total(found["h2o_requests_total"], model=name) == 1
        assert "h2o_fake_total" not in found


async def test_a_record_that_cannot_be_counted_is_counted_as_lost(
    caplog: pytest.LogCaptureFixture,
) -> None:
    metrics = Metrics()
    for _ in range(3):
        metrics.note(record(seconds=None))
    metrics.also_lost("request_log", lambda: 7)
    found = await page(metrics)
    assert total(found["h2o_records_lost_total"], part="metrics") == 3
    assert total(found["h2o_records_lost_total"], part="request_log") == 7
    assert len(caplog.records) == 1


async def test_it_tells_how_the_servers_are_doing() -> None:
    servers = ["vllm_chat:{url}/v1", ("vllm_chat:http://127.0.0.1:9/v1", "gone")]
    async with relay(sse(said(3)), servers=servers) as running:
        assert (await running.ask(post(chat()))).status == 200
        metrics = counted([])
        metrics.in_flight = 3
        found = await page(metrics, running.kernel)
        state = found["h2o_deployment_state"]
        assert total(state, deployment=MODEL, state="healthy") == 1
        assert total(state, deployment="gone", state="offline") == 1
        assert total(state, deployment=MODEL) == 1
        assert total(found["h2o_deployment_breaker"], deployment=MODEL, state="closed") == 1
        assert total(found["h2o_deployment_info"], deployment=MODEL, plugin="vllm") == 1
        assert total(found["h2o_deployment_latency_seconds"], deployment=MODEL) > 0
        assert total(found["h2o_requests_in_flight"]) == 3
        body, _ = await metrics.encoded(running.kernel)
        assert b"127.0.0.1" not in body


async def test_it_answers_over_http() -> None:
    async with relay() as running:
        metrics = counted([record()])
        app = running.server._answers
        app._gets[b"/metrics"] = partial(metrics.answer, running.kernel)
        reply = await running.ask(get("/metrics", accept=OPEN))
        assert reply.status == 200
        assert reply.headers["content-type"].startswith("application/openmetrics-text")
        assert reply.headers["cache-control"] == "no-store"
        assert reply.body.endswith(b"# EOF\n")
        assert f'h2o_deployment_running{{deployment="{MODEL}"}} 0'.encode() in reply.body
        head = await running.ask(request("HEAD", "/metrics"))
        assert (head.status, head.body) == (200, b"")
        assert head.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_it_tells_of_pools() -> None:
    async with pooled(answering({}), answering({})) as running:
        found = await page(counted([]), running.kernel)
        assert found["h2o_pool_queue"] == {(("pool", POOL),): 0}
        assert total(found["h2o_deployment_running"]) == 0
        assert {dict(labels)["deployment"] for labels in found["h2o_deployment_running"]} == {
            "a", "b",
        }  # fmt: skip


async def test_it_tells_of_the_process() -> None:
    found = await page(counted([]))
    assert total(found["process_cpu_seconds_total"]) > 0
    assert len(found["h2o_build_info"]) == 1
    if sys.platform == "linux":
        assert total(found["process_resident_memory_bytes"]) > 1e6
        assert total(found["process_open_fds"]) > 2
        assert total(found["process_start_time_seconds"]) < time.time()


async def test_a_stalled_event_loop_shows() -> None:
    metrics = Metrics()
    async with metrics.watching():
        await asyncio.sleep(0.3)
        before = await page(metrics)
        time.sleep(0.6)  # noqa: ASYNC251, this is the stall
        await asyncio.sleep(0.05)
    found = await page(metrics)
    lag = total(found["h2o_event_loop_lag_seconds_sum"])
    assert lag - total(before["h2o_event_loop_lag_seconds_sum"]) >= 0.25
    await asyncio.sleep(0.3)
    assert await page(metrics, accept=OPEN)
    after = await page(metrics)
    assert total(after["h2o_event_loop_lag_seconds_sum"]) == lag, "it is measured no more"


def test_a_note_takes_microseconds() -> None:
    metrics, each, best = Metrics(), record(), 1.0
    for _ in range(20):
        began = time.perf_counter()
        for _ in range(500):
            metrics.note(each)
        best = min(best, (time.perf_counter() - began) / 500)
    assert best < 20e-6


def test_memory_is_flat() -> None:
    records, metrics = mixed(1000), Metrics()
    for each in records:
        metrics.note(each)
    tracemalloc.start()
    try:
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            for each in records:
                metrics.note(each)
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 20_000, f"{grown} bytes for 20,000 requests"


def test_histograms_can_be_added() -> None:
    one, other = Histogram((1.0, 2.0)), Histogram((1.0, 2.0))
    one.observe(0.5)
    other.observe(5)
    added = one.copy()
    added.add(other)
    assert (added.counts, added.sum) == ([1, 0, 1], 5.5)
    assert one.counts == [1, 0, 0]
    assert not Histogram((1.0,))


def names() -> dict[str, str]:
    """The families' names, as they are scraped, with their types."""
    found = {}
    for family in families(Metrics().snapshot(None)):
        suffix = "_total" if family.type == "counter" else ""
        found[family.name + suffix] = family.type
    return found


def test_names_are_as_the_naming_guide_asks() -> None:
    for name, kind in names().items():
        assert re.fullmatch(r"(h2o|gen_ai|process)_[a-z0-9_]+", name)
        assert name.endswith("_total") == (kind == "counter"), name
        assert name.endswith(UNITS) or name in UNITLESS, f"{name} has no unit"
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)\b", name)


def test_the_page_of_metrics_names_all_of_them_and_no_other() -> None:
    text = (ROOT / "docs" / "observability.md").read_text("utf-8")
    told = set(re.findall(r"^\| `((?:h2o|gen_ai|process)_\w+)`", text, re.MULTILINE))
    ours = {name for name in names() if not name.startswith("process_")}
    assert {name for name in told if not name.startswith("process_")} == ours


def test_the_dashboard_asks_for_what_is_there() -> None:
    board = json.loads((ROOT / "docs" / "grafana.json").read_text("utf-8"))
    targets = [one for panel in board["panels"] for one in panel.get("targets", [])]
    assert len(targets) >= 10
    asked = {name for one in targets for name in re.findall(r"\b(?:h2o|gen_ai|process)_\w+",
                                                            one["expr"])}  # fmt: skip
    known = set(names())
    for name, kind in names().items():
        if kind == "histogram":
            known |= {f"{name}{part}" for part in ("_bucket", "_sum", "_count")}
    assert not {name for name in asked if not name.startswith("process_")} - known
    assert CHAT not in str(board), "a dashboard is for every route"
