"""One request's tries: where next, how often, what is told in the end, and nothing kept."""

import asyncio
from typing import Any

import pytest

from h2o_relay.errors import (
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    RateLimited,
    RelayError,
    UpstreamBadResponse,
    UpstreamUnavailable,
)
from h2o_relay.kernel import Kernel
from h2o_relay.testing.scripts import hang, head, play, reset
from h2o_relay.testing.upstream import Answer, Received, until
from h2o_relay.types import Call, Model

from .pools_kit import ASK, SOON, Backend, fails, pool, pooled, read, refusing, state, whole

pytestmark = pytest.mark.usefixtures("leaves_nothing")
CUT = play(head(200, {"content-type": "text/event-stream"}),
           b'data: {"choices": [{"index": 0, "delta": {"content": "x"}}]}\n\n', reset)  # fmt: skip


def embeddings(model: str) -> Call:
    body = b'{"model": "%b", "input": "x"}' % model.encode()
    return Call(
        method="POST", path="/embeddings", headers={"content-type": "application/json"},
        body=body, params={"model": model, "input": "x"},
    )  # fmt: skip


async def forwarded(kernel: Kernel, model: str) -> None:
    async with kernel.forward(model, embeddings(model)) as reply:
        async for _ in reply.chunks:
            pass


def order(*names: str, **options: Any) -> Any:
    return pool("p", *names, strategy="priority", **options)


@pytest.mark.parametrize("how", [read, whole])
async def test_the_next_member(how: Any) -> None:
    a, b = Backend("a", refusing(503)), Backend("b")
    async with pooled(a, b, pools=(order("a", "b"),)) as kernel:
        assert await how(kernel, "p") == "b"
        assert (a.asked, b.asked) == (1, 1)


async def test_what_is_told() -> None:
    a, b = Backend("a", refusing(503)), Backend("b")
    async with pooled(a, b, pools=(order("a", "b"),)) as kernel:
        async with kernel.stream("chat", {**ASK, "model": "p"}) as answer:
            tries = answer.tries
        assert (tries.server, tries.count, tries.queued < SOON) == ("b", 2, True)
        assert tries.overhead >= 0


async def test_retries_are_bounded() -> None:
    a, b = Backend("a", refusing(503)), Backend("b", refusing(502))
    async with pooled(a, b, pools=(order("a", "b"),), retries=3) as kernel:
        assert type(await fails(kernel, "p")) in (UpstreamUnavailable, UpstreamBadResponse)
        assert a.asked + b.asked == 4


@pytest.mark.parametrize("status", [400, 404, 413, 422, 500])
async def test_not_what_would_be_the_same(status: int) -> None:
    a, b = Backend("a", refusing(status)), Backend("b")
    async with pooled(a, b, pools=(order("a", "b"),)) as kernel:
        await fails(kernel, "p")
        assert (a.asked, b.asked) == (1, 0)


@pytest.mark.parametrize("how", [read, whole])
async def test_not_what_has_begun(how: Any) -> None:
    """A whole answer is a stream where that is what can be cancelled."""
    a, b = Backend("a", CUT), Backend("b")
    async with pooled(a, b, pools=(order("a", "b"),)) as kernel:
        with pytest.raises(RelayError, match="broke off"):
            await how(kernel, "p", stream=how is read, max_time=30)
        assert (a.asked, b.asked) == (1, 0)


async def test_a_retry_counts_until_its_first_piece() -> None:
    """Envoy's budget is for those that run, not for those that are decided."""
    a, b = Backend("a", refusing(503)), Backend("b", play(hang))
    async with pooled(a, b, pools=(order("a", "b"),)) as kernel:
        task = asyncio.create_task(read(kernel, "p"))
        await until(lambda: b.asked == 1, within=SOON)
        assert kernel.budget.running == 1
        task.cancel()
        await asyncio.wait([task])
        assert kernel.budget.running == 0


async def test_a_retry_that_is_cancelled_while_it_waits() -> None:
    a = Backend("a", refusing(503, retry_after="1"))
    async with pooled(a) as kernel:
        task = asyncio.create_task(whole(kernel, "a"))
        await until(lambda: kernel.budget.running == 1, within=SOON)
        task.cancel()
        await asyncio.wait([task])
        assert kernel.budget.running == 0


async def test_of_forward_too() -> None:
    a, b = Backend("a", refusing(503)), Backend("b", play(hang))
    async with pooled(a, b, pools=(order("a", "b"),)) as kernel:
        task = asyncio.create_task(forwarded(kernel, "p"))
        await until(lambda: b.asked == 1, within=SOON)
        assert kernel.budget.running == 1
        task.cancel()
        await asyncio.wait([task])
        assert kernel.budget.running == 0


