"""The stand-in is what Azure's own client takes for Azure, and we ask as that client does."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest

from h2o_relay.testing import ScriptedUpstream
from h2o_relay.types import Call
from h2o_relay_azure import parse_server_string, target

from .azure_standin import (
    CHAT,
    COMPLETING,
    EMBEDDING,
    KEY,
    MODEL,
    PROMPT_RESULTS,
    SAFE,
    TEXT,
    AzureStandIn,
    standing,
)

VERSION = "2024-10-21"
MESSAGES: list[Any] = [{"role": "user", "content": "How do I care for a parrot?"}]
STRICT: dict[str, Any] = {"max_retries": 0, "_strict_response_validation": True}


@pytest.fixture
async def azure() -> AsyncIterator[ScriptedUpstream]:
    async with standing(AzureStandIn(tokens={"a-token"})) as upstream:
        yield upstream


def asynchronous(upstream: ScriptedUpstream, **more: Any) -> openai.AsyncAzureOpenAI:
    given = {"api_key": KEY, "api_version": VERSION, **STRICT, **more}
    return openai.AsyncAzureOpenAI(azure_endpoint=upstream.url, **given)


async def test_chat_by_the_async_client(azure: ScriptedUpstream) -> None:
    async with asynchronous(azure) as client:
        answer = await client.chat.completions.create(model=CHAT,
                                                      messages=MESSAGES)  # fmt: skip
    assert answer.choices[0].message.content == TEXT
    assert answer.model == MODEL
    assert (answer.model_extra or {})["prompt_filter_results"] == PROMPT_RESULTS
    assert (answer.choices[0].model_extra or {})["content_filter_results"] == SAFE


async def test_streamed_chat_by_the_async_client(azure: ScriptedUpstream) -> None:
    text, first = "", None
    # The first event's `object` is empty, which no strict client would take; Azure sends it so.
    lax = {"azure_deployment": "my%20chat%2Fmodel", "_strict_response_validation": False}
    async with asynchronous(azure, **lax) as client:
        stream = await client.chat.completions.create(
            model="any", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    for chunk in chunks:
        first = first or chunk
        for choice in chunk.choices:
            text += (choice.delta.content or "") if choice.delta else ""
    assert first is not None
    assert first.choices == []
    assert text == TEXT
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens == 8


async def test_chat_and_text_by_the_sync_client(azure: ScriptedUpstream) -> None:
    def ask() -> tuple[str | None, str, list[float]]:
        with openai.AzureOpenAI(
            azure_endpoint=azure.url, api_key=KEY, api_version=VERSION, **STRICT
        ) as client:
            chat = client.chat.completions.create(model=CHAT, messages=MESSAGES)
            text = client.completions.create(model=COMPLETING, prompt="Say it.")
            vector = client.embeddings.create(
                model=EMBEDDING, input="parrot", encoding_format="float"
            )
            return chat.choices[0].message.content, text.choices[0].text, vector.data[0].embedding

    assert await asyncio.to_thread(ask) == (TEXT, TEXT, [0.5, -0.25])


async def test_streamed_text_by_the_sync_client(azure: ScriptedUpstream) -> None:
    def ask() -> list[str]:
        with openai.AzureOpenAI(
            azure_endpoint=azure.url, api_key=KEY, api_version=VERSION, max_retries=0
        ) as client:
            stream = client.completions.create(model=COMPLETING, prompt="Say it.", stream=True)
            return [choice.text for chunk in stream for choice in chunk.choices]

    assert "".join(await asyncio.to_thread(ask)) == TEXT


async def test_a_token_by_the_async_client(azure: ScriptedUpstream) -> None:
    async with asynchronous(azure, api_key=None, azure_ad_token="a-token") as client:
        answer = await client.completions.create(model=COMPLETING, prompt="Say it.")
    assert answer.choices[0].text == TEXT
    assert azure.requests[0].headers["authorization"] == "Bearer a-token"


async def test_the_api_without_versions_by_the_plain_client(azure: ScriptedUpstream) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{azure.url}/openai/v1/", api_key="a-token", **STRICT
    ) as client:
        answer = await client.chat.completions.create(model=CHAT, messages=MESSAGES)
    assert answer.choices[0].message.content == TEXT


@pytest.mark.parametrize(
    ("changes", "model", "words", "wanted", "code"),
    [
        ({"api_key": "wrong"}, COMPLETING, "hi", openai.AuthenticationError, "401"),
        ({"api_version": "1999-01-01"}, COMPLETING, "hi", openai.NotFoundError, "404"),
        ({}, "unknown", "hi", openai.NotFoundError, "DeploymentNotFound"),
        ({}, EMBEDDING, "hi", openai.BadRequestError, "OperationNotSupported"),
        ({}, COMPLETING, "forbidden", openai.BadRequestError, "content_filter"),
    ],
)
async def test_refusals_by_the_async_client(
    azure: ScriptedUpstream, changes: dict[str, Any], model: str, words: str,
    wanted: type[openai.APIStatusError], code: str,
) -> None:  # fmt: skip
    async with asynchronous(azure, **changes) as client:
        with pytest.raises(wanted) as caught:
            await client.completions.create(model=model, prompt=words)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("deployment", "path"),
    [
        (COMPLETING, "/completions"),
        (CHAT, "/chat/completions"),
        (EMBEDDING, "/embeddings"),
    ],
)
async def test_we_ask_as_the_official_client_does(
    azure: ScriptedUpstream, deployment: str, path: str
) -> None:
    async with asynchronous(azure) as client:
        asking: dict[str, Any] = {
            "/completions": lambda: client.completions.create(model=deployment, prompt="hi"),
            "/chat/completions": lambda: client.chat.completions.create(
                model=deployment, messages=MESSAGES
            ),
            "/embeddings": lambda: client.embeddings.create(model=deployment, input="hi"),
        }
        await asking[path]()
    (theirs,) = azure.requests
    server = parse_server_string(f"azure_chat:{deployment}:{azure.url}:{VERSION}:{KEY}")
    assert server is not None
    ours = target(server, Call(method="POST", path=path))
    assert ours.url == azure.url + theirs.path
    assert ours.method == theirs.method
    assert ours.headers["api-key"] == theirs.headers["api-key"]
    assert theirs.json()["model"] == deployment
