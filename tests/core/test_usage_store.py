"""`UsageStore`, on every database: what is kept, what it comes to, what is deleted."""

from __future__ import annotations

import asyncio
import math
import subprocess
import sys
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
from sqlalchemy import select

from h2o_relay.accounting.record import Record, made
from h2o_relay.accounting.usage_query import UsageQuery, UsageRow, read_report
from h2o_relay.errors import StoreError
from h2o_relay.store import Store, UsageStore
from h2o_relay.store import usage as module
from h2o_relay.store.tables import usage as table

from .usage_kit import DAY, NOW, record


@pytest.fixture
def usage(store: Store) -> UsageStore:
    return UsageStore(store)


async def added(usage: UsageStore, *records: Record, name: str = "x") -> None:
    await usage.add([(f"{name}-{n}", one) for n, one in enumerate(records)])


async def told(usage: UsageStore, *by: str, **rest: Any) -> dict[tuple[str, ...], UsageRow]:
    report = await usage.report(UsageQuery(by=by, **rest))
    return {tuple(row.group[name] for name in by): row for row in report.rows}


async def test_every_field_is_kept(store: Store, usage: UsageStore) -> None:
    full = record("req", code="upstream_incomplete", streamed=True, aborted=True, estimated=True,
                  queued=0.2, overhead=0.01)  # fmt: skip
    await added(usage, full)
    row = await store.run(lambda s: dict(s.execute(select(table)).mappings().one()), write=False)
    assert row.pop("row") == "x-0"
    assert row.pop("request") == "req"
    assert row.pop("day") == NOW // DAY
    assert row.pop("bucket") > 0
    assert row == {name: getattr(full, name) for name in row}
    assert len(row) == len(fields(Record)) - 1


def test_a_record_of_which_little_is_written_is_as_whole_as_any() -> None:
    little = made(Record)
    little.id, little.at, little.method, little.route, little.status = "r", NOW, "GET", "/", 200
    whole = Record(id="r", at=NOW, method="GET", route="/", status=200)
    assert (little, asdict(little), repr(little)) == (whole, asdict(whole), repr(whole))
    assert replace(little, code="x") == replace(whole, code="x")
    assert module._values("y", little) == module._values("y", whole)


async def test_a_batch_holds_nobody_up(usage: UsageStore) -> None:
    """Its rows are made a few at a time."""
    turns = 0

    async def wait() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(wait())
    rows = [(f"y-{number}", record(str(number))) for number in range(10 * module.PIECE)]
    taking = asyncio.create_task(usage.add(rows))
    made = module._values
    longest = since = 0

    def counted(id: str, record: Record) -> tuple[Any, ...]:
        nonlocal longest, since
        since = 0 if turns != counted.turn else since + 1  # type: ignore[attr-defined]
        counted.turn = turns  # type: ignore[attr-defined]
        longest = max(longest, since + 1)
        return made(id, record)

    counted.turn = -1  # type: ignore[attr-defined]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_values", counted)
        await taking
    other.cancel()
    assert longest == module.PIECE
    assert sum(row.requests for row in (await told(usage)).values()) == len(rows)


async def test_what_they_come_to(usage: UsageStore) -> None:
    await added(
        usage,
        record(),
        record(status=502, code="upstream_unreachable", prompt_tokens=None, completion_tokens=None,
               cached_tokens=None, cost=0.0),
        record(key="other", estimated=True, cost=None),
        record(key="other", aborted=True, status=499, code="client_closed"),
        record(key="other", code="idle_timeout"),
    )  # fmt: skip
    rows = await told(usage, "key")
    assert rows["k",] == UsageRow(
        group={"key": "k"}, requests=2, errors=1, aborted=0, prompt_tokens=100,
        completion_tokens=10, cached_tokens=40, estimated=0, cost=0.25, unpriced=0,
        p50=rows["k",].p50, p95=rows["k",].p50,
    )  # fmt: skip
    other = rows["other",]
    assert (other.requests, other.errors, other.aborted) == (3, 1, 1)
    assert (other.estimated, other.unpriced, other.cost) == (1, 1, 0.5)
    [total] = (await told(usage)).values()
    assert (total.requests, total.cost, total.group) == (5, 0.75, {})


async def test_nothing_is_zero(usage: UsageStore) -> None:
    [total] = (await told(usage)).values()
    assert (total.requests, total.prompt_tokens, total.cost, total.p50) == (0, 0, None, None)
    assert await told(usage, "key") == {}
    assert await usage.spent("month", NOW) == {}
    assert await usage.trim(NOW) == 0


async def test_by_each_dimension(usage: UsageStore) -> None:
    await added(
        usage,
        record(model="a", server="s1", deployment="d1", at=NOW - DAY),
        record(model="b", server="s2", deployment="d2", route="/v1/embeddings"),
        record(model="b", server="s2", deployment="d2", code="boom", status=500),
    )
    assert [*await told(usage, "model")] == [("b",), ("a",)]
    assert [*await told(usage, "server", "deployment")] == [("s2", "d2"), ("s1", "d1")]
    assert [*await told(usage, "day")] == [("2027-01-14",), ("2027-01-15",)]
    assert [*await told(usage, "day", "model")] == [("2027-01-14", "a"), ("2027-01-15", "b")]
    assert set(await told(usage, "code")) == {("",), ("boom",)}
    assert set(await told(usage, "route")) == {("/v1/chat/completions",), ("/v1/embeddings",)}


