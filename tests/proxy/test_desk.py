"""What the desk does to requests: who they are from, what those may, and what is told of each."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.testing.scripts import DONE, json, sse
from h2o_relay.testing.upstream import Answer, Received, until

from .desk_kit import bearing, desked
from .kit import MODEL, assert_error, chat, completion, get, post, said
from .raw_client import error_of

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("leaves_nothing")]
USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}


def usage_event(**more: Any) -> bytes:
    return orjson.dumps({"id": "c", "choices": [], "usage": USAGE, **more})


class Streaming:
    """Streams three tokens, and its usage to whom asks for that."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, request: Received, answer: Answer) -> None:
        body = request.json()
        self.asked.append(body)
        told = (body.get("stream_options") or {}).get("include_usage")
        await sse([*said(3), *([usage_event()] if told else [])])(request, answer)


async def endless(request: Received, answer: Answer) -> None:
    """One token, and never the next."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
    await answer.send(head + b"data: %b\n\n" % said(1, None)[0])
    await answer.hang()


class TestRecords:
    async def test_a_whole_answer(self, tmp_path: Path) -> None:
        async with desked(tmp_path, json(completion())) as relay:
            reply = await relay.ask(post(chat(False), headers={"x-request-id": "mine"}))
            record = await relay.told()
        assert reply.status == 200
        assert (record.id, record.method, record.route) == ("mine", "POST", "/v1/chat/completions")
        assert (record.status, record.key, record.code) == (200, "open", None)
        assert (record.model, record.deployment, record.plugin) == (MODEL, MODEL, "vllm")
        assert (record.prompt_tokens, record.completion_tokens, record.estimated) == (1, 2, False)
        assert record.cost == pytest.approx((1 * 1.0 + 2 * 2.0) / 1e6)
        assert record.attempts == 1
        assert 0 <= record.overhead <= (record.first or 0) <= record.seconds
        assert relay.stored.records == [record]

    async def test_a_stream_is_asked_for_its_usage_which_the_caller_does_not_see(
        self, tmp_path: Path
    ) -> None:
        script = Streaming()
        async with desked(tmp_path, script) as relay:
            reply = await relay.ask(post(chat()))
            record = await relay.told()
        assert reply.payloads == [*said(3), b"[DONE]"]
        assert script.asked[0]["stream_options"] == {"include_usage": True}
        assert (record.prompt_tokens, record.completion_tokens, record.estimated) == (5, 3, False)
        assert record.streamed

    async def test_who_asks_for_the_usage_gets_it(self, tmp_path: Path) -> None:
        async with desked(tmp_path, Streaming()) as relay:
            reply = await relay.ask(post(chat(stream_options={"include_usage": True})))
        assert reply.payloads == [*said(3), usage_event(), b"[DONE]"]

    async def test_a_server_that_does_not_tell(self, tmp_path: Path) -> None:
        async with desked(tmp_path, sse(said(3))) as relay:
            reply = await relay.ask(post(chat()))
            record = await relay.told()
        assert reply.payloads == [*said(3), b"[DONE]"]
        assert record.estimated
        assert record.completion_tokens is not None
        assert record.completion_tokens >= 3

    async def test_what_fails(self, tmp_path: Path) -> None:
        async with desked(tmp_path, json({"error": {"message": "no"}}, 500)) as relay:
            await relay.ask(post(chat(False)))
            failed = await relay.told(1)
            await relay.ask(post(chat(False, model="nobody")))
            unknown = await relay.told(2)
            await relay.ask(post(b"{bad"))
            bad = await relay.told(3)
            await relay.ask(get("/v1/nothing"))
            nothing = await relay.told(4)
        assert (failed.status, failed.code) == (502, "upstream_bad_response")
        assert (failed.model, failed.deployment, failed.plugin) == (MODEL, MODEL, "vllm")
        assert (failed.attempts, failed.first, failed.cost) == (1, None, 0)
        assert (unknown.status, unknown.code, unknown.model) == (404, "model_not_found", "")
        assert (unknown.deployment, unknown.attempts) == ("", 0)
        assert (bad.status, bad.code, bad.cost) == (400, "invalid_json", None)
        assert (nothing.status, nothing.route) == (404, "other")
        assert relay.stored.records == [failed, unknown, bad]  # nobody was asked for the last

    async def test_an_error_in_mid_stream(self, tmp_path: Path) -> None:
        async with desked(tmp_path, sse([*said(2, None), b'{"error":{"message":"x"}}'])) as relay:
            reply = await relay.ask(post(chat()))
            record = await relay.told()
        assert reply.status == record.status == 200
        assert record.code == error_of(reply.payloads[-1])["code"]
        assert record.streamed

    async def test_a_caller_who_leaves(self, tmp_path: Path) -> None:
        async with desked(tmp_path, endless) as relay:
            async with relay.client() as client:
                await client.send(post(chat()))
                await until(lambda: bool(relay.asked), within=5)
            record = await relay.told()
        assert record.aborted
        assert record.status in (200, 499)
        assert (record.deployment, record.attempts) == (MODEL, 1)


class TestKeys:
    async def test_who_it_is(self, tmp_path: Path) -> None:
        async with desked(tmp_path, json(completion())) as relay:
            id, secret = await relay.key(name="team")
            good = await relay.ask(post(chat(False), headers=bearing(secret)))
            bad = await relay.ask(post(chat(False), headers=bearing(secret + "x")))
            none = await relay.ask(post(chat(False)))
            health = await relay.ask(get("/health"))
            await until(lambda: len(relay.sink.records) == 4, within=5)
        assert (good.status, health.status) == (200, 200)
        assert_error(bad, 401, "invalid_api_key")
        assert_error(none, 401, "missing_api_key")
        assert [record.key for record in relay.sink.records] == [id, "open", "open", "open"]
        assert len(relay.asked) == 1

    async def test_no_error_tells_of_models_that_a_key_may_not_use(self, tmp_path: Path) -> None:
        near = f"{MODEL}1"
        async with desked(tmp_path) as relay:
            _, blind = await relay.key(models=["other-*"])
            _, sees = await relay.key(name="b", models=[MODEL])
            for key, hint in ((blind, b"No model is available."), (sees, b"Did you mean")):
                bodies = (post(chat(model=near), headers=bearing(key)),
                          get(f"/v1/models/{near}", **bearing(key)))  # fmt: skip
                for sent in bodies:
                    reply = await relay.ask(sent)
                    assert_error(reply, 404, "model_not_found")
                    assert hint in reply.body
                    assert (f"mean {MODEL}?".encode() in reply.body) is (key is sees)

    async def test_models(self, tmp_path: Path) -> None:
        async with desked(tmp_path, json(completion())) as relay:
            _, secret = await relay.key(models=["other-*"])
            for body in (chat(False), {"messages": chat()["messages"], "model": "0"}):
                reply = await relay.ask(post(body, headers=bearing(secret)))
                assert_error(reply, 403, "model_not_allowed")
            for path, fields in (
                ("/v1/messages", {"max_tokens": 5}), ("/v1/responses", {"input": "hi"}),
                ("/v1/embeddings", {"input": "x"}),
            ):  # fmt: skip
                reply = await relay.ask(post({**chat(False), **fields}, path, bearing(secret)))
                assert reply.status == 403, path
            listed = await relay.ask(get("/v1/models", **bearing(secret)))
            one = await relay.ask(get(f"/v1/models/{MODEL}", **bearing(secret)))
            assert relay.asked == []
        assert listed.json()["data"] == []
        assert one.status == 403

    async def test_a_revoked_keys_streams_end_at_once(self, tmp_path: Path) -> None:
        async with desked(tmp_path, endless) as relay:
            id, secret = await relay.key()
            asking = [
                asyncio.create_task(relay.ask(post(chat(stream), headers=bearing(secret))))
                for stream in (True, True)
            ]
            await until(lambda: len(relay.asked) == 2, within=5)
            await relay.keys.revoke(id)
            await relay.ring.refresh()
            for reply in await asyncio.wait_for(asyncio.gather(*asking), 5):
                assert reply.status == 200
                assert error_of(reply.payloads[-1])["code"] == "invalid_api_key"
                assert DONE not in reply.body
            after = await relay.ask(post(chat(), headers=bearing(secret)))
            assert_error(after, 401, "invalid_api_key")


class TestLimits:
    async def test_requests_per_minute(self, tmp_path: Path) -> None:
        async with desked(tmp_path, json(completion())) as relay:
            _, secret = await relay.key(requests_per_minute=2)
            first = await relay.ask(post(chat(False), headers=bearing(secret)))
            await relay.ask(post(chat(False), headers=bearing(secret)))
            third = await relay.ask(post(chat(False), headers=bearing(secret)))
            assert len(relay.asked) == 2
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert_error(third, 429, "rate_limit_exceeded")
        assert 0 < int(third.headers["retry-after"]) <= 60
        assert third.headers["x-ratelimit-remaining-requests"] == "0"

    async def test_what_was_not_used_is_given_back(self, tmp_path: Path) -> None:
        async with desked(tmp_path, json(completion())) as relay:
            _, secret = await relay.key(tokens_per_minute=1200)
            for _ in range(5):  # each reserves over a thousand, and uses three
                reply = await relay.ask(post(chat(False), headers=bearing(secret)))
                assert reply.status == 200
            bad = await relay.ask(post(chat(False, max_tokens=2000), headers=bearing(secret)))
            assert_error(bad, 429, "rate_limit_exceeded")
            refused = await relay.ask(post(chat(False, n=0), headers=bearing(secret)))
            assert refused.status == 400
            reply = await relay.ask(post(chat(False), headers=bearing(secret)))
            assert reply.status == 200

    async def test_streams_at_the_same_time(self, tmp_path: Path) -> None:
        held = asyncio.Event()

        async def slow(request: Received, answer: Answer) -> None:
            await held.wait()
            await sse(said(1))(request, answer)

        async with desked(tmp_path, slow) as relay:
            _, secret = await relay.key(concurrent=1)
            asking = asyncio.create_task(relay.ask(post(chat(), headers=bearing(secret))))
            await until(lambda: bool(relay.asked), within=5)
            second = await relay.ask(post(chat(), headers=bearing(secret)))
            assert_error(second, 429, "concurrency_exceeded")
            held.set()
            assert (await asking).status == 200
            assert (await relay.ask(post(chat(), headers=bearing(secret)))).status == 200

    async def test_200_at_once_do_not_overspend(self, tmp_path: Path) -> None:
        """An answer costs 2 * 2.0 + 1.0 millionths, and is estimated at some 20."""
        budget = 100e-6
        async with desked(tmp_path, json(completion())) as relay:
            _, secret = await relay.key(budget=budget, budget_period="total")
            asking = [relay.ask(post(chat(False, max_tokens=8), headers=bearing(secret)))
                      for _ in range(200)]  # fmt: skip
            replies = await asyncio.gather(*asking)
            await until(lambda: len(relay.sink.records) == 200, within=10)
            spent = sum(record.cost or 0.0 for record in relay.sink.records)
        good = [reply for reply in replies if reply.status == 200]
        bad = [reply for reply in replies if reply.status != 200]
        assert good
        assert bad
        for reply in bad:
            assert_error(reply, 429, "insufficient_quota")
        assert spent <= budget
        assert spent == pytest.approx(5e-6 * len(good))


async def test_metrics_are_behind_the_key(tmp_path: Path) -> None:
    async with desked(tmp_path, json(completion())) as relay:
        open_ = await relay.ask(get("/metrics"))
        _, secret = await relay.key()
        await relay.ask(post(chat(False), headers=bearing(secret)))
        closed = await relay.ask(get("/metrics"))
        good = await relay.ask(get("/metrics", **bearing(secret)))
    assert open_.status == 200
    assert_error(closed, 401, "missing_api_key")
    assert b'route="/v1/chat/completions"' in good.body
