"""The plugin asks, and the stand-in answers, as TGI's own OpenAPI document has it.

`tgi_published.json` is that document, reduced to the stand-in's routes; it says itself which file
it was made of. Where the router differs from its document, the differences are listed here, each
with its reason, and no others are let through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from conversations import TOOL
from published_spec import Published
from recorded import Exchange, Recorder

import h2o_relay_tgi
from h2o_relay.errors import RelayError
from h2o_relay.testing import scripts
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.types import Call
from h2o_relay_tgi.conformance import TgiWire

from .tgi_kit import Bench, bench
from .tgi_rules import Refused
from .tgi_standin import TgiStandIn

PUBLISHED = Published.read(Path(__file__).with_name("tgi_published.json"))
CHAT = "POST /v1/chat/completions"
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}}
# The router tags its answers with OpenAI's `object`, which the document leaves out.
TAGGED = {f"{CHAT} answers 200 .object is not named"}
# In a Messages stream the status is out before an error is known; it comes as an event.
LATE_ERROR = {f"{CHAT} answers 200 .{name} is not named" for name in ("error", "error_type")} | {
    f"{CHAT} answers 200 : '{name}' is a required property"
    for name in ("id", "created", "model", "system_fingerprint", "choices")
}
# The router reads OpenAI's `parameters` as `arguments` (an alias), and of a tool choice only what
# it knows; `required` is understood from version 3 on. All three are the caller's, passed on.
OPENAIS_TOOLS = {
    f"{CHAT} asks .tools[].function.parameters is not named",
    f"{CHAT} asks .tools[].function: 'arguments' is a required property",
}
OPENAIS_CHOICES = {
    f"{CHAT} asks .tool_choice.type is not named",
    f"{CHAT} asks .tool_choice: 'required' is not valid under any of the given schemas",
}
# The document excludes 0, the router does not.
SEED_0 = {
    f"POST {path} asks .parameters.seed: 0 is less than or equal to the minimum of 0"
    for path in ("/generate", "/generate_stream")
}
# The document describes one model, the router lists it.
LISTED = {
    f"GET /v1/models answers 200 : '{name}' is a required property"
    for name in ("id", "created", "owned_by")
} | {"GET /v1/models answers 200 .data is not named"}


@pytest.fixture
async def tgi() -> AsyncIterator[Bench]:
    async with bench() as made:
        made.upstream.script = Recorder(made.tgi)
        yield made


def unlike(tgi: Bench) -> set[str]:
    return PUBLISHED.unlike(recorder(tgi).exchanges)


def covered(tgi: Bench) -> set[str]:
    return PUBLISHED.covered(recorder(tgi).exchanges)


def recorder(tgi: Bench) -> Recorder:
    assert isinstance(tgi.upstream.script, Recorder)
    return tgi.upstream.script


async def ask_about_it(tgi: Bench) -> None:
    await h2o_relay_tgi.list_models(tgi.server, tgi.client)
    await h2o_relay_tgi.load(tgi.server, tgi.client)
    for kind in ("text", "chat"):
        assert await h2o_relay_tgi.count_tokens(tgi.server, tgi.client, tgi.request(kind))


async def ask_elsewhere(tgi: Bench) -> None:
    """Routes that the plugin leaves to others: the hub's clients, and who forwards /v1/models."""
    target = h2o_relay_tgi.target(tgi.server, Call(method="GET", path="/models"))
    assert target is not None
    asked = [("GET", target.url, b""), ("GET", f"{tgi.upstream.url}/health", b"")]
    for streamed in (False, True):
        body = {"inputs": "Say it.", "parameters": {"details": True}, "stream": streamed}
        asked.append(("POST", f"{tgi.upstream.url}/", orjson.dumps(body)))
    for method, url, body in asked:
        async with tgi.client.request(method, url, body=body, first_byte=5) as response:
            assert response.status == 200
            await response.read(2**16)


