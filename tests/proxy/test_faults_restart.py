"""A server that dies under its streams and comes back (F34), and what others notice of faults."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from h2o_relay.testing.upstream import until

from .bench_kit import Benched, benched
from .faults_rows import MAX_EVENT, MIB, ROWS, WHOLE
from .faults_views import Http, Intact, Mid, tokens
from .kit import get
from .raw_client import Reply

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOON = 8.0
"""Seconds in which a relay that is well does anything small, on a machine that is not."""
STREAMS = 20
DIES = "die@after=2~seconds=1"
ANSWERING = "hang"
BYSTANDER = "ok@tokens=100~delay=20"


async def test_a_server_that_dies_under_its_streams() -> None:
    async with benched([DIES], retries=0) as running:
        others = [asyncio.create_task(running.ask(ANSWERING)) for _ in range(STREAMS)]
        await until(lambda: running.bench.count(ANSWERING).open == STREAMS, within=SOON)
        await asyncio.sleep(0.1)  # until the tokens are with the clients
        Mid(2, "upstream_disconnected").check(await running.ask(DIES), streamed=True)
        for reply in await asyncio.gather(*others):
            Mid(3, "upstream_disconnected").check(reply, streamed=True)
        assert running.bench.count(ANSWERING).requests == STREAMS
        away = await running.ask("ok")
        assert away.status in (502, 503), away
        WHOLE.check(await running.well(), streamed=True)
        await running.hang_up()


async def test_a_server_that_dies_before_it_answers() -> None:
    async with benched(["restart@seconds=60"], retries=0) as running:
        Http(502, "upstream_disconnected").check(await running.ask("restart@seconds=60"), True)


async def test_a_bystander_notices_nothing() -> None:
    """All faults of the table at the same time, on the bystander's own server."""
    models = [row.model for row in ROWS]
    limits = {
        "max_event": MAX_EVENT, "answer_timeout": 2.0, "idle_timeout": 10.0, "retries": 2,
    }  # fmt: skip
    async with benched([*models, BYSTANDER], **limits) as running:
        stays = asyncio.create_task(running.ask(BYSTANDER))
        await until(lambda: running.bench.count(BYSTANDER).open, within=SOON)
        faults = [
            asyncio.create_task(running.ask(model, streamed))
            for model in models
            for streamed in (True, False)
        ]
        for _ in range(5):
            await healthy(running)
            await asyncio.sleep(0.1)
        unhurt(await stays)
        for reply in await asyncio.gather(*faults):
            assert reply.complete
            assert len(reply.body) < 2 * MIB
        await running.hang_up()


async def healthy(running: Benched) -> None:
    loop = asyncio.get_running_loop()
    start = loop.time()
    assert (await running.relay.ask(get("/health"))).status == 200
    assert loop.time() - start < SOON


def unhurt(reply: Reply) -> None:
    Intact(tokens(100)).check(reply, streamed=True)
    times = [time for time, _ in reply.pieces]
    assert max(later - time for time, later in pairwise(times)) < SOON
