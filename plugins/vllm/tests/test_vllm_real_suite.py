"""The conformance suite with a real vLLM's answers; see `vllm_live` for how and what it needs."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest
import pytest_asyncio

from h2o_relay.testing.suite import MODEL, TEXTS, BackendSuite
from h2o_relay.testing.suite.answers import SHORT
from h2o_relay_vllm.conformance import TestVllm as Plain
from h2o_relay_vllm.conformance import TestVllmText as PlainText

from .vllm_live import Live, LiveWire

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
WIRE = LiveWire()
UNKNOWN = {"deep": [1, "ü", None]}
"""As in the suite's test of fields that nobody knows."""


class Recorded:
    """A suite whose server says what the real one says."""

    speaks = WIRE
    invented: ClassVar[type[BackendSuite]]
    """The same with an invented server, to learn what the relay asks."""

    @pytest_asyncio.fixture(autouse=True)
    async def recorded(self, real_vllm: Live) -> None:
        """Have the suite's texts said before the tests need them, some of which are in a hurry."""
        WIRE.live = real_vllm
        plain = self.invented()
        for texts in (TEXTS, SHORT, TEXTS * 10):
            async with plain.relay(plain.reply(texts)) as relay:
                await relay.stream()
                await relay.generate()
                if texts == TEXTS:
                    await relay.stream(x_conformance=UNKNOWN)
                    await relay.generate(x_conformance=UNKNOWN)
                for request in relay.asked:
                    await asyncio.to_thread(WIRE.answer, request, texts)
        await asyncio.to_thread(WIRE.listing, [MODEL])


class TestRealVllm(Recorded, Plain):
    invented = Plain


class TestRealVllmText(Recorded, PlainText):
    invented = PlainText
