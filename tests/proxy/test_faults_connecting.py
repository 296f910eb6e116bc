"""Servers that cannot be reached, or that are none (F01 to F08): the client's status, how soon, how
often it was tried, and that the other models of the relay are served meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager

import pytest
import trustme

from h2o_relay.testing.bench import Bench, Peer, bannered, mute, refusing, resetting, unaccepting
from h2o_relay.testing.scripts import sse
from h2o_relay.testing.upstream import ScriptedUpstream

from .faults_rows import BAD, DISCONNECTED, WHOLE
from .faults_views import Http
from .kit import chat, get, post, relay, said

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMED_OUT = Http(504, "connect_timeout", "timeout_error")
UNREACHABLE = Http(502, "upstream_unreachable")
NO_TLS = Http(502, "upstream_tls_error")
UNKNOWN_HOST = Http(502, "upstream_dns_error")
LOOKS = 2  # at its models, in the background; failures bring the next one forward
Opens = Callable[[], AbstractAsyncContextManager[Peer] | AbstractContextManager[Peer]]


@contextlib.asynccontextmanager
async def self_signed() -> AsyncIterator[Peer]:
    """HTTPS with a certificate of nobody that the relay trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with ScriptedUpstream(sse(said(3)), ssl=context) as upstream:
        yield Peer(upstream.port)


CASES: list[tuple[str, Opens, str, Http, int]] = [
    ("F01 refused", refusing, "http", UNREACHABLE, 0),
    ("F02 full backlog", unaccepting, "http", TIMED_OUT, 0),
    ("F04 reset on accept", resetting, "http", DISCONNECTED, 3),
    ("F05 not HTTP", bannered, "http", BAD, 1),
    ("F08 TLS to plain text", bannered, "https", NO_TLS, 1),
    ("F08 hang in the handshake", mute, "https", TIMED_OUT, 3),
    ("F08 self-signed", self_signed, "https", NO_TLS, 0),
]
"""The last column is how many connections a relay makes that tries again twice; 0: not counted."""


@contextlib.asynccontextmanager
async def opened(opens: Opens) -> AsyncIterator[Peer]:
    entered = opens()
    if isinstance(entered, AbstractAsyncContextManager):
        async with entered as peer:
            yield peer
    else:
        with entered as peer:
            yield peer


@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("name", "opens", "scheme", "view", "tries"), CASES, ids=[c[0] for c in CASES]
)
async def test_what_the_client_sees(
    name: str, opens: Opens, scheme: str, view: Http, tries: int, streamed: bool
) -> None:
    async with Bench() as bench, opened(opens) as peer:
        url = f"{scheme}://127.0.0.1:{peer.port}"
        servers = [(f"vllm_chat:{bench.url}/v1", "ok"), (f"vllm_chat:{url}/v1", "bad")]
        async with relay(servers=servers, connect_timeout=0.5, retries=2, wait=False) as running:
            await running.kernel.settled(20)
            before, start = peer.accepted, asyncio.get_running_loop().time()
            asked = asyncio.create_task(running.ask(post(chat(streamed, model="bad"))))
            good = await running.ask(post(chat(streamed, model="ok")))
            health = await running.ask(get("/health"))
            reply = await asked
            took = asyncio.get_running_loop().time() - start
            tried = peer.accepted - before
        WHOLE.check(good, streamed)
        assert health.status == 200
        view.check(reply, streamed)
        assert str(peer.port).encode() not in reply.body
        assert took < 6
        assert tries <= tried <= tries + LOOKS
        assert bench.requests[-1].json()["model"] == "ok"


async def test_a_name_that_nobody_has() -> None:
    async with Bench() as bench:
        servers = [f"vllm_chat:{bench.url}/v1", ("vllm_chat:http://nowhere.invalid/v1", "bad")]
        async with relay(servers=servers, wait=False) as running:
            asked = asyncio.create_task(running.ask(post(chat(model="bad"))))
            WHOLE.check(await running.ask(post(chat(model="ok"))), streamed=True)
            UNKNOWN_HOST.check(await asked, streamed=True)