async def complete(tgi: Bench) -> None:
    sampling = {
        "temperature": 0.5, "top_p": 0.9, "top_k": 4, "typical_p": 0.5, "repetition_penalty": 1.1,
        "frequency_penalty": 0.1, "truncate": 5, "watermark": True, "adapter_id": "one",
    }  # fmt: skip
    for ask in (tgi.generate, tgi.stream):
        await ask(max_tokens=50, logprobs=2, seed=-3, stop=[" nuts", "a", "b", "c", "d"])
        await ask(**sampling, echo=True, details=True)
        await ask(temperature=0, response_format={"type": "json_object"})
        schema = {"name": "n", "schema": SCHEMA}
        await ask(response_format={"type": "json_schema", "json_schema": schema})
        await ask("chat", rendered="Say it.", stops=("user:",), logprobs=True, top_logprobs=2)
    await tgi.generate(best_of=2, decoder_input_details=True)


async def converse(tgi: Bench) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    parts = [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}]
    for ask in (tgi.generate, tgi.stream):
        await ask("chat", messages=parts, max_completion_tokens=30, presence_penalty=1, n=1)
        await ask("chat", logit_bias={"1": 2}, stop="x", seed=-3, top_p=1, temperature=0.3)
        await ask("chat", logprobs=True, top_logprobs=2, grammar={"type": "json", "value": SCHEMA})
    await tgi.stream("chat", stream_options={"include_usage": True})


async def test_what_the_server_is_and_counts(tgi: Bench) -> None:
    await ask_about_it(tgi)
    assert unlike(tgi) == set()


async def test_its_other_routes(tgi: Bench) -> None:
    await ask_elsewhere(tgi)
    assert unlike(tgi) == LISTED


async def test_text_by_its_own_api(tgi: Bench) -> None:
    await complete(tgi)
    assert unlike(tgi) == set()
    await tgi.generate(seed=0)
    await tgi.stream(seed=0)
    assert unlike(tgi) == SEED_0


async def test_chat_by_the_messages_api(tgi: Bench) -> None:
    await converse(tgi)
    assert unlike(tgi) == TAGGED


async def test_every_published_route_is_tried(tgi: Bench) -> None:
    for ask in (ask_about_it, ask_elsewhere, complete, converse):
        await ask(tgi)
    assert covered(tgi) == {f"{operation} 200" for operation in PUBLISHED.operations}


async def test_tools_by_the_messages_api(tgi: Bench) -> None:
    await tgi.generate("chat", tools=[TOOL], tool_choice="auto", tool_prompt="T", guideline="G")
    await tgi.generate("chat", tools=[TOOL], tool_choice="none")
    assert unlike(tgi) == TAGGED | OPENAIS_TOOLS
    named = {"type": "function", "function": {"name": "look"}}
    for choice in ("required", named):
        await tgi.generate("chat", tools=[TOOL], tool_choice=choice)
    assert unlike(tgi) == TAGGED | OPENAIS_TOOLS | OPENAIS_CHOICES


@pytest.mark.parametrize(
    ("kind", "status"),
    [("validation", 422), ("overloaded", 429), ("generation", 424), ("incomplete_generation", 500)],
)
async def test_refusals(tgi: Bench, kind: str, status: int) -> None:
    tgi.tgi.fails = Refused(kind, "No.")
    for api in ("text", "chat"):
        with pytest.raises(RelayError):
            await tgi.generate(api)
    with pytest.raises(RelayError):
        await tgi.stream()
    assert unlike(tgi) == set()
    assert covered(tgi) == {
        f"POST /generate {status}", f"{CHAT} {status}", "POST /generate_stream 200",
    }  # fmt: skip


async def test_errors_in_streams(tgi: Bench) -> None:
    tgi.tgi.fails, tgi.tgi.fails_after = Refused("generation", "CUDA error"), 2
    with pytest.raises(RelayError):
        await tgi.stream()
    assert unlike(tgi) == set()
    with pytest.raises(RelayError):
        await tgi.stream("chat")
    assert unlike(tgi) == TAGGED | LATE_ERROR


