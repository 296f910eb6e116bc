"""The plugin asks, and the stand-in answers, as Ollama's own OpenAPI document has it.

`ollama_published.json` is docs/openapi.yaml of Ollama's repository, reduced to the routes that the
stand-in has; it says itself which commit it was made of. Ollama's API (api/types.go) is ahead of
that document: names that are only there are listed here, and no others are let through.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from conversations import LONG, TOOL
from published_spec import Published
from recorded import Recorder

import h2o_relay_ollama
from h2o_relay.errors import RelayError
from h2o_relay.serverstring import parse_bare
from h2o_relay.testing import scripts
from h2o_relay.testing.upstream import Answer, Received
from h2o_relay.types import Call

from .ollama_kit import Bench, bench, user
from .ollama_standin import CHATTY, EMBEDDER, StandIn

PUBLISHED = Published.read(
    Path(__file__).with_name("ollama_published.json"), errors="ErrorResponse"
)


def names(route: str, *found: str) -> set[str]:
    return {f"{route} {name} is not named" for name in found}


CHAT, GENERATE, EMBED = "POST /api/chat", "POST /api/generate", "POST /api/embed"
# Whether what is too long may be cut, since 0.12.6.
CUTTING = names(f"{CHAT} asks", ".truncate", ".shift") | names(
    f"{GENERATE} asks", ".truncate", ".shift"
)
# What earlier turns thought and called, and the call that a tool's message answers.
EARLIER = names(
    f"{CHAT} asks",
    *(f".messages[].{name}" for name in ("thinking", "tool_name", "tool_call_id")),
    *(f".messages[].tool_calls[].{name}" for name in ("id", "function.index")),
)
# The last line of a chat has what the document has for whole answers, and any line probabilities.
LAST_LINE = names(
    f"{CHAT} answers 200", ".done_reason", ".total_duration", ".load_duration", ".eval_count",
    ".eval_duration", ".prompt_eval_count", ".prompt_eval_duration",
)  # fmt: skip
PROBABLE_LINES = names(f"{CHAT} answers 200", ".logprobs") | names(
    f"{GENERATE} answers 200", ".logprobs"
)
LISTED = names("GET /api/tags answers 200", ".models[].details.parent_model")
# A duration may be a number everywhere, which the document says for generation alone.
FOR_EVER = {f"{EMBED} asks .keep_alive: -1 is not of type 'string'"}


@pytest.fixture
async def ollama() -> AsyncIterator[Bench]:
    async with bench() as made:
        made.upstream.script = Recorder(made.ollama)
        yield made


def recorder(ollama: Bench) -> Recorder:
    assert isinstance(ollama.upstream.script, Recorder)
    return ollama.upstream.script


def unlike(ollama: Bench) -> set[str]:
    return PUBLISHED.unlike(recorder(ollama).exchanges)


def covered(ollama: Bench) -> set[str]:
    return PUBLISHED.covered(recorder(ollama).exchanges)


async def ask_about_it(ollama: Bench) -> None:
    async def get(path: str) -> tuple[int, dict[str, str], bytes]:
        url = f"{ollama.upstream.url}{path}"
        async with ollama.client.request("GET", url, first_byte=5) as response:
            found = response.status, dict(response.headers), await response.read(2**20)
        return (404, {}, b"") if path == "/" else found

    assert await h2o_relay_ollama.identify(parse_bare(ollama.upstream.url), get)
    await h2o_relay_ollama.list_models(ollama.server, ollama.client)
    await h2o_relay_ollama.set_loaded(ollama.server, ollama.client, CHATTY, True)
    await h2o_relay_ollama.load(ollama.server, ollama.client)


async def embed(ollama: Bench) -> None:
    for given in ("one", ["one", "two"]):
        body = orjson.dumps({"model": EMBEDDER, "input": given, "dimensions": 2})
        call = Call(method="POST", path="/embeddings", headers={}, body=body)
        async with h2o_relay_ollama.forward(ollama.server, ollama.client, call) as reply:
            assert reply.status == 200
            async for _ in reply.chunks:
                pass


async def converse(ask: Callable[..., Any]) -> None:
    await ask(
        messages=user("Hi there"), temperature=0.5, top_p=0.9, top_k=4, min_p=0.1, seed=3,
        stop=["x"], max_tokens=5, presence_penalty=1, repetition_penalty=1.1, keep_alive="5m",
    )  # fmt: skip
    await ask(messages=user("call look"), tools=[TOOL], reasoning_effort="low")
    schema = {"name": "n", "schema": {"type": "object"}}
    for wanted in ({"type": "json_object"}, {"type": "json_schema", "json_schema": schema}):
        await ask(messages=user("think hard"), think=True, response_format=wanted)


async def complete(ask: Callable[..., Any]) -> None:
    await ask("text", text="Once upon", max_tokens=5, stop="x", keep_alive=300)
    await ask("text", text="Once upon", suffix="the end.")
    await ask("chat", prompt="rendered", stops=["user:"], messages=user("Hi"))


async def test_what_the_server_is(ollama: Bench) -> None:
    await ask_about_it(ollama)
    assert unlike(ollama) == LISTED | {"GET / is not published"}


async def test_whole_answers(ollama: Bench) -> None:
    await converse(ollama.generate)
    await complete(ollama.generate)
    await ollama.generate(messages=user("Hi"), logprobs=True, top_logprobs=2)
    await ollama.generate("text", text="Hi", logprobs=2)
    assert unlike(ollama) == CUTTING
    messages = [{**m, "reasoning_content": "Hm."} if "tool_calls" in m else m for m in LONG]
    await ollama.generate(messages=messages)
    assert unlike(ollama) == CUTTING | EARLIER


async def test_streams(ollama: Bench) -> None:
    await converse(ollama.stream)
    await complete(ollama.stream)
    assert unlike(ollama) == CUTTING | LAST_LINE
    await ollama.stream(messages=user("Hi"), logprobs=True, top_logprobs=2)
    await ollama.stream("text", text="Hi", logprobs=2)
    assert unlike(ollama) == CUTTING | LAST_LINE | PROBABLE_LINES


async def test_embeddings(ollama: Bench) -> None:
    await embed(ollama)
    assert unlike(ollama) == set()
    await h2o_relay_ollama.set_loaded(ollama.server, ollama.client, EMBEDDER, True)
    assert unlike(ollama) == FOR_EVER


async def test_refusals_and_errors_in_streams(ollama: Bench) -> None:
    for model, words in ((CHATTY, "gone"), ("unknown", "Hi")):
        for ask in (ollama.generate, ollama.stream):
            with pytest.raises(RelayError):
                await ask(messages=user(words), model=model)
    with pytest.raises(RelayError):
        await ollama.generate("text", text="x", model=EMBEDDER)
    for kind, words in (("chat", {"messages": user("break it")}), ("text", {"text": "break it"})):
        with pytest.raises(RelayError):
            await ollama.stream(kind, **words)
    assert unlike(ollama) == CUTTING
    assert covered(ollama) == {
        f"{CHAT} 500", f"{CHAT} 404", f"{CHAT} 200", f"{GENERATE} 400", f"{GENERATE} 200",
    }  # fmt: skip


async def test_every_published_route_is_tried(ollama: Bench) -> None:
    await ask_about_it(ollama)
    await embed(ollama)
    await converse(ollama.stream)
    operations = {f"{operation} 200" for operation in PUBLISHED.operations}
    assert covered(ollama) - {"None 200"} == operations  # beside the greeting


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"done": "true"}, ".done: 'true' is not of type 'boolean'"),
        ({"message": {"role": "model", "content": ""}}, ".message.role: 'model' is not one of"),
        ({"message": {"role": "assistant", "content": None}}, ".message.content: None is not of"),
        ({"response": ""}, ".response is not named"),
        ({"eval_count": 2.5}, ".eval_count: 2.5 is not of type 'integer'"),
    ],
)
async def test_a_wrong_answer_is_caught(changed: dict[str, Any], difference: str) -> None:
    standin = StandIn()

    async def script(request: Received, answer: Answer) -> None:
        body = orjson.loads(standin.play(request).wire.partition(b"\r\n\r\n")[2])
        await scripts.json({**body, **changed})(request, answer)

    async with bench() as ollama:
        ollama.upstream.script = Recorder(script)
        body = orjson.dumps({"model": CHATTY, "messages": user("Hi"), "stream": False})
        url = f"{ollama.upstream.url}/api/chat"
        async with ollama.client.request("POST", url, body=body, first_byte=5) as response:
            await response.read(2**16)
    (found,) = unlike(ollama)
    assert found.startswith(f"{CHAT} answers 200 {difference}")


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"max_tokens": 3}, ".max_tokens is not named"),
        ({"options": {"num_predict": "3"}}, ".options.num_predict: '3' is not of type 'integer'"),
        ({"messages": [{"role": "user"}]}, ".messages[]: 'content' is a required property"),
        ({"messages": [{"role": "developer", "content": "x"}]},
         ".messages[].role: 'developer' is not one of ['system', 'user', 'assistant', 'tool']"),
    ],
)  # fmt: skip
def test_a_wrong_request_is_caught(changed: dict[str, Any], difference: str) -> None:
    schema = {"$ref": "#/components/schemas/ChatRequest"}
    right = {"model": CHATTY, "messages": user("Hi")}
    assert list(PUBLISHED.wrong(schema, right)) == []
    assert list(PUBLISHED.wrong(schema, {**right, **changed})) == [difference]
