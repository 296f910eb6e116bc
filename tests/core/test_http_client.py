"""The HTTP client against a server that says, byte for byte, what it is told to."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme

from h2o_relay import http_pool
from h2o_relay.errors import (
    ConnectTimeout,
    FirstByteTimeout,
    IdleTimeout,
    InvalidRequest,
    Overloaded,
    PluginError,
    RelayError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamDNSError,
    UpstreamRedirect,
    UpstreamResponseTooLarge,
    UpstreamTimeout,
    UpstreamTLSError,
    UpstreamUnreachable,
)
from h2o_relay.http import HttpClient
from h2o_relay.http_head import split_url
from h2o_relay.settings import Settings
from h2o_relay.testing.scripts import (
    EARLY_HINTS,
    LAST,
    Play,
    chunk,
    each,
    end,
    hang,
    head,
    in_turn,
    json,
    play,
    redirect,
    reset,
    sse,
    stream,
    whole,
)
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream, until

pytestmark = pytest.mark.usefixtures("leaves_nothing")
LIMIT = 2**22
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = b"content-length: 5\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
SWITCH = b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
HELLO = whole(b"hello", content_type="text/plain")


@contextlib.asynccontextmanager
async def talking(
    script: Script, settings: Settings | None = None
) -> AsyncIterator[tuple[ScriptedUpstream, HttpClient]]:
    """A server and a client whose relative URLs lead to it."""
    async with ScriptedUpstream(script) as upstream, HttpClient(settings or quick()) as client:
        yield upstream, client.at(upstream.url)


async def ask(client: HttpClient, path: str = "/", **about: object) -> tuple[int, bytes]:
    async with client.request("GET", path, **about) as response:  # type: ignore[arg-type]
        return response.status, await response.read(LIMIT)


class TestFraming:
    @pytest.mark.parametrize(
        "script",
        [
            HELLO,
            stream([b"hel", b"lo"]),
            stream([b"hel", b"lo"], framing="length"),
            stream([b"hel", b"lo"], framing="close"),
            play(OK + CHUNKED + b"\r\n5;a=b;c\r\nhello\r\n0\r\nx: y\r\n\r\n"),
            play(b"HTTP/1.0 200 OK\r\n\r\nhello", end),
            play(EARLY_HINTS, EARLY_HINTS) + HELLO,
            play(b"HTTP/1.1 100 Continue\r\n\r\n") + stream([b"hello"]),
        ],
        ids=["length", "chunked", "pieces", "eof", "extensions", "http10", "103", "100"],
    )  # fmt: skip
    @pytest.mark.parametrize("size", [1, 7, 10_000])
    async def test_every_framing_in_every_cut(self, script: Play, size: int) -> None:
        async with talking(script.recut(each(size))) as (_, client):
            assert await ask(client) == (200, b"hello")

    async def test_an_answer_without_a_body(self) -> None:
        async with talking(play(head(204))) as (upstream, client):
            assert await ask(client) == (204, b"")
            assert await ask(client) == (204, b"")
            assert upstream.accepted == 1

    async def test_headers_are_lower_case_and_joined(self) -> None:
        script = play(b"HTTP/1.1 200 OK\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 0\r\n\r\n")
        async with talking(script) as (_, client), client.request("GET", "/") as response:
            assert response.headers == {"x-a": "1, 2", "content-length": "0"}

    async def test_the_request_on_the_wire(self) -> None:
        async with talking(HELLO) as (upstream, client):
            view = client.at(f"{upstream.url}/base/", {"x-key": "a"})
            async with view.request(
                "POST", "/p a?q=ä&r=1", headers={"x-other": "b"}, body=b"12345"
            ) as response:
                await response.read(LIMIT)
            request, host = upstream.requests[0], f"127.0.0.1:{upstream.port}"
        assert (request.method, request.body) == ("POST", b"12345")
        assert request.path == "/base/p%20a?q=%C3%A4&r=1"
        assert request.headers == {
            "host": host,
            "user-agent": "h2o-relay",
            "accept-encoding": "identity",
            "content-length": "5",
            "x-key": "a",
            "x-other": "b",
        }

    async def test_bytes_arrive_as_they_are_sent(self) -> None:
        script = stream([b"one", b"two"]).upto(1) + play(0.05, chunk(b"two"), LAST)
        async with talking(script) as (_, client), client.request("GET", "/") as response:
            assert [data async for data in response] == [b"one", b"two"]

    @pytest.mark.parametrize("size", [70_000, 300_000, 2_000_000])
    async def test_a_large_answer_that_lies_ready(self, size: int) -> None:
        """Head and body come in one read, however large; TCP's window grows from use to use."""
        async with talking(play(whole(bytes(size)).wire)) as (_, client):
            for _ in range(4):
                assert await ask(client) == (200, bytes(size))


