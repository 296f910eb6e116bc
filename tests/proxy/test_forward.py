"""OpenAI's other endpoints: what a server offers goes through byte for byte, by its model."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import openai
import orjson
import pytest

from h2o_relay.kernel import Kernel
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import Play, hang, head, json, play, redirect, sse, stream, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream, until
from h2o_relay.types import Call, Tuning

from .kit import (
    MODEL,
    Relay,
    assert_error,
    chat,
    completion,
    get,
    listing,
    post,
    relay,
    request,
    said,
)
from .raw_client import Reply, error_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

EMBEDDINGS = "/v1/embeddings"
SPEECH = "/v1/audio/speech"
SECRET = "sk-upstream-canary"
ODD = b'{ "input": ["a", "b\\u00e9"],\n "model":"m" , "seed": 1.10, "own": ["model"] }'
VECTOR = {"object": "embedding", "index": 0, "embedding": [0.25, -1.5]}
USAGE = {"prompt_tokens": 1, "total_tokens": 1}
RESPONSE = b'{"model":"m","stream":true,"store":false}'
"""One that a server may be asked for itself: what is to be kept is not every server's to keep."""
SPOKEN = b'{"model":"m","input":"x","stream_format":"sse"}'
RERANK = b'{"model":"m","query":"x","documents":["y"]}'
LIST = {"object": "list", "data": [VECTOR], "model": "m", "usage": USAGE}
BOUNDARY = "xYz--9"
FORM = {"Content-Type": f'multipart/form-data; charset=utf-8; boundary="{BOUNDARY}"'}
AUDIO = b"RIFF\x00\xff\r\n\r\n--xYz--\r\n" + bytes(range(256))


def form(model: bytes | None, *more: bytes) -> bytes:
    """A form with a file first, and its model in a plain field, as curl writes them."""
    parts = [
        b'Content-Disposition: form-data; name="file"; filename="name=\\"model\\".wav"\r\n'
        b"Content-Type: audio/wav\r\n\r\n" + AUDIO,
        b'Content-Disposition: form-data; name="prompt"\r\n\r\nname="model"',
    ]
    if model is not None:
        parts.append(b"content-disposition:form-data;  Name=model\r\n\r\n" + model)
    mark = b"--" + BOUNDARY.encode()
    return b"".join(mark + b"\r\n" + part + b"\r\n" for part in (*parts, *more)) + mark + b"--\r\n"


async def sent(running: Relay, data: bytes, script: Play, path: str = EMBEDDINGS) -> Reply:
    running.plays(script)
    reply = await running.ask(post(data, path))
    await running.calm()
    return reply


async def test_bytes_go_both_ways_as_they_are(running: Relay) -> None:
    answer = b'{"data": [ 1.0 ],\n"model":"m"}\n'
    reply = await sent(running, ODD, whole(answer, content_type="application/json; odd=1"))
    assert (reply.status, reply.body) == (200, answer)
    assert reply.headers["content-type"] == "application/json; odd=1"
    assert reply.headers["content-length"] == str(len(answer))
    assert reply.headers["x-h2o-backend"] == "vllm"
    assert reply.headers["x-content-type-options"] == "nosniff"
    (asked,) = running.asked
    assert (asked.method, asked.path, asked.body) == ("POST", EMBEDDINGS, ODD)
    assert asked.headers["content-type"] == "application/json"


async def test_only_the_models_name_is_replaced() -> None:
    async with relay(json(LIST), servers=[("vllm_chat:{url}/v1", "public")]) as running:
        for model in (b'"public"', b'"0"', b"0"):
            body = ODD.replace(b'"model":"m"', b'"model":' + model, 1)
            assert (await sent(running, body, json(LIST))).status == 200
            got = running.asked[0]
            assert got.json() == orjson.loads(ODD)
            if model.startswith(b'"'):
                assert got.body == ODD
        assert (await sent(running, b'{"input":"x"}', json(LIST))).status == 200
        assert running.asked[0].body == b'{"model":"m","input":"x"}'
        assert (await sent(running, b'{"id":"x"}', json(LIST), "/v1/batches")).status == 200
        assert running.asked[0].body == b'{"id":"x"}'


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_entrys_number_may_be_a_number(streamed: bool) -> None:
    servers = [("vllm_chat:{url}/v1", "a"), ("vllm_chat:{url}/v1", "b")]
    async with relay(sse(said(1)) if streamed else json(completion()), servers=servers) as running:
        assert (await running.ask(post(chat(streamed, model=1)))).status == 200
        assert running.asked[0].json()["model"] == MODEL
        assert_error(await running.ask(post(chat(streamed, model=2))), 404, "model_not_found")


