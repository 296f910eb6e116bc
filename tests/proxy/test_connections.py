"""Requests on one connection: in order, kept apart, and answered as the client's HTTP wants it."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from h2o_relay.testing.scripts import hang, json, play, sse
from h2o_relay.testing.upstream import Answer, Received

from .kit import (
    CHAT,
    Relay,
    assert_error,
    assert_intact,
    chat,
    completion,
    get,
    post,
    relay,
    request,
    said,
)
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def answer_by_user(received: Received, answer: Answer) -> None:
    """Says what it was asked, after a while that shrinks: later requests would overtake."""
    params = received.json()
    name = params["user"]
    await asyncio.sleep(0.03 / (1 + int(name[1:])))
    if params["stream"]:
        await sse(said(3, text=name + "-{}"))(received, answer)
    else:
        await json(completion(name))(received, answer)


def check(reply: Reply, number: int, streamed: bool) -> None:
    if streamed:
        assert_intact(reply, said(3, text=f"u{number}-{{}}"))
    else:
        assert reply.json() == completion(f"u{number}")


@pytest.mark.parametrize("kinds", [(True, True, True), (False, True, False), (True, False, False)])
async def test_pipelined_requests(running: Relay, kinds: tuple[bool, ...]) -> None:
    requests = [post(chat(kind, user=f"u{n}")) for n, kind in enumerate(kinds)]
    running.plays(answer_by_user)
    async with running.client() as client:
        together = b"".join(requests)
        await client.send(together)
        for number, kind in enumerate(kinds):
            check(await client.reply(), number, kind)
        for place in range(1, len(together), 131):  # in two segments
            await client.send(together[:place])
            await asyncio.sleep(0)
            await client.send(together[place:])
            for number, kind in enumerate(kinds):
                check(await client.reply(), number, kind)
        await client.send(get("/health"))
        assert (await client.reply()).json()["status"] == "ok"


async def test_the_rest_of_a_pipelined_request_may_come_while_the_first_is_answered() -> None:
    first, second = (post(chat(user=f"u{n}", stream=not n)) for n in (0, 1))
    patience, slow = 2.5, 3.0

    async def script(received: Received, answer: Answer) -> None:
        await asyncio.sleep(slow)
        await answer_by_user(received, answer)

    async def one(running: Relay, place: int) -> None:
        async with running.client() as client:
            await client.send(first + second[:place])
            await asyncio.sleep(0.02)
            await client.send(second[place:])
            check(await client.reply(), 0, True)
            check(await client.reply(), 1, False)

    async with relay(script, read_timeout=patience) as running:
        await asyncio.gather(*(one(running, place) for place in (10, len(second) - 10)))


async def test_errors_in_a_pipeline_keep_their_places(running: Relay) -> None:
    asked = [get("/nope"), post(b"{bad"), post(chat(False, user="u0")), get("/v1/models/x")]
    running.plays(answer_by_user)
    async with running.client() as client:
        await client.send(b"".join(asked))
        assert_error(await client.reply(), 404, "unknown_url")
        assert_error(await client.reply(), 400, "invalid_json")
        check(await client.reply(), 0, False)
        assert_error(await client.reply(), 404, "model_not_found")


async def test_a_fault_in_a_pipeline_waits_for_its_turn() -> None:
    good = [post(chat(n == 0, user=f"u{n}")) for n in (0, 1)]
    faults = [
        (b"nonsense\r\n\r\n", 400),
        (get("/" + "x" * 20_000), 414),
        (request("POST", CHAT, {"Transfer-Encoding": "chunked"}) + b"zz\r\n", 400),
        (post(chat())[:-9], 408),
    ]
    async with relay(answer_by_user, read_timeout=2.5) as running:
        for fault, status in faults:
            for count in (1, 2):
                async with running.client() as client:
                    await client.send(b"".join(good[:count]) + fault)
                    for number in range(count):
                        check(await client.reply(), number, number == 0)
                    reply = await client.reply()
                    assert reply.status == status
                    assert reply.headers["connection"] == "close"
                    assert await client.ended() == b""


async def test_keep_alive(running: Relay) -> None:
    running.plays(answer_by_user)
    async with running.client() as client:
        for number in range(8):
            await client.send(post(chat(bool(number % 2), user=f"u{number}")))
            reply = await client.reply()
            check(reply, number, bool(number % 2))
            assert "connection" not in reply.headers


@pytest.mark.parametrize("streamed", [True, False])
async def test_connection_close(running: Relay, streamed: bool) -> None:
    running.plays(answer_by_user)
    async with running.client() as client:
        await client.send(post(chat(streamed, user="u0"), headers={"Connection": "close"}))
        reply = await client.reply()
        check(reply, 0, streamed)
        assert reply.headers["connection"] == "close"
        assert await client.ended() == b""


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("keep", [{}, {"Connection": "keep-alive"}])
async def test_http_1_0(running: Relay, streamed: bool, keep: dict[str, str]) -> None:
    """RFC 9112, 6.1: a server must not send chunked framing to an HTTP/1.0 client."""
    data = post(chat(streamed, user="u0"), headers=keep).replace(b" HTTP/1.1\r", b" HTTP/1.0\r", 1)
    running.plays(answer_by_user)
    async with running.client() as client:
        await client.send(data)
        reply = await client.reply()
        assert "transfer-encoding" not in reply.headers
        assert reply.headers["connection"] == "close"
        check(reply, 0, streamed)
        assert await client.ended() == b""


async def test_http_1_0_in_mid_stream(running: Relay) -> None:
    script = play(*sse(said(2)).steps[:2], hang)
    data = post(chat()).replace(b" HTTP/1.1\r", b" HTTP/1.0\r", 1)
    running.plays(script)
    async with running.client() as client:
        await client.send(data)
        await client.head()
        event = b"data: " + said(1)[0] + b"\n\n"
        assert await client.reader.readexactly(len(event)) == event
        await client.close()
        await running.calm()


async def test_expect_100_continue(running: Relay) -> None:
    body = orjson.dumps(chat(user="u0"))
    head = post(body, headers={"Expect": "100-continue"})[: -len(body)]
    running.plays(answer_by_user)
    async with running.client() as client:
        for _ in range(2):
            await client.send(head)
            assert await client.reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
            await client.send(body)
            check(await client.reply(), 0, True)


async def test_expect_100_continue_with_a_request_that_is_refused() -> None:
    """Whether the body follows is the client's choice, so the connection must not be used again."""
    body = orjson.dumps(chat(user="u0"))
    async with relay(answer_by_user, api_key="k") as running:
        for headers in ({}, {"Authorization": "Bearer k", "Content-Type": "text/plain"}):
            async with running.client() as client:
                headers = {**headers, "Expect": "100-continue"}
                await client.send(post(body, headers=headers)[: -len(body)])
                reply = await client.reply()
                assert reply.status in (401, 415)
                assert reply.headers["connection"] == "close"
                assert await client.ended() == b""


