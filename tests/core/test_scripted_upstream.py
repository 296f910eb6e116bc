"""The scripted upstream sends what it is told, byte for byte, and sees its clients leave."""

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator

import pytest

from h2o_relay.testing.scripts import (
    EARLY_HINTS,
    LAST,
    Play,
    at,
    chunk,
    each,
    end,
    event,
    hang,
    head,
    in_turn,
    json,
    play,
    redirect,
    reset,
    sse,
    stream,
    whole,
)
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until

GET = b"GET /v1/models?a=1 HTTP/1.1\r\nHost: x\r\nX-Two: b\r\n\r\n"


class Raw:
    """A client that keeps each read apart."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.reads: list[bytes] = []

    async def to_end(self) -> bytes:
        while data := await self.reader.read(2**20):
            self.reads.append(data)
        return b"".join(self.reads)


@contextlib.asynccontextmanager
async def talk(script: Script, sent: bytes = GET) -> AsyncIterator[tuple[ScriptedUpstream, Raw]]:
    async with ScriptedUpstream(script) as upstream:
        reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
        writer.write(sent)
        try:
            yield upstream, Raw(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def received(script: Play) -> bytes:
    async with talk(script + play(end)) as (_, client):
        return await client.to_end()


async def test_records_requests() -> None:
    post = b"POST /v1/x HTTP/1.1\r\nContent-Length: 8\r\n\r\n" + b'{"a": 1}'
    async with talk(in_turn(json({}), play(b"x", end)), GET + post) as (upstream, client):
        assert (await client.to_end()).endswith(b"{}x")
    first, second = upstream.requests
    assert (first.method, first.path, first.headers["x-two"]) == ("GET", "/v1/models?a=1", "b")
    assert first.body == b""
    assert (second.method, second.json()) == ("POST", {"a": 1})
    assert upstream.accepted == 1


async def test_reads_a_chunked_request() -> None:
    post = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    post += chunk(b"ab") + chunk(b"c") + LAST
    async with talk(play(b"x", end), post) as (upstream, client):
        await client.to_end()
    assert upstream.requests[0].body == b"abc"


async def test_sends_exactly_the_bytes() -> None:
    answer = sse([b'{"n":1}', b'{"n":2}'])
    expected = (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        b'f\r\ndata: {"n":1}\n\n\r\nf\r\ndata: {"n":2}\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n'
    )
    assert answer.wire == expected
    assert await received(answer) == expected


async def test_each_step_is_a_segment_of_its_own() -> None:
    answer = sse([b'{"n":1}']).recut(each(1))
    async with talk(answer + play(end)) as (_, client):
        assert await client.to_end() == answer.wire
    assert client.reads == [bytes([byte]) for byte in answer.wire]


async def test_recut_joins_and_cuts_anew() -> None:
    assert play(b"abc", b"de", hang, b"fg").recut(at(1)).steps == (b"a", b"bcde", hang, b"f", b"g")


async def test_chunks_are_cut_apart_from_segments() -> None:
    answer = sse([b"1"])
    fives = answer.rechunk(each(5))
    assert fives.steps[:3] == (answer.steps[0], b"5\r\ndata:\r\n", b"5\r\n 1\n\nd\r\n")
    assert fives.rechunk(lambda data: [data]) == stream([event(b"1") + event(b"[DONE]")])


@pytest.mark.parametrize("framing", ["length", "close"])
async def test_other_framings(framing: str) -> None:
    body = event(b"1") + event(b"[DONE]")
    answer = sse([b"1"], framing=framing)
    wire = await received(answer) if framing == "length" else answer.wire
    top, _, rest = wire.partition(b"\r\n\r\n")
    assert rest == body
    assert (f"content-length: {len(body)}".encode() in top) == (framing == "length")
    assert (b"connection: close" in top) == (framing == "close")


async def test_truncated_ends_without_the_zero_chunk() -> None:
    wire = await received(sse([b"1", b"2", b"3"]).upto(2))
    assert wire.endswith(chunk(event(b"2")))


async def test_reset_arrives_as_a_reset_after_the_bytes() -> None:
    async with talk(sse([b"1", b"2"]).upto(1) + play(reset)) as (upstream, client):
        with pytest.raises(ConnectionResetError):
            await client.to_end()
        assert b"".join(client.reads).endswith(chunk(event(b"1")))
    assert upstream.gone == []


async def test_hang_is_ended_by_the_client_and_noted() -> None:
    async with talk(sse([b"1"]).upto(1) + play(hang)) as (upstream, client):
        await client.reader.readuntil(b"data: 1\n\n")
        assert (upstream.open, upstream.answering, upstream.gone) == (1, 1, [])
        before = asyncio.get_running_loop().time()
        client.writer.close()
        await until(lambda: upstream.gone, within=2)
        assert upstream.gone == upstream.requests
        assert upstream.gone[0].left_at is not None
        assert upstream.gone[0].left_at >= before
        await until(lambda: not upstream.open and not upstream.answering, within=2)


async def test_a_client_that_leaves_between_answers_is_not_gone() -> None:
    async with talk(json({})) as (upstream, client):
        await client.reader.readuntil(b"{}")
        client.writer.close()
        await until(lambda: not upstream.open, within=2)
    assert upstream.gone == []


async def test_stalls_before_the_head() -> None:
    async with talk(play(0.1) + json({})) as (_, client):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.reader.read(1), 0.05)
        assert await client.reader.readuntil(b"{}")


async def test_paced_waits_between_sends() -> None:
    start = asyncio.get_running_loop().time()
    await received(play(b"a", b"b", b"c").paced(0.02))
    assert asyncio.get_running_loop().time() - start >= 0.06


async def test_what_breaks_the_format_goes_out_as_it_is() -> None:
    smuggled = play(head(200, {"content-length": "2", "transfer-encoding": "chunked"}), b"{}")
    hints = play(EARLY_HINTS) + json({})
    packed = whole(gzip.compress(b"{}"), headers={"content-encoding": "gzip"})
    for answer in (play(b"NONSENSE\r\n\r\n"), smuggled, hints, packed, json({}) + json({})):
        assert await received(answer) == answer.wire


async def test_redirect() -> None:
    assert b"307 Temporary Redirect\r\n" in redirect("http://other/").wire
    assert b"location: http://other/\r\n" in redirect("http://other/").wire


async def test_a_giant_body_waits_for_a_slow_reader() -> None:
    body = b"x" * 4 * 2**20
    async with talk(whole(body) + play(end)) as (_, client):
        await asyncio.sleep(0.05)
        assert (await client.to_end()).endswith(body)


async def test_a_failing_script_fails_the_test() -> None:
    async def broken(request: Received, answer: Answer) -> None:
        raise KeyError("nothing to say")

    with pytest.raises(KeyError, match="nothing to say"):
        async with talk(broken) as (_, client):
            assert await client.to_end() == b""


async def test_until_says_that_it_waited_in_vain() -> None:
    with pytest.raises(AssertionError, match=r"not true within 0\.02 s"):
        await until(lambda: False, within=0.02)


async def test_nothing_is_left_running() -> None:
    before = asyncio.all_tasks()
    async with talk(play(hang)) as (upstream, _):
        await until(lambda: upstream.answering, within=1)
        port = upstream.port
    assert asyncio.all_tasks() == before
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)
