"""Requests that the connection itself refuses, before the application sees them, are accounted for
as all others are: once, by the id that their caller was told.
"""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest

from h2o_relay.accounting.record import Record
from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import until

from .desk_kit import Desked, desked
from .kit import CHAT, chat, completion, get, post, request
from .raw_client import Reply

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("leaves_nothing")]
BODY = orjson.dumps(chat(False))
JSON = {"Content-Type": "application/json"}
BROKEN = request("POST", CHAT, {**JSON, "Transfer-Encoding": "chunked", "x-request-id": "mine"})


async def answered(relay: Desked, data: bytes) -> tuple[Reply, Record]:
    async with relay.client() as client:
        await client.send(data)
        reply = await client.reply()
        assert await client.ended() == b""
    return reply, await relay.told()


def like(reply: Reply, record: Record) -> None:
    assert (record.status, record.code) == (reply.status, reply.error["code"])
    assert record.id == reply.headers["x-request-id"]
    assert (record.key, record.aborted, record.streamed) == ("open", False, False)
    assert record.model == record.deployment == ""


@pytest.mark.parametrize(
    ("data", "status", "method", "route"),
    [
        (b"GARBAGE\r\n\r\n", 400, "", "other"),
        (b"BREW / HTTP/1.1\r\n\r\n", 400, "", "other"),
        (b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "GET", "/v1/models"),
        (b"GET /v1/models HTTP/1.1\r\nno colon\r\n\r\n", 400, "GET", "/v1/models"),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 414, "GET", "other"),
        (request("GET", "/health", {f"x-{n}": "" for n in range(120)}), 431, "GET", "/health"),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400, "CONNECT", "other"),
    ],
)  # fmt: skip
async def test_what_is_no_request(
    data: bytes, status: int, method: str, route: str, tmp_path: Path
) -> None:
    async with desked(tmp_path) as relay:
        reply, record = await answered(relay, data)
        like(reply, record)
        assert (record.status, record.method, record.route) == (status, method, route)
        assert relay.stored.records == []
        assert relay.metrics.in_flight == 0


async def test_a_head_that_names_its_request(tmp_path: Path) -> None:
    """It keeps that name, and the store has it if a server might have been asked."""
    head = b"POST /v1/chat/completions HTTP/1.1\r\nx-request-id: mine\r\nHost: a\r\nHost: b\r\n\r\n"
    async with desked(tmp_path) as relay:
        reply, record = await answered(relay, head)
        like(reply, record)
        assert record.id == "mine"
        assert relay.stored.records == [record]


@pytest.mark.parametrize("seen", [True, False])
async def test_a_body_that_breaks_off_into_something_else(seen: bool, tmp_path: Path) -> None:
    """There is one record, not one more of a client that left, also where the application has begun
    and waits for the body.
    """
    async with desked(tmp_path) as relay, relay.client() as client:
        rest = b"5\r\nhello\r\nnonsense\r\n"
        await client.send(BROKEN if seen else BROKEN + rest)
        if seen:
            await until(lambda: relay.metrics.in_flight, within=5)
            await client.send(rest)
        reply = await client.reply()
        assert await client.ended() == b""
        record = await relay.told()
        like(reply, record)
        assert (record.id, record.status, record.route) == ("mine", 400, "/v1/chat/completions")
        assert relay.stored.records == [record]
        assert relay.metrics.in_flight == 0


async def test_a_body_that_does_not_come(tmp_path: Path) -> None:
    async with desked(tmp_path, read_timeout=0.3) as relay:
        data = request("POST", CHAT, {**JSON, "Content-Length": "99", "x-request-id": "late"})
        reply, record = await answered(relay, data + b"{")
        like(reply, record)
        assert (record.id, record.status, record.code) == ("late", 408, "request_timeout")


async def test_a_head_that_does_not_come(tmp_path: Path) -> None:
    async with desked(tmp_path, read_timeout=0.3) as relay:
        reply, record = await answered(relay, b"GET /v1/models HT")
        like(reply, record)
        assert (record.status, record.method) == (408, "GET")


async def test_one_that_follows_a_good_one(tmp_path: Path) -> None:
    """Each has its own record, and the good one's headers are not taken for the other's."""
    async with desked(tmp_path) as relay, relay.client() as client:
        await client.send(get("/health", **{"x-request-id": "good"}))
        assert (await client.reply()).status == 200
        await client.send(b"GARBAGE\r\n\r\n")
        reply = await client.reply()
        await until(lambda: len(relay.sink.records) == 2, within=5)
        good, bad = relay.sink.records
        assert (good.id, good.status) == ("good", 200)
        like(reply, bad)
        assert bad.id != "good"


async def test_one_that_waits_behind_a_good_one(tmp_path: Path) -> None:
    async with desked(tmp_path, json(completion())) as relay, relay.client() as client:
        good = post(chat(False), headers={"x-request-id": "good"})
        await client.send(good + BROKEN + b"nonsense\r\n")
        assert (await client.reply()).status == 200
        reply = await client.reply()
        assert (reply.status, reply.headers["x-request-id"]) == (400, "mine")
        await until(lambda: len(relay.sink.records) == 2, within=5)
        told = {one.id: one.status for one in relay.sink.records}
        assert told == {"good": 200, "mine": 400}
