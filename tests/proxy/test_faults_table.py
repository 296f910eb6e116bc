"""Every fault of the table through a real relay: what the client sees, byte for byte where it
matters, and how often the upstream was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from .bench_kit import Benched, benched
from .faults_rows import ELSEWHERE, IDS, MAX_EVENT, ROWS, Row

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODELS = [row.model for row in ROWS]
AGAIN = [row for row in ROWS if row.is_tried_again]
ONCE = [row for row in ROWS if not row.is_tried_again and not row.hasty]
HASTY = [row for row in ROWS if row.hasty]
both = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])


def every(rows: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("row", rows, ids=[f"{row.id} {row.model}" for row in rows])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def patient() -> AsyncIterator[Benched]:
    async with benched(MODELS, max_event=MAX_EVENT, retries=2) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def resigned() -> AsyncIterator[Benched]:
    """It tries everything once."""
    async with benched(MODELS, max_event=MAX_EVENT, retries=0) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def often(patient: Benched, nothing_left: None) -> AsyncIterator[Benched]:
    """It tries again what can be."""
    yield patient
    await patient.hang_up()


@pytest_asyncio.fixture(loop_scope="module")
async def once(resigned: Benched, nothing_left: None) -> AsyncIterator[Benched]:
    yield resigned
    await resigned.hang_up()


async def check(running: Benched, row: Row, streamed: bool, retrying: bool) -> None:
    bench = running.bench
    await running.recover()
    view, tries = row.expected(streamed, retrying)
    view.check(reply := await running.ask(row.model, streamed), streamed)
    assert str(bench.port).encode() not in reply.body
    await running.calm()
    assert bench.count(row.model).requests == tries
    assert set(bench.counts) == {row.model}
    assert bench.canaries == 0


@both
@every(ONCE)
async def test_what_the_client_sees(often: Benched, row: Row, streamed: bool) -> None:
    await check(often, row, streamed, retrying=True)


@both
async def test_what_it_sees_of_silence(streamed: bool) -> None:
    """All such rows at once: each waits for a clock."""
    limits = {"first_byte_timeout": 2.5, "idle_timeout": 2.5, "answer_timeout": 5.0}

    async def one(row: Row) -> None:
        async with benched([row.model], retries=2, **limits) as running:
            try:
                await check(running, row, streamed, retrying=True)
            except AssertionError as error:
                error.add_note(row.model)
                raise

    await asyncio.gather(*map(one, HASTY))


@both
@every(AGAIN)
async def test_what_it_sees_of_faults_that_are_tried_again(row: Row, streamed: bool) -> None:
    async with benched([row.model], retries=2) as running:  # each its own retry budget
        await check(running, row, streamed, retrying=True)


@both
@every(AGAIN)
async def test_what_it_sees_of_them_when_nothing_is_tried_again(
    once: Benched, row: Row, streamed: bool
) -> None:
    await check(once, row, streamed, retrying=False)


async def test_the_table_is_complete() -> None:
    assert {row.id for row in ROWS} | set(ELSEWHERE) == IDS
    assert not {row.id for row in ROWS} & set(ELSEWHERE)
    assert len(MODELS) == len(set(MODELS))


async def test_the_next_request_gets_its_own_answer(once: Benched) -> None:
    """On a connection that was kept, wherever it can be."""
    good = ROWS[0].streamed
    for row in ROWS:
        for streamed in () if row.hasty else (True, False):
            await once.ask(row.model, streamed)
            try:
                good.check(await once.ask("ok", streamed), streamed)
            except AssertionError as error:
                error.add_note(row.model)
                raise
