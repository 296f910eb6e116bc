"""The known paths beside chat and text: what is checked of their bodies, what goes up as it is, and
how it is told what a server does not honour.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from h2o_relay.plugins import Plugins
from h2o_relay.testing.scripts import json, whole
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay_proxy.routes import KNOWN

from .kit import MODEL, Relay, assert_error, post, relay
from .test_forward import client_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

USER = {"role": "user", "content": "hi"}
FILE = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/x"}}]}
PNG = b"\x89PNG\r\n\x1a\n"
BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("/tokenize", {}, "missing_required_parameter", "prompt"),
    ("/tokenize", {"prompt": None}, "missing_required_parameter", "prompt"),
    ("/tokenize", {"prompt": ["a"]}, "invalid_type", "prompt"),
    ("/tokenize", {"prompt": "a", "messages": [USER]}, "invalid_value", "messages"),
    ("/tokenize", {"messages": []}, "empty_array", "messages"),
    ("/tokenize", {"messages": [{"content": "a"}]}, "missing_required_parameter",
     "messages[0].role"),
    ("/tokenize", {"messages": [FILE]}, "invalid_value", "messages[0].content[0].image_url.url"),
    ("/tokenize", {"prompt": "a", "add_special_tokens": 1}, "invalid_type", "add_special_tokens"),
    ("/tokenize", {"prompt": "a", "return_token_strs": "no"}, "invalid_type", "return_token_strs"),
    ("/tokenize", {"messages": [USER], "tools": {}}, "invalid_type", "tools"),
    ("/tokenize", {"messages": [USER], "chat_template_kwargs": []}, "invalid_type",
     "chat_template_kwargs"),
    ("/tokenize", {"messages": [USER], "add_generation_prompt": True,
                   "continue_final_message": True}, "invalid_value", "continue_final_message"),
    ("/detokenize", {}, "missing_required_parameter", "tokens"),
    ("/detokenize", {"tokens": "1"}, "invalid_type", "tokens"),
    ("/detokenize", {"tokens": [1, True]}, "invalid_type", "tokens"),
    ("/detokenize", {"tokens": [1.0]}, "invalid_type", "tokens"),
    ("/detokenize", {"tokens": [-1]}, "invalid_value", "tokens"),
    ("/detokenize", {"tokens": [2**31]}, "invalid_value", "tokens"),
    ("/rerank", {"documents": ["a"]}, "missing_required_parameter", "query"),
    ("/rerank", {"query": "a"}, "missing_required_parameter", "documents"),
    ("/rerank", {"query": ["a"], "documents": ["a"]}, "invalid_type", "query"),
    ("/rerank", {"query": "a", "documents": []}, "empty_array", "documents"),
    ("/rerank", {"query": "a", "documents": ["a", 1]}, "invalid_type", "documents[1]"),
    ("/rerank", {"query": "a", "documents": ["a"] * 10_001}, "array_too_long", "documents"),
    ("/rerank", {"query": "a", "documents": ["a"], "top_n": -1}, "below_min_value", "top_n"),
    ("/rerank", {"query": "a", "documents": ["a"], "top_n": 1.5}, "invalid_type", "top_n"),
    ("/score", {}, "missing_required_parameter", "text_1"),
    ("/score", {"text_1": "a"}, "missing_required_parameter", "text_2"),
    ("/score", {"queries": "a"}, "missing_required_parameter", "documents"),
    ("/score", {"text_1": "a", "text_2": 5}, "invalid_type", "text_2"),
    ("/chat/completions/input_tokens", {}, "missing_required_parameter", "messages"),
    ("/chat/completions/input_tokens", {"messages": [FILE]}, "invalid_value",
     "messages[0].content[0].image_url.url"),
    ("/audio/speech", {}, "missing_required_parameter", "input"),
    ("/audio/speech", {"input": ""}, "invalid_value", "input"),
    ("/audio/speech", {"input": "a", "voice": 5}, "invalid_type", "voice"),
    ("/audio/speech", {"input": "a", "speed": 5}, "above_max_value", "speed"),
    ("/audio/speech", {"input": "a", "speed": "1"}, "invalid_type", "speed"),
    ("/images/generations", {}, "missing_required_parameter", "prompt"),
    ("/images/generations", {"prompt": ""}, "invalid_value", "prompt"),
    ("/images/generations", {"prompt": ["a"]}, "invalid_type", "prompt"),
    ("/images/generations", {"prompt": "a", "n": 11}, "above_max_value", "n"),
    ("/images/generations", {"prompt": "a", "n": 0}, "below_min_value", "n"),
    ("/images/generations", {"prompt": "a", "stream": "yes"}, "invalid_type", "stream"),
]  # fmt: skip
GOOD: list[tuple[str, dict[str, Any]]] = [
    ("/tokenize", {"prompt": "", "add_special_tokens": None, "own": [1]}),
    ("/tokenize", {"messages": [USER], "tools": [], "continue_final_message": True}),
    ("/detokenize", {"tokens": []}),
    ("/detokenize", {"tokens": [0, 2**31 - 1]}),
    ("/rerank", {"query": {"text": "a"}, "documents": ["a", {"text": "b"}], "top_n": 0}),
    ("/rerank", {"query": "a", "texts": ["b"]}),
    ("/score", {"text_1": "a", "text_2": ["b"]}),
    ("/score", {"queries": ["a"], "items": "b"}),
    ("/chat/completions/input_tokens", {"messages": [USER]}),
    ("/audio/speech", {"input": "a", "voice": {"id": "v"}, "speed": 4, "own": {}}),
    ("/audio/speech", {"input": "a"}),
    ("/images/generations", {"prompt": "a", "n": 10, "size": "1x1", "seed": 5}),
    ("/moderations", {"input": ["a", {"type": "text", "text": "b"}]}),
]


SERVERS = {
    "vLLM": "vllm_chat:http://h/v1", "llama.cpp": "llama_cpp", "TGI": "tgi:http://h",
    "Ollama": "ollama:http://h", "OpenAI": "openai_chat:None:None:None:K", "Groq": "groq:K",
    "Azure": "azure_chat:d:h/openai/v1:None:K", "SageMaker": "sagemaker_chat:e:us-east-2:openai",
}  # fmt: skip


async def test_the_documented_paths_are_the_ones_that_there_are() -> None:
    text = (Path(__file__).parents[2] / "docs" / "api.md").read_text()
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| `/v1/")]
    (heads,) = (line.split("|")[2:-1] for line in text.splitlines() if "| vLLM |" in line)
    names, plugins = [head.strip() for head in heads], Plugins.discover()
    assert set(names) == set(SERVERS)
    told = {path.strip(" `"): [cell.strip() for cell in cells] for path, *cells in rows}
    assert set(told) == {f"/v1{path}" for path in KNOWN}
    for place, name in enumerate(names):
        server = plugins.parse(SERVERS[name])
        able = plugins.get(server.plugin or "").capabilities(server).paths
        for path, cells in told.items():
            assert (path.removeprefix("/v1") in able) is (cells[place] != "no"), (path, name)


@pytest.mark.parametrize(("path", "body", "code", "param"), BAD)
async def test_what_no_server_takes_reaches_none(
    running: Relay, path: str, body: dict[str, Any], code: str, param: str
) -> None:
    running.plays(json({}))
    reply = await running.ask(post({"model": MODEL, **body}, f"/v1{path}"))
    assert_error(reply, 400, code, "invalid_request_error")
    assert reply.error["param"] == param
    assert running.asked == []


@pytest.mark.parametrize(("path", "body"), GOOD)
async def test_the_rest_goes_byte_for_byte(running: Relay, path: str, body: dict[str, Any]) -> None:
    answer = b'{ "count":1, "prompt" : "x" }\n'
    running.plays(whole(answer))
    sent = orjson.dumps({"model": MODEL, **body}, option=orjson.OPT_INDENT_2)
    reply = await running.ask(post(sent, f"/v1{path}"))
    assert (reply.status, reply.body) == (200, answer)
    (asked,) = running.asked
    below = "" if path in ("/tokenize", "/detokenize") else "/v1"
    assert (asked.path, asked.body) == (f"{below}{path}", sent)


class TestNotHonoured:
    """By Ollama's embeddings, which are translated."""

    ANSWER = json({"embeddings": [[0.5]], "prompt_eval_count": 1})
    BODY = {"model": "o", "input": "x", "user": "kim", "odd": 1}

    async def test_it_is_told(self) -> None:
        async with relay(self.ANSWER, servers=[("ollama:{url}", "o")]) as running:
            reply = await running.ask(post(self.BODY, "/v1/embeddings"))
            assert reply.status == 200
            assert reply.headers["x-h2o-dropped-params"] == "user, odd"
            assert reply.headers["x-h2o-backend"] == "ollama"
            reply = await running.ask(post({"model": "o", "input": "x"}, "/v1/embeddings"))
            assert reply.status == 200
            assert "x-h2o-dropped-params" not in reply.headers

    async def test_it_is_refused_where_the_caller_wants_that(self) -> None:
        async with relay(self.ANSWER, servers=[("ollama:{url}", "o")]) as running:
            strict = {"x-h2o-strict": "true"}
            reply = await running.ask(post(self.BODY, "/v1/embeddings", strict))
            assert_error(reply, 400, "unsupported_parameter", "invalid_request_error")
            assert reply.error["param"] == "user"
            assert running.asked == []
            reply = await running.ask(post({"model": "o", "input": "x"}, "/v1/embeddings", strict))
            assert reply.status == 200

    async def test_another_relay_says_it_too(self, running: Relay) -> None:
        told = {"x-h2o-backend": "tgi", "x-h2o-dropped-params": "a, b"}
        running.plays(json({"data": []}, headers=told))
        body = {"model": MODEL, "input": "x"}
        reply = await running.ask(post(body, "/v1/embeddings"))
        assert (reply.status, reply.headers["x-h2o-dropped-params"]) == (200, "a, b")
        reply = await running.ask(post(body, "/v1/embeddings", {"x-h2o-strict": "true"}))
        assert_error(reply, 400, "unsupported_parameter")
        running.plays(json({"data": []}, headers={"x-h2o-dropped-params": "not a relay"}))
        reply = await running.ask(post(body, "/v1/embeddings"))
        assert "x-h2o-dropped-params" not in reply.headers


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")  # OpenAI's variations
class TestClient:
    """The official client against a stand-in that gives the answers of OpenAI's API reference."""

    async def test_images(self, running: Relay) -> None:
        picture = {"created": 1, "data": [{"b64_json": "iVBORw0KGgo="}]}
        running.plays(json(picture))
        async with client_of(running) as client:
            made = [
                await client.images.generate(model=MODEL, prompt="a parrot", n=1, size="256x256"),
                await client.images.edit(model=MODEL, image=("a.png", PNG), prompt="green"),
                await client.images.create_variation(model=MODEL, image=("a.png", PNG)),
            ]
        assert [one.data[0].b64_json for one in made if one.data] == ["iVBORw0KGgo="] * 3
        drawn, edited, varied = running.asked
        assert drawn.json() == {"model": MODEL, "prompt": "a parrot", "n": 1, "size": "256x256"}
        assert (edited.path, varied.path) == ("/v1/images/edits", "/v1/images/variations")
        assert PNG in edited.body
        assert PNG in varied.body

    async def test_sounds_and_moderations(self, running: Relay) -> None:
        async def run(received: Received, answer: Answer) -> None:
            if received.path == "/v1/audio/speech":
                await whole(b"ID3\x00\xff", content_type="audio/mpeg")(received, answer)
            elif received.path == "/v1/moderations":
                await json({"id": "x", "model": "m", "results": []})(received, answer)
            else:
                await json({"text": "hello"})(received, answer)

        running.plays(run)
        async with client_of(running) as client:
            spoken = await client.audio.speech.create(model=MODEL, voice="alloy", input="hi")
            assert spoken.content == b"ID3\x00\xff"
            heard = await client.audio.translations.create(model=MODEL, file=("a.wav", b"RIFF\x00"))
            assert heard.text == "hello"
            assert (await client.moderations.create(model=MODEL, input="hi")).results == []
        assert [asked.path for asked in running.asked] == [
            "/v1/audio/speech", "/v1/audio/translations", "/v1/moderations",
        ]  # fmt: skip

    async def test_refusals_have_their_class(self, running: Relay) -> None:
        running.plays(json({"detail": "Not Found"}, 404))
        async with client_of(running) as client:
            with pytest.raises(openai.NotFoundError, match="`m` does not offer") as missing:
                await client.images.generate(model=MODEL, prompt="a")
            assert (missing.value.code, missing.value.param) == ("unknown_url", "model")
            with pytest.raises(openai.BadRequestError) as wrong:
                await client.images.generate(model=MODEL, prompt="a", n=99)
            assert (wrong.value.code, wrong.value.param) == ("above_max_value", "n")
