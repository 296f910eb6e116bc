"""Entra ID: tokens are fetched in a thread, kept, renewed in time, and go out as bearer tokens."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType

import pytest

from h2o_relay.errors import UpstreamAuthError
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing import ScriptedUpstream
from h2o_relay.testing.scripts import json
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, until
from h2o_relay_azure.entra import MARGIN, PAUSE, SCOPE, Tokens

from .azure_standin import CHAT, TEXT, AzureStandIn, standing

HOUR = 3600
SAY = [{"role": "user", "content": "Say it."}]
KEYS = ("OPENAI_AZURE_KEY", "AZURE_OPENAI_API_KEY", "OPENAI_API_KEY")


@dataclass
class Token:
    token: str
    expires_on: int


@dataclass
class Identity:
    """What azure-identity's credentials are: an object that blocks until it has a token."""

    clock: Callable[[], float] = time.time
    lifetime: float = HOUR
    takes: float = 0.0
    """Seconds for one token."""
    fails: bool = False
    asked: list[str] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    closed: int = 0

    def get_token(self, *scopes: str) -> Token:
        self.asked += scopes
        self.threads.add(threading.get_ident())
        time.sleep(self.takes)
        if self.fails:
            raise RuntimeError("no identity\nis signed in")
        return Token(f"token-{len(self.asked)}", int(self.clock() + self.lifetime))

    def close(self) -> None:
        self.closed += 1


class Clock:
    now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class TestTokens:
    async def test_a_token_is_kept_while_it_is_good(self, clock: Clock) -> None:
        identity = Identity(clock)
        tokens = Tokens(identity, SCOPE, clock)
        assert [await tokens.get() for _ in range(3)] == ["token-1"] * 3
        clock.now += HOUR - MARGIN - 1
        assert await tokens.get() == "token-1"
        assert identity.asked == [SCOPE]

    async def test_it_is_renewed_before_its_end(self, clock: Clock) -> None:
        tokens = Tokens(Identity(clock), SCOPE, clock)
        await tokens.get()
        clock.now += HOUR - MARGIN
        assert await tokens.get() == "token-2"

    async def test_many_requests_fetch_one_token(self, clock: Clock) -> None:
        identity = Identity(clock, takes=0.05)
        tokens = Tokens(identity, SCOPE, clock)
        assert set(await asyncio.gather(*(tokens.get() for _ in range(20)))) == {"token-1"}
        assert len(identity.asked) == 1

    async def test_others_use_the_old_token_while_it_is_renewed(self, clock: Clock) -> None:
        identity = Identity(clock)
        tokens = Tokens(identity, SCOPE, clock)
        await tokens.get()
        clock.now += HOUR - MARGIN
        identity.takes = 0.1
        renewing = asyncio.create_task(tokens.get())
        await until(lambda: len(identity.asked) == 2, within=1)
        assert await tokens.get() == "token-1"
        assert await renewing == "token-2"

    async def test_the_loop_goes_on_meanwhile(self, clock: Clock) -> None:
        identity = Identity(clock, takes=0.2)
        fetching = asyncio.create_task(Tokens(identity, SCOPE, clock).get())
        turns = 0
        while not fetching.done():
            await asyncio.sleep(0.005)
            turns += 1
        assert turns > 10
        assert threading.get_ident() not in identity.threads

    async def test_a_good_token_survives_a_failing_renewal(self, clock: Clock) -> None:
        identity = Identity(clock)
        tokens = Tokens(identity, SCOPE, clock)
        await tokens.get()
        identity.fails = True
        clock.now += HOUR - MARGIN
        assert await tokens.get() == "token-1"
        assert await tokens.get() == "token-1"
        assert len(identity.asked) == 2
        clock.now += PAUSE
        identity.fails = False
        assert await tokens.get() == "token-3"

    async def test_no_token_at_all_is_an_error_in_one_line(self, clock: Clock) -> None:
        identity = Identity(clock, fails=True)
        tokens = Tokens(identity, SCOPE, clock)
        for _ in range(2):
            with pytest.raises(UpstreamAuthError, match="no identity is signed in"):
                await tokens.get()
        assert len(identity.asked) == 2

    async def test_an_ended_token_is_not_used(self, clock: Clock) -> None:
        identity = Identity(clock)
        tokens = Tokens(identity, SCOPE, clock)
        await tokens.get()
        identity.fails = True
        clock.now += HOUR
        with pytest.raises(UpstreamAuthError):
            await tokens.get()

    async def test_a_refused_token_is_replaced(self, clock: Clock) -> None:
        tokens = Tokens(Identity(clock), SCOPE, clock)
        first = await tokens.get()
        tokens.forget(first)
        assert await tokens.get() == "token-2"
        tokens.forget(first)  # a late answer to a request with the old one
        assert await tokens.get() == "token-2"

    async def test_a_short_lived_token_is_not_fetched_for_every_request(self, clock: Clock) -> None:
        identity = Identity(clock, lifetime=MARGIN / 2)
        tokens = Tokens(identity, SCOPE, clock)
        assert {await tokens.get() for _ in range(5)} == {"token-1"}
        clock.now += PAUSE
        assert await tokens.get() == "token-2"


