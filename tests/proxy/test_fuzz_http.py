"""Requests that nobody would write, byte by byte: the connection takes whatever comes in whatever
pieces, answers in HTTP with errors that callers are told, keeps little, and lets go of everything.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httptools
import orjson
import pytest
import pytest_asyncio

from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.protocol import BODY_AHEAD, PIPELINE_LIMIT, RelayProtocol

from .kit import CHAT, KEY, MODEL, get, post, request
from .mutating import LARGEST, pieces, spoiled

pytestmark = pytest.mark.asyncio(loop_scope="module")

AUTH = {"Authorization": f"Bearer {KEY}"}
BODY = orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]})
CHUNKED = {"Content-Type": "application/json", "Transfer-Encoding": "chunked", **AUTH}
SEEDS = [
    get("/v1/models", **AUTH),
    get("/health") + get("/readyz") + get("/v1/models/a%2Fb?x=y", **AUTH),
    post(BODY, headers=AUTH),
    post(BODY, headers={**AUTH, "Expect": "100-continue", "Connection": "close"}),
    request("POST", CHAT, CHUNKED) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    request("POST", "/v1/embeddings", CHUNKED) + b"2;a=b\r\n{}\r\n0\r\nX-Trailer: 1\r\n\r\n",
    get("/health", Connection="Upgrade, HTTP2-Settings", Upgrade="h2c") + get("/health"),
    request("OPTIONS", "*", AUTH) + get("http://x:1/v1/models?a#b", **AUTH),
    post(BODY, "/v1/messages", {"x-api-key": KEY}) + post(b"{}", "/v1/responses", AUTH),
]
LONGEST = 2.0
"""Seconds for one input on a machine that stalls."""
TURNS = 200
"""Turns of the loop after which everything that needs no server is answered."""
HELD = LARGEST + PIPELINE_LIMIT + BODY_AHEAD
"""Bytes that a connection may hold of what it was sent."""


class Wire(asyncio.Transport):
    """A client's connection that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close

    def write_eof(self) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


class Answers:
    """What httptools makes of the answers: whatever is written must be HTTP, each whole."""

    def __init__(self) -> None:
        self.statuses: list[int] = []
        self.whole = 0
        self._parser = httptools.HttpResponseParser(self)

    def read(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_headers_complete(self) -> None:
        self.statuses.append(self._parser.get_status_code())

    def on_message_complete(self) -> None:
        self.whole += 1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def app() -> AsyncIterator[Any]:
    """The API without a server, so that nothing is waited for."""
    settings = quick(api_key=KEY, max_body=16 * 1024)
    async with Kernel(settings, [], Plugins()) as kernel:
        yield create_app(kernel, settings, kernel.instance)


async def talk(app: Any, data: bytes, dice: random.Random) -> Answers:
    """One connection on which `data` comes in pieces, and which then ends."""
    server = SimpleNamespace(connections=set(), tasks=set(), default_headers=[], total_requests=0)
    kind = type("Protocol", (RelayProtocol,), {"settings": quick(read_timeout=60)})
    loop, wire = asyncio.get_running_loop(), Wire()
    connection = kind(SimpleNamespace(loaded_app=app), server, None, loop)
    connection.connection_made(wire)
    for piece in pieces(dice, data):
        if wire.closed:
            break
        connection.data_received(piece)
        if dice.random() < 0.3:
            await asyncio.sleep(0)
    held = connection._later_size + sum(exchange.held for exchange in connection._queue)
    assert held <= HELD
    for _ in range(TURNS):
        await asyncio.sleep(0)
    wire.closed = True
    connection.connection_lost(None)
    async with asyncio.timeout(LONGEST):
        await asyncio.gather(*server.tasks)
    assert not server.connections
    answers = Answers()
    answers.read(bytes(wire.written))
    return answers


async def fuzz(app: Any, count: int, seed: int) -> set[int]:
    """Talk nonsense so often; the statuses that were answered."""
    dice, seen = random.Random(seed), set[int]()
    for data in spoiled(SEEDS, count, seed):
        start = time.perf_counter()
        try:
            answers = await talk(app, data, dice)
        except Exception as error:
            raise AssertionError(f"{data!r} fails") from error
        assert time.perf_counter() - start < LONGEST, data
        assert answers.whole == len(answers.statuses), data
        assert 500 not in answers.statuses, data
        seen.update(answers.statuses)
    return seen


async def test_good_requests_are_answered(app: Any) -> None:
    dice = random.Random(0)
    for data in SEEDS:
        answers = await talk(app, data, dice)
        assert answers.statuses
        assert set(answers.statuses) <= {200, 100, 400, 401, 404, 503}, data


async def test_spoiled_requests(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await fuzz(app, 1500, seed=1) >= {200, 400, 401, 404, 415}
    assert caplog.records == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
async def test_spoiled_requests_for_long(app: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert await fuzz(app, 100_000, seed=2) >= {200, 400, 401, 404, 413, 415, 431}
    assert caplog.records == []
