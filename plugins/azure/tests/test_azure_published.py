"""The plugin asks, and the stand-in answers, as Azure's own specification files have it.

`azure_published.json` is the data-plane inference specification, stable 2024-10-21, reduced to the
routes that the stand-in has; `azure_published_models.json` is the authoring specification of that
date, which has /models. Both say themselves which files they were made of. Where the service is
known to differ from them, the differences are listed here, each with its reason, and no others are
let through. The API without versions (/openai/v1) is in neither.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from conversations import LONG, TOOL
from published_spec import Published
from recorded import Exchange, Recorder

from h2o_relay.errors import RelayError, UpstreamRejected
from h2o_relay.http import HttpClient
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.spec import ServerSpec
from h2o_relay.testing import scripts
from h2o_relay.testing.settings import quick
from h2o_relay.types import UNTUNED, Call, Tuning

from .azure_standin import (
    CHAT,
    COMPLETING,
    EMBEDDING,
    FILTERED_AS_PUBLISHED,
    KEY,
    SAFE,
    AzureStandIn,
    standing,
    whole,
)

HERE = Path(__file__).parent
ROUTE = "POST /deployments/{deployment-id}"
ROUTES = {CHAT: f"{ROUTE}/chat/completions", COMPLETING: f"{ROUTE}/completions"}
INFERENCE = Published.read(
    HERE / "azure_published.json",
    streamed={
        ROUTES[CHAT]: "createChatCompletionStreamResponse",
        ROUTES[COMPLETING]: "createCompletionResponse",  # of both, as its description says
    },
)
MODELS = Published.read(HERE / "azure_published_models.json")
SAY = [{"role": "user", "content": "Say it."}]
OWN: dict[str, dict[str, Any]] = {CHAT: {"messages": SAY}, COMPLETING: {"prompt": "Say it."}}
KINDS: dict[str, Any] = {CHAT: "chat", COMPLETING: "text"}
# OpenAI's name of the model goes up as the caller sent it; Azure's own client sends it, too.
NAMED = {f"{route} asks .model is not named" for route in ROUTES.values()}
NAMED_IN_CHAT = {f"{ROUTES[CHAT]} asks .model is not named"}
# The file describes these options, but its requests do not list them.
OPTIONS = {f"{route} asks .stream_options is not named" for route in ROUTES.values()}
# The file wants a `type` inside `json_schema`, too, which OpenAI's API has not.
JSON_SCHEMA = {f"{ROUTES[CHAT]} asks .response_format.json_schema: 'type' is a required property"}
# The file has no usage in events, nor what the filter found; the first event is for the prompt's
# results and has no names of its own, a late one no delta (Azure's pages on its content filter).
FILTER_EVENTS = {
    f"{ROUTES[CHAT]} answers 200 {difference}"
    for difference in (
        ".choices[].content_filter_offsets is not named",
        ".choices[].content_filter_results is not named",
        ".choices[]: 'delta' is a required property",
        ".object: '' is not one of ['chat.completion.chunk']",
        ".prompt_filter_results is not named",
        ".usage is not named",
    )
}
# An event before the last has no finish reason, which the file forgot.
TEXT_EVENTS = {
    f"{ROUTES[COMPLETING]} answers 200 {difference}"
    for difference in (
        ".choices[].finish_reason: None is not of type 'string'",
        ".choices[].finish_reason: None is not one of ['stop', 'length', 'content_filter']",
        ".object: '' is not one of ['text_completion']",
    )
}
# The service's own form of a refusal: not the file's names.
SERVICES_REFUSAL = {
    f"{ROUTES[CHAT]} answers 400 {difference}"
    for difference in (
        ".error.innererror is not named",
        ".error.status is not named",
        ".error.type: None is not of type 'string'",
    )
}
# The gateway before the service has numbers as codes.
GATEWAYS_CODE = "GET /models answers 401 .error.code: '401' is not one of"


@dataclass
class Asked:
    kernel: Kernel
    recorder: Recorder

    async def generate(self, deployment: str, **params: Any) -> Any:
        asked = {"model": deployment, **OWN[deployment], **params}
        return await self.kernel.generate(KINDS[deployment], asked)

    async def stream(self, deployment: str, **params: Any) -> list[Any]:
        asked = {"model": deployment, **OWN[deployment], "stream": True, **params}
        async with self.kernel.stream(KINDS[deployment], asked) as answer:
            return [event async for chunk in answer for event in chunk.events()]

    async def embed(self, given: Any) -> None:
        body = orjson.dumps({"model": EMBEDDING, "input": given, "encoding_format": "float"})
        headers = {"content-type": "application/json"}
        call = Call(method="POST", path="/embeddings", body=body, headers=headers)
        async with self.kernel.forward(EMBEDDING, call) as reply:
            assert reply.status == 200
            async for _ in reply.chunks:
                pass

    @property
    def unlike(self) -> set[str]:
        return {found for one in self.recorder.exchanges for found in of(one).unlike([one])}

    @property
    def covered(self) -> set[str]:
        return {found for one in self.recorder.exchanges for found in of(one).covered([one])}


def of(exchange: Exchange) -> Published:
    """The file that describes what was asked for."""
    return MODELS if MODELS.operation(exchange) else INFERENCE


@asynccontextmanager
async def asking(
    standin: Any = None, key: str = KEY, tuning: Tuning = UNTUNED
) -> AsyncIterator[Asked]:
    """A kernel before the stand-in's three deployments; what they say is kept."""
    async with standing() as upstream:
        upstream.script = recorder = Recorder(standin or AzureStandIn())
        tail = f"{upstream.url}:2024-10-21:{key}"
        servers = [
            ServerSpec(server=f"azure_chat:{CHAT}:{tail}"),
            ServerSpec(server=f"openai_azure:{COMPLETING}:{tail}", base_model=COMPLETING,
                       tuning=tuning),
            ServerSpec(server=f"azure:{EMBEDDING}:{tail}"),
        ]  # fmt: skip
        async with Kernel(quick(), servers, Plugins.discover("azure")) as kernel:
            await kernel.settled(20)
            yield Asked(kernel, recorder)


