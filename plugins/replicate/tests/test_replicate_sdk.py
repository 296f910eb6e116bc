"""The stand-in is what Replicate's own client takes for Replicate, and the plugin asks as it does.

Runs where the `replicate` package is installed; it cannot be imported on Python 3.14 yet.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from h2o_relay.testing.upstream import Received, ScriptedUpstream
from h2o_relay_replicate.standin import TOKEN, VERSION, Cloud

from .replicate_kit import chat, relayed

if sys.version_info >= (3, 14):
    pytest.skip("the replicate package cannot be imported on Python 3.14", allow_module_level=True)
replicate = pytest.importorskip("replicate", reason="the replicate package is not installed")

NAME = "meta/llama"
REFS = [NAME, f"{NAME}:{VERSION}"]
TEXT = "".join(Cloud().texts)
IGNORED = {"user-agent", "accept-encoding", "connection", "host", "content-length", "accept"}


@asynccontextmanager
async def served(cloud: Cloud) -> AsyncIterator[Any]:
    """The official client of a cloud; its pools are closed at the end."""
    async with ScriptedUpstream(cloud) as upstream:
        cloud.served = upstream
        client = replicate.Client(api_token=TOKEN, base_url=upstream.url)
        client.poll_interval = 0.01
        try:
            yield client
        finally:
            client._client.close()
            await client._async_client.aclose()


@pytest.mark.parametrize("ref", REFS)
async def test_async_stream(ref: str) -> None:
    cloud = Cloud(pace=0.01)
    async with served(cloud) as client:
        events = await client.async_stream(ref, input={"prompt": "Hi"})
        found = [(event.event.value, event.data) async for event in events]
    assert found == [*(("output", text) for text in cloud.texts), ("done", "{}")]


@pytest.mark.parametrize("ref", REFS)
async def test_stream(ref: str) -> None:
    async with served(Cloud()) as client:
        found = await asyncio.to_thread(lambda: list(client.stream(ref, input={"prompt": "Hi"})))
    assert "".join(map(str, found)) == TEXT


@pytest.mark.parametrize("ref", REFS)
@pytest.mark.parametrize("wait", [True, False])
async def test_run(ref: str, wait: bool) -> None:
    cloud = Cloud(pace=0.01, iterates=False)
    async with served(cloud) as client:
        assert await client.async_run(ref, input={"prompt": "Hi"}, wait=wait) == TEXT


async def test_the_schema_and_the_metrics() -> None:
    cloud = Cloud()
    async with served(cloud) as client:
        model = await client.models.async_get(NAME)
        made = await client.predictions.async_create(version=VERSION, input={"prompt": "Hi"})
        await made.async_wait()
    schema = model.latest_version.openapi_schema
    assert schema["components"]["schemas"]["Input"]["properties"] == cloud.inputs
    assert (made.status, made.metrics) == ("succeeded", dict(cloud.metrics))


async def test_cancel() -> None:
    cloud = Cloud(pace=10.0)
    async with served(cloud) as client:
        made = await client.predictions.async_create(version=VERSION, input={"prompt": "Hi"})
        await made.async_cancel()
        await made.async_reload()
    assert (made.status, cloud.cancelled) == ("canceled", [made.id])


async def test_a_failed_prediction() -> None:
    cloud = Cloud(error="E1001 out of memory")
    async with served(cloud) as client:
        with pytest.raises(replicate.exceptions.ModelError, match="out of memory"):
            await client.async_run(NAME, input={"prompt": "Hi"})
        events = await client.async_stream(NAME, input={"prompt": "Hi"})
        with pytest.raises(RuntimeError, match="out of memory"):
            [event async for event in events]


async def test_refusals() -> None:
    async with served(Cloud()) as client:
        with pytest.raises(replicate.exceptions.ReplicateError) as wrong:
            await client.async_run(NAME, input={"prompt": 5})
        with pytest.raises(replicate.exceptions.ReplicateError) as unknown:
            await client.models.async_get("meta/no-such")
    assert (wrong.value.status, wrong.value.detail) == (
        422,
        "- input.prompt: Invalid type. Expected: string\n",
    )
    assert (unknown.value.status, unknown.value.title) == (404, "Not found")


@pytest.mark.parametrize("ref", REFS)
async def test_the_plugin_asks_as_the_official_client_does(ref: str) -> None:
    theirs, ours = Cloud(), Cloud()
    async with served(theirs) as client:
        events = await client.async_stream(ref, input={"prompt": "Hi"})
        assert "".join([str(event) async for event in events]) == TEXT
    async with (
        relayed(ours, f"replicate:{ref}") as kernel,
        kernel.stream("chat", chat("Hi", stream=True)) as answer,
    ):
        assert "".join([chunk.text async for chunk in answer]) == TEXT
    assert _asked(ours, "POST") == _asked(theirs, "POST")
    assert _asked(ours, "GET /v1/stream") == _asked(theirs, "GET /v1/stream")


def _asked(cloud: Cloud, start: str) -> list[Any]:
    assert cloud.served is not None
    return [
        _told(request) for request in cloud.served.requests
        if f"{request.method} {request.path}".startswith(start)
    ]  # fmt: skip


def _told(request: Received) -> tuple[str, str, dict[str, str], Any]:
    headers = {n: v for n, v in request.headers.items() if n not in IGNORED}
    return request.method, request.path, headers, request.json() if request.body else None
