"""A kernel in front of the stand-in: what Azure adds to OpenAI's API comes through untouched."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from h2o_relay.chunks import Chunk
from h2o_relay.errors import RelayError, UpstreamAuthError, UpstreamRejected
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing import ScriptedUpstream
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import until
from h2o_relay.types import Call

from .azure_standin import (
    CHAT,
    COMPLETING,
    EMBEDDING,
    KEY,
    PROMPT_RESULTS,
    SAFE,
    TEXT,
    AzureStandIn,
    embeddings,
    events,
    standing,
    whole,
)

PLUGINS = Plugins.discover("azure")
SAY = [{"role": "user", "content": "Say it."}]
FORBIDDEN = [{"role": "user", "content": "something forbidden"}]


@asynccontextmanager
async def kernel(*strings: str) -> AsyncIterator[Kernel]:
    async with Kernel(quick(), servers=strings, plugins=PLUGINS) as running:
        await running.settled(20)
        yield running


@pytest.fixture
async def azure() -> AsyncIterator[ScriptedUpstream]:
    async with standing() as upstream:
        yield upstream


def chat(upstream: ScriptedUpstream, version: str = "2024-10-21", key: str = KEY) -> str:
    return f"openai_azure_chat:{CHAT}:{upstream.url}:{version}:{key}"


async def streamed(running: Kernel, **params: Any) -> list[Chunk]:
    async with running.stream("chat", {"model": CHAT, "messages": SAY, **params}) as answer:
        return [item async for item in answer]


async def test_a_whole_answer_comes_byte_for_byte(azure: ScriptedUpstream) -> None:
    async with kernel(chat(azure)) as running:
        answer = await running.generate("chat", {"model": CHAT, "messages": SAY})
    assert answer.body == orjson.dumps(whole(chat=True))
    assert answer.data["prompt_filter_results"] == PROMPT_RESULTS
    assert answer.data["choices"][0]["content_filter_results"] == SAFE
    listing, asked = azure.requests
    assert (listing.method, listing.path) == ("GET", "/openai/models?api-version=2024-10-21")
    assert asked.path == (
        "/openai/deployments/my%20chat%2Fmodel/chat/completions?api-version=2024-10-21"
    )
    assert asked.headers["api-key"] == KEY
    assert "authorization" not in asked.headers
    assert asked.json() == {"model": CHAT, "messages": SAY}


async def test_every_event_of_a_stream_comes_byte_for_byte(azure: ScriptedUpstream) -> None:
    options = {"stream_options": {"include_usage": True}}
    async with kernel(chat(azure)) as running:
        chunks = await streamed(running, **options)
    sent = [orjson.dumps(event) for event in events(chat=True, usage=True)]
    assert [payload for item in chunks for payload in item.payloads()] == sent
    assert chunks[0].events()[0]["choices"] == []
    assert chunks[0].events()[0]["prompt_filter_results"] == PROMPT_RESULTS
    assert "".join(item.text for item in chunks) == TEXT
    assert [item.finish_reason for item in chunks if item.finish_reason] == ["stop"]
    late = [c for item in chunks for e in item.events() for c in e["choices"] if "delta" not in c]
    assert [c["content_filter_results"] for c in late] == [SAFE]


async def test_a_text_deployment_completes(azure: ScriptedUpstream) -> None:
    async with kernel(f"openai_azure:{COMPLETING}:{azure.url}:None:{KEY}") as running:
        params = {"model": COMPLETING, "prompt": "Say it."}
        answer = await running.generate("text", params)
        async with running.stream("text", params) as stream:
            pieces = [item.text async for item in stream]
    assert answer.text == "".join(pieces) == TEXT
    assert azure.requests[-1].path == (
        f"/openai/deployments/{COMPLETING}/completions?api-version=2024-07-01-preview"
    )


async def test_the_base_model_is_the_public_name(azure: ScriptedUpstream) -> None:
    async with (
        Kernel(quick(), servers=[(chat(azure), "gpt-4o")], plugins=PLUGINS) as running,
    ):
        await running.settled(20)
        (model,) = running.models()
        answer = await running.generate("chat", {"model": "gpt-4o", "messages": SAY})
    assert (model.name, model.model) == ("gpt-4o", CHAT)
    assert answer.text == TEXT
    assert azure.requests[-1].json()["model"] == CHAT


async def test_the_api_without_versions(azure: ScriptedUpstream) -> None:
    async with kernel(f"azure_chat:{CHAT}:{azure.url}/openai/v1/:None:{KEY}") as running:
        (server,) = running.status()
        chunks = await streamed(running)
    assert server.stage == "ready"
    assert "".join(item.text for item in chunks) == TEXT
    assert [item.path for item in azure.requests] == [
        "/openai/v1/models",
        "/openai/v1/chat/completions",
    ]
    assert azure.requests[1].json()["model"] == CHAT


async def test_embeddings_are_forwarded(azure: ScriptedUpstream) -> None:
    async with kernel(f"azure:{EMBEDDING}:{azure.url}:2024-10-21:{KEY}") as running:
        body = orjson.dumps({"model": EMBEDDING, "input": "parrot"})
        headers = {"content-type": "application/json"}
        call = Call(method="POST", path="/embeddings", body=body, headers=headers)
        async with running.forward(EMBEDDING, call) as reply:
            got = b"".join([piece async for piece in reply.chunks])
    assert reply.status == 200
    assert orjson.loads(got) == embeddings()


@pytest.mark.parametrize("how", ["generate", "stream"])
async def test_the_content_filter_says_why(azure: ScriptedUpstream, how: str) -> None:
    async with kernel(chat(azure)) as running:
        whole = running.generate("chat", {"model": CHAT, "messages": FORBIDDEN})
        asking = {"generate": whole, "stream": streamed(running, messages=FORBIDDEN)}
        asking.pop("stream" if how == "generate" else "generate").close()
        with pytest.raises(UpstreamRejected) as caught:
            await asking[how]
    error = caught.value
    assert (error.status, error.code, error.param) == (400, "content_filter", "prompt")
    assert "content filter" in error.message
    inner = error.body()["error"]["innererror"]
    assert inner["code"] == "ResponsibleAIPolicyViolation"
    assert inner["content_filter_result"]["violence"] == {"filtered": True, "severity": "high"}


@pytest.mark.parametrize(
    ("string", "code", "status"),
    [
        ("azure_chat:unknown:{url}:2024-10-21:{key}", "DeploymentNotFound", 404),
        ("azure_chat:{text}:{url}:2024-10-21:{key}", "OperationNotSupported", 400),
        ("azure_chat:{text}:{url}:1999-01-01:{key}", "404", 404),
    ],
)
async def test_azures_own_refusals(
    azure: ScriptedUpstream, string: str, code: str, status: int
) -> None:
    server = string.format(url=azure.url, key=KEY, text=COMPLETING)
    async with kernel(server) as running:
        with pytest.raises(UpstreamRejected) as caught:
            await running.generate("chat", {"messages": SAY})
    assert (caught.value.code, caught.value.status) == (code, status)


async def test_a_wrong_key_is_ours_and_seen_at_once(azure: ScriptedUpstream) -> None:
    async with kernel(chat(azure, key="0000-wrong-0000")) as running:
        (server,) = running.status()
        with pytest.raises(UpstreamAuthError) as caught:
            await running.generate("chat", {"messages": SAY})
    assert server.stage == "offline"
    assert "credentials" in server.reason
    assert "wrong" not in f"{caught.value} {server.reason}"


@pytest.mark.parametrize("name", ["OPENAI_AZURE_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY"])
async def test_the_key_may_come_from_the_environment(
    azure: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    forget_keys(monkeypatch)
    monkeypatch.setenv(name, KEY)
    async with kernel(f"azure_chat:{CHAT}:{azure.url}") as running:
        assert (await running.generate("chat", {"messages": SAY})).text == TEXT


async def test_without_a_key_the_reason_says_what_to_do(
    azure: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    forget_keys(monkeypatch)
    async with kernel(f"azure_chat:{CHAT}:{azure.url}") as running:
        await until(lambda: running.status()[0].reason, within=2)
        with pytest.raises(RelayError):
            await running.generate("chat", {"messages": SAY})
        reason = running.status()[0].reason
    assert "AZURE_OPENAI_API_KEY" in reason
    assert "H2O_AZURE_AUTH=entra" in reason
    assert azure.requests == []


async def test_leaving_a_stream_leaves_azure() -> None:
    async with standing(AzureStandIn(stuck=True)) as azure, kernel(chat(azure)) as running:
        async with running.stream("chat", {"messages": SAY}) as answer:
            assert (await anext(aiter(answer))).events()
            assert azure.gone == []
        await until(lambda: azure.gone, within=1)


def forget_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_AZURE_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY", "H2O_AZURE_AUTH"):
        monkeypatch.delenv(name, raising=False)
