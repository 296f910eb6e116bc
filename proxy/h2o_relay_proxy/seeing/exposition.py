"""The text of /metrics, out of a `Snapshot`; the only module that imports prometheus_client.

Names are as Prometheus' naming guide asks (prometheus.io/docs/practices/naming): a prefix, base
units in plural, `_total` for what only grows. The four `gen_ai_*` are OpenTelemetry's conventions
for generative AI, translated as its specification of compatibility with Prometheus says.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final, get_args

from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, choose_encoder, generate_latest
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.utils import floatToGoString

from h2o_relay.breaker import BreakerState
from h2o_relay.health import STATES

from .histogram import Histogram
from .series import Labels, Series
from .vocabulary import OPERATIONS, provider

if TYPE_CHECKING:
    from .metrics import Snapshot
    from .servers import Seen

BREAKERS: Final = get_args(BreakerState)
COUNTERS: Final = {
    "h2o_requests_streamed": ("streamed", "Requests for a stream."),
    "h2o_requests_aborted": ("aborted", "Requests whose client left before the end."),
    "h2o_requests_estimated": ("estimated", "Requests whose tokens the relay has guessed."),
    "h2o_attempts": ("attempts", "Times that a server was asked."),
    "h2o_retries": ("retries", "Times that one was asked again, or another one."),
    "h2o_cached_tokens": ("cached", "Tokens of prompts that a server had in its cache."),
    "h2o_cost": ("cost", "What requests have cost, in the currency of the configured prices."),
}
"""Families of counters: the field of `Series`, and the help."""
HISTOGRAMS: Final = {
    "h2o_request_duration_seconds": ("duration", "Until the last byte of the answer."),
    "h2o_time_to_first_token_seconds": ("first", "Until the first piece of a streamed answer."),
    "h2o_time_per_output_token_seconds": ("per_token", "Per token of a stream after the first."),
    "h2o_queue_duration_seconds": ("queue", "For its turn on a server."),
    "h2o_overhead_seconds": ("overhead", "That the relay itself took until the first piece."),
    "h2o_prompt_tokens": ("prompt", "Tokens of prompts."),
    "h2o_completion_tokens": ("completion", "Tokens of answers."),
}
GEN_AI: Final = {
    "gen_ai_server_request_duration_seconds": ("duration", "Until the last byte of the answer."),
    "gen_ai_server_time_to_first_token_seconds": ("first", "Until the first piece of a stream."),
    "gen_ai_server_time_per_output_token_seconds": ("per_token", "Per token after the first."),
}
GEN_AI_LABELS: Final = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model",
                        "gen_ai_response_model")  # fmt: skip
GenAI = tuple[str, str, str, str]


def encode(snapshot: Snapshot, accept: str) -> tuple[bytes, str]:
    """The page and its content type. An Accept header that makes no sense gets the plain text."""
    try:
        make, kind = choose_encoder(accept)
    except Exception:  # its parser trips over versions that are no numbers
        make, kind = generate_latest, CONTENT_TYPE_PLAIN_0_0_4
    return make(_Page(snapshot)), kind


class _Page:
    """What the library's encoders ask for the metrics."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Metric]:
        return families(self._snapshot)


def families(snapshot: Snapshot) -> Iterator[Metric]:
    """Every family, those with no samples included."""
    yield from _requests(snapshot)
    yield from _gen_ai(snapshot)
    yield from _now(snapshot)
    yield from _deployments(snapshot.deployments)
    yield _of("gauge", "h2o_pool_queue", "Requests that wait for a member of a pool.", ["pool"],
              (([name], waiting) for name, waiting in snapshot.queues.items()))  # fmt: skip
    yield from _process(snapshot.pids)


