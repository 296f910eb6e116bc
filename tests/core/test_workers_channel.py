"""What two processes say to each other, in its order, with its errors."""

import asyncio
from typing import Any

import pytest

from h2o_relay.accounting.caller import Allowance, Caller
from h2o_relay.accounting.permits import LimitReached, Standing, too_fast
from h2o_relay.accounting.sliced_counters import SlicedCounters
from h2o_relay.accounting.slices import Coordinator
from h2o_relay.errors import ModelNotFound, RelayError, UpstreamRejected
from h2o_relay.testing.upstream import until
from h2o_relay.workers.channel import ChannelClosed
from h2o_relay.workers.slices_link import RemoteSlices, slices_handlers
from h2o_relay.workers.values import dumped, loaded

from .workers_kit import connected

SOON = 5.0
MAY = Allowance(requests_per_minute=10, concurrent=8, budget=1.0)


async def test_what_is_told_comes_in_its_order_and_before_answers() -> None:
    heard: list[Any] = []

    async def slow(value: int) -> int:
        await asyncio.sleep(0)
        return value + len(heard)

    one, other = await connected({}, {"note": heard.append, "slow": slow, "count": heard.__len__})
    for number in range(1000):
        one.say("note", b"x" * number)
    assert await one.ask("count") == 1000
    assert [len(each) for each in heard] == list(range(1000))
    assert await asyncio.gather(*(one.ask("slow", n) for n in range(5))) == [
        1000 + n for n in range(5)
    ]
    one.say("note", b"last")
    one.close()
    await other.closed
    assert heard[-1] == b"last"


@pytest.mark.parametrize(
    "error",
    [
        ModelNotFound("no such model", param="model"),
        too_fast("tokens", 5, 100, 10**9, Standing(MAY, requests=3)),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_errors_come_as_they_are(error: RelayError) -> None:
    def fail() -> None:
        raise error

    one, other = await connected({}, {"fail": fail})
    with pytest.raises(type(error)) as caught:
        await one.ask("fail")
    assert caught.value.body() == error.body()
    assert caught.value.retry_after == error.retry_after
    if isinstance(error, LimitReached):
        assert isinstance(caught.value, LimitReached)
        assert caught.value.headers == error.headers
    one.close()
    await other.closed


async def test_what_is_wrong_with_a_handler_is_logged_and_not_told(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = await connected({}, {"fail": lambda: {}["secret"]})
    with pytest.raises(RelayError, match="Its log has the reason") as caught:
        await one.ask("fail")
    assert "secret" not in caught.value.message
    assert "KeyError: 'secret'" in caplog.text
    one.close()
    await other.closed


async def test_who_asks_is_told_when_the_other_end_goes() -> None:
    one, other = await connected({}, {"wait": asyncio.Event().wait})
    asking = asyncio.create_task(one.ask("wait"))
    await asyncio.sleep(0.05)
    other.close()
    with pytest.raises(ChannelClosed):
        await asking
    with pytest.raises(ChannelClosed):
        await one.ask("wait")
    one.say("wait")


async def test_who_leaves_stops_the_work_or_gives_its_result_back() -> None:
    stopped, gone = asyncio.Event(), list[int]()
    release = asyncio.Event()

    async def wait() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    async def stubborn() -> int:
        try:
            await release.wait()
        except asyncio.CancelledError:
            return 7
        return 1

    one, other = await connected({}, {"wait": wait, "stubborn": stubborn})
    for what in ("wait", "stubborn"):
        asking = asyncio.create_task(one.ask(what, unwanted=gone.append))
        await asyncio.sleep(0.05)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    await asyncio.wait_for(stopped.wait(), SOON)
    await until(lambda: gone == [7], within=SOON)
    one.close()
    await other.closed


async def test_limits_are_handed_out_over_it() -> None:
    coordinator = Coordinator()
    caller = Caller(id="key_1", allowance=MAY)
    workers = []
    for name in ("a", "b"):
        worker, _ = await connected({}, slices_handlers(coordinator))
        workers.append((worker, SlicedCounters(name, RemoteSlices(worker))))
    permits = [await workers[number % 2][1].admit(caller, 10, 1000) for number in range(8)]
    for _, counters in workers:
        with pytest.raises(LimitReached) as caught:
            await counters.admit(caller, 10, 1000)
        assert caught.value.code == "concurrency_exceeded"
    for permit in permits:
        permit.settle(10, 0.0)
        permit.release()
    for worker, counters in workers:
        await counters.aclose()
        worker.close()


async def test_a_slice_that_nobody_waits_for_is_given_back() -> None:
    coordinator = Coordinator()
    worker, _ = await connected({}, slices_handlers(coordinator))
    slices = RemoteSlices(worker)
    caller = Caller(id="key_1", allowance=Allowance(concurrent=1))
    asking = asyncio.create_task(slices.take("a", caller, 1, 0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    found = await asyncio.wait_for(slices.take("a", caller, 1, 0), SOON)
    assert found.amounts.running == 1
    worker.close()


def test_an_error_of_an_upstream_keeps_its_status() -> None:
    error = UpstreamRejected.__new__(UpstreamRejected)
    RelayError.__init__(error, "too hot", code="teapot")
    error.status = error.upstream_status = 418
    same = loaded(dumped([error]))[0]
    assert (same.status, same.upstream_status, same.code) == (418, 418, "teapot")
