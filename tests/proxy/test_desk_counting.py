"""What the desk reserves for a request before it is answered, and what it settles it at: nothing
that a caller writes, no server's odd usage and no early leaving makes an answer free.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.accounting.limits import Limits
from h2o_relay.accounting.prices import Price, Prices
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.kernel import Kernel
from h2o_relay.spec import ServerSpec
from h2o_relay.store import Keys, Store
from h2o_relay.testing.scripts import json, sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream, until
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.desk import Desk
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.server import running

from .desk_kit import MASTER, bearing, complete, desked
from .kit import (
    MODEL,
    Relay,
    assert_error,
    chat,
    completion,
    get,
    listing,
    post,
    said,
    serving,
)

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("leaves_nothing")]
EMBEDDED = {"object": "list", "data": [{"embedding": [0.5], "index": 0}],
            "usage": {"prompt_tokens": 100, "total_tokens": 100}}  # fmt: skip
RANKED = {"results": [{"index": 0, "relevance_score": 0.5}]}
INPUT = Prices({MODEL: Price(input=1.0, output=0.0)})
"""As embeddings are priced."""
WORDS = "some words " * 100
EVENTS = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
STARTED = {"type": "message_start", "message": {
    "id": "m", "type": "message", "role": "assistant", "model": MODEL, "content": [],
    "usage": {"input_tokens": 10, "output_tokens": 1}}}  # fmt: skip


class TestReserved:
    async def test_a_used_up_budget_ends_embeddings_too(self, tmp_path: Path) -> None:
        """A hundred tokens cost 100 millionths each time; there are 150."""
        async with desked(tmp_path, json(EMBEDDED), INPUT) as relay:
            _, secret = await relay.key(budget=150e-6, budget_period="total")
            replies = [
                await relay.ask(post({"model": MODEL, "input": "x"}, "/v1/embeddings",
                                     bearing(secret)))
                for _ in range(4)
            ]  # fmt: skip
        assert [reply.status for reply in replies] == [200, 200, 429, 429]
        assert_error(replies[-1], 429, "insufficient_quota")

    @pytest.mark.parametrize(("path", "fields"), [
        ("/v1/embeddings", {"input": WORDS}),
        ("/v1/rerank", {"query": "q", "documents": [WORDS, {"text": "x"}]}),
        ("/v1/score", {"text_1": "q", "text_2": [WORDS]}),
        ("/v1/responses", {"input": [{"role": "user", "content": [
            {"type": "input_text", "text": WORDS}]}], "max_output_tokens": 1}),
        ("/v1/responses", {"input": "x", "instructions": WORDS, "max_output_tokens": 1}),
        ("/v1/messages", {"messages": [{"role": "user", "content": "x"}], "system": WORDS,
                          "max_tokens": 1}),
    ])  # fmt: skip
    async def test_every_prompt_counts(
        self, path: str, fields: dict[str, Any], tmp_path: Path
    ) -> None:
        async with desked(tmp_path) as relay:
            _, secret = await relay.key(tokens_per_minute=150)
            reply = await relay.ask(post({"model": MODEL, **fields}, path, bearing(secret)))
        assert_error_of(reply, 429, "rate_limit_exceeded")

    @pytest.mark.parametrize(("path", "fields"), [
        ("/v1/chat/completions", {"max_output_tokens": -(10**9)}),
        ("/v1/chat/completions", {"max_output_tokens": 1, "max_tokens": 5000}),
        ("/v1/completions", {"prompt": "x", "max_completion_tokens": 1, "max_tokens": 5000}),
        ("/v1/completions", {"prompt": ["x", "y"], "n": 2, "max_tokens": 300}),
        ("/v1/chat/completions", {"n": 8, "max_tokens": 200}),
        ("/v1/responses", {"input": "x", "max_completion_tokens": 1, "max_output_tokens": 5000}),
        ("/v1/messages", {"max_tokens": -(10**9)}),
    ])  # fmt: skip
    async def test_no_field_makes_an_answer_shorter_than_it_may_be(
        self, path: str, fields: dict[str, Any], tmp_path: Path
    ) -> None:
        async with desked(tmp_path, json(completion())) as relay:
            _, secret = await relay.key(tokens_per_minute=1000)
            reply = await relay.ask(post({**chat(False), **fields}, path, bearing(secret)))
        assert_error_of(reply, 429, "rate_limit_exceeded")

    @pytest.mark.parametrize(("path", "fields"), [
        ("/v1/messages", {"messages": ["x"], "max_tokens": 5}),
        ("/v1/messages", {"messages": [{"role": "user", "content": 5}], "max_tokens": 5}),
        ("/v1/responses", {"input": 5}),
        ("/v1/embeddings", {"input": [[[1]]]}),
    ])  # fmt: skip
    async def test_no_body_makes_the_relay_fail(
        self, path: str, fields: dict[str, Any], tmp_path: Path
    ) -> None:
        async with desked(tmp_path) as relay:
            _, secret = await relay.key(tokens_per_minute=100_000)
            reply = await relay.ask(post({"model": MODEL, **fields}, path, bearing(secret)))
        assert reply.status in (200, 400), reply.body  # some servers take more than OpenAI's

    async def test_counting_takes_no_tokens(self, tmp_path: Path) -> None:
        async with desked(tmp_path, json({"input_tokens": 900})) as relay:
            _, secret = await relay.key(tokens_per_minute=50, budget=1.0)
            body = {"model": MODEL, "messages": [{"role": "user", "content": WORDS}]}
            reply = await relay.ask(post(body, "/v1/messages/count_tokens", bearing(secret)))
            record = await relay.told()
        assert reply.status == 200
        assert reply.headers["x-ratelimit-remaining-tokens"] == "50"
        assert (record.prompt_tokens, record.completion_tokens, record.cost) == (None, None, 0)


class TestSettled:
    async def test_what_no_server_tells_stays_as_it_was_estimated(self, tmp_path: Path) -> None:
        async with desked(tmp_path, json(RANKED), INPUT) as relay:
            _, secret = await relay.key(tokens_per_minute=350)
            body = {"model": MODEL, "query": "q", "documents": [WORDS]}
            replies = [await relay.ask(post(body, "/v1/rerank", bearing(secret)))
                       for _ in range(2)]  # fmt: skip
        assert [reply.status for reply in replies] == [200, 429]

    @pytest.mark.parametrize("usage", ["many", ["x"], 7, {"prompt_tokens": "x"}])
    @pytest.mark.parametrize("stream", [False, True])
    async def test_an_odd_usage_leaks_no_place(
        self, stream: bool, usage: Any, tmp_path: Path
    ) -> None:
        odd = {**completion(), "usage": usage}
        events = [*said(2), orjson.dumps({"id": "c", "choices": [], "usage": usage})]
        script = sse(events) if stream else json(odd)
        async with desked(tmp_path, script) as relay:
            _, secret = await relay.key(concurrent=1)
            for count in (1, 2):
                reply = await relay.ask(post(chat(stream), headers=bearing(secret)))
                assert reply.status == 200, reply.body
                await relay.told(count)

    async def test_who_leaves_before_the_usage_pays_the_estimate(self, tmp_path: Path) -> None:
        """Anthropic's streams begin with a usage of one token, and end with the real one."""

        async def messages(request: Received, answer: Answer) -> None:
            said = b"event: message_start\ndata: %b\n\n" % orjson.dumps(STARTED)
            await answer.send(EVENTS + said)
            await answer.hang()

        async with desked(tmp_path, messages) as relay:
            _, secret = await relay.key(tokens_per_minute=1500, budget=1.0)
            body = chat(max_tokens=1000)
            async with relay.client() as client:
                await client.send(post(body, "/v1/messages", bearing(secret)))
                await until(lambda: bool(relay.asked), within=5)
                assert relay.asked[0].path == "/v1/messages"
                await asyncio.sleep(0.3)
            left = await relay.told()
            assert left.aborted
            assert left.cost == pytest.approx(0.002, rel=0.1), "the store says what the budget does"
            reply = await relay.ask(post(body, "/v1/messages", bearing(secret)))
        assert_error_of(reply, 429, "rate_limit_exceeded")

    async def test_who_leaves_before_a_server_was_asked_pays_nothing(self, tmp_path: Path) -> None:
        held = asyncio.Event()

        async def slow(request: Received, answer: Answer) -> None:
            await held.wait()
            await json(completion())(request, answer)

        async with desked(tmp_path, slow, max_queue=5) as relay:
            _, secret = await relay.key(tokens_per_minute=1500)
            async with relay.client() as client:
                bad = chat(False, model=MODEL, max_tokens=1000, messages="x")
                await client.send(post(bad, headers=bearing(secret)))
            held.set()
            reply = await relay.ask(post(chat(False, max_tokens=1000), headers=bearing(secret)))
        assert reply.status == 200