async def test_every_published_route() -> None:
    async with asking() as azure:
        await azure.generate(CHAT)
        await azure.generate(COMPLETING)
        await azure.embed(["one", "two"])
        assert azure.unlike == NAMED
        operations = INFERENCE.operations | MODELS.operations
        assert azure.covered == {f"{operation} 200" for operation in operations}


async def test_what_chat_is_asked() -> None:
    async with asking() as azure:
        await azure.generate(CHAT, temperature=0.5, top_p=0.9, max_tokens=9, seed=-3, n=2, user="u")
        await azure.generate(CHAT, max_completion_tokens=9, stop="x", logprobs=True, top_logprobs=2)
        await azure.generate(CHAT, stop=["a", "b", "c", "d"], logit_bias={"1": -100})
        await azure.generate(CHAT, presence_penalty=1, frequency_penalty=-1)
        await azure.generate(CHAT, response_format={"type": "json_object"})
        named = {"type": "function", "function": {"name": "look"}}
        for choice in ("auto", "none", "required", named):
            await azure.generate(CHAT, tools=[TOOL], tool_choice=choice, parallel_tool_calls=False)
        await azure.generate(CHAT, messages=LONG)
        assert azure.unlike == NAMED_IN_CHAT
        schema = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
        await azure.generate(CHAT, response_format=schema)
        assert azure.unlike == NAMED_IN_CHAT | JSON_SCHEMA


async def test_streams() -> None:
    async with asking() as azure:
        await azure.stream(CHAT)
        await azure.stream(CHAT, stream_options={"include_usage": True})
        await azure.stream(COMPLETING)
        await azure.stream(COMPLETING, stream_options={"include_usage": True})
        assert azure.unlike == NAMED | OPTIONS | FILTER_EVENTS | TEXT_EVENTS


