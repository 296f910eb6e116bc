"""Requests through a proxy: a small real one, which alone knows where `upstream.example` is."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from h2o_relay.errors import (
    FirstByteTimeout,
    IdleTimeout,
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamRedirect,
    UpstreamResponseTooLarge,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from h2o_relay.http import HttpClient
from h2o_relay.http_library import is_loopback, proxy_for
from h2o_relay.settings import Settings
from h2o_relay.testing.scripts import (
    Play,
    each,
    end,
    hang,
    head,
    json,
    play,
    redirect,
    reset,
    sse,
    stream,
    whole,
)
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Script, ScriptedUpstream, until

pytestmark = pytest.mark.usefixtures("leaves_nothing")
NAME = "upstream.example"
LIMIT = 2**20


@dataclass
class Proxy:
    """A forward proxy for absolute-form requests (RFC 9112, 3.2.2) that knows one name."""

    target: int
    heads: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            top = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(top)
            path = top.split(" ", 2)[1].removeprefix(f"http://{NAME}")
            inner, outer = await asyncio.open_connection("127.0.0.1", self.target)
            outer.write(top.replace(f"http://{NAME}{path}", path, 1).encode("latin-1"))
            ways = [
                asyncio.create_task(copy(reader, outer)),
                asyncio.create_task(copy(inner, writer)),
            ]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for task in ways:
                task.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            broken = any(w.done() and not w.cancelled() and w.exception() for w in ways)
            if broken:
                writer.transport.abort()
            outer.close()
        writer.close()


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


@contextlib.asynccontextmanager
async def proxied(
    script: Script, **changes: object
) -> AsyncIterator[tuple[ScriptedUpstream, Proxy, HttpClient]]:
    async with ScriptedUpstream(script) as upstream:
        proxy = Proxy(upstream.port)
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        proxy.port = server.sockets[0].getsockname()[1]
        settings = quick(http_proxy=f"http://user:pass@127.0.0.1:{proxy.port}", **changes)
        async with server:
            async with HttpClient(settings) as client:
                yield upstream, proxy, client.at(f"http://{NAME}", {"x-key": "a"})
            await until(lambda: upstream.open == 0, within=1)


async def ask(client: HttpClient, path: str = "/", **about: object) -> tuple[int, bytes]:
    async with client.request("GET", path, **about) as response:  # type: ignore[arg-type]
        return response.status, await response.read(LIMIT)


async def test_an_answer() -> None:
    async with proxied(json({"a": 1}, 404)) as (upstream, proxy, client):
        async with client.request("POST", "/v1/x?a=b", body=b"12") as response:
            assert (response.status, await response.read(LIMIT)) == (404, b'{"a":1}')
            assert response.headers["content-type"] == "application/json"
        assert proxy.heads[0].startswith(f"POST http://{NAME}/v1/x?a=b HTTP/1.1\r\n")
        assert "Proxy-Authorization: Basic dXNlcjpwYXNz" in proxy.heads[0]
        request = upstream.requests[0]
        assert (request.body, request.headers["x-key"]) == (b"12", "a")
        assert request.headers["accept-encoding"] == "identity"


async def test_a_stream_arrives_as_it_is_sent() -> None:
    script = stream([b"one", b"two"]).upto(1) + play(0.05, stream([b"two"]).steps[1], b"0\r\n\r\n")
    async with (
        proxied(script) as (_, _, client),
        client.request("GET", "/") as response,
    ):
        assert [data async for data in response] == [b"one", b"two"]


async def test_a_body_in_pieces() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"one"
        yield b"two"

    async with proxied(json({})) as (upstream, _, client):
        async with client.request("POST", "/", body=pieces()) as response:
            await response.read(LIMIT)
        assert upstream.requests[0].body == b"onetwo"


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (redirect("http://127.0.0.1/"), UpstreamRedirect),
        (whole(b"xx", headers={"content-encoding": "gzip"}), UpstreamBadResponse),
        (play(b"junk\r\n\r\n", end), UpstreamBadResponse),
        (play(end), UpstreamDisconnected),
        (play(reset), UpstreamDisconnected),
        (stream([b"a", b"b"]).upto(1) + play(end), UpstreamDisconnected),
        (stream([b"a", b"b"]).upto(1) + play(reset), UpstreamDisconnected),
        (play(head(200, {"content-length": "9"}), b"short", end), UpstreamDisconnected),
        (whole(bytes(LIMIT + 1)), UpstreamResponseTooLarge),
    ],
)
async def test_bad_answers(script: Play, error: type[RelayError]) -> None:
    async with proxied(script) as (upstream, _, client):
        with pytest.raises(error) as caught:
            await ask(client)
        assert type(caught.value) is error
        assert "pass" not in str(caught.value)
        assert upstream.requests


@pytest.mark.parametrize(
    ("script", "limits", "error"),
    [
        (play(hang), (0.2, 5, None), FirstByteTimeout),
        (json({}).recut(each(1)).paced(0.05), (0.2, 5, None), FirstByteTimeout),
        (play(head(200, {"content-length": "9"}), hang), (0.2, 5, None), FirstByteTimeout),
        (stream([b"a", b"b"]).upto(1) + play(hang), (5, 0.2, None), IdleTimeout),
        (stream([b"a"] * 99).paced(0.02), (5, 5, 0.2), UpstreamTimeout),
        (play(hang), (5, 5, 0.2), UpstreamTimeout),
    ],
)
async def test_clocks(
    script: Play, limits: tuple[float, float, float | None], error: type[RelayError]
) -> None:
    async with proxied(script) as (upstream, _, client):
        first_byte, idle, total = limits
        start = asyncio.get_running_loop().time()
        with pytest.raises(error) as caught:
            await ask(client, first_byte=first_byte, idle=idle, total=total)
        assert type(caught.value) is error
        assert 0.18 < asyncio.get_running_loop().time() - start < 3
        await until(lambda: upstream.open == 0, within=2)


async def test_leaving_in_the_middle() -> None:
    async with proxied(sse([b"1", b"2"]).upto(1) + play(hang)) as (upstream, _, client):
        async with client.request("GET", "/") as response:
            assert await anext(aiter(response)) == b"data: 1\n\n"
        await until(lambda: upstream.gone, within=2)


async def test_cancelling() -> None:
    async with proxied(play(hang)) as (upstream, _, client):
        task = asyncio.create_task(ask(client))
        await until(lambda: upstream.answering, within=1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: upstream.open == 0, within=2)


async def test_a_proxy_that_is_not_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings = quick(http_proxy=f"http://user:pass@127.0.0.1:{unused.getsockname()[1]}")
        async with HttpClient(settings) as client:
            with pytest.raises(UpstreamUnreachable) as caught:
                await ask(client, f"http://{NAME}/")
            assert "pass" not in str(caught.value)


async def test_loopback_is_never_proxied() -> None:
    async with proxied(json({})) as (upstream, proxy, client):
        assert await ask(client, f"{upstream.url}/") == (200, b"{}")
        assert not proxy.heads


async def test_no_proxy() -> None:
    async with proxied(json({}), no_proxy="example") as (_, proxy, client):
        with pytest.raises(RelayError):
            await ask(client, "http://nonexistent.example/")
        assert not proxy.heads


PROXIES = Settings(http_proxy="http://p:1", https_proxy="http://q:2")


@pytest.mark.parametrize(
    ("no_proxy", "scheme", "host", "proxy"),
    [
        ("", "http", "h.example", "http://p:1"),
        ("", "https", "h.example", "http://q:2"),
        ("", "http", "localhost", None),
        ("", "http", "a.localhost", None),
        ("", "http", "127.8.0.1", None),
        ("", "https", "::1", None),
        ("", "http", "128.0.0.1", "http://p:1"),
        ("*", "http", "h.example", None),
        ("h.example", "http", "h.example", None),
        ("h.example", "http", "a.h.example", None),
        ("h.example", "http", "bh.example", "http://p:1"),
        (".h.example", "http", "h.example", None),
        (" a , H.Example,", "http", "h.example", None),
        ("10.0.0.0/8", "http", "10.1.2.3", None),
        ("10.0.0.0/8", "http", "11.1.2.3", "http://p:1"),
        ("10.1.2.3", "http", "10.1.2.3", None),
        ("fd00::/8", "http", "fd00::1", None),
        ("10.0.0.0/99,h", "http", "h", None),
    ],
)
def test_which_proxy(no_proxy: str, scheme: str, host: str, proxy: str | None) -> None:
    settings = Settings(
        http_proxy=PROXIES.http_proxy, https_proxy=PROXIES.https_proxy, no_proxy=no_proxy
    )
    assert proxy_for(settings, scheme, host) == proxy
    assert proxy_for(Settings(no_proxy=no_proxy), scheme, host) is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1.2.3", "::1", "x.localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "0.0.0.0", "10.0.0.1", "::2", "h", ""])
def test_not_loopback(host: str) -> None:
    assert not is_loopback(host)
