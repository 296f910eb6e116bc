"""What the kernel does for servers that speak OpenAI's shape."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import orjson
import pytest

from h2o_relay import openai_shape
from h2o_relay.chunks import Chunk
from h2o_relay.errors import (
    ContextTooLong,
    InvalidRequest,
    RateLimited,
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamRedirect,
    UpstreamRejected,
    UpstreamResponseTooLarge,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from h2o_relay.http import HttpClient
from h2o_relay.openai_shape import context_length, read_models, seconds_to_wait
from h2o_relay.testing.scripts import (
    Play,
    end,
    event,
    hang,
    head,
    in_turn,
    json,
    play,
    redirect,
    sse,
    stream,
    whole,
)
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay.types import Call, Deployment, Model, Request, Server

from .plain import plugin

pytestmark = pytest.mark.usefixtures("leaves_nothing")
KEY = "sk-0123456789"
PIECES = [b'{"choices":[{"index":0,"delta":{"content":"%d"}}]}' % n for n in range(3)]
COMPLETION = {"id": "1", "choices": [{"index": 0, "message": {"content": "a"}}], "x": 1.0}


class Asking:
    """The plain plugin's hooks, aimed at a scripted server."""

    def __init__(self, upstream: ScriptedUpstream, client: HttpClient) -> None:
        self.upstream, self.client = upstream, client
        self.plugin = plugin()
        self.server = Server(plugin="plain", url=f"{upstream.url}/v1", key=KEY)

    def request(self, body: bytes | None = None, kind: Any = "chat", **params: Any) -> Request:
        return Request(
            kind=kind, params=orjson.loads(body) if body else params, body=body,
            deployment=Deployment(name="public", server=self.server, model="theirs"),
        )  # fmt: skip

    async def stream(self, **params: Any) -> list[Chunk]:
        request = self.request(**params)
        return [c async for c in self.plugin.stream(self.server, self.client, request)]

    async def generate(self, **params: Any) -> Any:
        return await self.plugin.generate(self.server, self.client, self.request(**params))

    async def models(self) -> list[Model]:
        return await self.plugin.list_models(self.server, self.client)


@contextlib.asynccontextmanager
async def asking(script: Script, **changes: Any) -> AsyncIterator[Asking]:
    async with ScriptedUpstream(script) as upstream, HttpClient(quick(**changes)) as client:
        yield Asking(upstream, client)


class TestRequests:
    @pytest.mark.parametrize(
        ("body", "sent"),
        [
            (b'{ "model": "theirs", "x": 1.0 }', b'{ "model": "theirs", "x": 1.0 }'),
            (b'{ "model": "public", "x": 1.0 }', b'{ "model": "theirs", "x": 1.0 }'),
            (b'{ "x": 1.0 }', b'{"model":"theirs", "x": 1.0 }'),
        ],
    )
    async def test_the_callers_bytes_are_sent(self, body: bytes, sent: bytes) -> None:
        async with asking(json(COMPLETION)) as relay:
            await relay.generate(body=body)
            request = relay.upstream.requests[0]
            assert request.body == sent
            assert request.path == "/v1/chat/completions"
            assert request.headers["content-type"] == "application/json"
            assert request.headers["authorization"] == f"Bearer {KEY}"

    async def test_without_bytes_they_are_made(self) -> None:
        async with asking(json(COMPLETION)) as relay:
            await relay.generate(kind="text", prompt="a", model="public")
            request = relay.upstream.requests[0]
            assert request.json() == {"prompt": "a", "model": "theirs"}
            assert request.path == "/v1/completions"

    async def test_an_api_that_is_not_offered(self) -> None:
        async with asking(json({})) as relay:
            relay.plugin = plugin(target=lambda call: None)
            for asked in (relay.stream(), relay.generate()):
                with pytest.raises(InvalidRequest, match="/v1/chat/completions"):
                    await asked
            assert await relay.models() == []
            assert not relay.upstream.accepted


