"""The suite for backends without a server: what answers is the plugin itself, in this process.

    class TestMarkov(LocalSuite):
        plugin = "markov"
        server_string = "markov"
        documented = {"markov": {"model": "markov"}}
        malformed = ["markov:"]

There is no upstream that could be scripted, so it asks for real answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from ...chunks import Chunk, Completion
from ...errors import InvalidRequest
from ...kernel import Kernel
from ...types import Kind
from ..settings import quick
from ..sockets import no_sockets
from ..upstream import until
from .answers import ticking
from .base import prompt, said
from .declaring import DeclaringTests
from .judged import Judged
from .parsing import ParsingTests

TOGETHER = 20  # answers at the same time
FINISHED = ("stop", "length")
ODD: tuple[list[dict[str, Any]], ...] = (
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": [{"type": "text", "text": "In parts."}]}],
    [{"role": "system", "content": "Be brief."}],
    [{"role": "assistant", "content": None}, {"role": "user", "content": "\x00 \U0001f99c"}],
)


@dataclass(frozen=True, slots=True)
class LocalRelay:
    """A kernel with one server, the plugin's own."""

    kernel: Kernel
    kind: Kind
    params: Mapping[str, Any]

    async def stream(self, **more: Any) -> list[Chunk]:
        asked = {**self.params, "stream": True, **more}
        async with self.kernel.stream(self.kind, asked) as answer:
            return [item async for item in answer]

    async def generate(self, **more: Any) -> Completion:
        return await self.kernel.generate(self.kind, {**self.params, **more})


class LocalSuite(Judged, ParsingTests, DeclaringTests):
    """Subclass it as `Test...` and set `plugin`, `server_string`, `documented` and `malformed`."""

    server_string: ClassVar[str]
    """The server string of what is asked for answers."""
    asks: ClassVar[Mapping[str, Any]] = {}
    """Fields for every request; with them `generate` and `stream` must give the same text (a
    seed, say)."""
    endless: ClassVar[Mapping[str, Any]] = {}
    """Fields that make an answer take longer than a second."""
    longest_gap: ClassVar[float] = 0.25
    """Seconds for which twenty answers at a time may keep the event loop from others."""
    within: ClassVar[float] = 0.5
    """Seconds in which an answer that nobody wants must have ended."""

    def server_for(self, url: str) -> str:
        return self.server_string

    @asynccontextmanager
    async def local(self) -> AsyncIterator[LocalRelay]:
        """A relay whose one server is the plugin's; it asks for the first model that is listed."""
        kernel = Kernel(quick(), servers=[self.server_string], plugins=self.plugins())
        async with kernel:
            await kernel.settled(20)
            models = [item.name for item in kernel.models()]
            assert models, f"no model: {[item.reason for item in kernel.status()]}"
            asked = {"model": models[0], **prompt(self.kind), **self.asks}
            yield LocalRelay(kernel, self.kind, asked)

    async def test_a_model_is_listed(self) -> None:
        async with self.local() as relay:
            assert relay.params["model"]

    async def test_generate_answers(self) -> None:
        async with self.local() as relay:
            completion = await relay.generate()
        assert completion.text.strip()
        assert completion.finish_reason in FINISHED

    async def test_stream_answers(self) -> None:
        async with self.local() as relay:
            chunks = await relay.stream()
        assert said(chunks).strip()
        reasons = [item.finish_reason for item in chunks if item.finish_reason]
        assert len(reasons) == 1
        assert reasons[0] in FINISHED
        assert all(payload != b"[DONE]" for item in chunks for payload in item.payloads())

    async def test_generate_and_stream_agree(self) -> None:
        async with self.local() as relay:
            assert (await relay.generate()).text == said(await relay.stream())

    async def test_odd_conversations_are_answered_or_refused(self) -> None:
        if "chat" not in self.capabilities().kinds:
            pytest.skip("the plugin has no chat")
        async with self.local() as relay:
            for messages in ODD:
                asked = {**self.asks, "model": relay.params["model"], "messages": messages}
                with suppress(InvalidRequest):
                    assert isinstance(await relay.kernel.generate("chat", asked), Completion)

    async def test_unknown_params_are_reported(self) -> None:
        async with self.local() as relay:
            completion = await relay.generate(x_conformance=1)
        honoured = "x_conformance" in self.capabilities().fields
        assert honoured or "x_conformance" in completion.dropped
        assert not honoured, "a local plugin knows which fields it honours: capabilities must say"

    async def test_answers_need_no_network(self) -> None:
        with no_sockets():
            async with self.local() as relay:
                assert (await relay.generate()).text
                assert said(await relay.stream())

    async def test_many_streams_leave_the_loop_free(self) -> None:
        await self._stays_free(lambda relay: relay.stream())

    async def test_many_answers_leave_the_loop_free(self) -> None:
        await self._stays_free(lambda relay: relay.generate())

    async def _stays_free(self, ask: Callable[[LocalRelay], Awaitable[Any]]) -> None:
        """A plugin that blocks does so every time; a neighbour on the machine does not."""
        found: list[float] = []
        while not found or (min(found) >= self.longest_gap and len(found) < 3):
            async with self.local() as relay, ticking() as gaps:
                await asyncio.gather(*(ask(relay) for _ in range(TOGETHER)))
                await asyncio.sleep(0.02)
            found.append(max(gaps))
        assert min(found) < self.longest_gap, found

    async def test_leaving_a_stream_ends_its_work(self) -> None:
        async with self.local() as relay:
            before = asyncio.all_tasks()
            asked = {**relay.params, **self.endless, "stream": True}
            async with relay.kernel.stream(relay.kind, asked) as answer:
                assert isinstance(await anext(aiter(answer)), Chunk)
            await until(lambda: not asyncio.all_tasks() - before, within=self.within)

    async def test_cancelling_generate_ends_its_work(self) -> None:
        async with self.local() as relay:
            before = asyncio.all_tasks()
            task = asyncio.create_task(relay.generate(**self.endless))
            await asyncio.sleep(0.05)
            assert not task.done(), "set `endless`, so that an answer takes longer than a second"
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asyncio.wait_for(task, self.within)
            await until(lambda: not asyncio.all_tasks() - before, within=self.within)
