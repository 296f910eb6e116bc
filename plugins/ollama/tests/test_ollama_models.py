"""What an Ollama server has, what it is, and which models are in its memory."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

import h2o_relay_ollama
from h2o_relay.errors import UpstreamRejected
from h2o_relay.serverstring import parse_bare
from h2o_relay.testing.scripts import json, whole
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.types import Identified, Load
from h2o_relay_ollama.models import model_of

from .ollama_kit import bench, relay, user
from .ollama_standin import CHATTY, EMBEDDER, MODELFILE_CTX, NO_MEMORY, StandIn


async def test_models_come_with_context_and_apis() -> None:
    async with bench() as b:
        chatty, embedder = await h2o_relay_ollama.list_models(b.server, b.client)
        paths = [request.path for request in b.upstream.requests]
    assert paths == ["/api/tags", "/api/show", "/api/show"]
    assert (chatty.id, chatty.max_context) == (CHATTY, MODELFILE_CTX)
    assert chatty.kinds == {"chat", "text"}
    assert (embedder.id, embedder.max_context) == (EMBEDDER, 512)
    assert embedder.kinds == frozenset()
    assert chatty.raw["digest"] == "a80c4f17acd5"
    assert "vision" in chatty.raw["capabilities"]
    assert "license" not in chatty.raw


@pytest.mark.parametrize(
    ("shown", "context"),
    [
        ({"model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960}}, 40960),
        ({"parameters": "stop  \"num_ctx 1\"\nnum_ctx    2048\ntop_k 3"}, 2048),
        ({"parameters": "num_ctx 9", "model_info": {"general.architecture": "a",
                                                    "a.context_length": 8}}, 8),
        ({"model_info": {"general.architecture": "a", "b.context_length": 8}}, None),
        ({"model_info": [], "parameters": None}, None),
    ],
)  # fmt: skip
def test_the_context_of_a_model(shown: Mapping[str, Any], context: int | None) -> None:
    assert model_of({"name": "m"}, shown).max_context == context
    assert model_of({"name": "m"}, shown).kinds is None


@pytest.mark.parametrize("refusal", [json({"error": "gone"}, 404), json({"error": "no"}, 500)])
async def test_a_model_that_cannot_be_described_is_listed_all_the_same(refusal: Any) -> None:
    async with bench() as b:
        tags = b.ollama

        async def script(request: Received, answer: Answer) -> None:
            await (refusal if request.path == "/api/show" else tags)(request, answer)

        b.upstream.script = script
        found = await h2o_relay_ollama.list_models(b.server, b.client)
    assert [(model.id, model.max_context) for model in found] == [(CHATTY, None), (EMBEDDER, None)]


async def test_a_server_without_models_lists_none() -> None:
    async with bench() as b:
        b.upstream.script = json({"models": None})
        assert await h2o_relay_ollama.list_models(b.server, b.client) == []


async def test_load_names_the_models_in_memory() -> None:
    async with bench() as b:
        assert await h2o_relay_ollama.load(b.server, b.client) == Load(loaded=frozenset())
        await b.generate(messages=user("hi"))
        load = await h2o_relay_ollama.load(b.server, b.client)
        assert load == Load(loaded=frozenset(b.ollama.loaded))
        assert load.loaded


@pytest.mark.parametrize("model", [CHATTY, EMBEDDER])
async def test_models_are_loaded_and_unloaded(model: str) -> None:
    async with bench() as b:
        await h2o_relay_ollama.set_loaded(b.server, b.client, model, True)
        assert b.ollama.loaded == {model: -1}
        await h2o_relay_ollama.set_loaded(b.server, b.client, model, False)
        assert b.ollama.loaded == {}


async def test_a_model_that_cannot_be_loaded_says_why() -> None:
    async with bench() as b:
        with pytest.raises(UpstreamRejected, match="model 'nowhere' not found"):
            await h2o_relay_ollama.set_loaded(b.server, b.client, "nowhere", True)
        b.upstream.script = json({"error": NO_MEMORY}, 400)
        with pytest.raises(UpstreamRejected, match="more system memory"):
            await h2o_relay_ollama.set_loaded(b.server, b.client, CHATTY, False)


Answers = Mapping[str, tuple[int, bytes]]
GREETING = (200, b"Ollama is running")
VERSION, TAGS = (200, b'{"version":"0.12.6"}'), (200, b'{"models":[]}')
PAGE = (200, b"<html>Open WebUI</html>")


async def identified(url: str, answers: Answers) -> Identified | None:
    async def get(path: str) -> tuple[int, Mapping[str, str], bytes]:
        status, body = answers.get(path, (404, b"404 page not found"))
        return status, {}, body

    return await h2o_relay_ollama.identify(parse_bare(url), get)


@pytest.mark.parametrize(
    "answers",
    [
        {"/": GREETING},
        {"/": (404, b""), "/api/version": VERSION, "/api/tags": TAGS},
        {"/": PAGE, "/api/version": VERSION, "/api/tags": TAGS},
    ],
)
async def test_ollama_is_identified_from_what_it_says(answers: Answers) -> None:
    found = await identified("http://box:11434/v1", answers)
    assert found is not None
    assert found.rank == 50
    assert (found.server.plugin, found.server.url) == ("ollama", "http://box:11434")


@pytest.mark.parametrize(
    "answers",
    [
        {"/": PAGE},
        {"/": PAGE, "/api/version": VERSION},
        {"/": PAGE, "/api/version": (200, b'{"version":1}'), "/api/tags": TAGS},
        {"/": PAGE, "/api/version": VERSION, "/api/tags": (200, b'{"models":"x"}')},
    ],
)
async def test_what_is_not_ollama_is_left_alone(answers: Answers) -> None:
    assert await identified("http://box:8000", answers) is None


async def test_credentials_of_a_bare_url_become_its_header() -> None:
    plain = await identified("http://kim:s3cret@box:11434", {"/": GREETING})
    gap = await identified("http://box:11434    Bearer    TOKEN", {"/": GREETING})
    assert plain is not None
    assert gap is not None
    pair = b64encode(b"kim:s3cret").decode()
    assert plain.server.headers == {"authorization": f"Basic {pair}"}
    assert gap.server.headers == {"authorization": "Bearer TOKEN"}
    assert "s3cret" not in f"{plain.server!r} {plain.server.shown}"


async def test_a_bare_url_is_found_by_gets_alone_and_answers() -> None:
    async with relay("{url}") as (kernel, ollama):
        (status,) = kernel.status()
        assert (status.stage, status.server.plugin) == ("ready", "ollama")
        before = [path for path, _ in ollama.asked]
        completion = await kernel.generate("chat", {"model": CHATTY, "messages": user("hi there")})
    assert before == ["/api/show", "/api/show"]  # by list_models, once it was known
    assert completion.text == "hi there"


async def test_an_unknown_page_is_no_list_of_models() -> None:
    async with bench() as b:
        b.upstream.script = whole(b"404 page not found", 404, "text/plain")
        with pytest.raises(UpstreamRejected):
            await h2o_relay_ollama.list_models(b.server, b.client)


def test_the_stand_in_refuses_what_is_not_documented() -> None:
    request = Received(
        "POST", "/api/chat", {}, orjson.dumps({"model": CHATTY, "n": 2, "messages": []}), 0.0
    )
    assert b"n is not documented" in StandIn().play(request).wire