@pytest.fixture
def signed_in(monkeypatch: pytest.MonkeyPatch) -> Identity:
    """In place of the package azure-identity: an identity that always gives tokens."""
    identity = Identity()
    package, module = ModuleType("azure"), ModuleType("azure.identity")
    module.DefaultAzureCredential = lambda: identity  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "azure", package)
    monkeypatch.setitem(sys.modules, "azure.identity", module)
    return identity


@asynccontextmanager
async def kernel(upstream: ScriptedUpstream, key: str = "entra") -> AsyncIterator[Kernel]:
    server = f"azure_chat:{CHAT}:{upstream.url}:2024-10-21:{key}"
    async with Kernel(quick(), servers=[server], plugins=Plugins.discover("azure")) as running:
        await running.settled(20)
        yield running


async def test_requests_carry_a_token_and_no_key(
    signed_in: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in KEYS:
        monkeypatch.setenv(name, "a-key-of-the-environment")
    async with standing(AzureStandIn(tokens={"token-1"})) as azure:
        async with kernel(azure) as running:
            answer = await running.generate("chat", {"messages": SAY})
            async with running.stream("chat", {"messages": SAY}) as stream:
                text = "".join([item.text async for item in stream])
            assert signed_in.closed == 0
        assert answer.text == text == TEXT
        assert signed_in.asked == [SCOPE]
        assert signed_in.closed == 1
        assert {item.headers["authorization"] for item in azure.requests} == {"Bearer token-1"}
        assert not any("api-key" in item.headers for item in azure.requests)
        assert azure.accepted == 1  # connections are kept, streams read to their end


async def test_the_environment_may_ask_for_entra_id(
    signed_in: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("H2O_AZURE_AUTH", "entra")
    monkeypatch.setenv("H2O_AZURE_SCOPE", "https://cognitiveservices.azure.us/.default")
    async with (
        standing(AzureStandIn(tokens={"token-1"})) as azure,
        kernel(azure, key="") as running,
    ):
        assert (await running.generate("chat", {"messages": SAY})).text == TEXT
    assert signed_in.asked == ["https://cognitiveservices.azure.us/.default"]


async def test_a_token_that_azure_refuses_is_fetched_anew(signed_in: Identity) -> None:
    standin = AzureStandIn(tokens={"token-1"})
    async with standing(standin) as azure, kernel(azure) as running:
        standin.tokens = {"token-2"}
        with pytest.raises(UpstreamAuthError) as caught:
            await running.generate("chat", {"messages": SAY})
        assert "token-1" not in str(caught.value)
        assert (await running.generate("chat", {"messages": SAY})).text == TEXT


async def test_nobody_signed_in_is_said(signed_in: Identity) -> None:
    signed_in.fails = True
    async with standing() as azure, kernel(azure) as running:
        await until(lambda: running.status()[0].reason, within=2)
        assert "no identity is signed in" in running.status()[0].reason
        assert azure.requests == []


async def test_leaving_a_stream_leaves_azure(signed_in: Identity) -> None:
    standin = AzureStandIn(tokens={"token-1"}, stuck=True)
    async with standing(standin) as azure, kernel(azure) as running:
        async with running.stream("chat", {"messages": SAY}) as answer:
            await anext(aiter(answer))
        await until(lambda: azure.gone, within=1)


async def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "azure.identity", None)
    async with standing() as azure, kernel(azure) as running:
        await until(lambda: running.status()[0].reason, within=2)
        assert "h2o-relay-azure[entra]" in running.status()[0].reason


async def test_the_real_package_signs_in_with_a_managed_identity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """App Service's token endpoint (api-version 2019-08-01), which is plain HTTP on loopback."""
    pytest.importorskip("azure.identity", reason="the extra `entra` is not installed")

    async def metadata(request: Received, answer: Answer) -> None:
        found = {
            "access_token": "managed-token",
            "expires_on": str(int(time.time()) + HOUR),
            "resource": "https://cognitiveservices.azure.com",
            "token_type": "Bearer",
        }
        given = request.headers.get("x-identity-header")
        await (json(found) if given == "our-secret" else json({}, 401))(request, answer)

    standin = AzureStandIn(tokens={"managed-token"})
    async with ScriptedUpstream(metadata) as endpoint, standing(standin) as azure:
        for name in ("AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_CLIENT_SECRET", *KEYS):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("IDENTITY_ENDPOINT", f"{endpoint.url}/msi/token")
        monkeypatch.setenv("IDENTITY_HEADER", "our-secret")
        async with kernel(azure) as running:
            assert (await running.generate("chat", {"messages": SAY})).text == TEXT
        assert "resource=https" in endpoint.requests[0].path