async def test_headers_of_the_caller_that_a_server_sees() -> None:
    keyed = ["vllm_chat:127.0.0.1:{port}:/v1:" + SECRET]
    theirs = {
        "Authorization": "Bearer sk-caller", "api-key": "sk-caller", "x-api-key": "sk-caller",
        "Cookie": "a=b", "Accept": "application/json", "OpenAI-Beta": "x=v1", "X-Odd": "1",
        "User-Agent": "theirs", "OpenAI-Organization": "org-theirs",
    }  # fmt: skip
    async with relay(json(LIST), servers=keyed) as running:
        await running.ask(post({"model": MODEL, "input": "x"}, EMBEDDINGS, theirs))
        got = running.asked[0].headers
    assert got["authorization"] == f"Bearer {SECRET}"
    assert (got["accept"], got["openai-beta"]) == ("application/json", "x=v1")
    assert b"sk-caller" not in orjson.dumps(dict(got))
    assert not {"cookie", "x-odd", "api-key", "x-api-key", "openai-organization"} & got.keys()
    assert got["user-agent"] == "h2o-relay"


async def test_headers_of_a_server_that_the_caller_sees(running: Relay) -> None:
    theirs = {
        "set-cookie": "a=b", "x-odd": "1", "x-request-id": "theirs", "server": "odd",
        "content-disposition": 'attachment; filename="a.mp3"', "access-control-allow-origin": "*",
    }  # fmt: skip
    script = whole(b"ID3\x00\xff", content_type="audio/mpeg", headers=theirs)
    reply = await sent(running, b'{"model":"m","input":"x"}', script, SPEECH)
    assert (reply.status, reply.body) == (200, b"ID3\x00\xff")
    assert reply.headers["content-type"] == "audio/mpeg"
    assert reply.headers["content-disposition"] == 'attachment; filename="a.mp3"'
    assert reply.headers["x-request-id"] != "theirs"
    assert not {"set-cookie", "x-odd", "access-control-allow-origin"} & reply.headers.keys()


async def test_other_successes_keep_their_status(running: Relay) -> None:
    for status in (201, 202):
        reply = await sent(running, b'{"model":"m"}', json({"id": 1}, status), "/v1/batches")
        assert (reply.status, reply.json()) == (status, {"id": 1})


class TestForms:
    async def test_a_form_is_passed_on_untouched(self, running: Relay) -> None:
        running.plays(json({"text": "hello"}))
        for body in (form(b"m"), form(None), b"preamble\r\n" + form(b"m") + b"epilogue"):
            running.upstream.requests.clear()
            reply = await running.ask(post(body, "/v1/audio/transcriptions", FORM))
            assert (reply.status, reply.json()) == (200, {"text": "hello"})
            (asked,) = running.asked
            assert asked.path == "/v1/audio/transcriptions"
            assert asked.body == body
            assert asked.headers["content-type"] == FORM["Content-Type"]

    async def test_its_model_alone_is_replaced(self) -> None:
        servers = [("vllm_chat:{url}/v1", "public"), ("vllm_chat:{url}/v1", "público")]
        async with relay(json({}), servers=servers) as running:
            for model in ("public", "público", "1"):
                running.upstream.requests.clear()
                body = form(model.encode())
                assert (await running.ask(post(body, "/v1/files", FORM))).status == 200
                assert running.asked[0].body == form(b"m")

    @pytest.mark.parametrize(
        "body",
        [
            b"", b"no form", form(b"m")[:-6], form(b"m", b'content-disposition: form-data; '
            b'name="model"\r\n\r\nm'), form(b"\xff"), b"--xYz--9 x\r\n\r\n\r\n--xYz--9--",
            b"--xYz--9\r\n", form(b"m") [:400],
        ],
    )  # fmt: skip
    async def test_what_is_no_form(self, running: Relay, body: bytes) -> None:
        running.plays(json({}))
        reply = await running.ask(post(body, "/v1/files", FORM))
        assert_error(reply, 400, "invalid_form", "invalid_request_error")
        assert running.asked == []

    async def test_without_a_boundary(self, running: Relay) -> None:
        for kind in ("", "; boundary=", "; boundary=" + "x" * 71):
            headers = {"Content-Type": f"multipart/form-data{kind}"}
            reply = await running.ask(post(form(b"m"), "/v1/files", headers))
            assert_error(reply, 400, "invalid_form")

    async def test_many_parts_are_refused(self, running: Relay) -> None:
        part = b'Content-Disposition: form-data; name="a"\r\n\r\nb'
        reply = await running.ask(post(form(b"m", *[part] * 1000), "/v1/files", FORM))
        assert_error(reply, 400, "invalid_form")


