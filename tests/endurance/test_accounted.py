"""Every request is accounted for, in store, log and metrics alike, and none of them stays."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from h2o_relay.testing.upstream import until

from ..e2e.fleet_kit import Relay, needs_linux
from ..proxy.kit import get
from .books import Metrics, Row, counted, faults, in_log, in_store
from .callers import Callers, Watched
from .mix import BENCH, drawn
from .relays import KEY, configured, serving
from .stored import HEALED

pytestmark = [pytest.mark.e2e, needs_linux]
SIZES = [
    pytest.param(3_000, id="3000", marks=pytest.mark.timeout(180)),
    pytest.param(20_000, id="20000", marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]
WARM_UP = 1_000  # of the mix
MIB = 2**20
GROWTH = 8 * MIB  # of resident memory, whatever was asked: allocators keep some more than is used
WRITTEN = 20.0  # seconds for what is over to be written down, on a machine that is busy
SPARE = 3  # tasks and files that a look may find at work


@pytest.mark.parametrize("count", SIZES)
async def test_every_request_is_accounted_for(count: int, tmp_path: Path) -> None:
    """And memory is flat."""
    async with Watched(list(BENCH.values())) as bench:
        async with serving(tmp_path, configured(tmp_path, bench.url)) as running:
            await keys_known(running)
            callers = Callers(running.port, KEY, bench)
            await callers.ask(drawn(WARM_UP, seed=1))
            before = await at_rest(running, bench)
            start = time.monotonic()
            await callers.ask(drawn(count))
            took = time.monotonic() - start
            after = await at_rest(running, bench)
            print(f"{count} in {took:.1f} s; before {before}, after {after}")
            ledger = callers.ledger
            assert ledger.wrong() == {}
            await written(tmp_path, len(ledger.seen), running)
            metrics = await page(running)
        check_books(tmp_path, callers, metrics)
        assert "Traceback" not in running.output
    for what in ("tasks", "fds"):
        assert after[what] <= before[what] + SPARE, (before, after)
    assert after["rss"] - before["rss"] < GROWTH, (before, after)


async def test_what_is_no_http_is_accounted_for(tmp_path: Path) -> None:
    lines = (b"GARBAGE", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b", b"GET /" + b"x" * 20_000)
    async with (
        Watched(list(BENCH.values())) as bench,
        serving(tmp_path, configured(tmp_path, bench.url)) as running,
    ):
        replies = [await running.send(line + b"\r\n\r\n") for line in lines]
        assert [reply.status for reply in replies] == [400, 400, 414]
        assert (await running.send(get("/health"))).status == 200
        await written(tmp_path, 1, running)
        metrics = (await page(running)).requests()
    told = [(row.id, row.status) for row in in_log(tmp_path / "requests.log")]
    for reply in replies:
        assert told.count((reply.headers["x-request-id"], reply.status)) == 1
    assert (metrics["other", "400"], metrics["other", "414"]) == (2, 1)


def check_books(folder: Path, callers: Callers, metrics: Metrics) -> None:
    """The store, the log and the metrics say what the callers say, and the same as each other."""
    seen = callers.ledger.seen
    prefix = f"{callers.prefix}-"
    stored, logged = in_store(folder / "data" / "relay.db"), in_log(folder / "requests.log")
    sent = [row for row in logged if row.id.startswith(prefix)]
    kept = {id: one for id, one in seen.items() if one.kind.stored}
    assert faults(seen, sent) == {}, "in the log"
    assert faults(kept, stored) == {}, "in the store"
    by_id = {row.id: row for row in sent}
    assert [row for row in stored if row.shown != by_id[row.id].shown][:20] == []
    check_metrics(metrics, [row for row in logged if row.route != "/metrics"], sent)


def check_metrics(metrics: Metrics, logged: list[Row], sent: list[Row]) -> None:
    found = metrics.requests()
    assert {at: count for at, count in found.items() if at[0] != "/metrics"} == counted(logged)
    assert metrics.sum("h2o_requests_aborted_total") == sum(row.aborted for row in logged)
    for kind in ("prompt", "completion"):
        told = sum(getattr(row, f"{kind}_tokens") or 0 for row in sent)
        assert metrics.sum("h2o_tokens_total", type=kind) == told
    assert metrics.sum("h2o_requests_in_flight") == 1  # this one
    assert metrics.sum("h2o_streams_open") == 0
    assert metrics.sum("h2o_records_lost_total") == 0


async def at_rest(running: Relay, bench: Watched) -> dict[str, int]:
    """What it holds once nothing runs: what is leaking stays."""
    await until(lambda: not bench.answering, within=WRITTEN)  # nobody works for who has left
    for connection in list(bench.connections):
        connection.abandon()
    await asyncio.sleep(2)  # what is over is stored within a second
    return await running.holds()


async def keys_known(running: Relay) -> None:
    """The store is read beside the answers."""
    deadline = time.monotonic() + HEALED
    while (await running.send(get("/v1/models", Authorization="Bearer wrong"))).status == 503:
        assert time.monotonic() < deadline, running.output
        await asyncio.sleep(0.1)


async def written(folder: Path, count: int, running: Relay) -> None:
    """Until the log has so many; what comes to the store is a second behind at most."""
    log = folder / "requests.log"
    await until(lambda: log.read_bytes().count(b"\n") >= count, within=WRITTEN)
    await asyncio.sleep(2)
    assert running.process.returncode is None, running.output


async def page(running: Relay) -> Metrics:
    reply = await running.send(get("/metrics", Authorization=f"Bearer {KEY}"))
    assert reply.status == 200, reply.body
    return Metrics(reply.body.decode())
