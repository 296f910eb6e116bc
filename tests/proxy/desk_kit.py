"""A relay with its desk: keys in a real store, limits, prices, and a sink that remembers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from h2o_relay.accounting.limits import Limits
from h2o_relay.accounting.prices import Price, Prices
from h2o_relay.accounting.record import Record
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.administration import Administration
from h2o_relay.kernel import Kernel
from h2o_relay.spec import ServerSpec
from h2o_relay.store import Keys, Store
from h2o_relay.testing.scripts import sse
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Script, ScriptedUpstream, until
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.desk import Desk
from h2o_relay_proxy.opening import opened_desk
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.seeing.metrics import Metrics
from h2o_relay_proxy.server import running

from .kit import MODEL, Relay, said, serving

MASTER = "master-canary-0123456789"
PRICES = Prices({MODEL: Price(input=1.0, output=2.0)})


@dataclass
class Sink:
    """Remembers; `KeptUsage` likewise."""

    records: list[Record] = field(default_factory=list)
    trouble: str = ""

    def note(self, record: Record) -> None:
        self.records.append(record)


@dataclass
class Desked(Relay):
    keys: Keys
    ring: KeyRing
    sink: Sink
    stored: Sink
    metrics: Metrics

    async def key(self, **wanted: Any) -> tuple[str, str]:
        """A new key: its id and its secret."""
        made, secret = await self.keys.create({"name": "k", **wanted})
        await self.ring.refresh()
        return made.id, secret

    async def told(self, count: int = 1) -> Record:
        """The last of so many records."""
        await until(lambda: len(self.sink.records) >= count, within=5)
        assert len(self.sink.records) == count
        return self.sink.records[-1]


def bearing(key: str, **more: str) -> Mapping[str, str]:
    return {"authorization": f"Bearer {key}", **more}


@contextlib.asynccontextmanager
async def desked(
    folder: Path, script: Script | None = None, prices: Prices = PRICES, **changes: Any
) -> AsyncIterator[Desked]:
    settings = quick(**{"admin_pass": MASTER, **changes})
    sink, stored, metrics = Sink(), Sink(), Metrics()
    async with (
        ScriptedUpstream(serving(script or sse(said(3)), None)) as upstream,
        Kernel(settings, [f"vllm_chat:{upstream.url}/v1"]) as kernel,
        Store(f"sqlite:///{folder}/relay.db") as store,
        KeyRing(settings, Keys(store)) as ring,
    ):
        kernel.counts = True
        await asyncio.gather(kernel.settled(5), ring.settled(5))
        desk = Desk(kernel, ring, Limits(), lambda: prices, [sink], stored, metrics)
        admin = Administration(kernel)
        app = create_app(kernel, settings, kernel.instance, admin, None, desk)
        sock = bind("127.0.0.1", 0)
        port = sock.getsockname()[1]
        async with running(app, settings, sock) as server:
            yield Desked(
                port, kernel, settings, upstream, server, [], Keys(store), ring, sink, stored,
                metrics,
            )  # fmt: skip


def _filled(spec: ServerSpec, url: str) -> ServerSpec:
    return replace(spec, server=str(spec.server).format(url=url))


@contextlib.asynccontextmanager
async def complete(
    folder: Path, script: Script, servers: Sequence[ServerSpec], **changes: Any
) -> AsyncIterator[Relay]:
    """A relay as `h2o run` opens it, with all that counts, in this process. `servers` may say
    `{url}`.
    """
    settings = quick(**{"save_dir": str(folder), "request_log": "off", **changes})
    async with (
        ScriptedUpstream(serving(script, None)) as upstream,
        Kernel(settings, [_filled(spec, upstream.url) for spec in servers]) as kernel,
        opened_desk(kernel, settings, lambda: PRICES, "internal-canary") as opened,
    ):
        await asyncio.gather(kernel.settled(5), opened.desk.ring.settled(5))
        admin = Administration(kernel)
        admin.kept = opened.usage
        app = create_app(kernel, settings, kernel.instance, admin, None, opened.desk, opened.keys)
        sock = bind("127.0.0.1", 0)
        async with running(app, settings, sock) as server:
            yield Relay(sock.getsockname()[1], kernel, settings, upstream, server, [])