class TestStreams:
    async def test_pieces_arrive_as_they_are_sent(self, running: Relay) -> None:
        """Audio of unknown length: nothing waits for the end."""
        pieces = [b"\x00one", b"two\xff", b"three"]
        running.plays(stream(pieces, content_type="audio/mpeg").paced(0.05))
        reply = await running.ask(post({"model": MODEL, "input": "x"}, SPEECH))
        assert [data for _, data in reply.pieces] == pieces
        assert reply.complete
        assert reply.headers["content-type"] == "audio/mpeg"
        first, *_, last = (at for at, _ in reply.pieces)
        assert last - first > 0.05

    async def test_events_are_not_changed(self, running: Relay) -> None:
        events = [
            b'event: response.created\ndata: {"type":"response.created"}\n\n', b": ping\r\n\r\n",
            b"id: 7\nevent: response.completed\ndata: {}\n\n",
        ]  # fmt: skip
        running.plays(stream(events))
        reply = await running.ask(post(RESPONSE, "/v1/responses"))
        assert reply.body == b"".join(events)
        assert reply.complete
        assert reply.headers["content-type"] == "text/event-stream"
        assert reply.headers["x-accel-buffering"] == "no"

    async def test_a_large_answer_is_not_held(self) -> None:
        """More than a whole answer may be, and a server that is never far ahead of the client."""
        size, piece = 64 * 2**20, b"x" * 2**16  # sockets alone may hold 14 MiB
        ahead = 0

        async def run(received: Received, answer: Answer) -> None:
            nonlocal ahead
            await answer.send(head(200, {"content-type": "a/b", "content-length": str(size)}))
            for _ in range(size // len(piece)):
                await answer.send(piece)
                ahead += len(piece)

        async with relay(max_event=2**20) as running:
            running.plays(run)
            async with running.client(receive_buffer=2**14) as client:
                await client.send(post({"model": MODEL, "input": "x"}, SPEECH))
                reply = await client.head()
                await asyncio.sleep(0.3)
                assert ahead < size / 2
                got = 0
                while data := await client.piece():
                    got += len(data)
                assert got == size
        assert reply.status == 200

    async def test_an_empty_answer(self, running: Relay) -> None:
        for script in (whole(b""), stream([], content_type="a/b")):
            reply = await sent(running, b'{"model":"m","input":"x"}', script, SPEECH)
            assert (reply.status, reply.body, reply.complete) == (200, b"", True)


class TestBrokenOff:
    async def test_before_anything_was_sent(self, running: Relay) -> None:
        cases: list[tuple[Play, int, str]] = [
            (play(head(200, {"content-length": "90", "content-type": "application/json"}), b"{",
                  Answer.reset), 502, "upstream_disconnected"),
            (stream([b"a"], content_type="a/b").upto(0) + play(Answer.end), 502,
             "upstream_disconnected"),
            (play(b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n"), 502, "upstream_bad_response"),
        ]  # fmt: skip
        for script, status, code in cases:
            assert_error(await sent(running, b'{"model":"m","input":"x"}', script), status, code)

    async def test_in_the_middle(self, running: Relay) -> None:
        script = stream([b"abc", b"def"], content_type="audio/mpeg").upto(2) + play(Answer.reset)
        reply = await sent(running, b'{"model":"m","input":"x"}', script, SPEECH)
        assert (reply.status, reply.body[:3], reply.complete) == (200, b"abc", False)
        assert b"error" not in reply.body

    async def test_between_events(self, running: Relay) -> None:
        script = stream([b"data: {}\n\n"]).upto(1) + play(Answer.reset)
        reply = await sent(running, SPOKEN, script, SPEECH)
        good, last, rest = reply.body.split(b"\n\n")
        assert (good, rest) == (b"data: {}", b"")
        assert error_of(last.removeprefix(b"data: "))["code"] == "upstream_disconnected"
        assert reply.complete

    async def test_within_an_event(self, running: Relay) -> None:
        script = stream([b"data: {}\n\ndata: {"]).upto(1) + play(Answer.reset)
        reply = await sent(running, RESPONSE, script, "/v1/responses")
        assert (reply.body, reply.complete) == (b"data: {}\n\ndata: {", False)

    async def test_a_silent_server(self) -> None:
        async with relay(answer_timeout=0.1, first_byte_timeout=9.0) as running:
            reply = await sent(running, b'{"model":"m","input":"x"}', play(hang))
            assert_error(reply, 504, "first_byte_timeout")
        async with relay(answer_timeout=9.0, first_byte_timeout=0.1) as running:
            reply = await sent(running, RESPONSE, play(hang), "/v1/responses")
            assert_error(reply, 504, "first_byte_timeout")


class TestRefusals:
    async def test_the_servers_own(self) -> None:
        error = {"message": f"no {SECRET}", "type": "their", "param": "input", "code": "odd"}
        keyed = ["vllm_chat:127.0.0.1:{port}:/v1:" + SECRET]
        body = b'{"model":"m","input":"x"}'
        async with relay(servers=keyed) as running:
            for status in (400, 404, 413, 422):
                reply = await sent(running, body, json({"error": error}, status))
                assert_error(reply, status, "odd", "their")
                assert reply.error["message"] == "no ***"
            for status, ours, code in (
                (401, 502, "upstream_auth_error"), (429, 429, "rate_limit_exceeded"),
                (500, 502, "upstream_bad_response"), (503, 503, "upstream_unavailable"),
            ):  # fmt: skip
                script = json({"error": error}, status, {"retry-after": "7"})
                reply = await sent(running, body, script)
                assert_error(reply, ours, code)
                assert SECRET.encode() not in reply.body
                assert reply.headers.get("retry-after") == ("7" if status in (429, 503) else None)
            reply = await sent(running, body, redirect("http://127.0.0.1:1/"))
            assert_error(reply, 502, "upstream_redirect")

    async def test_a_server_without_the_path(self, running: Relay) -> None:
        for script in (
            json({"detail": "Not Found"}, 404), whole(b"<html>", 404, "text/html"),
            json({"detail": "Method Not Allowed"}, 405),
            json({"error": {"code": 501, "message": "Start it with", "type": "t"}}, 501),
        ):  # fmt: skip
            reply = await sent(running, RERANK, script, "/v1/rerank")
            assert_error(reply, 404, "unknown_url", "invalid_request_error")
            assert "`m`" in reply.error["message"]
            assert "POST /v1/rerank" in reply.error["message"]
        assert "Start it with" in reply.error["message"]

    async def test_a_plugin_that_knows_its_servers_paths(self) -> None:
        """TGI's has no embeddings, vLLM's may."""
        servers: list[str | tuple[str, str | None]] = [("tgi:{url}", "t"), "vllm_chat:{url}/v1"]
        async with relay(json(LIST), servers=servers) as running:
            reply = await running.ask(post({"model": "t", "input": "x"}, EMBEDDINGS))
            assert_error(reply, 404, "unknown_url")
            assert "`t`" in reply.error["message"]
            assert EMBEDDINGS in reply.error["message"]
            assert not [asked for asked in running.asked if asked.path == EMBEDDINGS]
            for body in ({"input": "x"}, {"input": "x", "model": None}):
                assert (await running.ask(post(body, EMBEDDINGS))).status == 200

    async def test_no_server_with_the_path(self) -> None:
        """One that is known is answered for by the model's server, one that is not by nobody."""
        async with relay(json(LIST), servers=[("tgi:{url}", "t")]) as running:
            for model in ("t", None):
                reply = await running.ask(post({"model": model, "input": "x"}, EMBEDDINGS))
                assert_error(reply, 404, "unknown_url")
                assert "`t`" in reply.error["message"]
                assert EMBEDDINGS in reply.error["message"]
            reply = await running.ask(post(b"", "/v1/x"))
            assert_error(reply, 404, "unknown_url")
            assert "Unknown request URL" in reply.error["message"]

    async def test_requests_that_reach_no_server(self, running: Relay) -> None:
        running.plays(json(LIST))
        cases: list[tuple[Any, Mapping[str, str] | None, int, str]] = [
            ({"model": "nope", "input": "x"}, None, 404, "model_not_found"),
            ({"model": ["m"], "input": "x"}, None, 400, "invalid_type"),
            ({"model": True, "input": "x"}, None, 400, "invalid_type"),
            ({"model": "m"}, None, 400, "missing_required_parameter"),
            ({"model": "m", "input": 7}, None, 400, "invalid_type"),
            ({"model": "m", "input": []}, None, 400, "empty_array"),
            ({"model": "m", "input": ["a", 1]}, None, 400, "invalid_type"),
            ({"model": "m", "input": [[]]}, None, 400, "empty_array"),
            ({"model": "m", "input": ["a"] * 2049}, None, 400, "array_too_long"),
            ({"model": "m", "input": "x", "dimensions": 0}, None, 400, "below_min_value"),
            ({"model": "m", "input": "x", "encoding_format": 1}, None, 400, "invalid_type"),
            (b'{"model":"m","model":"m","input":"x"}', None, 400, "invalid_json"),
            (b"[]", None, 400, "invalid_json"),
            (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415,
             "unsupported_media_type"),
            (form(b"m"), {**FORM, "Content-Encoding": "gzip"}, 415, "unsupported_media_type"),
            (form(b"nope"), FORM, 404, "model_not_found"),
        ]  # fmt: skip
        for body, headers, status, code in cases:
            assert_error(await running.ask(post(body, EMBEDDINGS, headers)), status, code)
        assert running.asked == []

    async def test_bodies_have_a_limit(self) -> None:
        async with relay(json(LIST), max_body=4096) as running:
            for path, headers in ((EMBEDDINGS, None), ("/v1/files", FORM)):
                reply = await running.ask(post(b"x" * 4097, path, headers))
                assert_error(reply, 413, "request_too_large")
            assert running.asked == []

    async def test_paths_that_could_mean_another(self, running: Relay) -> None:
        running.plays(json({}))
        for path in ("/v1/../x", "/v1/a/../b", "/v1/.x", "/v1//x", "/v1/x/", "/v1/%2e%2e/x",
                     "/v1/a%2fb", "/v1/", "/v2/x", "/v1/a;b", "/v1/\\x"):  # fmt: skip
            reply = await running.ask(post({"model": MODEL}, path))
            assert_error(reply, 404, "unknown_url")
        assert_error(await running.ask(post({}, "/v1/models")), 405, "method_not_allowed")
        assert_error(await running.ask(get(EMBEDDINGS)), 405, "method_not_allowed")
        assert_error(await running.ask(request("DELETE", "/v1/files/x")), 404, "unknown_url")
        assert running.asked == []

    async def test_the_relays_key_is_needed(self, guarded: Relay) -> None:
        reply = await guarded.ask(post({"model": MODEL, "input": "x"}, EMBEDDINGS))
        assert_error(reply, 401, "missing_api_key")


async def test_a_bare_url_that_is_not_there_yet() -> None:
    """Its kind decides what it offers; until that is known the answer is not 'no such URL'."""
    async with relay(servers=["http://127.0.0.1:1"], wait=False) as running:
        reply = await running.ask(post({"model": "x", "input": "y"}, EMBEDDINGS))
        assert reply.status in (404, 503)
        assert reply.error["code"] in ("model_not_found", "upstream_unavailable")


class TestLeaving:
    @pytest.mark.parametrize(
        "script",
        [
            play(hang), play(head(200, {"content-length": "9"}), hang),
            stream([b"abc"], content_type="audio/mpeg").upto(1) + play(hang),
        ],
    )  # fmt: skip
    async def test_the_server_is_left_at_once(self, running: Relay, script: Play) -> None:
        running.plays(script)
        async with running.client() as client:
            await client.send(post({"model": MODEL, "input": "x"}, SPEECH))
            await until(lambda: running.upstream.answering, within=1)
            await asyncio.sleep(0.02)
            client.reset()
            await until(lambda: running.upstream.gone, within=2)
        await running.calm()


async def test_the_operators_limit_holds_here_too() -> None:
    together = most = 0

    async def run(request: Received, answer: Answer) -> None:
        nonlocal together, most
        if request.method == "POST":
            together += 1
            most = max(most, together)
            await asyncio.sleep(0.01)
            together -= 1
        await (json(LIST) if request.method == "POST" else listing())(request, answer)

    async def ask(kernel: Kernel) -> int:
        call = Call(method="POST", path="/embeddings", body=b'{"input":"x"}')
        async with kernel.forward("m", call) as reply:
            return len(b"".join([piece async for piece in reply.chunks]))

    async with ScriptedUpstream(run) as upstream:
        server = f"vllm_chat:{upstream.url}/v1"
        for limit in (1, 3):
            most = 0
            spec = ServerSpec(server=server, base_model="m", tuning=Tuning(concurrency=limit))
            async with Kernel(quick(), [spec]) as kernel:
                sizes = await asyncio.gather(*(ask(kernel) for _ in range(5)))
            assert sizes == [len(orjson.dumps(LIST))] * 5
            assert most == limit


class TestClient:
    """The official client."""

    async def test_embeddings(self, running: Relay) -> None:
        packed = "AACAPgAAwL8="  # 0.25, -1.5 as little-endian floats of 32 bits

        async def run(received: Received, answer: Answer) -> None:
            form = received.json()["encoding_format"]
            data = [{**VECTOR, "embedding": packed}] if form == "base64" else [VECTOR]
            await json({**LIST, "data": data})(received, answer)

        running.plays(run)
        async with client_of(running) as client:
            for form in ("float", openai.omit):
                made = await client.embeddings.create(model=MODEL, input="x", encoding_format=form)
                assert made.data[0].embedding == [0.25, -1.5]
            raw = await client.embeddings.create(model=MODEL, input="x", encoding_format="base64")
            assert str(raw.data[0].embedding) == packed
        assert [asked.json()["encoding_format"] for asked in running.asked] == [
            "float", "base64", "base64",
        ]  # fmt: skip

    async def test_speech_and_transcriptions(self, running: Relay) -> None:
        async with client_of(running) as client:
            running.plays(stream([b"ID3", b"\x00\xff"], content_type="audio/mpeg"))
            async with client.audio.speech.with_streaming_response.create(
                model=MODEL, voice="alloy", input="hi"
            ) as spoken:
                assert await spoken.read() == b"ID3\x00\xff"
            running.plays(json({"text": "hello"}))
            heard = await client.audio.transcriptions.create(
                model=MODEL, file=("a.wav", AUDIO), prompt="model"
            )
            assert heard.text == "hello"
            assert AUDIO in running.asked[0].body

    async def test_a_streamed_response(self, running: Relay) -> None:
        delta = {
            "type": "response.output_text.delta", "delta": "hi", "item_id": "i", "output_index": 0,
            "content_index": 0, "sequence_number": 0, "logprobs": [],
        }  # fmt: skip
        name = b"event: response.output_text.delta\n"
        event = name + b"data: " + orjson.dumps(delta) + b"\n\n"
        running.plays(stream([event, event]).upto(2) + play(Answer.reset))
        async with client_of(running) as client:
            events = await client.responses.create(model=MODEL, input="x", stream=True, store=False)
            for _ in range(2):
                found = await anext(events)
                assert found.type == "response.output_text.delta"
                assert found.delta == "hi"
            with pytest.raises(openai.APIError, match="broke off"):
                await anext(events)


def client_of(running: Relay) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0)