async def test_the_first_error_is_what_is_told() -> None:
    """Not that another member had no room for a second try."""
    a, b = Backend("a", refusing(503)), Backend("b", play(hang))
    pools = (pool("p", "a", "b", strategy="priority", queue=0),)
    async with pooled(a, b, pools=pools, limits={"b": 1}, retries=1) as kernel:
        busy = asyncio.create_task(read(kernel, "b"))
        await until(lambda: b.asked == 1, within=SOON)
        error = await fails(kernel, "p")
        assert error.upstream_status == 503, error
        busy.cancel()
        await asyncio.wait([busy])


class TestFallback:
    async def test_where_no_member_can(self) -> None:
        a, b = Backend("a", refusing(503)), Backend("b")
        async with (
            pooled(a, b, pools=(pool("p", "a", fallback="b"),)) as kernel,
            kernel.stream("chat", {**ASK, "model": "p"}) as answer,
        ):
            assert (answer.tries.server, answer.tries.reason) == ("b", "fallback")

    async def test_of_a_fallback(self) -> None:
        a, b, c = Backend("a", refusing(503)), Backend("b", refusing(503)), Backend("c")
        pools = pool("p", "a", fallback="q"), pool("q", "b", fallback="c")
        async with pooled(a, b, c, pools=pools) as kernel:
            assert await read(kernel, "p") == "c"

    async def test_past_one_that_has_no_members(self) -> None:
        a, c = Backend("a", refusing(503)), Backend("c")
        pools = pool("p", "a", fallback="q"), pool("q", "nobody", fallback="c")
        async with pooled(a, c, pools=pools) as kernel:
            assert await read(kernel, "p") == "c"

    async def test_in_a_circle(self) -> None:
        a, b = Backend("a", refusing(503)), Backend("b", refusing(503))
        pools = pool("p", "a", fallback="q"), pool("q", "b", fallback="p")
        async with pooled(a, b, pools=pools) as kernel:
            async with asyncio.timeout(SOON):
                error = await fails(kernel, "p")
            assert error.upstream_status == 503
            assert a.asked + b.asked <= 6

    async def test_to_a_name_that_nobody_has(self) -> None:
        a = Backend("a", refusing(503))
        async with pooled(a, pools=(pool("p", "a", fallback="nobody"),)) as kernel:
            error = await fails(kernel, "p")
            assert not isinstance(error, ModelNotFound)
            assert error.upstream_status == 503

    async def test_not_for_the_callers_mistake(self) -> None:
        a, b = Backend("a", refusing(400)), Backend("b")
        async with pooled(a, b, pools=(pool("p", "a", fallback="b"),)) as kernel:
            assert (await fails(kernel, "p")).status == 400
            assert b.asked == 0

    async def test_where_too_many_wait(self) -> None:
        a, b = Backend("a", play(hang)), Backend("b")
        pools = (pool("p", "a", fallback="b", queue=0),)
        async with pooled(a, b, pools=pools, limits={"a": 1}) as kernel:
            busy = asyncio.create_task(read(kernel, "a"))
            await until(lambda: a.asked == 1, within=SOON)
            assert await read(kernel, "p") == "b"
            busy.cancel()
            await asyncio.wait([busy])


