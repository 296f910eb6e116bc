"""Which paths OpenAI, Groq and other servers are asked for, and the bytes that go there."""

from __future__ import annotations

import orjson
import pytest

import h2o_relay_openai as plugin
from h2o_relay.errors import UnknownURL
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.scripts import Play, json, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream
from h2o_relay.types import Call, Server, Target

JSON = {"content-type": "application/json"}
MODELS = json({"object": "list", "data": [{"id": "m"}]})
OPENAI = (
    "/responses", "/responses/input_tokens", "/responses/compact", "/moderations", "/audio/speech",
    "/audio/transcriptions", "/audio/translations", "/images/generations", "/images/edits",
    "/images/variations", "/embeddings",
)  # fmt: skip
ELSEWHERE = (
    "/messages", "/messages/count_tokens", "/tokenize", "/detokenize", "/rerank", "/score",
    "/chat/completions/input_tokens",
)  # fmt: skip


def server(text: str) -> Server:
    found = plugin.parse_server_string(text)
    assert found is not None
    return found


def found(text: str, path: str) -> Target | None:
    return plugin.target(server(text), Call(method="POST", path=path, query="a=1", body=b"x"))


@pytest.mark.parametrize("path", OPENAI)
def test_openais_own(path: str) -> None:
    assert path in plugin.capabilities(server("openai_chat:None:None:None:KEY")).paths
    at = found("openai_chat:None:None:None:KEY", path)
    assert at is not None
    assert (at.url, at.body) == (f"https://api.openai.com/v1{path}?a=1", b"x")
    assert at.headers["authorization"] == "Bearer KEY"


@pytest.mark.parametrize("path", ELSEWHERE)
def test_what_openai_and_groq_have_not(path: str) -> None:
    for text in ("openai_chat", "openai_chat:None:https://eu.api.openai.com/v1", "groq:KEY"):
        assert found(text, path) is None
        assert path not in plugin.capabilities(server(text)).paths


def test_groq() -> None:
    able = plugin.capabilities(server("groq:KEY"))
    for path in ("/responses", "/audio/transcriptions", "/audio/translations", "/audio/speech"):
        at = found("groq:KEY", path)
        assert at is not None
        assert at.url == f"https://api.groq.com/openai/v1{path}?a=1"
        assert path in able.paths
    for path in ("/embeddings", "/images/generations", "/moderations", "/completions"):
        assert found("groq:KEY", path) is None
        assert path not in able.paths


def test_servers_of_others_say_themselves_what_they_lack() -> None:
    text = "openai_chat:None:http://h/v1"
    for path in ("/responses", "/rerank", "/tokenize", "/embeddings", "/files", "/audio/speech"):
        at = found(text, path)
        assert at is not None
        assert at.url == f"http://h/v1{path}?a=1"
    assert found(text, "/messages") is None, "Anthropic's API is translated for them"


class Upstream:
    def __init__(self, answer: Play) -> None:
        self.answer = answer
        self.asked: list[Received] = []

    async def __call__(self, request: Received, answer: Answer) -> None:
        if request.method == "POST":
            self.asked.append(request)
        await (self.answer if request.method == "POST" else MODELS)(request, answer)


async def forwarded(upstream: Upstream, path: str, body: bytes, headers: dict[str, str]) -> bytes:
    async with ScriptedUpstream(upstream) as running:
        plugins = Plugins.of(openai=plugin)
        servers = [f"openai:None:{running.url}/v1"]
        async with Kernel(quick(), servers, plugins) as kernel:
            await kernel.settled(20)
            params = orjson.loads(body) if headers is JSON else None
            call = Call(method="POST", path=path, headers=headers, body=body, params=params)
            async with kernel.forward("m", call) as reply:
                return b"".join([piece async for piece in reply.chunks])


@pytest.mark.parametrize("path", [*OPENAI, "/rerank"])
async def test_bytes_go_both_ways_as_they_are(path: str) -> None:
    body, answer = b'{ "model":"m",\n"input":"\\u00e4", "own": 1.0}', b'{ "odd" : [1.0] }\n'
    upstream = Upstream(whole(answer))
    assert await forwarded(upstream, path, body, JSON) == answer
    (asked,) = upstream.asked
    assert (asked.path, asked.body) == (f"/v1{path}", body)


async def test_a_form_goes_as_it_is() -> None:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n--x\r\n'
        b'Content-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\xff\r\n--x--\r\n'
    )
    headers = {"content-type": "multipart/form-data; boundary=x"}
    upstream = Upstream(json({"text": "hi"}))
    assert await forwarded(upstream, "/audio/translations", body, headers) == b'{"text":"hi"}'
    assert upstream.asked[0].body == body


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Invalid URL (POST /v1/rerank)", "type": "invalid_request_error",
         "param": None, "code": None},
        {"message": "Unknown request URL: POST /openai/v1/rerank.",
         "type": "invalid_request_error", "code": "unknown_url"},
        {"code": "404", "message": "Resource not found"},
    ],
)  # fmt: skip
async def test_a_path_that_is_not_there_is_named_with_its_model(error: dict[str, object]) -> None:
    with pytest.raises(UnknownURL, match="`m` does not offer POST /v1/rerank"):
        await forwarded(Upstream(json({"error": error}, 404)), "/rerank", b'{"model":"m"}', JSON)
