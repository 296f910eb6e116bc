"""Servers that are added while the relay runs: where they may be, and what they are given."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest
import trustme

from h2o_relay.administration import Administration
from h2o_relay.errors import (
    Forbidden,
    RelayError,
    UpstreamDNSError,
    UpstreamRedirect,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from h2o_relay.http import HttpClient
from h2o_relay.http_head import split_url
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.server_policy import ServerPolicy, inside, keyless
from h2o_relay.settings import Settings
from h2o_relay.testing.scripts import json, redirect
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream, until

from ..proxy.kit import completion, listing, serving

STRICT = ServerPolicy(private=False, trusted=False)
LAX = ServerPolicy(private=True, trusted=True)
PUBLIC = ("8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8")
PRIVATE = (
    "127.0.0.1", "127.255.255.254", "::1", "10.0.0.1", "172.16.0.1", "192.168.1.46", "fd00::1",
    "fc00::1", "169.254.1.1", "fe80::1", "fe80::1%lo", "100.64.0.1", "100.127.255.255", "0.0.0.0",
    "0.1.2.3", "::", "192.0.2.1", "198.18.0.1", "2001:db8::1", "fec0::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "::127.0.0.1", "2002:7f00:1::", "2002:a00:1::", "64:ff9b::7f00:1",
    "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2001:0:4136:e378:8000:63bf:f5ff:fffe",
)  # fmt: skip
NOBODY = ("224.0.0.1", "239.255.255.255", "ff02::1", "240.0.0.1", "255.255.255.255")
METADATA = (
    "169.254.169.254", "169.254.170.2", "fd00:ec2::254", "100.100.100.200", "168.63.129.16",
    "192.0.0.192", "fd20:ce::254", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::",
)  # fmt: skip
OTHERS = {"host": "0.0.0.0", "api_key": "k"}
"""A relay that others can reach."""


class Names:
    """A resolver for a test: each look at a name has the next of its answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **answers: list[str]) -> None:
        self.answers = {name.replace("_", "."): found for name, found in answers.items()}
        self.asked: list[str] = []
        self._real = asyncio.BaseEventLoop.getaddrinfo
        names = self

        async def getaddrinfo(loop: Any, host: str, port: int, **more: Any) -> Any:
            if host in names.answers:
                names.asked.append(host)
                found = names.answers[host]
                answer = found.pop(0) if len(found) > 1 else found[0]
                every = [await names._real(loop, one, port, **more) for one in answer.split()]
                return [place for places in every for place in places]
            return await names._real(loop, host, port, **more)

        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)


def refused(policy: ServerPolicy, address: str) -> str:
    return policy.refusal(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_s18_public_addresses_pass(address: str) -> None:
    assert refused(STRICT, address) == refused(LAX, address) == ""


@pytest.mark.parametrize("address", PRIVATE)
def test_s18_private_addresses_are_refused_unless_they_are_allowed(address: str) -> None:
    assert "--allow-private-servers" in refused(STRICT, address)
    assert refused(LAX, address) == ""


@pytest.mark.parametrize("address", [*NOBODY, *METADATA])
def test_s18_metadata_and_addresses_of_nobody_are_always_refused(address: str) -> None:
    assert refused(STRICT, address)
    assert refused(LAX, address)


def test_s18_an_address_within_an_address_is_seen() -> None:
    for text in ("2002:0a00:0001::", "64:ff9b::10.0.0.1", "::ffff:10.0.0.1", "::10.0.0.1"):
        assert ipaddress.ip_address("10.0.0.1") in inside(ipaddress.ip_address(text)), text


@pytest.mark.parametrize(
    ("changes", "private", "trusted"),
    [
        ({}, True, True),
        ({"allow_private_servers": False}, False, True),
        (OTHERS, False, False),
        ({**OTHERS, "allow_private_servers": True}, True, False),
        ({"allowed_hosts": "chat.example.com"}, False, False),
        ({"root_path": "/relay"}, False, False),
        ({"host": "::1"}, True, True),
        ({"host": "192.168.1.2", "allow_open": True}, False, False),
    ],
)
def test_s17_who_else_can_reach_the_relay_decides(
    changes: dict[str, Any], private: bool, trusted: bool
) -> None:
    policy = ServerPolicy.of(Settings(**changes))
    assert (policy.private, policy.trusted) == (private, trusted)


@pytest.mark.parametrize("host", [
    "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "localhost", "a.localhost",
])  # fmt: skip
async def test_s18_ways_to_write_this_machine(host: str) -> None:
    with pytest.raises((UpstreamUnreachable, OSError)) as caught:
        await STRICT.resolve(host, 80)
    if isinstance(caught.value, UpstreamUnreachable):
        assert caught.value.code == "address_refused"


async def test_s18_one_bad_address_of_many_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, two_example=["8.8.8.8 10.0.0.1"])
    with pytest.raises(UpstreamUnreachable, match=r"two\.example"):
        await STRICT.resolve("two.example", 80)