async def test_what_was_rendered_here() -> None:
    """With the prompt type's stop strings and the caller's, which are more than Azure takes."""
    async with asking(tuning=Tuning(prompt_type="human_bot")) as azure:
        asked = {"model": COMPLETING, "messages": SAY, "stop": ["a", "b", "c"]}
        await azure.kernel.generate("chat", {**asked, "max_completion_tokens": 9})
        assert azure.unlike == NAMED - NAMED_IN_CHAT


@pytest.mark.parametrize("published", [True, False])
async def test_the_content_filter(published: bool) -> None:
    standin = AzureStandIn(filtered=FILTERED_AS_PUBLISHED) if published else AzureStandIn()
    async with asking(standin) as azure:
        with pytest.raises(UpstreamRejected) as caught:
            await azure.generate(CHAT, messages=[{"role": "user", "content": "forbidden"}])
        differences = set() if published else SERVICES_REFUSAL
        assert azure.unlike == NAMED_IN_CHAT | differences
        assert f"{ROUTES[CHAT]} 400" in azure.covered
    error = caught.value.body()["error"]
    inner = error["inner_error" if published else "innererror"]
    found = inner["content_filter_results" if published else "content_filter_result"]
    assert (error["code"], inner["code"]) == ("content_filter", "ResponsibleAIPolicyViolation")
    assert found["violence"] == {"filtered": True, "severity": "high"}


async def test_other_refusals() -> None:
    async with asking() as azure:
        with pytest.raises(UpstreamRejected):
            await azure.generate(CHAT, stop=["a", "b", "c", "d", "e"])
        many = ".stop: ['a', 'b', 'c', 'd', 'e'] is too long"
        assert azure.unlike == NAMED_IN_CHAT | {f"{ROUTES[CHAT]} asks {many}"}
        assert f"{ROUTES[CHAT]} 400" in azure.covered
    async with asking(key="wrong") as azure:
        with pytest.raises(RelayError):
            await azure.generate(CHAT)
        (code,) = azure.unlike - NAMED_IN_CHAT
        assert code.startswith(GATEWAYS_CODE)
        assert azure.covered == {"GET /models 401", f"{ROUTES[CHAT]} 401"}


LEVELS = ["safe", "low", "medium", "high"]
SEVERE = {**SAFE, "violence": {"filtered": False, "severity": "grave"}}
CHOICE: dict[str, Any] = whole(chat=True)["choices"][0]


@pytest.mark.parametrize(
    ("changed", "difference"),
    [
        ({"object": "chat"}, ".object: 'chat' is not one of ['chat.completion']"),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": "3", "total_tokens": 8}},
         ".usage.completion_tokens: '3' is not of type 'integer'"),
        ({"choices": [{**CHOICE, "message": {"role": "assistant", "content": "x"}}]},
         ".choices[].message: 'refusal' is a required property"),
        ({"choices": [{**CHOICE, "content_filter_results": SEVERE}]},
         f".choices[].content_filter_results.violence.severity: 'grave' is not one of {LEVELS}"),
        ({"prompt_annotations": []}, ".prompt_annotations is not named"),
    ],
)  # fmt: skip
def test_a_wrong_answer_is_caught(changed: dict[str, Any], difference: str) -> None:
    schema = {"$ref": "#/components/schemas/createChatCompletionResponse"}
    assert list(INFERENCE.wrong(schema, whole(chat=True))) == []
    assert list(INFERENCE.wrong(schema, {**whole(chat=True), **changed})) == [difference]


async def test_a_wrong_request_is_caught() -> None:
    async with standing() as upstream:
        upstream.script = recorder = Recorder(scripts.json(whole(chat=True)))
        path = "/openai/deployments/d/chat/completions?version=2024-10-21"
        async with HttpClient(quick()) as client:
            body = orjson.dumps({"messages": [], "max_new_tokens": 3})
            url = f"{upstream.url}{path}"
            async with client.request("POST", url, body=body, first_byte=5) as response:
                await response.read(2**16)
    assert INFERENCE.unlike(recorder.exchanges) == {
        f"{ROUTES[CHAT]} {difference}"
        for difference in (
            "asks .max_new_tokens is not named", "asks .messages: [] should be non-empty",
            "asks without the query api-version", "asks query version is not named",
        )
    }  # fmt: skip
