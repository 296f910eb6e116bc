"""One open server: who opens it closes it, in the same task, after the last that uses it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from h2o_relay import links
from h2o_relay.errors import RelayError, UpstreamDisconnected, UpstreamUnavailable
from h2o_relay.http import HttpClient, Limits, Response
from h2o_relay.links import Link
from h2o_relay.testing.scripts import json
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream, until
from h2o_relay.types import Endpoint, Server

from . import plain

pytestmark = pytest.mark.usefixtures("leaves_nothing")
SERVER = Server(plugin="plain", url="http://127.0.0.1:1/v1", shown="plain:shown")
Connect = Callable[[Server], contextlib.AbstractAsyncContextManager[Any]]


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    async with HttpClient(quick()) as client:
        yield client


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(links, "FIRST_WAIT", 0.02)
    monkeypatch.setattr(links, "LONGEST_WAIT", 0.05)


def opened(http: HttpClient, connect: Connect | None = None) -> Link:
    hooks = {} if connect is None else {"connect": connect}
    link = Link(plain.plugin(**hooks), SERVER, http)
    link.start()
    return link


class Opening:
    """A plugin's `connect` that keeps a journal."""

    def __init__(self, gives: Any = "client", failures: int = 0, error: Exception | None = None):
        self.gives, self.failures = gives, failures
        self.error = error or UpstreamDisconnected("not yet")
        self.entered: list[asyncio.Task[Any] | None] = []
        self.left: list[asyncio.Task[Any] | None] = []

    @property
    def connect(self) -> Connect:
        @contextlib.asynccontextmanager
        async def connect(server: Server, http: HttpClient) -> AsyncIterator[Any]:
            self.entered.append(asyncio.current_task())
            if len(self.entered) <= self.failures:
                raise self.error
            try:
                yield self.gives
            finally:
                self.left.append(asyncio.current_task())

        return connect


async def test_without_connect_the_client_is_the_kernels(http: HttpClient) -> None:
    link = opened(http)
    assert link.client is http
    assert await link.wait_open(20) is http
    await link.retire(60)


async def test_it_is_left_by_the_task_that_entered_it(http: HttpClient) -> None:
    opening = Opening()
    link = opened(http, opening.connect)
    assert await link.wait_open(20) == "client"
    await link.retire(60)
    assert opening.entered == opening.left
    assert opening.entered != [asyncio.current_task()]
    assert link.client is None


@pytest.mark.parametrize("gives", ["", {}, 0])
async def test_a_client_may_be_empty(http: HttpClient, gives: Any) -> None:
    link = opened(http, Opening(gives).connect)
    assert await link.wait_open(0.2) == gives
    await link.retire(60)


async def test_no_client_is_the_kernels(http: HttpClient) -> None:
    """A plugin that only has something to keep open has no client of its own to give."""
    link = opened(http, Opening(None).connect)
    assert await link.wait_open(0.2) is http
    await link.retire(60)


async def test_an_endpoint_becomes_a_client(http: HttpClient) -> None:
    async with ScriptedUpstream(json({})) as upstream:
        endpoint = Endpoint(url=f"{upstream.url}/base", headers={"x-key": "a"})
        link = opened(http, Opening(endpoint).connect)
        client = await link.wait_open(20)
        await client.get("/path")
        assert upstream.requests[0].path == "/base/path"
        assert upstream.requests[0].headers["x-key"] == "a"
        await link.retire(60)


class Signing(HttpClient):
    """A client of a plugin's own, whose headers change from request to request."""

    count = 0

    async def open(
        self, method: str, url: str, headers: Any, body: Any, limits: Limits
    ) -> Response:
        self.count += 1
        return await super().open(method, url, {**headers, "x-n": str(self.count)}, body, limits)


