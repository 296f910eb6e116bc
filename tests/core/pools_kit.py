"""A kernel with pools over scripted servers: what tests of pools share."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from h2o_relay.errors import RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.pools import PoolSpec
from h2o_relay.spec import ServerSpec
from h2o_relay.testing import OpenAIWire
from h2o_relay.testing.scripts import json
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until
from h2o_relay.types import Tuning

from . import plain

WIRE = OpenAIWire()
ASK = {"messages": [{"role": "user", "content": "hi"}]}
SOON = 5.0


class Backend:
    """A script that lists one model and answers with its name; `reply` and `listing` replace that
    and may be exchanged at any time.
    """

    def __init__(
        self, name: str, reply: Script | None = None, listing: Script | None = None
    ) -> None:
        self.name, self.reply, self.listing = name, reply, listing
        self.asked = 0
        self.looks = 0

    async def __call__(self, request: Received, answer: Answer) -> None:
        if WIRE.is_listing(request):
            self.looks += 1
            await (self.listing or WIRE.listing([self.name]))(request, answer)
            return
        self.asked += 1
        await (self.reply or WIRE.reply(request, [self.name]))(request, answer)


def refusing(status: int, **headers: str) -> Script:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return json({"error": {"message": "no", "type": "x", "code": "x"}}, status, sent)


def pool(name: str, *members: str | int, **options: Any) -> PoolSpec:
    return PoolSpec(name=name, members=members, **options)


def spec(url: str, name: str | None, **more: Any) -> ServerSpec:
    limit = more.pop("limit", None)
    tuning = Tuning(concurrency=limit)
    return ServerSpec(server=f"plain:{url}/v1", base_model=name, tuning=tuning, **more)


@contextlib.asynccontextmanager
async def pooled(
    *backends: Backend, pools: tuple[PoolSpec, ...] = (), limits: dict[str, int] | None = None,
    **changes: Any,
) -> AsyncIterator[Kernel]:  # fmt: skip
    """A kernel with an entry for each backend, called as that is. In the end nothing is left open,
    no retry is counted as running and no answer as not over.
    """
    async with contextlib.AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(ScriptedUpstream(b)) for b in backends]
        specs = [
            spec(u.url, b.name, limit=(limits or {}).get(b.name))
            for u, b in zip(upstreams, backends, strict=True)
        ]
        kernel = Kernel(quick(**{"retries": 2, **changes}), specs, plain.plugins(), pools)
        async with kernel:
            await kernel.settled(SOON)
            yield kernel
            await until(lambda: kernel.active == 0, within=SOON)
            assert kernel.budget.running == 0
            assert [p.waiting for p in kernel.snapshot.pools.values()] == [0] * len(
                kernel.snapshot.pools
            )
            running = [route.meter.running for route in kernel.snapshot.routes.values()]
            assert running == [0] * len(running)
        await until(lambda: all(upstream.open == 0 for upstream in upstreams), within=SOON)


async def read(kernel: Kernel, model: str | None, **params: Any) -> str:
    """A streamed answer's text."""
    text = ""
    async with kernel.stream("chat", {**ASK, "model": model, **params}) as answer:
        async for chunk in answer:
            text += chunk.text
    return text


async def whole(kernel: Kernel, model: str | None, **params: Any) -> str:
    return (await kernel.generate("chat", {**ASK, "model": model, **params})).text


async def fails(kernel: Kernel, model: str | None, **params: Any) -> RelayError:
    try:
        await read(kernel, model, **params)
    except RelayError as error:
        return error
    raise AssertionError("it was answered")


def state(kernel: Kernel, place: int) -> str:
    return kernel.entries[place].state()[0]
