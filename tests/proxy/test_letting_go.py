"""What was asked is let go of with its answer, however that ended: prompts may be large, and what
an error's traceback holds stays until the garbage collector looks.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from h2o_relay.http_connection import Connection
from h2o_relay.testing.upstream import until
from h2o_relay_proxy import generation
from h2o_relay_proxy.protocol import RelayProtocol

from .bench_kit import benched
from .kit import chat, post

ENDS = ("ok", "status", "reset@after=0", "reset", "html", "error-event", "no-answer", "hang")
LEFT = ("no-answer", "hang")
SOON = 5.0


class Asked(dict[str, Any]):
    """A request's fields that a weak reference may point to."""


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[weakref.ref[Asked]]]:
    """What was decoded, while nobody collects garbage."""
    found: list[weakref.ref[Asked]] = []
    decode = generation.decode

    def decoded(body: bytes) -> Asked:
        fields = Asked(decode(body))
        found.append(weakref.ref(fields))
        return fields

    monkeypatch.setattr(generation, "decode", decoded)
    gc.collect()
    gc.disable()
    try:
        yield found
    finally:
        gc.enable()


@pytest.mark.parametrize("streamed", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("model", ENDS)
async def test_nothing_holds_what_was_asked(
    model: str, streamed: bool, asked: list[weakref.ref[Asked]]
) -> None:
    async with benched(["reset@after=0"]) as running, running.relay.client() as client:
        await client.send(post(chat(streamed, model=model)))
        if model in LEFT:
            await until(lambda: running.bench.count(model).open, within=SOON)
            await asyncio.sleep(0.05)
            client.reset()
        else:
            await client.reply()
        await running.calm(SOON)
        (held,) = asked
        await until(lambda: held() is None, within=SOON)


@pytest.mark.usefixtures("asked")
async def test_closed_connections_are_no_garbage() -> None:
    """Neither a client's nor those to servers: they would be most of what a relay collects. Other
    tests of this process may have left some.
    """
    before = {id(one) for one in alive()}
    async with benched() as running:
        for model in ("ok", *LEFT) * 3:
            async with running.relay.client() as client:
                await client.send(post(chat(model=model)))
                if model in LEFT:
                    await until(lambda name=model: running.bench.count(name).open, within=SOON)
                else:
                    assert (await client.reply()).status == 200
        async with running.relay.client() as client:
            await client.send(post(chat())[:-5])
            await asyncio.sleep(0.05)
        await running.hang_up()
        await until(lambda: not [o for o in alive() if id(o) not in before], within=SOON)


def alive() -> list[Any]:
    """Connections, but for those that are open."""
    found = [o for o in gc.get_objects() if isinstance(o, RelayProtocol | Connection)]
    return [o for o in found if isinstance(o, RelayProtocol) or o.closed]
