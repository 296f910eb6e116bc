"""`generate`, `stream` and `list_models` with a server that behaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import pytest

from ...chunks import Chunk
from ..scripts import Cut, Play, at, each, json
from ..wire import OpenAIWire
from .base import MODEL, TEXTS, Reply, SuiteBase, said

SHORT = ("é", "\U0001f99c ")
STREAMS = 50
ATTEMPTS = 3
TICK = 0.005  # seconds


class AnswerTests(SuiteBase):
    longest_gap: ClassVar[float] = 0.25
    """Seconds for which fifty streams at a time may keep the event loop from others."""

    async def test_generate_gives_the_text(self) -> None:
        async with self.relay(self.reply()) as relay:
            completion = await relay.generate()
        assert completion.text == "".join(TEXTS)
        assert completion.finish_reason == "stop"

    async def test_stream_gives_the_text(self) -> None:
        async with self.relay(self.reply()) as relay:
            chunks = await relay.stream()
        assert said(chunks) == "".join(TEXTS)
        assert [item.finish_reason for item in chunks if item.finish_reason] == ["stop"]
        assert all(payload != b"[DONE]" for item in chunks for payload in item.payloads())

    async def test_generate_and_stream_agree(self) -> None:
        async with self.relay(self.reply()) as relay:
            assert (await relay.generate()).text == said(await relay.stream())

    async def test_payloads_are_the_upstreams_own(self) -> None:
        wire = self.speaks
        if not isinstance(wire, OpenAIWire):
            pytest.skip("the server does not speak OpenAI's shape")
        async with self.relay(self.reply()) as relay:
            chunks = await relay.stream()
            sent = wire.payloads(relay.asked[0], TEXTS)
        # A usage event that only the relay asked for must not reach the caller.
        expected = [payload for payload in sent if b'"usage"' not in payload]
        assert [payload for item in chunks for payload in item.payloads()] == expected

    async def test_unknown_params_reach_the_wire_or_are_reported(self) -> None:
        value = {"deep": [1, "ü", None]}
        async with self.relay(self.reply()) as relay:
            completion = await relay.generate(x_conformance=value)
            await relay.stream(x_conformance=value)
            sent = [request.json().get("x_conformance") for request in relay.asked]
        if "x_conformance" in self.capabilities().fields:
            assert len(sent) > 1
            assert all(item == value for item in sent)
            assert completion.dropped == ()
        else:
            assert "x_conformance" in completion.dropped

    async def test_the_upstream_is_asked_once_for_an_answer(self) -> None:
        async with self.relay(self.reply()) as relay:
            await relay.generate()
            assert len(relay.asked) == 1
            await relay.stream()
            assert len(relay.asked) == 2

    async def test_segments_may_be_cut_anywhere(self) -> None:
        await self._cut_anywhere(lambda play, cut: play.recut(cut), lambda play: len(play.wire))

    async def test_http_chunks_may_be_cut_anywhere(self) -> None:
        await self._cut_anywhere(lambda play, cut: play.rechunk(cut), lambda play: len(play.body))

    async def _cut_anywhere(self, apply: Any, length: Any) -> None:
        """Every byte apart, then in two at every place: the events stay the same."""
        cuts: list[Cut] = [lambda data: [data]]

        def reply(request: Any) -> Play:
            plain = self.speaks.reply(request, SHORT)
            if len(cuts) == 1:
                cuts.extend([each(1), *(at(place) for place in range(1, length(plain)))])
            changed: Play = apply(plain, cuts[turn])
            return changed

        turn = 0
        async with self.relay(reply) as relay:
            whole = _events(await relay.stream())
            for turn in range(1, len(cuts)):
                assert _events(await relay.stream()) == whole, f"cut {turn}"
        assert turn > 30

    async def test_many_streams_leave_the_loop_free(self) -> None:
        texts = TEXTS * 10

        async def longest_gap() -> float:
            paced = self.reply(texts, lambda play: play.paced(0.002))
            async with self.relay(paced) as relay, ticking() as gaps:
                answers = await asyncio.gather(*(relay.stream() for _ in range(STREAMS)))
            assert {said(chunks) for chunks in answers} == {"".join(texts)}
            return max(gaps)

        await self._stays_below_longest_gap(longest_gap)

    async def test_many_answers_leave_the_loop_free(self) -> None:
        slow: Reply = self.reply(change=lambda play: play.paced(0.05))

        async def longest_gap() -> float:
            async with self.relay(slow) as relay, ticking() as gaps:
                answers = await asyncio.gather(*(relay.generate() for _ in range(STREAMS)))
            assert {item.text for item in answers} == {"".join(TEXTS)}
            return max(gaps)

        await self._stays_below_longest_gap(longest_gap)

    async def _stays_below_longest_gap(self, measure: Callable[[], Awaitable[float]]) -> None:
        """A plugin that blocks does so every time; a neighbour on the machine does not."""
        found = [await measure()]
        while min(found) >= self.longest_gap and len(found) < ATTEMPTS:
            found.append(await measure())
        assert min(found) < self.longest_gap, found

    async def test_listed_models_can_be_asked_for(self) -> None:
        names = [MODEL, "another/model:1", "ünïcode"]
        async with self.relay(self.reply(), self.speaks.listing(names)) as relay:
            assert [item.model for item in relay.kernel.models()] == names

    async def test_a_server_may_list_nothing(self) -> None:
        async with self.relay(self.reply(), self.speaks.listing([])) as relay:
            assert [item.model for item in relay.kernel.models()] == self._unlisted()

    @pytest.mark.parametrize("status", [401, 500, 503])
    async def test_a_failing_list_is_no_list(self, status: int) -> None:
        async with self.relay(self.reply(), self.speaks.refusal(status, "not now")) as relay:
            (server,) = relay.kernel.status()
            assert [item.model for item in relay.kernel.models()] == self._unlisted()
        assert server.stage == "offline"
        assert server.reason

    async def test_a_list_of_the_wrong_shape_is_no_list(self) -> None:
        async with self.relay(self.reply(), json(["nonsense", 1, None])) as relay:
            assert [item.model for item in relay.kernel.models()] == self._unlisted()

    def _unlisted(self) -> list[str]:
        """What is known of a server that lists nothing: the model that its string names."""
        named = self.server().model
        return [named] if named else []


def _events(chunks: Sequence[Chunk]) -> list[Any]:
    """The events, without what a plugin that makes them itself makes anew each time."""
    made = {"id", "created"}
    events = [event for item in chunks for event in item.events()]
    return [{name: event[name] for name in event if name not in made} for event in events]


async def _tick(gaps: list[float]) -> None:
    """Note how late the loop gives each turn, in seconds."""
    loop = asyncio.get_running_loop()
    last = loop.time()
    while True:
        await asyncio.sleep(TICK)
        now = loop.time()
        gaps.append(now - last)
        last = now


@asynccontextmanager
async def ticking() -> AsyncIterator[list[float]]:
    """Gaps between turns of the loop, noted for the length of the block."""
    gaps: list[float] = []
    ticking = asyncio.create_task(_tick(gaps))
    try:
        yield gaps
    finally:
        ticking.cancel()
        await asyncio.wait([ticking])
