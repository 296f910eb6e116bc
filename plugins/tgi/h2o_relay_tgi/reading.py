"""How busy the server is, from its Prometheus page (`/metrics`)."""

from __future__ import annotations

import re

from h2o_relay.http import HttpClient
from h2o_relay.types import Load, Server

from . import failures
from .server_string import headers, root

GAUGE = r"^%s(?:\{[^}]*\})? ([0-9.eE+]+)$"
RUNNING = re.compile(GAUGE % "tgi_batch_current_size", re.MULTILINE)
WAITING = re.compile(GAUGE % "tgi_queue_size", re.MULTILINE)
PAGE_LIMIT = 4 * 2**20  # bytes


async def load(server: Server, client: HttpClient) -> Load:
    """Requests in the batch and in the queue; None for a gauge that is not there yet."""
    seconds = client.settings.request_timeout
    exchange = client.request(
        "GET", f"{root(server.url)}/metrics", headers=headers(server),
        first_byte=seconds, total=seconds,
    )  # fmt: skip
    async with exchange as response:
        if response.status >= 300:
            raise await failures.refusal(response, server)
        page = (await response.read(PAGE_LIMIT)).decode("utf-8", "replace")
    return Load(running=_gauge(RUNNING, page), waiting=_gauge(WAITING, page))


def _gauge(pattern: re.Pattern[str], page: str) -> int | None:
    found = pattern.search(page)
    return int(float(found[1])) if found else None