def _requests(snapshot: Snapshot) -> Iterator[Metric]:
    """What was counted request by request."""
    names = ["route", "model", "deployment", *(["key"] if snapshot.keys else [])]
    each = [(list(labels[: len(names)]), series) for labels, series in snapshot.series.items()]
    total = CounterMetricFamily(
        "h2o_requests", "Requests that are over.", labels=[*names, "status", "error"]
    )
    for labels, series in each:
        for (status, error), count in series.outcomes.items():
            total.add_metric([*labels, status, error], count)
    yield total
    tokens = CounterMetricFamily(
        "h2o_tokens", "Tokens of prompts and of answers.", labels=[*names, "type"]
    )
    for labels, series in each:
        for kind, counted in (("prompt", series.prompt), ("completion", series.completion)):
            if counted:
                tokens.add_metric([*labels, kind], counted.sum)
    yield tokens
    for name, (field, help) in COUNTERS.items():
        yield _of("counter", name, help, names, ((labels, getattr(series, field))
                  for labels, series in each if getattr(series, field)))  # fmt: skip
    for name, (field, help) in HISTOGRAMS.items():
        yield _histogram(
            name, help, names, ((labels, getattr(series, field)) for labels, series in each)
        )


def _gen_ai(snapshot: Snapshot) -> Iterator[Metric]:
    """The same by the names of the GenAI conventions, of requests that a server was asked for."""
    groups: dict[GenAI, list[Series]] = {}
    for labels, series in snapshot.series.items():
        operation = OPERATIONS.get(labels.route)
        if operation is not None and labels.deployment:
            groups.setdefault(_named(operation, labels, series), []).append(series)
    for name, (field, help) in GEN_AI.items():
        merged = ((list(key), _merged(each, field)) for key, each in groups.items())
        yield _histogram(name, help, GEN_AI_LABELS, merged)
    usage = (
        ([*key, kind], _merged(each, field))
        for key, each in groups.items()
        for kind, field in (("input", "prompt"), ("output", "completion"))
    )
    yield _histogram("gen_ai_client_token_usage", "Tokens of prompts and of answers.",
                     [*GEN_AI_LABELS, "gen_ai_token_type"], usage)  # fmt: skip


def _named(operation: str, labels: Labels, series: Series) -> GenAI:
    return operation, provider(series.plugin), labels.model, labels.deployment


def _merged(series: Sequence[Series], field: str) -> Histogram:
    first, *others = (getattr(each, field) for each in series)
    merged: Histogram = first.copy()
    for other in others:
        merged.add(other)
    return merged


def _now(snapshot: Snapshot) -> Iterator[Metric]:
    """The relay itself, at this moment."""
    yield GaugeMetricFamily("h2o_requests_in_flight", "Requests that are being answered.",
                            value=snapshot.in_flight)  # fmt: skip
    yield GaugeMetricFamily("h2o_streams_open", "Streams that have begun and are not over.",
                            value=snapshot.streams)  # fmt: skip
    yield CounterMetricFamily("h2o_metrics_overflow", 'Requests counted under labels of "other", '
                              "for want of room.", value=snapshot.overflow)  # fmt: skip
    yield _of("counter", "h2o_records_lost", "Records that log, traces or store could not take.",
              ["part"], (([part], lost) for part, lost in snapshot.lost.items()))  # fmt: skip
    yield _histogram("h2o_event_loop_lag_seconds", "How late the event loop is.", [],
                     [([], snapshot.lag)])  # fmt: skip