async def test_a_refused_requests_body_is_not_taken_for_a_request(running: Relay) -> None:
    inner = get("/health")
    data = request("POST", CHAT, {"Content-Type": "text/plain"}, inner)
    async with running.client() as client:
        await client.send(data)
        assert (await client.reply()).status == 415
        with pytest.raises((EOFError, TimeoutError)):
            await client.reply(within=0.2)


async def test_chunked_requests(running: Relay) -> None:
    body = orjson.dumps(chat(user="u0"))
    head = post(b"", headers={"Transfer-Encoding": "chunked"})
    head = head.replace(b"Content-Length: 0\r\n", b"")
    pieces = [b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:7], body[7:40], body[40:])]
    running.plays(answer_by_user)
    async with running.client() as client:
        for pause in (False, True):
            await client.send(head)
            for piece in [*pieces, b"0\r\nX-Trailer: a\r\n\r\n"]:
                await client.send(piece)
                if pause:
                    await asyncio.sleep(0.01)
            check(await client.reply(), 0, True)
            assert running.asked[-1].body == body


async def test_header_names_in_any_case(running: Relay) -> None:
    data = post(chat(user="u0")).replace(b"Content-Length", b"cONTENT-lENGTH")
    data = data.replace(b"Content-Type: application/json", b"CONTENT-TYPE:application/JSON")
    running.plays(answer_by_user)
    check(await running.ask(data), 0, True)


async def test_head_requests_have_no_body(running: Relay) -> None:
    async with running.client() as client:
        for path in ("/health", "/readyz", "/v1/models", "/v1/models/m", "/nope", CHAT):
            wanted = await running.ask(get(path))
            await client.send(request("HEAD", path))
            reply = await client.reply(head=True)
            assert reply.status == wanted.status
            assert reply.headers["content-type"] == "application/json"
        await client.send(get("/health"))
        assert (await client.reply()).json()["status"] == "ok"


async def test_an_upgrade_that_is_offered_is_passed_by(running: Relay) -> None:
    """Java's HTTP client offers HTTP/2 with its first request (RFC 7540, 3.2)."""
    offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAA"}
    running.plays(answer_by_user)
    async with running.client() as client:
        for number in range(3):
            await client.send(post(chat(user=f"u{number}"), headers=offer))
            check(await client.reply(), number, True)
        await client.send(get("/health", **offer))
        assert (await client.reply()).json()["status"] == "ok"
        await client.send(get("/health"))
        assert (await client.reply()).json()["status"] == "ok"


async def test_many_connections_at_once(running: Relay) -> None:
    async def one(number: int) -> None:
        streamed = bool(number % 2)
        reply = await running.ask(post(chat(streamed, user=f"u{number}")))
        check(reply, number, streamed)

    running.plays(answer_by_user)
    await asyncio.gather(*(one(number) for number in range(80)))
