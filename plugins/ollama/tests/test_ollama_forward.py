"""OpenAI's other paths: embeddings by Ollama's native route, the rest by its own `/v1`."""

from __future__ import annotations

import struct
from base64 import b64decode
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

import h2o_relay_ollama
from h2o_relay.errors import (
    ContextTooLong,
    InvalidJSON,
    InvalidRequest,
    RelayError,
    UnknownURL,
    UpstreamBadResponse,
    UpstreamRejected,
)
from h2o_relay.testing.scripts import json
from h2o_relay.types import Call

from .ollama_kit import Bench, bench, relay
from .ollama_standin import EMBEDDER

JSON = {"content-type": "application/json"}


ORDER = {"model": "m", "input": "hi", "stream": False, "tools": [], "text": {}}
LETTER = {"model": "m", "max_tokens": 1, "messages": [], "system": "s", "thinking": {}}
PICTURE = {"model": "m", "prompt": "a", "size": "1x1", "response_format": "b64_json"}


async def forwarded(b: Bench, call: Call) -> tuple[int, dict[str, str], bytes]:
    async with h2o_relay_ollama.forward(b.server, b.client, call) as reply:
        body = b"".join([piece async for piece in reply.chunks])
        return reply.status, dict(reply.headers), body


async def embedded(b: Bench, **params: Any) -> Any:
    body = orjson.dumps({"model": EMBEDDER, **params})
    call = Call(method="POST", path="/embeddings", headers=JSON, body=body)
    status, headers, answer = await forwarded(b, call)
    assert (status, headers["content-type"]) == (200, "application/json")
    assert headers["content-length"] == str(len(answer))
    return orjson.loads(answer)


async def test_embeddings_have_openais_shape() -> None:
    async with bench() as b:
        answer = await embedded(b, input=["a b", "abcd"], user="kim")
        assert b.route == "/api/embed"
        assert b.sent == {"model": EMBEDDER, "input": ["a b", "abcd"], "truncate": False}
    assert answer == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [3.0, 1.5, 1.0, 0.75]},
            {"object": "embedding", "index": 1, "embedding": [4.0, 2.0, 1.333333, 1.0]},
        ],
        "model": EMBEDDER,
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }


async def test_base64_is_little_endian_floats() -> None:
    async with bench() as b:
        answer = await embedded(b, input="abc", encoding_format="base64", dimensions=2)
        assert b.sent["dimensions"] == 2
    (entry,) = answer["data"]
    assert struct.unpack("<2f", b64decode(entry["embedding"])) == (3.0, 1.5)


async def test_a_body_in_pieces_and_a_decoded_one_are_read() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b'{"model":"all-minilm",'
        yield b'"input":"x"}'

    async with bench() as b:
        await forwarded(b, Call(method="POST", path="/embeddings", body=pieces()))
        assert b.sent["model"] == "all-minilm"
        params = {"model": EMBEDDER, "input": "y"}
        await forwarded(b, Call(method="POST", path="/embeddings", body=b"?", params=params))
        assert b.sent["input"] == "y"


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"input": [1, 2, 3]}, InvalidRequest),
        ({"input": ""}, InvalidRequest),
        ({}, InvalidRequest),
        ({"input": "x", "encoding_format": "int8"}, InvalidRequest),
        ({"input": "x " * 600}, ContextTooLong),
        ({"input": "x", "model": "nowhere"}, UpstreamRejected),
    ],
)
async def test_what_cannot_be_embedded_is_refused(
    params: dict[str, Any], error: type[RelayError]
) -> None:
    async with bench() as b:
        with pytest.raises(error) as caught:
            await embedded(b, **params)
    assert type(caught.value) is error


async def test_a_body_that_is_no_object_is_refused() -> None:
    async with bench() as b:
        for body in (b"{", b"[]"):
            with pytest.raises(InvalidJSON):
                await forwarded(b, Call(method="POST", path="/embeddings", body=body))


@pytest.mark.parametrize("answer", [{}, {"embeddings": [1]}, {"embeddings": [["x"]]}])
async def test_embeddings_of_a_wrong_shape_are_an_error(answer: Any) -> None:
    async with bench() as b:
        b.upstream.script = json(answer)
        with pytest.raises(UpstreamBadResponse):
            await embedded(b, input="x")


async def test_other_paths_go_through_ollamas_own_v1() -> None:
    async with bench(":None:KEY") as b:
        body = b'{"model":"m","input":"hi"}'
        call = Call(method="POST", path="/responses", query="a=1", headers=JSON, body=body)
        status, _, answer = await forwarded(b, call)
        request = b.upstream.requests[-1]
    assert (status, request.path) == (200, "/v1/responses?a=1")
    assert orjson.loads(answer)["body"] == body.decode()
    assert request.headers["authorization"] == "Bearer KEY"
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("path", "params", "unread"),
    [
        ("/responses", ORDER, ()),
        ("/responses", {**ORDER, "previous_response_id": "r", "user": None},
         ("previous_response_id",)),
        ("/messages", LETTER, ()),
        ("/messages", {**LETTER, "tool_choice": {"type": "any"}, "metadata": {}},
         ("tool_choice", "metadata")),
        ("/images/generations", PICTURE, ()),
        ("/images/generations", {**PICTURE, "n": 2}, ("n",)),
        ("/embeddings", {"model": EMBEDDER, "input": "x", "dimensions": 2}, ()),
        ("/embeddings", {"model": EMBEDDER, "input": "x", "user": "kim"}, ("user",)),
        ("/audio/speech", {"model": "m", "input": "x", "own": 1}, ()),
    ],
)  # fmt: skip
async def test_what_ollama_passes_over_is_reported_or_refused(
    path: str, params: dict[str, Any], unread: tuple[str, ...]
) -> None:
    async with bench() as b:
        body = orjson.dumps(params)
        call = Call(method="POST", path=path, headers=JSON, body=body, params=params)
        async with h2o_relay_ollama.forward(b.server, b.client, call) as reply:
            assert (reply.status, reply.dropped) == (200, unread)
        if path != "/embeddings":
            assert b.upstream.requests[-1].path == f"/v1{path}"
            assert b.upstream.requests[-1].body == body
        before = len(b.upstream.requests)
        call.strict = True
        if not unread:
            return
        with pytest.raises(InvalidRequest) as caught:
            async with h2o_relay_ollama.forward(b.server, b.client, call):
                pass
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", unread[0])
        assert len(b.upstream.requests) == before, "refused before anything is sent"


def test_declared_paths() -> None:
    able = h2o_relay_ollama.capabilities().paths
    assert able >= {
        "/embeddings", "/responses", "/messages", "/images/generations", "/images/edits",
        "/audio/speech", "/audio/transcriptions",
    }  # fmt: skip
    assert not able & {"/messages/count_tokens", "/tokenize", "/rerank", "/moderations"}


async def test_an_older_ollama_lacks_a_path_and_not_the_model() -> None:
    async with relay() as (kernel, ollama):
        ollama.v1 = False
        call = Call(method="POST", path="/messages", headers=JSON, body=b"{}", params=LETTER)
        with pytest.raises(UnknownURL, match=f"`{EMBEDDER}` does not offer POST /v1/messages"):
            async with kernel.forward(EMBEDDER, call):
                pass


async def test_the_status_of_other_paths_is_passed_on() -> None:
    async with bench() as b:
        status, _, _ = await forwarded(b, Call(method="GET", path="/nothing"))
        request = b.upstream.requests[-1]
    assert status == 404
    assert (request.path, request.body) == ("/v1/nothing", b"")
    assert "content-type" not in request.headers