class TestStreams:
    @pytest.mark.parametrize(
        "content_type",
        ["text/event-stream", "text/event-stream; charset=utf-8", "Text/Event-Stream"],
    )
    async def test_events(self, content_type: str) -> None:
        pieces = [event(piece) for piece in [*PIECES, b"[DONE]"]]
        async with asking(stream(pieces, content_type=content_type)) as relay:
            for _ in range(2):
                chunks = await relay.stream()
                assert [c.raw for c in chunks] == [event(piece) for piece in PIECES]
                await asyncio.sleep(0.02)
            assert relay.upstream.accepted == 1

    async def test_events_that_came_together_are_one_chunk(self) -> None:
        async with asking(play(sse(PIECES).wire)) as relay:
            chunks = await relay.stream()
            assert b"".join(c.raw for c in chunks) == b"".join(map(event, PIECES))
            assert len(chunks) == 1

    async def test_nothing_after_done(self) -> None:
        script = stream([event(PIECES[0]), event(b"[DONE]"), event(b"AFTER")])
        async with asking(script) as relay:
            assert b"".join(c.raw for c in await relay.stream()) == event(PIECES[0])

    async def test_done_with_the_connection_left_open(self) -> None:
        async with asking(sse(PIECES).upto(4) + play(hang)) as relay:
            async with asyncio.timeout(0.5):
                assert len(await relay.stream()) == 3
            await until(lambda: relay.upstream.open == 0, within=2)

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            (whole(b"<html>", content_type="text/html"), UpstreamBadResponse),
            (whole(bytes(100_000), content_type="text/html"), UpstreamBadResponse),
            (play(head(200, {"content-length": "0"})), UpstreamBadResponse),
            (json(COMPLETION), UpstreamBadResponse),
            (json({"error": {"message": "no", "code": 400}}), UpstreamRejected),
            (json({"object": "error", "message": "no", "code": 503}), UpstreamUnavailable),
            (json({"error": {"message": "no"}}, 400), UpstreamRejected),
            (json({"error": {"code": "context_length_exceeded"}}, 400), ContextTooLong),
            (json({"error": {"message": "no"}}, 401), UpstreamAuthError),
            (json({"error": "no"}, 429, {"retry-after": "99999"}), RateLimited),
            (json({"error": "no"}, 500), UpstreamBadResponse),
            (json({"error": "no"}, 503), UpstreamUnavailable),
            (redirect("http://127.0.0.1:1/"), UpstreamRedirect),
            (stream([event(PIECES[0])]).upto(1) + play(end), UpstreamDisconnected),
            (stream([b"data: " + b"x" * 3000]), UpstreamResponseTooLarge),
        ],
    )
    async def test_refusals(self, script: Play, error: type[RelayError]) -> None:
        async with asking(script, max_event=2048) as relay:
            with pytest.raises(error) as caught:
                await relay.stream()
            assert type(caught.value) is error
            assert len(relay.upstream.requests) == 1
            relay.upstream.script = sse(PIECES)
            assert len(await relay.stream()) == 3, "the next one is not hurt by it"

    async def test_retry_after_is_passed_on(self) -> None:
        async with asking(json({"error": "no"}, 429, {"retry-after": "99999"})) as relay:
            with pytest.raises(RateLimited) as caught:
                await relay.stream()
            assert caught.value.retry_after == 99999

    async def test_a_giant_error_body_is_not_read(self) -> None:
        sent = 0

        async def giant(request: Received, answer: Answer) -> None:
            nonlocal sent
            await answer.send(head(500, {"content-length": str(2**26)}))
            for _ in range(2**10):
                await answer.send(bytes(2**16))
                sent += 2**16

        async with asking(giant) as relay:
            with pytest.raises(UpstreamBadResponse):
                await relay.stream()
            await until(lambda: relay.upstream.open == 0, within=2)
            assert sent < 2**24

    @pytest.mark.parametrize("sent", [b"", b'{"error"'])
    async def test_an_error_whose_body_never_ends(self, sent: bytes) -> None:
        """The status says enough."""
        script = play(head(429, {"content-length": "99"}), sent, hang)
        async with asking(script, first_byte_timeout=0.2, idle_timeout=0.2) as relay:
            with pytest.raises(RateLimited):
                await relay.stream()

    async def test_our_key_in_an_error(self) -> None:
        async with asking(json({"error": {"message": f"bad {KEY}"}}, 400)) as relay:
            with pytest.raises(UpstreamRejected) as caught:
                await relay.stream()
            assert caught.value.message == "bad ***"

    async def test_leaving_closes_the_upstream(self) -> None:
        async with asking(sse(PIECES).upto(1) + play(hang)) as relay:
            chunks = relay.plugin.stream(relay.server, relay.client, relay.request())
            assert (await anext(chunks)).raw == event(PIECES[0])
            await chunks.aclose()  # type: ignore[attr-defined]
            await until(lambda: relay.upstream.gone, within=2)


