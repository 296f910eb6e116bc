"""Whoever leaves takes the upstream's work along: it must not go on for nobody."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from ...chunks import Chunk
from ..scripts import Play, hang, play
from ..upstream import Received, until
from .base import TEXTS, Relay, SuiteBase


class LeavingTests(SuiteBase):
    within: ClassVar[float] = 0.5
    """Seconds in which the upstream must notice that nobody wants its answer."""

    async def test_leaving_after_one_chunk_closes_the_upstream(self) -> None:
        async with self.relay(self._endless) as relay:
            async with relay.kernel.stream(relay.kind, relay.params(stream=True)) as answer:
                assert isinstance(await anext(aiter(answer)), Chunk)
                assert relay.upstream.gone == []
            await self._noticed(relay)

    async def test_leaving_before_reading_closes_the_upstream(self) -> None:
        async with self.relay(self._endless) as relay:
            async with relay.kernel.stream(relay.kind, relay.params(stream=True)):
                pass
            await self._noticed(relay)

    async def test_an_exception_in_the_reader_closes_the_upstream(self) -> None:
        async with self.relay(self._endless) as relay:
            with pytest.raises(KeyError, match="the reader's own"):
                async with relay.kernel.stream(relay.kind, relay.params(stream=True)):
                    raise KeyError("the reader's own")
            await self._noticed(relay)

    async def test_cancelling_a_stream_closes_the_upstream(self) -> None:
        async with self.relay(self._endless) as relay:
            await self._cancelled(relay, asyncio.create_task(relay.stream()))

    async def test_cancelling_before_the_first_chunk_closes_the_upstream(self) -> None:
        async with self.relay(lambda _: play(hang)) as relay:
            await self._cancelled(relay, asyncio.create_task(relay.stream()))

    async def test_cancelling_generate_closes_the_upstream(self) -> None:
        async with self.relay(lambda _: play(hang)) as relay:
            await self._cancelled(relay, asyncio.create_task(relay.generate()))

    async def test_cancelling_generate_in_mid_answer_closes_the_upstream(self) -> None:
        def half(request: Received) -> Play:
            wire = self.speaks.reply(request, TEXTS).wire
            return play(wire[: len(wire) // 2], hang)

        async with self.relay(half) as relay:
            await self._cancelled(relay, asyncio.create_task(relay.generate()))

    async def test_generate_asks_for_a_stream_where_only_that_can_be_stopped(self) -> None:
        if "generate" in self.capabilities().cancels or not self.openai_shaped:
            pytest.skip("the server stops when an unstreamed request is closed")
        async with self.relay(self.reply()) as relay:
            assert (await relay.generate()).text == "".join(TEXTS)
            assert relay.asked[0].json()["stream"] is True

    async def test_leaving_one_answer_leaves_the_others_alone(self) -> None:
        def reply(request: Received) -> Play:
            return self.speaks.reply(request, TEXTS).paced(0.02)

        async with self.relay(reply) as relay:
            others = [asyncio.create_task(relay.stream()) for _ in range(3)]
            async with relay.kernel.stream(relay.kind, relay.params(stream=True)):
                pass
            for chunks in await asyncio.gather(*others):
                assert "".join(item.text for item in chunks) == "".join(TEXTS)
            assert len(relay.upstream.gone) <= 1

    def _endless(self, request: Received) -> Play:
        return self.speaks.reply(request, TEXTS).upto(3) + play(hang)

    async def _cancelled(self, relay: Relay, task: asyncio.Task[object]) -> None:
        await until(lambda: relay.upstream.answering, within=2)
        await asyncio.sleep(0.02)
        task.cancel()
        try:
            await until(task.done, within=self.within)
        except AssertionError:
            await asyncio.wait([task], timeout=5)  # so that a bad one does not outlive the test
            pytest.fail("the answer went on after it was cancelled", pytrace=False)
        assert task.cancelled(), "the cancellation was swallowed"
        await self._noticed(relay)

    async def _noticed(self, relay: Relay) -> None:
        await until(lambda: relay.upstream.gone, within=self.within)
        await until(lambda: not relay.upstream.answering, within=self.within)