class TestBadAnswers:
    @pytest.mark.parametrize(
        ("wire", "error"),
        [
            (b"SSH-2.0-OpenSSH_9.2\r\n", UpstreamBadResponse),
            (b"HTTP/1.1 abc Huh\r\n\r\n", UpstreamBadResponse),
            (b"HTTP/9.9 200 OK\r\ncontent-length: 2\r\n\r\nok", UpstreamBadResponse),
            (b"\x16\x03\x01\x02\x00\x01\x00", UpstreamBadResponse),
            (OK + LENGTH + CHUNKED + b"\r\n2\r\nok\r\n0\r\n\r\n", UpstreamBadResponse),
            (OK + CHUNKED + LENGTH + b"\r\n2\r\nok\r\n0\r\n\r\n", UpstreamBadResponse),
            (OK + LENGTH + b"content-length: 6\r\n\r\nhello!", UpstreamBadResponse),
            (OK + LENGTH + LENGTH + b"\r\nhello", UpstreamBadResponse),
            (OK + b"content-length: -2\r\n\r\nok", UpstreamBadResponse),
            (OK + CHUNKED + b"\r\nzz\r\nok\r\n", UpstreamBadResponse),
            (OK + CHUNKED + b"\r\n-2\r\nok\r\n", UpstreamBadResponse),
            (OK + b"a b: c\r\n" + LENGTH + b"\r\nhello", UpstreamBadResponse),
            (SWITCH, UpstreamBadResponse),
            (OK + b"content-encoding: gzip\r\n" + LENGTH + b"\r\nhello", UpstreamBadResponse),
            (OK + LENGTH + b"\r\nhel", UpstreamDisconnected),
            (OK + b"conte", UpstreamDisconnected),
            (b"", UpstreamDisconnected),
            (EARLY_HINTS, UpstreamDisconnected),
            (OK + CHUNKED + b"\r\n5\r\nhel", UpstreamDisconnected),
            (OK + CHUNKED + b"\r\n5\r\nhello\r\n", UpstreamDisconnected),
            (OK + CHUNKED + b"\r\n", UpstreamDisconnected),
        ],
    )
    async def test_they_are_refused(self, wire: bytes, error: type[RelayError]) -> None:
        async with talking(in_turn(play(wire, end), HELLO)) as (upstream, client):
            with pytest.raises(error) as caught:
                await ask(client)
            assert type(caught.value) is error
            assert len(upstream.requests) == 1, "it was asked again"
            assert await ask(client) == (200, b"hello"), "the next request has its own answer"
            assert upstream.accepted == 2

    @pytest.mark.parametrize("status", [301, 302, 304, 307, 308])
    async def test_redirects_are_not_followed(self, status: int) -> None:
        async with talking(HELLO) as (canary, _):
            script = redirect(f"{canary.url}/canary", status)
            async with talking(script) as (upstream, client):
                with pytest.raises(UpstreamRedirect):
                    await ask(client)
                assert len(upstream.requests) == 1
            assert not canary.requests

    @pytest.mark.parametrize("size", [1, 2000])
    async def test_a_giant_head_is_refused(self, size: int) -> None:
        """However its bytes are arranged, and long before it has all been read."""
        sent = 0

        async def giant(request: Received, answer: Answer) -> None:
            nonlocal sent
            await answer.send(b"HTTP/1.1 200 OK\r\n")
            line = b"x-%b: %b\r\n" % (b"a" * size, b"b" * (64 * 1024 // size))
            while True:
                await answer.send(line)
                sent += len(line)

        async with talking(giant) as (_, client):
            with pytest.raises(UpstreamBadResponse, match="head is too large"):
                await ask(client)
            assert sent < 2**23

    async def test_endless_informational_answers_are_refused(self) -> None:
        async def hints(request: Received, answer: Answer) -> None:
            while True:
                await answer.send(EARLY_HINTS * 100)

        async with talking(hints) as (_, client):
            with pytest.raises(UpstreamBadResponse, match="head is too large"):
                await ask(client)

    async def test_a_server_that_speaks_first(self) -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mail.example ESMTP\r\n")
            await reader.read()
            writer.close()

        server = await asyncio.start_server(greet, "127.0.0.1", 0)
        async with server, HttpClient(quick()) as client:
            for _ in range(2):
                with pytest.raises(UpstreamBadResponse):
                    await ask(client, f"http://127.0.0.1:{port_of(server)}/")

    @pytest.mark.parametrize("reason", ["before", "head", "body"])
    async def test_reset(self, reason: str) -> None:
        scripts = {
            "before": play(reset),
            "head": play(b"HTTP/1.1 200", reset),
            "body": stream([b"a", b"b"]).upto(1) + play(reset),
        }
        async with talking(scripts[reason]) as (upstream, client):
            with pytest.raises(UpstreamDisconnected):
                await ask(client)
            assert len(upstream.requests) == 1

    async def test_what_came_before_a_reset_can_be_read(self) -> None:
        script = stream([b"one", b"two"]).upto(2) + play(reset)
        async with talking(script) as (_, client):
            got: list[bytes] = []

            async def collect() -> None:
                async with client.request("GET", "/") as response:
                    async for data in response:
                        got.append(data)  # noqa: PERF401

            with pytest.raises(UpstreamDisconnected):
                await collect()
            assert b"".join(got) == b"onetwo"

    async def test_a_body_over_the_limit(self) -> None:
        async with talking(whole(bytes(1001))) as (upstream, client):
            async with client.request("GET", "/") as response:
                with pytest.raises(UpstreamResponseTooLarge):
                    await response.read(1000)
            async with client.request("GET", "/") as response:
                assert len(await response.read(1001)) == 1001
            assert upstream.requests


def port_of(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


class TestReuse:
    async def test_a_connection_is_kept(self) -> None:
        async with talking(HELLO) as (upstream, client):
            for _ in range(5):
                assert await ask(client) == (200, b"hello")
            assert upstream.accepted == 1
        assert upstream.open == 0

    async def test_the_last_one_used_is_used_first(self) -> None:
        ports: list[int] = []

        async def note(request: Received, answer: Answer) -> None:
            ports.append(answer._connection._transport.get_extra_info("peername")[1])
            await HELLO(request, answer)

        async with talking(note) as (upstream, client):
            async with client.request("GET", "/") as first:
                async with client.request("GET", "/") as second:
                    await second.read(LIMIT)
                await first.read(LIMIT)
            await ask(client)
            assert upstream.accepted == 2
            assert ports[2] == ports[0]

    async def test_an_idle_one_is_given_up(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_pool, "IDLE_LIMIT", 0.05)
        async with talking(HELLO) as (upstream, client):
            await ask(client)
            await asyncio.sleep(0.1)
            await ask(client)
            assert upstream.accepted == 2
            await until(lambda: upstream.open == 1, within=2)

    async def test_no_more_than_the_limit_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_pool, "POOL_LIMIT", 2)
        async with talking(HELLO) as (upstream, client):
            async with contextlib.AsyncExitStack() as stack:
                for _ in range(5):
                    response = await stack.enter_async_context(client.request("GET", "/"))
                    await response.read(LIMIT)
            await until(lambda: upstream.open == 2, within=2)

    @pytest.mark.parametrize(
        "script",
        [
            whole(b"hello", headers={"connection": "close"}),
            play(b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello"),
            whole(b"hello") + play(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"),
            play(whole(b"hello").wire + whole(b"evil").wire),
            play(whole(b"hello").wire + b"junk"),
            whole(b"hello") + play(b"\r\n\r\nHTTP/1.1"),
        ],
        ids=["close", "http10", "second", "second_at_once", "junk", "half"],
    )
    async def test_it_is_not_kept(self, script: Play) -> None:
        async with talking(in_turn(script, whole(b"other"))) as (upstream, client):
            assert await ask(client) == (200, b"hello")
            await asyncio.sleep(0.01)
            assert await ask(client) == (200, b"other")
            assert upstream.accepted == 2
            await until(lambda: upstream.open == 1, within=2)

    async def test_junk_while_idle(self) -> None:
        script = HELLO + play(0.05, whole(b"evil").wire)
        async with talking(in_turn(script, whole(b"other"))) as (upstream, client):
            assert await ask(client) == (200, b"hello")
            await until(lambda: upstream.open == 0, within=10)
            assert await ask(client) == (200, b"other")
            assert upstream.accepted == 2

    async def test_one_that_the_server_closed_is_not_used(self) -> None:
        async with talking(in_turn(HELLO + play(0.02, end), HELLO)) as (upstream, client):
            await ask(client)
            await asyncio.sleep(0.06)
            assert await ask(client) == (200, b"hello")
            assert len(upstream.requests) == 2

    async def test_a_stale_one_is_tried_again_once(self) -> None:
        """Closed by the server at the very moment of its second use, with not a byte sent."""
        async with talking(in_turn(HELLO, play(end), HELLO)) as (upstream, client):
            await ask(client)
            async with client.request("POST", "/", body=b"x") as response:
                assert await response.read(LIMIT) == b"hello"
            assert [r.body for r in upstream.requests] == [b"", b"x", b"x"]

    @pytest.mark.parametrize("failing", [play(end), play(reset)])
    async def test_it_is_not_tried_a_third_time(self, failing: Play) -> None:
        async with talking(in_turn(HELLO, failing)) as (upstream, client):
            await ask(client)
            with pytest.raises(UpstreamDisconnected):
                await ask(client)
            assert len(upstream.requests) == 3

    async def test_it_is_not_tried_again_after_a_byte(self) -> None:
        async with talking(in_turn(HELLO, play(b"H", end))) as (upstream, client):
            await ask(client)
            with pytest.raises(UpstreamDisconnected):
                await ask(client)
            assert len(upstream.requests) == 2

    @pytest.mark.parametrize("size", [10, 65_537, 200_000])
    async def test_an_answer_that_nobody_read(self, size: int) -> None:
        """It is there already, so that the connection can be kept: and then it works."""
        async with talking(in_turn(whole(bytes(size)), HELLO)) as (upstream, client):
            async with client.request("GET", "/"):
                await asyncio.sleep(0.05)
            assert await ask(client, first_byte=0.5) == (200, b"hello")
            assert len(upstream.requests) == 2

    @pytest.mark.parametrize("streamed", [False, True])
    async def test_an_early_answer_to_a_large_request(self, streamed: bool) -> None:
        """The server answers and reads no further: nothing may follow on that connection."""

        async def pieces() -> AsyncIterator[bytes]:
            for _ in range(2**8):
                yield bytes(2**16)

        refusing: list[Refusing] = []
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: Refusing(refusing), "127.0.0.1", 0)
        async with server, HttpClient(quick()) as client:
            url = f"http://127.0.0.1:{port_of(server)}/"
            body = pieces() if streamed else bytes(2**24)
            async with asyncio.timeout(20), client.request("POST", url, body=body) as response:
                assert (response.status, await response.read(99)) == (413, b"no")
            assert await ask(client, url) == (413, b"no")
            assert len(refusing) == 2
            for protocol in refusing:
                protocol.transport.abort()


class Refusing(asyncio.Protocol):
    """Answers 413 to the beginning of a request and reads no more of it."""

    def __init__(self, all_of_them: list["Refusing"]) -> None:
        self.everyone = all_of_them

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.everyone.append(self)

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()
        self.transport.write(b"HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno")


class TestClocks:
    async def test_connecting(self) -> None:
        """A listener whose backlog is full lets nobody in."""
        with socket.socket() as listener, contextlib.ExitStack() as stack:
            listener.bind(("127.0.0.1", 0))
            listener.listen(0)
            address = listener.getsockname()
            for _ in range(3):  # Linux takes one more than the backlog
                filler = stack.enter_context(socket.socket())
                filler.setblocking(False)
                filler.connect_ex(address)
            async with HttpClient(quick(connect_timeout=0.2)) as client:
                start = asyncio.get_running_loop().time()
                with pytest.raises(ConnectTimeout):
                    await ask(client, f"http://127.0.0.1:{address[1]}/")
                assert 0.15 < asyncio.get_running_loop().time() - start < 3

    @pytest.mark.parametrize(
        "script",
        [
            play(hang),
            play(head(200, {"content-length": "5"}), hang),
            json({"data": []}).recut(each(1)).paced(0.05),
            play(*[EARLY_HINTS, 0.05] * 20),
        ],
        ids=["silent", "no_body", "dripped_head", "hints"],
    )
    async def test_the_first_byte(self, script: Play) -> None:
        async with talking(script) as (upstream, client):
            start = asyncio.get_running_loop().time()
            with pytest.raises(FirstByteTimeout):
                await ask(client, first_byte=0.2, idle=5)
            assert 0.18 < asyncio.get_running_loop().time() - start < 3
            await until(lambda: upstream.open == 0, within=2)

    async def test_silence(self) -> None:
        """Measured from the last byte, also where the first one was given more time."""
        script = stream([b"a", b"b", b"c"]).upto(2) + play(hang)
        async with talking(script) as (upstream, client):
            start = asyncio.get_running_loop().time()
            with pytest.raises(IdleTimeout):
                await ask(client, first_byte=5, idle=0.2)
            assert 0.18 < asyncio.get_running_loop().time() - start < 3
            await until(lambda: upstream.open == 0, within=2)

    async def test_a_slow_answer_is_no_silent_one(self) -> None:
        script = stream([b"a"] * 8).paced(0.45)
        async with talking(script) as (_, client):
            assert await ask(client, first_byte=3.0, idle=3.0) == (200, b"a" * 8)

    async def test_the_whole(self) -> None:
        script = stream([b"a"] * 100).paced(0.02)
        async with talking(script) as (upstream, client):
            start = asyncio.get_running_loop().time()
            with pytest.raises(UpstreamTimeout) as caught:
                await ask(client, total=0.2)
            assert type(caught.value) is UpstreamTimeout
            assert 0.18 < asyncio.get_running_loop().time() - start < 3
            await until(lambda: upstream.open == 0, within=2)

    async def test_a_slow_reader_is_not_the_upstreams_fault(self) -> None:
        script = stream([bytes(2**16)] * 64)
        async with talking(script) as (_, client):
            async with client.request("GET", "/", idle=0.1) as response:
                size = 0
                async for data in response:
                    size += len(data)
                    if size < 2**18:
                        await asyncio.sleep(0.25)
            assert size == 2**22

    async def test_no_clock_runs_on(self) -> None:
        """A kept connection outlives the clocks of its last exchange."""
        async with talking(HELLO) as (upstream, client):
            await ask(client, first_byte=0.05, idle=0.05, total=0.05)
            await asyncio.sleep(0.15)
            await ask(client)
            assert upstream.accepted == 1


class TestFlow:
    async def test_a_reader_that_stops_holds_the_server_back(self) -> None:
        sent = 0

        async def endless(request: Received, answer: Answer) -> None:
            nonlocal sent
            await answer.send(head(200, {"transfer-encoding": "chunked"}))
            while True:
                await answer.send(chunk(bytes(2**16)))
                sent += 2**16

        async with talking(endless) as (_, client), client.request("GET", "/") as response:
            await anext(aiter(response))
            before = -1
            while sent != before:
                before = sent
                await asyncio.sleep(0.1)
            assert sent < 2**24, "the kernel's buffers hold about 6 MiB on loopback"
            got = 0
            while got < sent:
                got += len(await anext(aiter(response)))
            await until(lambda: sent > before, within=2)

    async def test_leaving_in_the_middle_closes_at_once(self) -> None:
        script = stream([b"a", b"b"]).upto(1) + play(hang)
        async with talking(script) as (upstream, client):
            async with client.request("GET", "/") as response:
                assert await anext(aiter(response)) == b"a"
            await until(lambda: upstream.gone, within=2)
            assert upstream.open == 0

    @pytest.mark.parametrize(
        ("rest", "kept"),
        [
            (play(LAST), True),
            (play(0.05, LAST), True),
            (play(0.05, chunk(bytes(2**18)), LAST), True),
            (play(LAST + b"junk"), False),
            (play(hang), False),
            (play(0.02, end), False),
        ],
    )
    async def test_a_reader_that_has_all_it_wanted(
        self, rest: Play, kept: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("h2o_relay.http_connection.DRAIN_SECONDS", 2.5)
        script = stream([b"all"]).upto(1) + rest
        async with talking(in_turn(script, HELLO)) as (upstream, client):
            exchange = client.request("GET", "/")
            async with exchange as response:
                assert await anext(aiter(response)) == b"all"
                exchange.whole = True
            if kept:
                await asyncio.sleep(0.2)
            else:
                await until(lambda: upstream.open == 0, within=10)
            assert upstream.open == int(kept)
            assert await ask(client) == (200, b"hello")
            assert upstream.accepted == 2 - kept

    @pytest.mark.parametrize("stage", ["connecting", "head", "body", "upload"])
    async def test_cancelling(self, stage: str) -> None:
        async def forever() -> AsyncIterator[bytes]:
            while True:
                yield bytes(2**16)
                await asyncio.sleep(0.001)

        script = {"body": stream([b"a", b"b"]).upto(1) + play(hang)}.get(stage, play(hang))
        async with talking(script) as (upstream, client):
            body = forever() if stage == "upload" else b""

            async def run() -> None:
                async with client.request("POST", "/", body=body) as response:
                    await response.read(LIMIT)

            task = asyncio.create_task(run())
            wanted = {"connecting": 0.0, "head": 0.05, "body": 0.05, "upload": 0.05}[stage]
            await asyncio.sleep(wanted)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0.05)
            assert upstream.open == 0

    async def test_closing_the_client_closes_everything(self) -> None:
        async with ScriptedUpstream(play(hang)) as upstream:
            async with HttpClient(quick()) as client:
                asking = [asyncio.create_task(ask(client, upstream.url)) for _ in range(3)]
                await until(lambda: upstream.answering == 3, within=1)
            results = await asyncio.gather(*asking, return_exceptions=True)
            assert [type(r) for r in results] == [Overloaded] * 3
            await until(lambda: upstream.open == 0, within=2)
            with pytest.raises(RuntimeError, match="not open"):
                await ask(client, upstream.url)


class TestRequests:
    async def test_a_body_in_pieces(self) -> None:
        async def pieces() -> AsyncIterator[bytes]:
            for piece in (b"one", b"", b"two" * 100_000):
                yield piece

        async with talking(HELLO) as (upstream, client):
            for _ in range(2):
                async with client.request("POST", "/", body=pieces()) as response:
                    assert await response.read(LIMIT) == b"hello"
            assert [r.body for r in upstream.requests] == [b"one" + b"two" * 100_000] * 2
            assert upstream.requests[0].headers["transfer-encoding"] == "chunked"
            assert upstream.accepted == 1

    async def test_a_body_that_fails(self) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"one"
            raise KeyError("broken")

        async with talking(HELLO) as (upstream, client):
            with pytest.raises(KeyError):
                async with client.request("POST", "/", body=broken()):
                    pytest.fail("it was answered")
            await until(lambda: upstream.open == 0, within=2)
            assert not upstream.requests

    async def test_a_server_that_leaves_during_an_upload(self) -> None:
        async def forever() -> AsyncIterator[bytes]:
            while True:
                yield bytes(2**16)
                await asyncio.sleep(0)

        def leave(protocol: Refusing, data: bytes) -> None:
            protocol.transport.abort()

        server = await asyncio.get_running_loop().create_server(
            lambda: type("Leaving", (Refusing,), {"data_received": leave})([]), "127.0.0.1", 0
        )
        async with server, HttpClient(quick()) as client:
            with pytest.raises(UpstreamDisconnected):
                async with (
                    asyncio.timeout(20),
                    client.request("POST", f"http://127.0.0.1:{port_of(server)}/", body=forever()),
                ):
                    pytest.fail("it was answered")

    @pytest.mark.parametrize("value", ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rx-evil: 1"])
    @pytest.mark.parametrize("place", ["name", "value"])
    async def test_headers_cannot_be_injected(self, value: str, place: str) -> None:
        headers = {"x-a": value} if place == "value" else {value: "a"}
        async with talking(HELLO) as (upstream, client):
            with pytest.raises(PluginError, match="line break"):
                await ask(client, headers=headers)
            assert not upstream.accepted

    async def test_a_header_that_is_not_latin(self) -> None:
        async with talking(HELLO) as (upstream, client):
            with pytest.raises(InvalidRequest, match="8859"):
                await ask(client, headers={"x-a": "\u20ac"})
            assert not upstream.accepted

    @pytest.mark.parametrize(
        "url",
        [
            "ftp://127.0.0.1/", "127.0.0.1:80/", "http:///x", "http://", "", "http://h:99999/",
            "http://h:x/", "http://u:p@127.0.0.1/", "http://[fe80::1%25lo]/", "http://[::1/",
            "http://a..b/", f"http://{'a' * 64}.example/", "http://h:0/",
        ],
    )  # fmt: skip
    async def test_urls_that_are_refused(self, url: str) -> None:
        async with HttpClient(quick()) as client:
            with pytest.raises(InvalidRequest):
                await ask(client, url)

    @pytest.mark.parametrize(
        ("url", "origin", "path", "host"),
        [
            ("http://h", (False, "h", 80), "/", "h"),
            ("https://H.Example/v1/x", (True, "h.example", 443), "/v1/x", "h.example"),
            ("http://h:8000/v1?a=b&c", (False, "h", 8000), "/v1?a=b&c", "h:8000"),
            ("http://[::1]:80/", (False, "::1", 80), "/", "[::1]:80"),
            ("http://bücher.example/", (False, "xn--bcher-kva.example", 80), "/",
             "xn--bcher-kva.example"),
            ("http://h/a b\"<>\\#part", (False, "h", 80), "/a%20b%22%3C%3E%5C", "h"),
            ("http://h/%41%zz", (False, "h", 80), "/%41%zz", "h"),
        ],
    )  # fmt: skip
    def test_split_url(self, url: str, origin: tuple[bool, str, int], path: str, host: str) -> None:
        assert split_url(url) == (origin, path, host)

    async def test_get(self) -> None:
        async with talking(in_turn(json({"a": 1}, 404), whole(bytes(2000)))) as (_, client):
            status, headers, body = await client.get("/x")
            assert (status, headers["content-type"], body) == (404, "application/json", b'{"a":1}')
            with pytest.raises(UpstreamResponseTooLarge):
                await client.get("/x", limit=1999)


class TestConnecting:
    async def test_refused(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            async with HttpClient(quick()) as client:
                with pytest.raises(UpstreamUnreachable):
                    await ask(client, f"http://127.0.0.1:{unused.getsockname()[1]}/")

    async def test_a_name_that_nobody_has(self) -> None:
        async with HttpClient(quick(connect_timeout=5)) as client:
            with pytest.raises(UpstreamDNSError):
                await ask(client, "http://nonexistent.invalid/v1")

    async def test_ipv6(self) -> None:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(HELLO.wire)
            writer.close()

        try:
            server = await asyncio.start_server(greet, "::1", 0)
        except OSError as error:
            pytest.skip(f"this machine has no IPv6: {error}")
        async with server, HttpClient(quick()) as client:
            assert await ask(client, f"http://[::1]:{port_of(server)}/") == (200, b"hello")

    async def test_reset_on_accept(self) -> None:
        def reset_at_once(protocol: Refusing, transport: asyncio.Transport) -> None:
            transport.abort()

        server = await asyncio.get_running_loop().create_server(
            lambda: type("Resetting", (Refusing,), {"connection_made": reset_at_once})([]),
            "127.0.0.1",
            0,
        )
        async with server, HttpClient(quick()) as client:
            with pytest.raises(UpstreamDisconnected):
                await ask(client, f"http://127.0.0.1:{port_of(server)}/")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


class TestTLS:
    async def test_a_trusted_certificate(
        self, authority: trustme.CA, certified: ssl.SSLContext
    ) -> None:
        script = sse([b"{}"] * 3)
        with authority.cert_pem.tempfile() as ca_file:
            async with (
                ScriptedUpstream(script, ssl=certified) as upstream,
                HttpClient(quick(ca_file=ca_file)) as client,
            ):
                for _ in range(2):
                    assert await ask(client, upstream.url) == (200, script.body)
                assert upstream.accepted == 1

    async def test_a_stream_over_tls_that_breaks_off(
        self, authority: trustme.CA, certified: ssl.SSLContext
    ) -> None:
        script = stream([b"a", b"b"]).upto(1) + play(end)
        with authority.cert_pem.tempfile() as ca_file:
            async with (
                ScriptedUpstream(script, ssl=certified) as upstream,
                HttpClient(quick(ca_file=ca_file)) as client,
            ):
                with pytest.raises(UpstreamDisconnected):
                    await ask(client, upstream.url)

    async def test_leaving_over_tls(self, authority: trustme.CA, certified: ssl.SSLContext) -> None:
        script = stream([b"a", b"b"]).upto(1) + play(hang)
        with authority.cert_pem.tempfile() as ca_file:
            async with (
                ScriptedUpstream(script, ssl=certified) as upstream,
                HttpClient(quick(ca_file=ca_file)) as client,
            ):
                async with client.request("GET", upstream.url) as response:
                    await anext(aiter(response))
                await until(lambda: upstream.gone, within=2)

    async def test_an_unknown_authority(self, certified: ssl.SSLContext) -> None:
        async with (
            ScriptedUpstream(HELLO, ssl=certified) as upstream,
            HttpClient(quick()) as client,
        ):
            with pytest.raises(UpstreamTLSError):
                await ask(client, upstream.url)
            assert not upstream.requests

    async def test_a_name_that_is_not_in_the_certificate(self, authority: trustme.CA) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("other.example").configure_cert(context)
        with authority.cert_pem.tempfile() as ca_file:
            async with (
                ScriptedUpstream(HELLO, ssl=context) as upstream,
                HttpClient(quick(ca_file=ca_file)) as client,
            ):
                with pytest.raises(UpstreamTLSError):
                    await ask(client, upstream.url)

    async def test_a_peer_that_speaks_plain_text(self) -> None:
        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(100)
            writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        async with server, HttpClient(quick()) as client:
            with pytest.raises(UpstreamTLSError):
                await ask(client, f"https://127.0.0.1:{port_of(server)}/")

    async def test_a_peer_that_hangs_in_the_handshake(self) -> None:
        hanging: list[asyncio.StreamWriter] = []

        async def hang_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            hanging.append(writer)
            await reader.read(2**16)
            await reader.read()
            writer.close()

        server = await asyncio.start_server(hang_on, "127.0.0.1", 0)
        async with server, HttpClient(quick(connect_timeout=0.2)) as client:
            with pytest.raises(ConnectTimeout):
                await ask(client, f"https://127.0.0.1:{port_of(server)}/")
            await until(lambda: all(w.is_closing() for w in hanging), within=2)

    async def test_certificates_that_are_not_there(self) -> None:
        async with HttpClient(quick(ca_file="missing.pem")) as client:
            with pytest.raises(UpstreamTLSError, match="ca_file"):
                await ask(client, "https://127.0.0.1:1/")


class TestOffering:
    """What a taker takes does not wake the reader."""

    async def read(
        self, script: Script, taker: Callable[[bytes], bool], settings: Settings | None = None
    ) -> list[bytes]:
        async with (
            talking(script, settings) as (_, client),
            client.request("GET", "/") as response,
        ):
            response.offer(taker)
            return [piece async for piece in response]

    async def test_what_is_taken_and_what_is_not(self) -> None:
        seen: list[bytes] = []

        def taker(data: bytes) -> bool:
            if data != b"b":
                seen.append(data)
            return data != b"b"

        script = stream([b"a", b"b", b"c"]).paced(0.1)
        assert await self.read(script, taker) == [b"b"]
        assert seen == [b"a", b"c"]

    async def test_of_what_comes_together_the_first_pieces_may_be_taken(self) -> None:
        first = b"".join(map(chunk, (b"a", b"b", b"c", b"a")))
        last = chunk(b"a") + LAST
        script = play(head(200, {"transfer-encoding": "chunked"}), 0.1, first, 0.1, last)
        seen: list[bytes] = []

        def taker(data: bytes) -> bool:
            seen.append(data)
            return data != b"c"

        assert await self.read(script, taker) == [b"ca"]
        assert seen == [b"a", b"b", b"c", b"a"]

    async def test_the_end_comes_with_what_is_taken(self) -> None:
        script = play(head(200, {"transfer-encoding": "chunked"}), 0.1, chunk(b"a") + LAST)
        assert await self.read(script, lambda _: True) == []

    async def test_it_breaks_off_after_what_is_taken(self) -> None:
        script = play(head(200, {"transfer-encoding": "chunked"}), 0.1, chunk(b"a"), 0.1, reset)
        with pytest.raises(UpstreamDisconnected):
            await self.read(script, lambda _: True)

    async def test_silence_is_noticed(self) -> None:
        script = play(head(200, {"transfer-encoding": "chunked"}), 0.1, chunk(b"a"), hang)
        with pytest.raises(IdleTimeout):
            await self.read(script, lambda _: True, quick(idle_timeout=0.4))

    async def test_the_next_exchange_of_a_connection_knows_nothing_of_it(self) -> None:
        async with talking(stream([b"a"]).paced(0.05)) as (upstream, client):
            async with client.request("GET", "/") as response:
                response.offer(lambda _: True)
                assert await response.read(LIMIT) == b""
            assert (await ask(client))[1] == b"a"
            assert upstream.accepted == 1