def _deployments(seen: Iterable[Seen]) -> Iterator[Metric]:
    seen = list(seen)

    def gauge(name: str, help: str, value: Callable[[Seen], float | None]) -> Metric:
        values = (([each.deployment], value(each)) for each in seen)
        return _of("gauge", name, help, ["deployment"],
                   ((labels, found) for labels, found in values if found is not None))  # fmt: skip

    yield _of("gauge", "h2o_deployment_info", "Which plugin a deployment's server is of.",
              ["deployment", "plugin"],
              (([each.deployment, each.plugin], 1) for each in seen))  # fmt: skip
    yield _one_of("h2o_deployment_state", "1 for the state that it is in.", "state", STATES,
                  {each.deployment: each.state for each in seen})  # fmt: skip
    yield _one_of("h2o_deployment_breaker", "1 for the state of its circuit breaker.", "state",
                  BREAKERS, {each.deployment: each.breaker for each in seen})  # fmt: skip
    yield gauge("h2o_deployment_running", "Requests of the relay's that run there.",
                lambda each: each.running)  # fmt: skip
    yield gauge("h2o_deployment_waiting", "Requests of the relay's that wait for their turn there.",
                lambda each: each.waiting)  # fmt: skip
    yield gauge("h2o_deployment_latency_seconds", "To the first token: a moving average.",
                lambda each: each.latency)  # fmt: skip
    yield gauge("h2o_deployment_probe_seconds", "The last look at its server, without a token.",
                lambda each: each.probe)  # fmt: skip
    yield gauge("h2o_server_running", "Requests that its server says it works on.",
                lambda each: each.server_running)  # fmt: skip
    yield gauge("h2o_server_waiting", "Requests that its server says wait there.",
                lambda each: each.server_waiting)  # fmt: skip


def _process(pids: Sequence[int]) -> Iterator[Metric]:
    """The process by the names of every Prometheus client, as far as the system tells, and what
    runs in it; of several processes the sums.
    """
    found = _together(pids) if pids else list(ProcessCollector(registry=None).collect())
    yield from found
    if not found:  # no /proc
        yield CounterMetricFamily("process_cpu_seconds", "Total user and system CPU time spent in "
                                  "seconds.", value=time.process_time())  # fmt: skip
    yield _of("gauge", "h2o_build_info", "The relay that runs.", ["version", "python"],
              [([_version(), platform.python_version()], 1)])  # fmt: skip


def _together(pids: Sequence[int]) -> list[Metric]:
    """What the system tells of several processes, added up; it began when the first one did."""
    sums: dict[str, Metric] = {}
    for pid in pids:
        for family in ProcessCollector(pid=partial(int, pid), registry=None).collect():
            known = sums.setdefault(family.name, family)
            if not known.samples:
                sums[family.name] = family  # that process has just gone
            if known is family or not known.samples or not family.samples:
                continue
            begun = family.name == "process_start_time_seconds"
            values = (known.samples[0].value, family.samples[0].value)
            total = min(values) if begun else sum(values)
            known.samples[0] = known.samples[0]._replace(value=total)
    return list(sums.values())


def _version() -> str:
    try:
        return version("h2o-relay")
    except PackageNotFoundError:
        return ""


def _of(
    kind: str, name: str, help: str, labels: Sequence[str],
    values: Iterable[tuple[Sequence[str], float]],
) -> Metric:  # fmt: skip
    make: Any = CounterMetricFamily if kind == "counter" else GaugeMetricFamily
    family = make(name, help, labels=labels)
    for each, value in values:
        family.add_metric(each, value)
    return family  # type: ignore[no-any-return]


def _one_of(
    name: str, help: str, label: str, words: Sequence[str], states: dict[str, str]
) -> Metric:
    """A sample for every word, 1 for the one that holds and 0 for the others."""
    values = (([each, word], float(word == state)) for each, state in states.items()
              for word in words)  # fmt: skip
    return _of("gauge", name, help, ["deployment", label], values)


def _histogram(
    name: str, help: str, labels: Sequence[str],
    values: Iterable[tuple[Sequence[str], Histogram]],
) -> Metric:  # fmt: skip
    """Those that have counted nothing are left out."""
    family = HistogramMetricFamily(name, help, labels=labels)
    for each, counted in values:
        if counted or not labels:
            bounds = [*map(floatToGoString, counted.bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(counted.counts), strict=True))
            family.add_metric(each, buckets, counted.sum)
    return family