async def test_a_revoked_admin_key_hears_no_more(tmp_path: Path) -> None:
    async with desked(tmp_path) as relay:
        id, secret = await relay.key(admin=True)
        asking = asyncio.create_task(relay.ask(get("/admin/changes", **bearing(secret))))
        await until(lambda: relay.metrics.streams == 1, within=5)
        await relay.keys.revoke(id)
        await relay.ring.refresh()
        await asyncio.wait_for(asking, 5)
        after = await relay.ask(get("/admin/deployments", **bearing(secret)))
        assert_error(after, 401, "invalid_api_key")
        kept = await relay.ask(get("/admin/deployments", **bearing(MASTER)))
        assert kept.status == 200


async def test_a_key_asks_for_no_model_as_anybody_does(tmp_path: Path) -> None:
    """The first model's server is TGI, which has no embeddings."""

    numbers = ("max_concurrent_requests", "max_best_of", "max_stop_sequences", "max_total_tokens")
    info = {"model_id": "t", "version": "3.3.4", **dict.fromkeys(numbers, 9)}

    async def both(request: Received, answer: Answer) -> None:
        if request.path == "/v1/models":
            await listing(MODEL)(request, answer)
        else:
            await json(info if request.method == "GET" else EMBEDDED)(request, answer)

    servers = [ServerSpec(server="tgi:{url}", base_model="t"),
               ServerSpec(server="vllm_chat:{url}/v1", base_model="m")]  # fmt: skip
    async with complete(tmp_path, json({}), servers, admin_pass=MASTER) as relay:
        relay.upstream.script = both
        await until(lambda: relay.kernel.find(None).name == "t", within=10)
        body = post({"name": "a", "requests_per_minute": 9}, "/admin/keys", bearing(MASTER))
        key = (await relay.ask(body)).json()["key"]
        reply = await relay.ask(post({"input": "x"}, "/v1/embeddings", bearing(key)))
    assert reply.status == 200, reply.body