async def test_a_client_of_the_plugins_own_shares_the_kernels_connections(
    http: HttpClient,
) -> None:
    async with ScriptedUpstream(json({})) as upstream:
        client = Signing(http.settings)
        client.share(http)
        link = opened(http, Opening(client).connect)
        assert await link.wait_open(20) is client
        for getting in (client, http, client):
            await getting.get(f"{upstream.url}/path")
        assert [request.headers.get("x-n") for request in upstream.requests] == ["1", None, "2"]
        assert upstream.accepted == 1
        await link.retire(60)
        await http.get(f"{upstream.url}/path")
        assert upstream.accepted == 1


@pytest.mark.parametrize("error", [UpstreamDisconnected("no"), ZeroDivisionError("no")])
async def test_a_failure_is_told_and_tried_again(http: HttpClient, error: Exception) -> None:
    opening = Opening(failures=3, error=error)
    link = opened(http, opening.connect)
    with pytest.raises(RelayError, match="no"):
        await link.wait_open(20)
    with pytest.raises(RelayError, match="no"):
        await link.wait_open(20)
    await until(lambda: link.client, within=1)
    assert await link.wait_open(20) == "client"
    assert link.error is None
    assert len(opening.entered) == 4
    await link.retire(60)


async def test_a_key_is_not_in_what_failed(http: HttpClient) -> None:
    server = Server(plugin="plain", key="sk-0123456789", shown="plain")
    opening = Opening(failures=9, error=ValueError("bad header sk-0123456789"))
    link = Link(plain.plugin(connect=opening.connect), server, http)
    link.start()
    with pytest.raises(UpstreamUnavailable) as caught:
        await link.wait_open(20)
    assert "sk-0123456789" not in str(caught.value)
    await link.retire(60)


async def test_waiting_has_an_end(http: HttpClient) -> None:
    @contextlib.asynccontextmanager
    async def slow(server: Server) -> AsyncIterator[Any]:
        await asyncio.sleep(10)
        yield "client"

    link = opened(http, slow)
    with pytest.raises(UpstreamUnavailable, match="still starting") as caught:
        await link.wait_open(0.05)
    assert caught.value.retry_after
    await link.retire(60)


async def test_leases_keep_it_open(http: HttpClient) -> None:
    opening = Opening()
    link = opened(http, opening.connect)
    await link.wait_open(20)
    link.lease()
    link.lease()
    retiring = asyncio.create_task(link.retire(5))
    await asyncio.sleep(0.02)
    link.release()
    await asyncio.sleep(0.02)
    assert (link.client, opening.left) == ("client", [])
    link.release()
    async with asyncio.timeout(10):
        await retiring
    assert len(opening.left) == 1


async def test_leases_keep_it_open_for_so_long_only(http: HttpClient) -> None:
    opening = Opening()
    link = opened(http, opening.connect)
    await link.wait_open(20)
    link.lease()
    async with asyncio.timeout(10):
        await link.retire(0.05)
    assert len(opening.left) == 1
    link.release()


@pytest.mark.parametrize("stage", ["opening", "failing", "open"])
async def test_retiring_at_any_time(http: HttpClient, stage: str) -> None:
    @contextlib.asynccontextmanager
    async def connect(server: Server, http: HttpClient) -> AsyncIterator[Any]:
        if stage == "failing":
            raise UpstreamDisconnected("no")
        if stage == "opening":
            await asyncio.sleep(10)
        yield "client"

    link = opened(http, connect)
    await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        await link.retire(60)
    assert link.client is None


@pytest.mark.parametrize("how", ["raises", "raises_ours", "swallows"])
async def test_a_plugin_that_closes_badly(http: HttpClient, how: str) -> None:
    """It is not opened again, and nobody waits for it."""
    entered = 0

    @contextlib.asynccontextmanager
    async def connect(server: Server, http: HttpClient) -> AsyncIterator[Any]:
        nonlocal entered
        entered += 1
        try:
            yield "client"
        except asyncio.CancelledError:
            if how == "raises":
                raise ZeroDivisionError("closing") from None
            if how == "raises_ours":
                raise UpstreamDisconnected("closing") from None

    link = opened(http, connect)
    await link.wait_open(20)
    async with asyncio.timeout(10):
        await link.retire(60)
    assert entered == 1
    assert link.client is None
