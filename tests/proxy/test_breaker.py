"""A server that fails request after request is left alone, and asked again when it may be well."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from h2o_relay.testing.scripts import hang, json, play, sse
from h2o_relay.testing.upstream import Answer, Received, until

from .kit import (
    POOL,
    Relay,
    asked_of,
    assert_error,
    assert_intact,
    chat,
    get,
    pooled,
    post,
    relay,
    said,
    serving,
)
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 10.0
FAILS = {"error": {"message": "no", "type": "server_error", "code": None, "param": None}}
BROKEN = json(FAILS, 500)
GOOD = sse(said(3))
FAILURES = 5  # in a row, that open it
STORM, AT_ONCE = 1000, 50


async def ask(running: Relay, model: str = "m") -> Reply:
    return await running.ask(post(chat(model=model)))


async def broken(running: Relay) -> None:
    """Fail until the breaker is open."""
    running.plays(BROKEN)
    for _ in range(FAILURES):
        assert_error(await ask(running), 502, "upstream_bad_response", "upstream_error")
    assert running.kernel.entries[0].health.breaker.is_open


async def test_a_storm_of_errors() -> None:
    """F20: the server is spared, and callers are told at once."""
    async with relay(BROKEN, retries=2) as running:
        limit = asyncio.Semaphore(AT_ONCE)
        seconds: list[float] = []

        async def one() -> Reply:
            async with limit:
                start = time.monotonic()
                reply = await ask(running)
                if reply.status == 503:
                    seconds.append(time.monotonic() - start)
                return reply

        replies = await asyncio.gather(*(one() for _ in range(STORM)))
        for reply in replies:
            if reply.status == 502:
                assert_error(reply, 502, "upstream_bad_response", "upstream_error")
                assert reply.headers["x-should-retry"] == "false"
            else:
                assert_error(reply, 503, "upstream_unavailable", "overloaded_error")
                assert int(reply.headers["retry-after"]) >= 0
                assert "x-should-retry" not in reply.headers
        count = Counter(reply.status for reply in replies)
        assert count[503] > STORM / 2, count
        assert len(running.asked) < STORM / 2
        alone = []
        for _ in range(20):
            start = time.monotonic()
            if (await ask(running)).status == 503:
                alone.append(time.monotonic() - start)
        assert sorted(alone)[len(alone) // 2] < 0.25


async def test_the_error_says_how_long_and_why() -> None:
    async with relay(retries=0, refresh=60.0) as running:
        await broken(running)
        running.kernel.entries[0].health.breaker._until = time.monotonic() + 3
        reply = await ask(running)
        assert_error(reply, 503, "upstream_unavailable", "overloaded_error")
        assert 1 <= int(reply.headers["retry-after"]) <= 3
        assert "m" in reply.error["message"]
        state = (await running.ask(get("/v1/models/m"))).json()["h2o"]
        assert state["state"] == "offline"
        assert_error(await running.ask(get("/readyz")), 503, "upstream_unavailable")
        assert len(running.asked) == FAILURES


async def test_it_is_asked_again_once_it_is_well() -> None:
    async with relay(retries=0) as running:
        await broken(running)
        well = False

        async def trial(request: Received, answer: Answer) -> None:
            await (GOOD if well else BROKEN)(request, answer)

        running.upstream.script = serving(trial)
        await asyncio.sleep(0.2)
        well = True
        deadline = time.monotonic() + SOON
        while (reply := await ask(running)).status != 200:
            assert time.monotonic() < deadline, reply
            await asyncio.sleep(0.05)
        assert_intact(reply, said(3))
        assert not running.kernel.entries[0].health.breaker.is_open
        assert (await running.ask(get("/readyz"))).status == 200


async def test_one_trial_at_a_time() -> None:
    async with relay(retries=0) as running:
        await broken(running)
        running.upstream.requests.clear()
        slow = GOOD.paced(0.1)
        running.upstream.script = serving(slow)
        running.kernel.entries[0].health.breaker.answered(time.monotonic())
        replies = await asyncio.gather(*(ask(running) for _ in range(10)))
        assert sorted(reply.status for reply in replies) == [200] + [503] * 9
        assert len(running.asked) == 1
        assert_intact(await ask(running), said(3))


async def test_a_trial_that_runs_out_of_time_shows_nothing() -> None:
    async with relay(retries=0) as running:
        await broken(running)
        running.upstream.script = serving(play(hang))
        breaker = running.kernel.entries[0].health.breaker
        breaker.answered(time.monotonic())
        reply = await running.ask(post(chat(max_time=0.2)))
        assert_error(reply, 504, "deadline_exceeded", "timeout_error")
        assert breaker.is_open
        running.upstream.script = serving(GOOD)
        assert_intact(await ask(running), said(3))
        assert not breaker.is_open


async def test_the_callers_own_mistakes_do_not_move_it() -> None:
    mistakes = [json(FAILS, status) for status in (400, 404, 413, 422)]
    async with relay(retries=2) as running:
        for script in mistakes * 3:
            running.upstream.script = serving(script)
            reply = await ask(running)
            assert 400 <= reply.status < 500
            assert "x-should-retry" not in reply.headers
        assert len(running.asked) == 3 * len(mistakes)
        assert not running.kernel.entries[0].health.troubled


async def test_in_a_pool_the_others_answer() -> None:
    async with pooled(json(FAILS, 503), GOOD, retries=2) as running:
        for _ in range(30):
            assert_intact(await ask(running, POOL), said(3))
        first = asked_of(running.upstream)
        assert len(first) <= FAILURES + 1
        assert len(asked_of(running.others[0])) == 30


async def test_a_member_that_comes_back_answers_again() -> None:
    async with pooled(GOOD, GOOD, retries=2, refresh=0.2) as running:
        running.upstream.vanish()
        for _ in range(FAILURES + 1):
            assert (await ask(running, POOL)).headers["x-h2o-server"] == "b"
        await running.upstream.listen()
        await until(lambda: running.kernel.status()[0].state == "healthy", within=SOON)
        deadline = time.monotonic() + SOON
        while (reply := await ask(running, POOL)).headers["x-h2o-server"] != "a":
            assert time.monotonic() < deadline, reply
            await asyncio.sleep(0.05)
