"""The Host header of a relay without a key: only names of its own will do (DNS rebinding)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from h2o_relay.accounting.keys import Snapshot
from h2o_relay.accounting.limits import Limits
from h2o_relay.accounting.prices import NO_PRICES
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.hosts import host_allowed, is_loopback
from h2o_relay.kernel import Kernel
from h2o_relay.store import Keys, Store
from h2o_relay.testing.scripts import json
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.desk import Desk
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.server import running as serving

from .kit import CHAT, Relay, assert_error, chat, completion, error_of, get, post, relay

GOOD = ["localhost", "localhost:5000", "127.0.0.1:5000", "[::1]:5000", "[::1]", "LOCALHOST.", ""]
BAD = ["evil.example", "evil.example:5000", "127.0.0.1.evil.example", "localhost.evil.example"]


@pytest.mark.parametrize("host", GOOD)
def test_loopbacks_own_names(host: str) -> None:
    assert host_allowed(host, quick())


@pytest.mark.parametrize("host", BAD)
def test_foreign_names(host: str) -> None:
    assert not host_allowed(host, quick())
    assert host_allowed(host, quick(api_key="a-key"))
    assert host_allowed(host, quick(allow_open=True))
    assert host_allowed(host, quick(allowed_hosts="*"))


def test_names_that_are_allowed() -> None:
    settings = quick(allowed_hosts="relay.example, other.example")
    assert host_allowed("relay.example:443", settings)
    assert host_allowed("OTHER.example", settings)
    assert not host_allowed("third.example", settings)


def test_loopback() -> None:
    assert is_loopback("127.8.9.1")
    assert is_loopback("::1")
    assert not is_loopback("192.168.1.1")
    assert not is_loopback("nolocalhost")


async def test_a_foreign_host_is_refused_before_anything_else() -> None:
    async with relay(json(completion())) as running:
        for data in (get("/v1/models", Host="evil.example"), get("/health", Host="evil")):
            reply = await running.ask(data)
            assert (reply.status, error_of(reply.body)["code"]) == (403, "host_not_allowed")
        reply = await running.ask(post(chat(), headers={"Host": "evil.example"}))
        assert reply.status == 403
        assert running.asked == []
        assert (await running.ask(post(chat(False), CHAT, {"Host": "localhost"}))).status == 200


async def test_no_name_is_refused_before_it_is_known_whether_there_are_keys(tmp_path: Path) -> None:
    """Of a relay whose store takes its time when it starts."""
    read = asyncio.Event()

    class Slow:
        async def snapshot(self, seen: int | None) -> Snapshot | None:
            await read.wait()
            return await keys.snapshot(seen)

        async def note_used(self, times: Mapping[str, float]) -> None:
            pass

    settings = quick()
    async with Kernel(settings, []) as kernel, Store(f"sqlite:///{tmp_path}/relay.db") as store:
        keys = Keys(store)
        _, key = await keys.create({"name": "ci"})
        async with KeyRing(settings, Slow()) as ring:
            desk = Desk(kernel, ring, Limits(), lambda: NO_PRICES)
            app = create_app(kernel, settings, desk=desk)
            sock = bind("127.0.0.1", 0)
            async with serving(app, settings, sock) as server:
                relay = Relay(sock.getsockname()[1], kernel, settings, cast(Any, None), server, [])
                host = {"Host": "relay.example"}
                asking = asyncio.create_task(
                    relay.ask(get("/v1/nothing", **host, authorization=f"Bearer {key}"))
                )
                await asyncio.sleep(0.1)
                assert not asking.done()
                read.set()
                assert (await asking).status == 404
                assert_error(await relay.ask(get("/v1/nothing", **host)), 401, "missing_api_key")