class TestTheBreaker:
    async def broken(self, kernel: Kernel, backend: Backend, model: str = "a") -> None:
        """Its server fails until it is left alone; then it is well, and a trial is due."""
        backend.reply = refusing(500)
        for _ in range(5):
            await fails(kernel, model)
        assert state(kernel, 0) == "offline"
        backend.reply = None
        kernel.entries[0].health.breaker.answered(0.0)
        assert state(kernel, 0) == "unknown"

    async def test_nobody_waits_for_what_fails(self) -> None:
        a = Backend("a")
        async with pooled(a) as kernel:
            await self.broken(kernel, a)
            assert await read(kernel, "a") == "a"
            assert state(kernel, 0) == "healthy"

    async def test_it_is_told_when_to_come_again(self) -> None:
        a = Backend("a", refusing(500))
        async with pooled(a) as kernel:
            for _ in range(5):
                await fails(kernel, "a")
            error = await fails(kernel, "a")
            assert isinstance(error, UpstreamUnavailable)
            assert 0 < (error.retry_after or 0) <= 3
            assert a.asked == 5

    @pytest.mark.parametrize("how", [read, whole, forwarded])
    async def test_a_trial_that_is_cancelled(self, how: Any) -> None:
        a = Backend("a")
        async with pooled(a) as kernel:
            await self.broken(kernel, a)
            a.reply, before = play(hang), a.asked
            task = asyncio.create_task(how(kernel, "a"))
            await until(lambda: a.asked > before, within=SOON)
            task.cancel()
            await asyncio.wait([task])
            assert state(kernel, 0) == "unknown"
            a.reply = None
            assert await read(kernel, "a") == "a"

    async def test_a_whole_answer_that_is_cancelled_in_the_middle_is_no_answer(self) -> None:
        """It is assembled from a stream where `max_time` limits it."""
        a = Backend("a")
        async with pooled(a) as kernel:
            a.reply = refusing(429, retry_after="60")
            await fails(kernel, "a")
            before = a.asked
            a.reply = play(*CUT.steps[:-1], hang)
            task = asyncio.create_task(whole(kernel, "a", max_time=30))
            await until(lambda: a.asked > before, within=SOON)
            await until(lambda: not kernel.budget.running, within=SOON)
            await asyncio.sleep(0.05)
            task.cancel()
            await asyncio.wait([task])
            assert state(kernel, 0) == "rate-limited"

    async def test_a_trial_that_is_refused_before_it_is_sent(self) -> None:
        a = Backend("a")
        async with pooled(a) as kernel:
            await self.broken(kernel, a)
            entry, before = kernel.entries[0], a.asked
            entry.models = [Model(id="a", kinds=frozenset({"chat"}))]
            kernel.rebuild()
            with pytest.raises(InvalidRequest, match="only chats"):
                await kernel.generate("text", {"model": "a", "prompt": [1, 2]})
            assert (a.asked, state(kernel, 0)) == (before, "unknown")
            assert await read(kernel, "a") == "a"

    async def test_a_trial_of_what_cannot_be_asked(self) -> None:
        """The model is gone from the server's list: the turn must not be lost with it."""
        a = Backend("a")
        async with pooled(a) as kernel:
            await self.broken(kernel, a)
            entry = kernel.entries[0]
            entry.stage, entry.reason = "mismatch", "the server does not list a"
            kernel.rebuild()
            assert isinstance(await fails(kernel, "a"), ModelNotFound)
            entry.stage, entry.reason = "ready", ""
            kernel.rebuild()
            assert await read(kernel, "a") == "a"

    async def test_a_long_trial_lets_others_through(self) -> None:
        a = Backend("a")
        async with pooled(a) as kernel:
            await self.broken(kernel, a)
            a.reply = play(*CUT.steps[:-1], hang)
            async with kernel.stream("chat", {**ASK, "model": "a"}) as answer:
                assert (await answer.__anext__()).text == "x"
                assert state(kernel, 0) == "healthy"
                a.reply = None
                assert await read(kernel, "a") == "a"


async def test_a_server_that_limits_the_rate_is_left_to_the_others() -> None:
    a, b = Backend("a", refusing(429, retry_after="30")), Backend("b")
    async with pooled(a, b, pools=(order("a", "b"),)) as kernel:
        assert await read(kernel, "p") == "b"
        assert await read(kernel, "p") == "b"
        assert (a.asked, state(kernel, 0)) == (1, "rate-limited")


async def test_a_long_pause_is_passed_on() -> None:
    a = Backend("a", refusing(429, retry_after="30"))
    async with pooled(a) as kernel:
        error = await fails(kernel, "a")
        assert isinstance(error, RateLimited)
        assert (error.retry_after, a.asked) == (30, 1)


async def test_one_refusal_does_not_take_a_pool_down() -> None:
    """403 may be about one caller's request, and every member is asked for it."""
    a, b = Backend("a", refusing(403)), Backend("b", refusing(403))
    async with pooled(a, b, pools=(order("a", "b"),)) as kernel:
        await fails(kernel, "p")
        assert [state(kernel, 0), state(kernel, 1)] == ["auth-error", "auth-error"]
        a.reply = b.reply = None
        assert await read(kernel, "p") in "ab"


async def test_who_waits_too_long_is_told() -> None:
    a = Backend("a", play(hang))
    async with pooled(a, pools=(pool("p", "a"),), limits={"a": 1}, queue_timeout=0.1) as kernel:
        busy = asyncio.create_task(read(kernel, "a"))
        await until(lambda: a.asked == 1, within=SOON)
        error = await fails(kernel, "p")
        assert type(error) is Overloaded
        assert "waited for 0.1 s for the model `p`" in error.message
        busy.cancel()
        await asyncio.wait([busy])


async def test_a_wait_in_the_queue_does_not_make_the_clock_old() -> None:
    """A server whose breaker has closed to a trial meanwhile gets it."""
    a = Backend("a")
    release = asyncio.Event()

    async def held(request: Received, answer: Answer) -> None:
        await release.wait()
        await refusing(500)(request, answer)

    async with pooled(a, pools=(pool("p", "a"),), limits={"a": 1}) as kernel:
        a.reply = held
        first = asyncio.create_task(fails(kernel, "p"))
        await until(lambda: a.asked == 1, within=SOON)
        second = asyncio.create_task(read(kernel, "p"))
        await until(lambda: kernel.snapshot.pools["p"].waiting == 1, within=SOON)
        a.reply = None
        health = kernel.entries[0].health
        health.troubled = True
        now = asyncio.get_running_loop().time()
        for _ in range(5):
            health.breaker.failed(now)
        health.breaker.answered(now + 0.01)
        await asyncio.sleep(0.05)
        release.set()
        await first
        with_a_trial = await asyncio.wait_for(second, SOON)
        assert with_a_trial == "a"