async def test_what_it_is_narrowed_down_to(usage: UsageStore) -> None:
    await added(usage, *(record(at=NOW + n, key=f"k{n % 3}", model=f"m{n % 2}") for n in range(12)))
    assert (await told(usage, since=NOW + 4))[()].requests == 8
    assert (await told(usage, since=NOW + 4, until=NOW + 6))[()].requests == 2
    assert (await told(usage, only={"key": ("k1",)}))[()].requests == 4
    assert (await told(usage, only={"key": ("k1", "k2")}))[()].requests == 8
    assert (await told(usage, only={"key": ("k1",), "model": ("m1",)}))[()].requests == 2
    assert (await told(usage, only={"key": ("'; DROP TABLE usage",)}))[()].requests == 0


async def test_latencies_are_within_three_percent(usage: UsageStore) -> None:
    await added(usage, *(record(seconds=0.01 * n) for n in range(1, 101)))
    await added(usage, *(record(seconds=900, status=504, code="late") for _ in range(50)), name="f")
    row = (await told(usage, "key"))["k",]
    assert row.p50 == pytest.approx(0.5, rel=0.03)
    assert row.p95 == pytest.approx(0.95, rel=0.03)


@pytest.mark.parametrize("seconds", [0.0, 1e-4, 1e-3, 0.00101, 0.5, 1.0, 60.0, 86400.0])
def test_a_bucket_holds_its_durations(seconds: float) -> None:
    middle = module.seconds_of(module.bucket_of(seconds))
    assert middle == pytest.approx(max(seconds, 1e-3), rel=0.03)


async def test_what_is_stored_again_counts_once(usage: UsageStore) -> None:
    rows = [(f"a-{n}", record()) for n in range(5)]
    await usage.add(rows[:3])
    with pytest.raises(StoreError):
        await usage.add(rows)
    await usage.add(rows, again=True)
    await usage.add(rows, again=True)
    assert (await told(usage))[()].requests == 5


async def test_no_request_is_one_that_a_database_refuses(usage: UsageStore) -> None:
    """What a batch is refused for would be refused for ever."""
    await added(
        usage,
        record("\0\ud800", key="k" * 9999, model="m" * 9999, server="\0", code="\ud800"),
        record(prompt_tokens=10**30, completion_tokens=-(10**30), cost=math.inf, seconds=math.nan),
        record(at=math.inf, first=math.nan, cost=math.nan),
        record("r" * 9999, route="é" * 9999, method="x" * 99),
    )
    assert (await told(usage))[()].requests == 4


async def test_a_batch_is_all_or_nothing(usage: UsageStore) -> None:
    await usage.add([("a", record())])
    with pytest.raises(StoreError):
        await usage.add([("b", record()), ("a", record())])
    assert (await told(usage))[()].requests == 1


async def test_what_keys_have_spent(usage: UsageStore) -> None:
    await added(
        usage,
        record(at=NOW, key="a", cost=1.0),
        record(at=NOW - DAY, key="a", cost=2.0),
        record(at=NOW - 20 * DAY, key="a", cost=4.0),
        record(at=NOW, key="b", cost=None),
        record(at=NOW - 20 * DAY, key="c", cost=8.0),
    )
    assert await usage.spent("day", NOW) == {"a": 1.0}
    assert await usage.spent("month", NOW) == {"a": 3.0}
    assert await usage.spent("total", NOW) == {"a": 7.0, "c": 8.0}


async def test_deleting_requests_changes_no_budget(usage: UsageStore) -> None:
    await added(
        usage, *(record(at=NOW - n * DAY / 2, key=f"k{n % 2}", cost=float(n)) for n in range(40))
    )
    periods = ("day", "month", "total")
    before = [await usage.spent(period, NOW) for period in periods]
    assert [await usage.trim(NOW - 3 * DAY, 20) for _ in range(3)] == [20, 13, 0]
    assert (await told(usage))[()].requests == 7
    assert [await usage.spent(period, NOW) for period in periods] == before


async def test_too_many_groups_are_told(usage: UsageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    await added(usage, *(record(key=f"k{n}") for n in range(5)))
    report = await usage.report(UsageQuery(by=("key",)))
    assert (len(report.rows), report.more) == (3, True)
    report = await usage.report(UsageQuery(by=("model",)))
    assert (len(report.rows), report.more) == (1, False)


async def test_a_report_is_read_as_it_is_written(usage: UsageStore) -> None:
    import orjson

    await added(usage, record(), record(key="b", cost=None))
    report = await usage.report(UsageQuery(by=("key", "day"), since=NOW - 5))
    data = orjson.loads(orjson.dumps(report.data()))
    assert read_report({**data, "new": 1}) == report


async def test_processes_write_beside_each_other(url: str) -> None:
    async with Store(url) as one, Store(url) as two:
        batches = [[(f"{n}-{i}", record()) for i in range(50)] for n in range(10)]
        async with asyncio.timeout(40):
            await asyncio.gather(
                *(UsageStore((one, two)[n % 2]).add(batch) for n, batch in enumerate(batches))
            )
        assert (await told(UsageStore(one)))[()].requests == 500


OPENER = """
import asyncio, sys
from h2o_relay.store import Store

async def main(url):
    print("ready", flush=True)
    sys.stdin.readline()
    async with Store(url):
        pass

asyncio.run(main(sys.argv[1]))
"""


def test_processes_make_the_tables_at_once(url: str) -> None:
    """One makes them, and the others wait."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", OPENER, url]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
                 for _ in range(4)]  # fmt: skip
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
        for process in processes:
            assert (process.wait(40), process.stderr and process.stderr.read()) == (0, "")
    finally:
        for process in processes:
            process.kill()
            process.communicate()
