"""`GET /admin/usage`: what requests used and have cost.

    GET /admin/usage?by=key,day&since=7d&model=gpt-4o

The parameters are those of `accounting.usage_query.read_query`, the answer is `UsageReport.data`:
`{"object": "list", "by": [...], "since": ..., "until": ..., "currency": "USD", "data": [row]}`.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

import orjson

from h2o_relay.accounting.usage_query import UsageQuery, UsageReport, read_query
from h2o_relay.errors import InvalidRequest

from .exchange import Exchange

PATH = b"/admin/usage"
MOST = 200  # parameters
Report = Callable[[UsageQuery], Awaitable[UsageReport]]


class AdminUsage:
    """Whoever calls `answer` has made sure that the request is the operator's."""

    def __init__(self, report: Report) -> None:
        """`report` is `AdminAPI.usage`."""
        self._report = report

    async def answer(self, exchange: Exchange) -> None:
        """Raises InvalidRequest, StoreError."""
        report = await self._report(query_of(exchange.query))
        exchange.reply(orjson.dumps(report.data()))


def query_of(query: bytes) -> UsageQuery:
    """What a URL's query asks for. Raises InvalidRequest."""
    try:
        given = parse_qs(
            query.decode("ascii"), keep_blank_values=True, max_num_fields=MOST, errors="strict"
        )
    except ValueError:
        raise InvalidRequest("The URL's query cannot be read.") from None
    return read_query(given, time.time())