class Judged(ServerPolicy):
    """127.0.0.1 is on the internet, and 127.0.0.2 is not: so that a test can dial both."""

    def refusal(self, address: Any) -> str:
        return "" if str(address) == "127.0.0.1" else "in a private network"


@contextlib.asynccontextmanager
async def client(policy: ServerPolicy, **changes: Any) -> AsyncIterator[HttpClient]:
    async with HttpClient(quick(**changes), policy) as made:
        yield made


async def test_s18_the_address_that_was_judged_is_dialled(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: a name says something else each time it is asked for."""
    names = Names(monkeypatch, moving_example=["127.0.0.1", "127.0.0.2"])
    policy = Judged(private=False, trusted=False)
    async with ScriptedUpstream(json({"a": 1}, headers={"connection": "close"})) as upstream:
        url = f"http://moving.example:{upstream.port}/"
        async with client(policy) as http:
            assert (await http.get(url))[0] == 200
            assert names.asked == ["moving.example"]  # once, and what it said was dialled
            with pytest.raises(UpstreamUnreachable, match="private"):
                await http.get(url)
        assert len(upstream.requests) == 1
        assert upstream.requests[0].headers["host"] == f"moving.example:{upstream.port}"


async def test_s18_tls_is_verified_for_the_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    Names(monkeypatch, good_example=["127.0.0.1"], other_example=["127.0.0.1"])
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("good.example").configure_cert(context)
    policy = Judged(private=False, trusted=False)
    async with (
        ScriptedUpstream(json({"a": 1}), ssl=context) as upstream,
        client(policy, ca_file=str(tmp_path / "ca.pem")) as http,
    ):
        assert (await http.get(f"https://good.example:{upstream.port}/"))[0] == 200
        with pytest.raises(UpstreamTLSError):
            await http.get(f"https://other.example:{upstream.port}/")


async def test_s18_a_proxy_is_told_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    Names(monkeypatch, far_example=["127.0.0.1"], near_example=["127.0.0.2"])
    policy = Judged(private=False, trusted=False)
    async with (
        ScriptedUpstream(json({"a": 1})) as proxy,
        client(policy, http_proxy=proxy.url) as http,
    ):
        assert (await http.get("http://far.example:81/x?y=1"))[0] == 200
        with pytest.raises(UpstreamUnreachable):
            await http.get("http://near.example:81/")
        with pytest.raises(UpstreamDNSError):
            await http.get("http://no-such-name.invalid/")
    [request] = proxy.requests
    assert request.path.startswith("http://127.0.0.1:81/x")
    assert request.headers["host"] == "far.example:81"


@contextlib.asynccontextmanager
async def administered(
    kept: Any = None, servers: tuple[str, ...] = (), **changes: Any
) -> AsyncIterator[tuple[Administration, Kernel]]:
    plugins = Plugins.discover("vllm,openai,azure,ollama,tgi")
    async with Kernel(quick(refresh=0.1, **changes), servers, plugins) as kernel:
        yield Administration(kernel, kept), kernel


class Kept:
    """A store of one added model."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.entries = {"old": dict(entry)}

    async def all(self) -> Any:
        return list(self.entries.items())

    async def put(self, id: str, entry: Mapping[str, Any]) -> None:
        self.entries[id] = dict(entry)

    async def delete(self, id: str) -> None:
        del self.entries[id]


def entry(url: str, **more: Any) -> dict[str, Any]:
    return {"inference_server": f"vllm_chat:{url}/v1", "base_model": "m", **more}


async def test_s19_the_same_check_wherever_a_server_comes_in() -> None:
    """On create, identify and update it is a refusal; what was kept before, and all that is sent
    later (look, list, test and use) is stopped where it is dialled.
    """
    async with ScriptedUpstream(serving(json(completion()), listing("m"))) as upstream:
        kept = Kept(entry(upstream.url))
        async with administered(kept, **OTHERS) as (admin, kernel):
            for attempt in (admin.add, admin.identify):
                with pytest.raises(Forbidden, match="--allow-private-servers") as caught:
                    await attempt(entry(upstream.url))
                assert caught.value.code == "address_refused"
                assert caught.value.param == "inference_server"
            await admin.restore()
            [one] = kernel.entries
            await until(lambda: one.stage == "offline", within=5)
            assert "--allow-private-servers" in one.reason
            with pytest.raises(RelayError):
                await kernel.generate("chat", {"model": "m", "messages": [
                    {"role": "user", "content": "hi"}]})  # fmt: skip
            assert not (await admin.try_out("m")).ok
            with pytest.raises(Forbidden):
                await admin.change("old", entry(upstream.url + "/other"))
            assert kept.entries["old"] == entry(upstream.url)
        assert upstream.requests == []


async def test_s19_a_name_that_becomes_private_later_is_not_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Names(monkeypatch, turns_example=["8.8.8.8", "127.0.0.1"])
    async with ScriptedUpstream(serving(json(completion()), listing("m"))) as upstream:
        async with administered(**OTHERS) as (admin, kernel):
            id = await admin.add(entry(f"http://turns.example:{upstream.port}"))
            [one] = [entry for entry in kernel.entries if entry.id == id]
            await until(lambda: "--allow-private" in one.reason, within=5)
        assert upstream.requests == []


async def test_s17_where_nobody_else_comes_or_the_operator_says_so_they_may() -> None:
    async with ScriptedUpstream(serving(json(completion()), listing("m"))) as upstream:
        for changes in ({}, {**OTHERS, "allow_private_servers": True}):
            async with administered(**changes) as (admin, kernel):
                assert (await admin.identify(entry(upstream.url))).problem == ""
                await admin.add(entry(upstream.url))
                await kernel.settled(5)
                assert (await admin.try_out("m")).ok
        with pytest.raises(Forbidden, match="credentials"):
            async with administered() as (admin, _):
                await admin.add(entry("http://169.254.169.254:80"))


async def test_s17_what_the_operator_gives_is_not_judged_and_not_lent() -> None:
    """A connection of the operator's to the same place is of no use to an added server."""
    async with ScriptedUpstream(serving(json(completion()), listing("m"))) as upstream:
        given = (f"vllm_chat:{upstream.url}/v1",)
        async with administered(Kept(entry(upstream.url)), given, **OTHERS) as (admin, kernel):
            await kernel.settled(5)
            assert (await admin.try_out("m")).ok
            await admin.restore()
            added = next(entry for entry in kernel.entries if entry.added)
            await until(lambda: added.stage == "offline", within=5)


async def test_s20_redirects_of_servers_are_never_followed() -> None:
    async with (
        ScriptedUpstream(json({"data": []})) as inside_,
        ScriptedUpstream(redirect(f"{inside_.url}/latest/meta-data")) as upstream,
        client(LAX) as http,
    ):
        with pytest.raises(UpstreamRedirect):
            await http.get(f"{upstream.url}/v1/models")
        assert inside_.requests == []


def test_s22_another_gradio_app_steers_nothing() -> None:
    """Of what it says of itself no address is taken, and its paths stay below its own."""
    from h2o_relay_gradio_remote.app import read_config
    from h2o_relay_gradio_remote.standin import h2ogpt_config

    evil = "http://evil.example/x"
    said_ = {
        **h2ogpt_config("6.31.0", "sse_v3", "//evil.example/@x"), "root": evil, "proxy_url": evil,
        "head": f"<script src={evil}>", "js": evil, "css": evil, "space_id": evil, "app_id": evil,
        "allowed_paths": ["/etc"],
    }  # fmt: skip
    for part in said_["components"]:
        part["props"] = {"proxy_url": evil, "_selectable": True}
    app = read_config(orjson.dumps(said_))
    assert evil not in repr(app)
    assert "/etc" not in repr(app)
    origin, path, _ = split_url(f"http://given.example:7860{app.prefix}/call/x")
    assert origin == (False, "given.example", 7860)
    assert path.startswith("/")


async def test_s21_another_server_clears_the_key() -> None:
    assert keyless(entry("http://a"), entry("http://b"), ("h2ogpt_key",)) == {"h2ogpt_key"}
    assert keyless(entry("http://a"), entry("http://b", h2ogpt_key="k"), ("h2ogpt_key",)) == set()
    assert keyless(entry("http://a"), {"base_model": "x"}, ("h2ogpt_key",)) == set()
    async with (
        ScriptedUpstream(serving(json(completion()), listing("m"))) as first,
        ScriptedUpstream(serving(json(completion()), listing("m"))) as second,
        administered() as (admin, _),
    ):
        id = await admin.add(entry(first.url, h2ogpt_key="canary-key"))
        await until(lambda: first.requests, within=5)
        assert first.requests[0].headers["authorization"] == "Bearer canary-key"
        shown = dict(await admin.entry(id))
        assert shown["h2ogpt_key"] == "***"
        await admin.change(id, {"base_model": "m", "h2ogpt_key": "***"})
        assert dict(await admin.entry(id))["h2ogpt_key"] == "***"
        await admin.change(id, {**shown, **entry(second.url)})
        await until(lambda: second.requests, within=5)
        assert "h2ogpt_key" not in await admin.entry(id)
        assert all("canary-key" not in str(r.headers) for r in second.requests)


@pytest.mark.parametrize("string", [
    "openai_chat:None:http://127.0.0.1:{port}/v1", "groq:http://127.0.0.1:{port}/v1",
    "openai_azure_chat:dep:http://127.0.0.1:{port}:2024-10-21",
])  # fmt: skip
async def test_s21_a_key_of_the_environment_goes_to_no_address_of_another(
    string: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "GROQ_API_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_AZURE_KEY"):
        monkeypatch.setenv(name, "canary-key")
    async with ScriptedUpstream(serving(json(completion()), listing("m"))) as upstream:
        written = {"inference_server": string.format(port=upstream.port), "base_model": "m"}
        changes = {**OTHERS, "allow_private_servers": True}
        async with administered(**changes) as (admin, kernel):
            await admin.add(written)
            await kernel.settled(5)
        assert all("canary-key" not in str(r.headers) for r in upstream.requests)
        async with administered() as (admin, kernel):  # where whoever adds it is the operator
            await admin.add(written)
            await kernel.settled(5)
        assert any("canary-key" in str(r.headers) for r in upstream.requests)


async def test_s21_nor_does_the_machines_own_identity() -> None:
    azure = {"inference_server": "openai_azure_chat:dep:https://8.8.8.8:2024-10-21:entra"}
    async with administered(**OTHERS) as (admin, _):
        with pytest.raises(Forbidden) as caught:
            await admin.add({**azure, "base_model": "m"})
        assert caught.value.code == "identity_refused"