class TestWholeAnswers:
    async def test_byte_for_byte(self) -> None:
        body = b'{ "choices" : [ {"index":0, "message":{"content":"\\u00e9"}} ], "x": 1.50 }'
        async with asking(whole(body)) as relay:
            completion = await relay.generate()
            assert (completion.body, completion.text) == (body, "é")

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            (whole(b"<html>", content_type="text/html"), UpstreamBadResponse),
            (whole(b""), UpstreamBadResponse),
            (whole(b"\xff"), UpstreamBadResponse),
            (json([]), UpstreamBadResponse),
            (json({}), UpstreamBadResponse),
            (json({"choices": {}}), UpstreamBadResponse),
            (json({"choices": ["a"]}), UpstreamBadResponse),
            (json({"choices": [{"message": "a"}]}), UpstreamBadResponse),
            (json({"choices": [{"text": 5}]}), UpstreamBadResponse),
            (sse(PIECES), UpstreamBadResponse),
            (json({"error": {"message": "no", "code": 400}}), UpstreamRejected),
            (json({"error": {"message": "no", "code": 429}, "choices": None}), RateLimited),
            (json({"error": {"message": "no"}}, 422), UpstreamRejected),
            (json({"x": "y" * 3000, "choices": []}), UpstreamResponseTooLarge),
            (play(head(200, {"content-length": "9"}), b"{}", end), UpstreamDisconnected),
        ],
    )
    async def test_refusals(self, script: Play, error: type[RelayError]) -> None:
        async with asking(script, max_event=2048) as relay:
            with pytest.raises(error) as caught:
                await relay.generate()
            assert type(caught.value) is error
            relay.upstream.script = json(COMPLETION)
            assert (await relay.generate()).text == "a"

    async def test_it_has_its_own_limit_of_time(self) -> None:
        async with asking(play(hang), answer_timeout=0.2, first_byte_timeout=5) as relay:
            with pytest.raises(UpstreamTimeout):
                await relay.generate()
        slow = play(0.3) + json(COMPLETION)
        async with asking(slow, first_byte_timeout=0.1, answer_timeout=5) as relay:
            assert (await relay.generate()).text == "a"


class TestModels:
    async def test_a_list(self) -> None:
        entry = {"id": "a", "max_model_len": 5, "owned_by": "x"}
        async with asking(json({"object": "list", "data": [entry, {"id": "b"}]})) as relay:
            assert await relay.models() == [
                Model(id="a", max_context=5, raw=entry), Model(id="b", raw={"id": "b"}),
            ]  # fmt: skip
            assert relay.upstream.requests[0].path == "/v1/models"
            assert relay.upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"

    @pytest.mark.parametrize("status", [404, 405, 501])
    async def test_a_server_that_cannot_say(self, status: int) -> None:
        refusal = whole(bytes(100_000), status)
        async with asking(in_turn(refusal, json({"data": [{"id": "a"}]}))) as relay:
            assert await relay.models() == []
            assert [m.id for m in await relay.models()] == ["a"]

    @pytest.mark.parametrize(
        ("script", "error"),
        [
            (json({"error": "no"}, 401), UpstreamAuthError),
            (json({"error": "no"}, 500), UpstreamBadResponse),
            (json({"error": "no"}, 503), UpstreamUnavailable),
            (whole(b"<html>"), UpstreamBadResponse),
            (json({"data": "a"}), UpstreamBadResponse),
            (json({}), UpstreamBadResponse),
            (json("a"), UpstreamBadResponse),
        ],
    )
    async def test_refusals(self, script: Play, error: type[RelayError]) -> None:
        async with asking(script) as relay:
            with pytest.raises(error) as caught:
                await relay.models()
            assert type(caught.value) is error

    async def test_a_slow_list(self) -> None:
        script = json({"data": []}).recut(lambda data: [data[:9], data[9:]]).paced(0.3)
        async with asking(script, request_timeout=0.2) as relay:
            with pytest.raises(UpstreamTimeout):
                await relay.models()

    @pytest.mark.parametrize(
        ("body", "ids"),
        [
            ({"data": [{"id": "a"}, {"id": ""}, {"id": 5}, "b", {}, None, {"id": "c"}]}, "ac"),
            ([{"id": "a"}], "a"),
            ({"data": []}, ""),
            ({"object": "list", "data": None}, ""),
        ],
    )
    def test_shapes(self, body: Any, ids: str) -> None:
        assert "".join(m.id for m in read_models(orjson.dumps(body))) == ids

    @pytest.mark.parametrize(
        ("entry", "length"),
        [
            ({"max_model_len": 10}, 10),
            ({"context_length": 11}, 11),
            ({"context_window": 12}, 12),
            ({"meta": {"n_ctx": 13, "n_ctx_train": 99}}, 13),
            ({"max_model_len": None, "meta": {"n_ctx": 14}}, 14),
            ({"max_model_len": 0}, None),
            ({"max_model_len": -1}, None),
            ({"max_model_len": "10"}, None),
            ({"max_model_len": True}, None),
            ({"meta": []}, None),
            ({}, None),
        ],
    )
    def test_context(self, entry: dict[str, Any], length: int | None) -> None:
        assert context_length(entry) == length


