"""Counters of a model, and what an answer's bytes say of its tokens."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from h2o_relay.errors import RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.logtail import LogTail
from h2o_relay.meter import INTERVAL, INTERVALS, Meter, counted, says
from h2o_relay.plugins import Plugins
from h2o_relay.spec import ServerSpec
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay.types import Tuning


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [
        (b'data: {"usage":{"prompt_tokens":3,"completion_tokens":12,"total_tokens":15}}\n\n', 12),
        (b'{"usage": {"completion_tokens": 7}}', 7),
        (b'{"usage":{"completion_tokens":1}} {"usage":{"completion_tokens":2}}', 2),
        (b'{"usage":{"completion_tokens":null}}', None),
        (b'{"choices":[]}', None),
        (b"", None),
        (b'{"usage":{"completion_tokens":', None),
    ],
)
def test_tokens_are_read_without_decoding(raw: bytes, tokens: int | None) -> None:
    assert counted(raw) == tokens


@pytest.mark.parametrize(
    ("delta", "tells"),
    [
        (b'{"role":"assistant"}', False),
        (b'{"role":"assistant","content":""}', False),
        (b'{"role": "assistant", "content": null}', False),
        (b'{"role":"assistant","content":"Hi"}', True),
        (b'{"content":""}', True),
        (b'{"content":"Hi"}', True),
        (b'{"tool_calls":[{"index":0}]}', True),
    ],
)
def test_a_role_alone_is_no_token(delta: bytes, tells: bool) -> None:
    event = b'data: {"choices":[{"index":0,"delta":' + delta + b"}]}\n\n"
    assert says(event) is tells
    assert says(event + b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')


def test_history_keeps_ten_minutes_and_forgets_what_is_older() -> None:
    meter, start = Meter(), 1000 * INTERVAL
    for place in range(3 * INTERVALS):
        now = start + place * INTERVAL
        meter.first(now - 0.25, now)
        meter.ended(2, failed=False, now=now)
    history = meter.history(now)
    assert len(history) == INTERVALS
    assert [interval.tokens for interval in history] == [2] * INTERVALS
    assert history[-1].waits == pytest.approx(0.25)
    later = meter.history(now + 2 * INTERVAL)
    assert [interval.requests for interval in later[-3:]] == [1, 0, 0]
    assert meter.tokens == 6 * INTERVALS
    assert meter.latency == pytest.approx(0.25)


def test_latency_follows_slowly() -> None:
    meter = Meter()
    meter.first(0.0, 1.0)
    assert meter.latency == 1.0
    meter.first(10.0, 12.0)
    assert meter.latency == pytest.approx(1.2)


async def test_those_who_wait_are_not_running() -> None:
    spec = ServerSpec(server="echo:m", tuning=Tuning(concurrency=1))
    params: dict[str, Any] = {"messages": [{"role": "user", "content": "a b"}], "model": "m"}
    async with Kernel(quick(), [spec], Plugins.of(echo=echo)) as kernel:
        await kernel.settled(20)
        meter = kernel.snapshot.routes["m"].meter
        async with kernel.stream("chat", params):
            second = asyncio.create_task(kernel.generate("chat", params))
            async with asyncio.timeout(5):
                while not meter.waiting:  # noqa: ASYNC110, nothing tells of it
                    await asyncio.sleep(0.005)
            assert (meter.running, meter.waiting) == (1, 1)
        await second
        assert (meter.running, meter.waiting, meter.requests) == (0, 0, 2)


@pytest.mark.parametrize(("status", "failures"), [(422, 0), (500, 1), (503, 1)])
async def test_a_callers_own_mistake_is_no_failure(status: int, failures: int) -> None:
    asked = {"messages": [{"role": "user", "content": f"!refuse {status}"}], "model": "m"}
    async with Kernel(quick(), ["echo:m"], Plugins.of(echo=echo)) as kernel:
        await kernel.settled(20)
        meter = kernel.snapshot.routes["m"].meter
        with pytest.raises(RelayError):
            async with kernel.stream("chat", asked):
                pass
        assert (meter.running, meter.requests, meter.failures) == (0, 1, failures)
        with pytest.raises(RelayError):
            await kernel.generate("chat", asked)
        assert (meter.running, meter.requests, meter.failures) == (0, 2, 2 * failures)


def test_the_log_tail_holds_the_last_lines() -> None:
    import logging

    tail = LogTail(lines=3)
    log = logging.Logger("tail")
    log.addHandler(tail)
    for number in range(5):
        log.warning("line %d", number)
    assert [line.rsplit(" ", 1)[1] for line in tail.lines()] == ["2", "3", "4"]
    log.warning("a\nb")
    assert tail.lines()[-1] == "b"
    log.warning("x" * 9999)
    assert len(tail.lines()[-1]) == 2000
