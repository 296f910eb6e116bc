"""The Host header of a relay without a key: only names of its own will do (DNS rebinding)."""

from __future__ import annotations

import pytest

from h2o_relay.hosts import host_allowed, is_loopback
from h2o_relay.testing.scripts import json
from h2o_relay.testing.settings import quick

from .kit import CHAT, chat, completion, error_of, get, post, relay

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