class TestForward:
    async def test_both_ways_in_pieces(self) -> None:
        async def upload() -> AsyncIterator[bytes]:
            yield b"one"
            yield b"two"

        script = stream([b"a", b"b"], content_type="audio/mpeg").paced(0.01)
        call = Call(method="POST", path="/audio/speech", query="a=b", body=upload())
        async with asking(script) as relay:
            async with relay.plugin.forward(relay.server, relay.client, call) as reply:
                assert reply.status == 200
                assert reply.headers["content-type"] == "audio/mpeg"
                assert [piece async for piece in reply.chunks] == [b"a", b"b"]
            request = relay.upstream.requests[0]
            assert (request.path, request.body) == ("/v1/audio/speech?a=b", b"onetwo")

    async def test_the_status_is_passed_on(self) -> None:
        async with (
            asking(json({"error": "no"}, 418)) as relay,
            relay.plugin.forward(
                relay.server, relay.client, Call(method="GET", path="/x")
            ) as reply,
        ):
            assert reply.status == 418
            assert b"".join([piece async for piece in reply.chunks]) == b'{"error":"no"}'

    async def test_what_is_not_offered(self) -> None:
        async with asking(json({})) as relay:
            relay.plugin = plugin(target=lambda call: None)
            forwarding = relay.plugin.forward(
                relay.server, relay.client, Call(method="GET", path="/x")
            )
            with pytest.raises(InvalidRequest, match="/v1/x"):
                await forwarding.__aenter__()

    async def test_leaving_closes_the_upstream(self) -> None:
        call = Call(method="GET", path="/x")
        async with asking(stream([b"a", b"b"]).upto(1) + play(hang)) as relay:
            async with relay.plugin.forward(relay.server, relay.client, call) as reply:
                assert await anext(reply.chunks) == b"a"
            await until(lambda: relay.upstream.gone, within=2)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None), ("5", 5), ("0", 0), (" 7 ", 7), ("1.5", 1.5), ("-3", 0), ("soon", None),
        ("", None), ("inf", None), ("nan", None), ("1e999", None), ("Mon, 99 Jan", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0), ("Thu, 01 Jan 1970 00:00:00 -0000", None),
    ],
)  # fmt: skip
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert seconds_to_wait(header) == seconds


def test_retry_after_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=30)
    seconds = seconds_to_wait(format_datetime(later, usegmt=True))
    assert seconds is not None
    assert 28 < seconds <= 30


def test_a_spoilt_request_body_is_impossible() -> None:
    """Whatever was in the bytes, what is sent reads as the parameters with the new model."""
    body = b'{"model": "a", "x": {"model": "b"}}'
    server = Server(plugin="plain")
    request = Request(
        kind="chat", params=orjson.loads(body), body=body,
        deployment=Deployment(name="a", server=server, model="c"),
    )  # fmt: skip
    assert orjson.loads(openai_shape.request_body(request)) == {"model": "c", "x": {"model": "b"}}
