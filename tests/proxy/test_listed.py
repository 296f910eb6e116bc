"""How models are doing, as callers are told: states, pools, and no address of a server."""

from __future__ import annotations

import asyncio
import time

import pytest

from h2o_relay.testing.scripts import hang, json, play, sse
from h2o_relay.testing.upstream import Answer, Received, until
from h2o_relay_proxy.listed import without_addresses

from .kit import (
    POOL,
    Relay,
    assert_error,
    assert_intact,
    chat,
    get,
    listing,
    pooled,
    post,
    relay,
    said,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
SOON = 5.0


async def told_of(running: Relay, name: str) -> dict[str, object]:
    """What the list says of a model; the same as the model's own page."""
    data = (await running.ask(get("/v1/models"))).json()["data"]
    found: dict[str, object] = next(entry["h2o"] for entry in data if entry["id"] == name)
    alone = (await running.ask(get(f"/v1/models/{name}"))).json()
    assert set(alone["h2o"]) == set(found)
    return found


async def test_a_model_that_answers() -> None:
    async with relay(servers=[("vllm_chat:{url}/v1", "m")]) as running:
        told = await told_of(running, "m")
        since = told.pop("since")
        assert isinstance(since, float)
        assert time.time() - 60 < since <= time.time()
        assert told == {
            "state": "healthy", "server": "m", "latency": None, "running": 0, "waiting": 0
        }  # fmt: skip
        assert_intact(await running.ask(post(chat())), said(3))
        latency = (await told_of(running, "m"))["latency"]
        assert isinstance(latency, float)
        assert 0 < latency < SOON


async def test_requests_that_run_are_counted() -> None:
    async with relay(play(hang)) as running, running.client() as client:
        await client.send(post(chat()))
        await until(lambda: running.upstream.answering, within=SOON)
        assert (await told_of(running, "m"))["running"] == 1


async def test_a_pool_is_listed_as_a_model() -> None:
    async with pooled(sse(said(3)), sse(said(3)), pool={"strategy": "least-load"}) as running:
        told = await told_of(running, POOL)
        assert told["state"] == "healthy"
        assert (told["strategy"], told["members"]) == ("least-load", ["a", "b"])
        assert "server" not in told
        data = (await running.ask(get("/v1/models"))).json()["data"]
        assert [entry["id"] for entry in data] == ["a", "b", POOL]
        assert data[-1]["owned_by"] == "pool"


async def test_a_pool_is_as_well_as_its_best_member() -> None:
    """Also where another member comes first, or has just come back."""
    limited = json({"error": {"message": "busy"}}, 429, {"retry-after": "30"})
    async with pooled(limited, sse(said(3)), retries=1) as running:
        first = (await told_of(running, "b"))["since"]
        assert_intact(await running.ask(post(chat(model=POOL))), said(3))
        assert (await told_of(running, "a"))["state"] == "rate-limited"
        told = await told_of(running, POOL)
        assert (told["state"], told["since"]) == ("healthy", first)
        running.kernel.entries[0].health.ended(None)  # it answers again
        after = await told_of(running, "a")
        assert after["state"] == "healthy"
        assert float(str(after["since"])) > float(str(first))
        assert (await told_of(running, POOL))["since"] == first


async def test_a_pool_names_the_member_that_is_the_trouble() -> None:
    async with pooled(sse(said(3)), models=json({"error": {"message": "no"}}, 500)) as running:
        told = await told_of(running, POOL)
        assert told["state"] == "offline"
        assert str(told["reason"]).startswith("a: ")


async def test_where_servers_are_is_not_told() -> None:
    """Not even where one is away, redirects, or says so itself."""
    places = [
        "vllm_chat:http://127.0.0.1:9/v1", "vllm_chat:http://nowhere.invalid:81/v1",
        "http://127.0.0.1:9", "vllm_chat:{url}/v1", "vllm_chat:{url1}/v1",
    ]  # fmt: skip
    servers = [(place, f"m{number}") for number, place in enumerate(places)]
    moved = json({}, 307, headers={"location": "http://secret.internal:99/v1/models"})
    async with relay(servers=servers, others=[sse(said(3))], models=moved) as running:
        await running.kernel.settled(SOON)
        reply = await running.ask(get("/v1/models"))
        told = [entry["h2o"] for entry in reply.json()["data"]]
        assert len(told) == len(servers)
        assert all(each["state"] != "healthy" and each["reason"] for each in told), told
        for word in ("127.0.0.1", "nowhere", "internal", "http://", str(running.upstream.port)):
            assert word not in reply.body.decode(), word


async def test_texts_without_addresses() -> None:
    url = "http://gpu-1.internal:8000/v1"
    for text, shown in {
        "it is warm": "it is warm",
        "see https://a.b/c?d=e now": "see (address) now",
        "10.1.2.3:80 and 10.1.2.3": "(address) and (address)",
        "[::1]:80 is not there": "(address) is not there",
        "connect to GPU-1.internal:8000 failed": "connect to (address) failed",
        "gpu-1.internals": "gpu-1.internals",
        "version 1.2.3": "version 1.2.3",
    }.items():
        assert without_addresses(text, url) == shown
        assert without_addresses(shown, None) == shown


async def test_not_ready_while_nobody_has_looked() -> None:
    """A name that is known from the start does not make a relay ready."""
    async with relay(
        servers=[("vllm_chat:{url}/v1", "m")], models=play(hang), wait=False
    ) as running:
        reply = await running.ask(get("/readyz"))
        assert_error(reply, 503, "upstream_unavailable", "overloaded_error")
        assert reply.error["message"] == "No model can answer now: 1 unknown."
        health = (await running.ask(get("/health"))).json()
        assert health == {"status": "ok", "servers": {"unknown": 1}}


async def test_ready_as_long_as_one_model_answers() -> None:
    servers = [("vllm_chat:{url}/v1", "a"), ("vllm_chat:http://127.0.0.1:9/v1", "b")]
    there = asyncio.Event()
    there.set()

    async def models(request: Received, answer: Answer) -> None:
        await (listing() if there.is_set() else json({}, 500))(request, answer)

    async with relay(servers=servers, models=models, refresh=0.1) as running:
        await running.kernel.settled(SOON)
        ready = {"status": "ready", "models": 1, "states": {"healthy": 1, "offline": 1}}
        assert (await running.ask(get("/readyz"))).json() == ready
        there.clear()
        await until(lambda: running.kernel.status()[0].state == "offline", within=SOON)
        reply = await running.ask(get("/readyz"))
        assert_error(reply, 503, "upstream_unavailable")
        assert reply.error["message"] == "No model can answer now: 2 offline."
        there.set()
        await until(lambda: running.kernel.status()[0].state == "healthy", within=SOON)
        assert (await running.ask(get("/readyz"))).json() == ready
    assert not running.asked, "a token was spent"


async def test_a_pool_counts_by_its_members() -> None:
    async with pooled(sse(said(3)), sse(said(3))) as running:
        assert (await running.ask(get("/readyz"))).json()["models"] == 2