async def test_a_key_waits_for_servers_that_nobody_has_looked_at_yet(tmp_path: Path) -> None:
    looked = asyncio.Event()

    async def slow(request: Received, answer: Answer) -> None:
        await looked.wait()
        await listing(MODEL)(request, answer)

    settings = quick()
    async with (
        ScriptedUpstream(serving(json(completion()), slow)) as upstream,
        Kernel(settings, [f"vllm_chat:{upstream.url}/v1"]) as kernel,
        Store(f"sqlite:///{tmp_path}/relay.db") as store,
    ):
        keys = Keys(store)
        _, key = await keys.create({"name": "a", "models": [MODEL], "requests_per_minute": 9})
        async with KeyRing(settings, keys) as ring:
            await ring.settled(5)
            desk = Desk(kernel, ring, Limits(), lambda: INPUT)
            app = create_app(kernel, settings, desk=desk)
            sock = bind("127.0.0.1", 0)
            async with running(app, settings, sock) as server:
                relay = Relay(sock.getsockname()[1], kernel, settings, upstream, server, [])
                asking = asyncio.create_task(
                    relay.ask(post(chat(False), headers=bearing(key)))
                )  # fmt: skip
                await asyncio.sleep(0.1)
                looked.set()
                reply = await asking
    assert reply.status == 200, reply.body


async def test_a_refusal_names_a_model_as_it_was_asked_for(tmp_path: Path) -> None:
    async with desked(tmp_path) as relay:
        _, secret = await relay.key(models=["other-*"])
        reply = await relay.ask(post(chat(model="0"), headers=bearing(secret)))
    assert_error(reply, 403, "model_not_allowed")
    assert b"'0'" in reply.body
    assert f"'{MODEL}'".encode() not in reply.body


def assert_error_of(reply: Any, status: int, code: str) -> None:
    """Whatever the dialect's shape is."""
    assert reply.status == status, reply.body
    assert code in reply.body.decode() or "rate_limit_error" in reply.body.decode()
