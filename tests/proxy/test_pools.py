"""Pools on real sockets: who answers when a server does not, what is told of it, and when not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence

import pytest

from h2o_relay.pools import PoolSpec
from h2o_relay.testing.scripts import hang, head, in_turn, json, play, reset, sse
from h2o_relay.testing.upstream import Script, until
from h2o_relay.types import Tuning

from .kit import (
    POOL,
    Relay,
    asked_of,
    assert_cut,
    assert_error,
    assert_intact,
    chat,
    completion,
    get,
    listing,
    pooled,
    post,
    relay,
    said,
)
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 5.0
GOOD = sse(said(3))
FAILS = {"error": {"message": "no", "type": "server_error", "code": None, "param": None}}
REFUSED = {
    "no room": json(FAILS, 503),
    "bad gateway": json(FAILS, 502),
    "gateway timeout": json(FAILS, 504),
    "a rate limit": json(FAILS, 429),
    "a rate limit that is long": json(FAILS, 429, {"retry-after": "99999"}),
    "a reset": play(reset),
    "the operator's key": json(FAILS, 401),
}
"""What the first server says, before any byte of an answer, when another is asked."""
FINAL = {
    "400": json(FAILS, 400),
    "404": json(FAILS, 404),
    "413": json(FAILS, 413),
    "422": json(FAILS, 422),
    "500": json(FAILS, 500),
}
"""What is passed on: the caller's own mistakes, and what may be the request's fault."""


def sent(running: Relay) -> list[int]:
    """How many requests each server got."""
    return [len(asked_of(one)) for one in (running.upstream, *running.others)]


def told(reply: Reply) -> tuple[str, str, str]:
    """Server, reason and tries; the times are numbers of milliseconds."""
    headers = reply.headers
    assert re.fullmatch(r"\d+", headers["x-h2o-queue-ms"])
    assert re.fullmatch(r"\d+\.\d", headers["x-h2o-overhead-ms"])
    return headers["x-h2o-server"], headers["x-h2o-reason"], headers["x-h2o-attempts"]


async def ask(running: Relay, stream: bool = True, model: str = POOL) -> Reply:
    return await running.ask(post(chat(stream, model=model)))


async def test_the_preferred_member_answers() -> None:
    async with pooled(GOOD, GOOD) as running:
        reply = await ask(running)
        assert_intact(reply, said(3))
        assert told(reply) == ("a", "priority", "1")
        assert reply.headers["x-h2o-queue-ms"] == "0"
        assert 0 <= float(reply.headers["x-h2o-overhead-ms"]) < 1000 * SOON
        assert reply.headers["x-h2o-backend"] == "vllm"
        assert sent(running) == [1, 0]


async def test_a_server_alone() -> None:
    async with relay() as running:
        assert told(await ask(running, model="m")) == ("m", "only-server", "1")


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_another_member_answers(name: str, stream: bool) -> None:
    good = GOOD if stream else json(completion())
    async with pooled(REFUSED[name], good, retries=2) as running:
        reply = await ask(running, stream)
        assert reply.status == 200, reply.body
        assert told(reply) == ("b", "preferred-is-away", "2")
        assert sent(running) == [1, 1]
        if stream:
            assert_intact(reply, said(3))
        else:
            assert reply.json() == completion()


async def test_a_stream_that_ends_before_its_first_event() -> None:
    begun = play(head(200, {"content-type": "text/event-stream"}), reset)
    async with pooled(begun, GOOD, retries=2) as running:
        reply = await ask(running)
        assert_intact(reply, said(3))
        assert told(reply) == ("b", "preferred-is-away", "2")


async def test_a_server_that_is_gone_costs_no_try() -> None:
    async with pooled(GOOD, GOOD, retries=0) as running:
        running.upstream.vanish()
        reply = await ask(running)
        assert_intact(reply, said(3))
        assert reply.headers["x-h2o-server"] == "b"


@pytest.mark.parametrize("name", FINAL)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_what_is_passed_on_is_asked_once(name: str, stream: bool) -> None:
    async with pooled(FINAL[name], GOOD, retries=2) as running:
        reply = await ask(running, stream)
        assert reply.status == (502 if name == "500" else int(name))
        assert sent(running) == [1, 0]


async def test_the_callers_mistakes_are_not_held_against_a_server() -> None:
    async with pooled(FINAL["422"], GOOD, retries=2) as running:
        for _ in range(12):
            assert (await ask(running)).status == 422
        assert sent(running) == [12, 0]
        assert [status.state for status in running.kernel.status()] == ["healthy"] * 2
        running.plays(GOOD)
        assert told(await ask(running)) == ("a", "priority", "1")


async def test_a_stream_that_has_begun_is_not_asked_for_again() -> None:
    async with pooled(GOOD.upto(2) + play(reset), GOOD, retries=2) as running:
        assert_cut(await ask(running), said(2, None), "upstream_disconnected")
        assert sent(running) == [1, 0]


async def test_when_all_refuse_the_last_error_is_told() -> None:
    scripts: Sequence[Script] = (json(FAILS, 503), json(FAILS, 429, {"retry-after": "7"}))
    async with pooled(*scripts, retries=2) as running:
        reply = await ask(running)
        assert_error(reply, 429, "rate_limit_exceeded", "rate_limit_error")
        assert reply.headers["retry-after"] == "7"
        assert sent(running) == [1, 1]


async def test_a_server_that_comes_back_answers_the_same_request() -> None:
    script = in_turn(json(FAILS, 503), json(FAILS, 502), GOOD)
    async with relay(script, retries=2) as running:
        reply = await ask(running, model="m")
        assert_intact(reply, said(3))
        assert told(reply) == ("m", "only-server", "3")


async def test_a_wait_that_is_longer_than_a_second_is_the_callers() -> None:
    start = asyncio.get_running_loop().time()
    async with relay(json(FAILS, 429, {"retry-after": "30"}), retries=2) as running:
        reply = await ask(running, model="m")
        assert_error(reply, 429, "rate_limit_exceeded")
        assert reply.headers["retry-after"] == "30"
        assert sent(running) == [1]
    assert asyncio.get_running_loop().time() - start < 10


async def test_a_full_queue_is_told_at_once() -> None:
    async with (
        pooled(play(hang), pool={"queue": 1}, tuning=Tuning(concurrency=1)) as running,
        running.client() as runs,
        running.client() as waits,
    ):
        pool = running.kernel.snapshot.pools[POOL]
        await runs.send(post(chat(model=POOL)))
        await until(lambda: running.upstream.answering, within=SOON)
        await waits.send(post(chat(model=POOL)))
        await until(lambda: pool.waiting, within=SOON)
        reply = await ask(running)
        assert_error(reply, 503, "gateway_overloaded", "overloaded_error")
        assert reply.headers["retry-after"] == "5"
        assert sent(running) == [1]
        model = (await running.ask(get(f"/v1/models/{POOL}"))).json()["h2o"]
        assert (model["state"], model["running"], model["waiting"]) == ("busy", 1, 1)


async def test_a_wait_in_the_queue_is_told() -> None:
    limits = Tuning(concurrency=1)
    script = sse(said(3)).paced(0.1)
    async with pooled(script, tuning=limits) as running:
        replies = await asyncio.gather(*(ask(running) for _ in range(2)))
        for reply in replies:
            assert_intact(reply, said(3))
        waits = sorted(int(reply.headers["x-h2o-queue-ms"]) for reply in replies)
        assert waits[0] < 100
        assert 200 <= waits[1] <= 1000 * SOON


async def test_a_wait_that_is_too_long_is_told() -> None:
    limits = Tuning(concurrency=1)
    async with (
        pooled(play(hang), tuning=limits, queue_timeout=0.2) as running,
        running.client() as runs,
    ):
        await runs.send(post(chat(model=POOL)))
        await until(lambda: running.upstream.answering, within=SOON)
        reply = await ask(running)
        assert_error(reply, 503, "gateway_overloaded", "overloaded_error")
        assert reply.headers["retry-after"] == "1"


async def test_pools_over_the_other_paths() -> None:
    """Requests that are passed on are tried elsewhere, too."""
    answer = {"object": "list", "data": []}
    async with pooled(json(FAILS, 503), json(answer), retries=2) as running:
        reply = await running.ask(post({"model": POOL, "input": "x"}, "/v1/embeddings"))
        assert reply.json() == answer
        assert told(reply) == ("b", "preferred-is-away", "2")
        (received,) = asked_of(running.others[0])
        assert received.json() == {"model": "m", "input": "x"}


async def test_a_pool_whose_servers_are_all_away() -> None:
    async with pooled(GOOD, GOOD, models=json({}, 500)) as running:
        await running.kernel.settled(SOON)
        reply = await ask(running)
        assert_error(reply, 503, "upstream_unavailable", "overloaded_error")
        assert reply.headers["retry-after"] == "5"
        message = reply.error["message"]
        assert "a is offline, b is offline" in message
        assert_error(await running.ask(get("/readyz")), 503, "upstream_unavailable")


async def test_half_of_a_pool_does_not_keep_it_from_answering() -> None:
    dead = [("vllm_chat:http://127.0.0.1:9/v1", "x"), ("vllm_chat:{url}/v1", "y")]
    pools = [PoolSpec(name=POOL, members=("x", "y"), strategy="priority")]
    async with relay(servers=dead, pools=pools, models=listing("m")) as running:
        assert told(await ask(running)) == ("y", "preferred-is-away", "1")
