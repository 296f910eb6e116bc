"""Requests of one connection that repeat a head: read once, and treated as each would be alone."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.outbox import outbox_of
from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import Answer, Received, until
from h2o_relay_proxy import protocol
from h2o_relay_proxy.head import Head

from .desk_kit import bearing, desked
from .kit import KEY, MODEL, assert_error, chat, completion, get, post, relay
from .raw_client import Client, Reply

HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nContent-Length: %d\r\n"
    b"content-type: application/json\r\n\r\n"
)


def kept(data: bytes, **changes: Any) -> Head:
    """The head of a request as the connection would parse it, which keeps its bytes if it can."""
    head, _, _ = data.partition(b"\r\n\r\n")
    lines = [line.split(b":", 1) for line in head.split(b"\r\n")[1:]]
    headers = [(name.lower(), value.strip()) for name, value in lines]
    parsed: dict[str, Any] = {
        "method": "POST", "path": b"/v1/chat/completions", "version": "1.1", "headers": headers,
        "keep_alive": True, **changes,
    }  # fmt: skip
    found = Head(**parsed)
    found.keep(data)
    return found


def whole(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


class TestHeads:
    def test_one_that_comes_again(self) -> None:
        head = kept(whole(b"{}"))
        assert head.body_of(whole(b"{}")) == b"{}"
        for body in (b'{"a": 1}', b"", b"x" * 10_000, b"\r\n\r\n", b"{}"):
            assert head.body_of(whole(body)) == body
            assert head.fields[b"content-length"] == b"%d" % len(body)

    def test_one_that_differs_in_any_byte(self) -> None:
        data = whole(b'{"a": 1}')
        head, end = kept(data), data.index(b"\r\n\r\n") + 4
        for place in range(end):
            for other in (b"x", b" ", b"\r", b"\n", b"0", b"9"):
                changed = data[:place] + other + data[place + 1 :]
                assert changed == data or head.body_of(changed) is None, changed

    @pytest.mark.parametrize(
        "length", [b"3", b"+2", b"-2", b" 2", b"2 ", b"", b"0x2", b"1e0", b"2\r\nx: y", b"\xb2",
                   b"2, 2", b"2" * 20],
    )  # fmt: skip
    def test_lengths_that_are_not_the_bodys(self, length: bytes) -> None:
        head, data = kept(whole(b"{}")), whole(b"{}")
        assert head.body_of(data.replace(b"Length: 2", b"Length: " + length)) is None

    def test_a_body_that_is_not_whole_or_not_alone(self) -> None:
        head, data = kept(whole(b"{}")), whole(b'{"a": 1}')
        for end in range(len(data)):
            assert head.body_of(data[:end]) is None
        assert head.body_of(data + b"P") is None
        assert head.body_of(data + data) is None

    @pytest.mark.parametrize(
        "changes", [{"version": "1.0"}, {"keep_alive": False}, {"method": "GET"}]
    )
    def test_requests_that_are_not_kept(self, changes: dict[str, Any]) -> None:
        assert kept(whole(b"{}"), **changes).body_of(whole(b"{}")) is None

    @pytest.mark.parametrize(
        "more", [b"expect: 100-continue", b"transfer-encoding: chunked", b"upgrade: h2c",
                 b"content-length: %d", b"x: " + b"y" * 9000],
    )  # fmt: skip
    def test_headers_that_are_not_kept(self, more: bytes) -> None:
        data = whole(b"{}").replace(b"\r\n\r\n", b"\r\n" + more.replace(b"%d", b"2") + b"\r\n\r\n")
        assert kept(data).body_of(data) is None

    def test_a_head_without_a_length(self) -> None:
        data = b"POST / HTTP/1.1\r\nhost: x\r\n\r\n"
        assert kept(data).body_of(data) is None


async def echo(received: Received, answer: Answer) -> None:
    """Says which headers and body came."""
    await json(completion(received.json()["messages"][0]["content"]))(received, answer)


def saying(text: str, headers: dict[str, str] | None = None) -> bytes:
    messages = [{"role": "user", "content": text}]
    return post({"model": MODEL, "messages": messages}, headers=headers)


def text_of(reply: Reply) -> str:
    assert reply.status == 200, reply.body
    return str(reply.json()["choices"][0]["message"]["content"])


async def asked(client: Client, data: bytes) -> Reply:
    await client.send(data)
    return await client.reply()


@pytest.mark.usefixtures("leaves_nothing")
class TestConnections:
    async def test_bodies_of_many_lengths(self) -> None:
        async with relay(echo) as running, running.client() as client:
            ids = set()
            for length in (1, 5, 50, 7, 7, 5000, 1, 200_000, 3):
                text = "a" * length
                reply = await asked(client, saying(text))
                assert text_of(reply) == text
                ids.add(reply.headers["x-request-id"])
            assert len(ids) == 9

    async def test_it_is_not_parsed_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        parsed: list[bytes] = []
        feed = protocol.RelayProtocol._feed

        def counted(self: protocol.RelayProtocol, data: bytes) -> None:
            parsed.append(data)
            feed(self, data)

        monkeypatch.setattr(protocol.RelayProtocol, "_feed", counted)
        async with relay(echo) as running, running.client() as client:
            for number in range(5):
                assert text_of(await asked(client, saying(f"n{number}"))) == f"n{number}"
            assert len(parsed) == 1
            for number in range(20):  # a client whose heads never come again is not compared
                mine = saying("x", {"x-request-id": f"r{number}"})
                assert (await asked(client, mine)).headers["x-request-id"] == f"r{number}"
            assert len(parsed) == 21
            (connection,) = running.connections
            assert connection._misses == protocol.MISSES

    async def test_another_key(self) -> None:
        good, bad = {"authorization": f"Bearer {KEY}"}, {"authorization": f"Bearer {KEY[:-1]}x"}
        async with relay(echo, api_key=KEY) as running:
            for headers, code in ((bad, "invalid_api_key"), (None, "missing_api_key")):
                async with running.client() as client:
                    for _ in range(3):
                        assert text_of(await asked(client, saying("a", good))) == "a"
                    assert_error(await asked(client, saying("a", headers)), 401, code)

    async def test_another_host(self) -> None:
        async with relay(echo) as running, running.client() as client:
            for _ in range(3):
                assert text_of(await asked(client, saying("a"))) == "a"
            evil = saying("a", {"Host": "evil.example"})
            assert_error(await asked(client, evil), 403, "host_not_allowed")

    async def test_a_key_that_is_revoked_or_limited_meanwhile(self, tmp_path: Path) -> None:
        async with desked(tmp_path, echo) as running:
            id, key = await running.key(requests_per_minute=3)
            async with running.client() as client:
                for left in (2, 1, 0):
                    reply = await asked(client, saying("a", dict(bearing(key))))
                    assert text_of(reply) == "a"
                    assert reply.headers["x-ratelimit-remaining-requests"] == str(left)
                again = saying("a", dict(bearing(key)))
                for _ in range(2):
                    assert (await asked(client, again)).status == 429
                await running.keys.revoke(id)
                await running.ring.refresh()
                assert_error(await asked(client, again), 401, "invalid_api_key")

    async def test_bad_bodies_behind_a_good_head(self) -> None:
        async with relay(echo) as running, running.client() as client:
            assert text_of(await asked(client, saying("a"))) == "a"
            assert_error(await asked(client, post(b"{")), 400, "invalid_json")
            missing = post({"model": MODEL})
            assert_error(await asked(client, missing), 400, "missing_required_parameter")
            assert_error(await asked(client, post(b"")), 400, "invalid_json")
            assert text_of(await asked(client, saying("b"))) == "b"

    async def test_a_body_that_is_too_large(self) -> None:
        async with relay(echo, max_body=2000) as running, running.client() as client:
            assert text_of(await asked(client, saying("a"))) == "a"
            assert (await asked(client, saying("a" * 3000))).status == 413

    async def test_random_pieces(self) -> None:
        """Requests cut anywhere, together and apart, are answered in their order."""
        dice = random.Random(9)
        async with relay(echo) as running:
            for _ in range(40):
                texts = [dice.choice("abc") * dice.randint(1, 40) for _ in range(6)]
                heads: list[dict[str, str] | None] = [None, None, None, {"x-request-id": "q"}]
                data = b"".join(saying(text, dice.choice(heads)) for text in texts)
                async with running.client() as client:
                    reading = asyncio.create_task(replies(client, len(texts)))
                    while data:
                        size = dice.choice((len(saying("aaa")), dice.randint(1, 400)))
                        await client.send(data[:size])
                        data = data[size:]
                        await asyncio.sleep(0)
                    assert [text_of(reply) for reply in await reading] == texts

    async def test_streams_and_whole_answers(self) -> None:
        async def script(received: Received, answer: Answer) -> None:
            assert not received.json()["stream"]
            await echo(received, answer)

        async with relay(script) as running, running.client() as client:
            for n in range(4):
                reply = await asked(client, post(chat(False, seed=n)))
                assert text_of(reply) == "hi"
                assert orjson.loads(running.asked[-1].body)["seed"] == n


async def replies(client: Client, count: int) -> list[Reply]:
    return [await client.reply() for _ in range(count)]


async def test_requests_that_run_are_counted() -> None:
    """However they end: what is written is gathered only where there are several."""
    found: list[int] = []

    async def script(received: Received, answer: Answer) -> None:
        found.append(outbox_of(asyncio.get_running_loop()).running)
        await (json({}) if received.json()["messages"][0]["content"] == "bad" else echo)(
            received, answer
        )

    async with relay(script, admin_pass=KEY) as running:
        outbox = outbox_of(asyncio.get_running_loop())
        before = outbox.running
        async with running.client() as watching, running.client() as client:
            await watching.send(get("/admin/changes", authorization=f"Bearer {KEY}"))
            await watching.head()
            assert outbox.running == before, "a stream without an end is no reason to wait"
            headers = {"authorization": f"Bearer {KEY}"}
            for text in ("a", "bad", "b"):
                await asked(client, saying(text, headers))
            await client.send(saying("gone", headers))
        await until(lambda: outbox.running == before, within=5)
    assert found[:3] == [before + 1] * 3