def test_the_server_of_the_conformance_suite() -> None:
    wire, body = TgiWire(), orjson.dumps({"inputs": "Say it."})
    paths = ("/generate", "/generate_stream")
    asked = [Received("POST", path, {}, body, 0.0) for path in paths]
    exchanges = [Exchange(one, bytearray(wire.reply(one, ["Hel", "lo"]).wire)) for one in asked]
    listing = Received("GET", "/info", {}, b"", 0.0)
    exchanges.append(Exchange(listing, bytearray(wire.listing(["a model"]).wire)))
    exchanges.append(Exchange(asked[0], bytearray(wire.refusal(422, "No.").wire)))
    assert PUBLISHED.unlike(exchanges) == set()


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda answer: {key: value for key, value in answer.items() if key != name}


@pytest.mark.parametrize(
    ("path", "spoil", "difference"),
    [
        ("/info", without("router"), ": 'router' is a required property"),
        ("/info", lambda a: {**a, "max_input_length": 64}, ".max_input_length is not named"),
        ("/info", lambda a: {**a, "version": 3}, ".version: 3 is not of type 'string'"),
        ("/tokenize", lambda a: [{**one, "id": -1} for one in a],
         "[].id: -1 is less than the minimum of 0"),
        ("/generate", lambda a: {**a, "details": {**a["details"], "finish_reason": "stop"}},
         ".details.finish_reason: 'stop' is not one of ['length', 'eos_token', 'stop_sequence']"),
        ("/generate", lambda a: {**a, "details": {**a["details"], "input_length": 7}},
         ".details.input_length is not named"),
    ],
)  # fmt: skip
async def test_a_wrong_answer_is_caught(path: str, spoil: Any, difference: str) -> None:
    standin = TgiStandIn()

    async def script(request: Received, answer: Answer) -> None:
        body = standin.play(request).wire.partition(b"\r\n\r\n")[2]
        await scripts.json(spoil(orjson.loads(body)))(request, answer)

    async with bench() as tgi:
        tgi.upstream.script = Recorder(script)
        body = orjson.dumps({"inputs": "Say it.", "parameters": {"details": True}})
        method, body = ("GET", b"") if path == "/info" else ("POST", body)
        url = tgi.upstream.url + path
        async with tgi.client.request(method, url, body=body, first_byte=5) as response:
            await response.read(2**16)
    assert unlike(tgi) == {f"{method} {path} answers 200 {difference}"}


@pytest.mark.parametrize(
    ("body", "difference"),
    [
        ({"prompt": "Say it."}, {": 'inputs' is a required property", ".prompt is not named"}),
        ({"inputs": "x", "parameters": {"max_tokens": 5}}, {".parameters.max_tokens is not named"}),
        ({"inputs": "x", "parameters": {"top_p": 1.5}},
         {".parameters.top_p: 1.5 is greater than the maximum of 1"}),
        ({"inputs": "x", "parameters": {"grammar": "json"}},
         {".parameters.grammar: 'json' is not valid under any of the given schemas"}),
    ],
)  # fmt: skip
async def test_a_wrong_request_and_a_wrong_event_are_caught(
    body: dict[str, Any], difference: set[str]
) -> None:
    token = {"id": 1, "text": "x", "logprob": None, "special": False}
    event = b"data:" + orjson.dumps({"token": token, "details": None}) + b"\n\n"  # no index
    async with bench() as tgi:
        tgi.upstream.script = Recorder(scripts.stream([event]))
        url = f"{tgi.upstream.url}/generate_stream"
        asking = tgi.client.request("POST", url, body=orjson.dumps(body), first_byte=5)
        async with asking as response:
            await response.read(2**16)
    route = "POST /generate_stream"
    assert unlike(tgi) == {
        *(f"{route} asks {one}" for one in difference),
        f"{route} answers 200 : 'index' is a required property",
    }
