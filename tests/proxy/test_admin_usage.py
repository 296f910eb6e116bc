"""`GET /admin/usage`: who is told, what may be asked, what a mistake is answered with."""

from __future__ import annotations

import orjson
import pytest

from h2o_relay.accounting.usage_query import UsageQuery, UsageReport, UsageRow, read_report
from h2o_relay.errors import InvalidRequest, RelayError, StoreError
from h2o_relay_proxy.admin_usage import AdminUsage, query_of

ROW = UsageRow(
    group={"key": "env", "day": "2027-01-15"}, requests=3, errors=1, aborted=0, prompt_tokens=5,
    completion_tokens=6, cached_tokens=0, estimated=0, cost=0.5, unpriced=1, p50=0.2, p95=None,
)  # fmt: skip
REPORT = UsageReport(since=5.0, until=9.0, by=("key", "day"), rows=(ROW,), currency="EUR")


class FakeExchange:
    def __init__(self, query: bytes) -> None:
        self.query = query
        self.said = b""

    def reply(self, body: bytes) -> None:
        self.said = body


async def answered(
    query: bytes, report: UsageReport | RelayError = REPORT
) -> tuple[bytes, UsageQuery]:
    asked: list[UsageQuery] = []

    async def told(query: UsageQuery) -> UsageReport:
        asked.append(query)
        if isinstance(report, RelayError):
            raise report
        return report

    exchange = FakeExchange(query)
    await AdminUsage(told).answer(exchange)  # type: ignore[arg-type]
    return exchange.said, asked[0]


async def test_the_answer() -> None:
    said, query = await answered(b"by=key,day&since=5&until=9&model=a%26b&model=c")
    assert query == UsageQuery(
        by=("key", "day"), since=5.0, until=9.0, only={"model": ("a&b", "c")}
    )
    data = orjson.loads(said)
    assert data["object"] == "list"
    assert (data["since"], data["until"], data["currency"]) == (5.0, 9.0, "EUR")
    assert data["data"][0]["group"] == {"key": "env", "day": "2027-01-15"}
    assert data["data"][0]["cost"] == 0.5
    assert read_report(data) == REPORT


async def test_without_a_query_it_is_the_last_thirty_days_by_key() -> None:
    _, query = await answered(b"")
    assert (query.by, query.until, query.only) == (("key",), None, {})


@pytest.mark.parametrize(
    "query",
    [b"by=nobody", b"sinse=7d", b"since=x", b"by=%ff", b"&".join([b"key=a"] * 201), b"key=\xff"],
)
def test_mistakes_are_400(query: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        query_of(query)
    assert caught.value.status == 400


async def test_a_store_that_is_gone_is_said() -> None:
    with pytest.raises(StoreError):
        await answered(b"", StoreError("gone"))
