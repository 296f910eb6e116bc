"""A head that is known spares its parsing, and nothing else: whatever comes, a connection that
knows the last head does what one does that has to parse.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.errors import FirstByteTimeout, RelayError, UpstreamDisconnected
from h2o_relay.http_connection import HIGH_WATER, Connection
from h2o_relay.http_known import LIMIT, KnownHead

HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 12:00:00 GMT\r\nserver: uvicorn\r\n"
    b"Content-Length: %b\r\ncontent-type: application/json\r\nx-id: 7\r\n\r\n"
)
BODY = b'{"choices":[]}'
ANSWER = HEAD % b"14" + BODY
MOST = 2**20


class Counting(KnownHead):
    """Tells how often it spared the parsing."""

    __slots__ = ("spared",)

    def __init__(self) -> None:
        super().__init__()
        self.spared = 0

    def body(self, data: bytes) -> bytes | None:
        found = super().body(data)
        self.spared += found is not None
        return found


class Unknowing(KnownHead):
    """Never knows anything."""

    __slots__ = ()

    def body(self, data: bytes) -> bytes | None:
        return None


class Wire:
    """A transport that takes everything."""

    def __init__(self) -> None:
        self.aborted = False

    def write(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


@dataclass
class Outcome:
    """What a reader and the pool see of one exchange."""

    status: int
    has_head: bool
    complete: bool
    encoded: bool
    headers: dict[str, str]
    body: bytes | None
    error: str
    kept: bool
    aborted: bool


async def outcomes(known: KnownHead, *exchanges: Sequence[bytes]) -> list[Outcome]:
    """Of these exchanges on one connection, each answered by these reads; the last one is the one
    after which it is not kept.
    """
    kept: list[Connection] = []
    connection = Connection(asyncio.get_running_loop(), kept.append, known)
    wire = Wire()
    connection.connection_made(wire)
    found = []
    try:
        for reads in exchanges:
            kept.clear()
            connection.start(b"GET / HTTP/1.1\r\n\r\n", 60, 60, None)
            for data in reads:
                connection.data_received(data)
            found.append(outcome(connection, kept, wire))
            if not kept or connection.closed:
                break
    finally:
        connection.abort()
    return found


def outcome(connection: Connection, kept: list[Connection], wire: Wire) -> Outcome:
    body, error = connection.ready(MOST), ""
    try:
        waiter: Any = connection.more()
        waiter.cancel()
    except RelayError as failure:
        error = f"{type(failure).__name__}: {failure.message}"
    about = (
        connection.status, connection.has_head, connection.complete, connection.encoded,
        connection.headers if connection.has_head else {}, body, error,
    )  # fmt: skip
    connection.finish(whole=False)
    return Outcome(*about, bool(kept) and not connection.closed, wire.aborted)


async def spared(*exchanges: Sequence[bytes]) -> int:
    """How often parsing was spared; first of all, that it made no difference."""
    known = Counting()
    assert await outcomes(known, *exchanges) == await outcomes(Unknowing(), *exchanges)
    return known.spared


def told(length: bytes, body: bytes = BODY) -> bytes:
    return HEAD % length + body


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        told(b"5", b"12345"),
        told(b"1", b"1"),
        told(b"140", BODY * 10),

    ],
)  # fmt: skip
async def test_the_same_head_is_not_parsed_again(answer: bytes) -> None:
    assert await spared([ANSWER], [answer], [answer], [ANSWER]) == 3


OTHERS = {
    "shorter": told(b"15"),
    "longer": told(b"13"),
    "much-longer": told(b"1"),
    "zero": told(b"0", b""),
    "zero-and-more": told(b"0"),
    "leading-zero": told(b"014"),
    "plus": told(b"+14"),
    "minus": told(b"-14"),
    "space-before": told(b" 14"),
    "space-after": told(b"14 "),
    "tab": told(b"14\t"),
    "underscore": told(b"1_4"),
    "hex": told(b"0xe"),
    "two-lengths": told(b"14, 14"),
    "no-length": told(b""),
    "letters": told(b"aa"),
    "many-digits": told(b"9" * 40),
    "19-digits": told(b"0" * 17 + b"14"),
    "superscript": told("¹".encode("latin-1")),
    "line-feed": told(b"14").replace(b"14\r\n", b"14\n"),
    "two": ANSWER + ANSWER,
    "junk-after": ANSWER + b"x",
    "line-end-after": ANSWER + b"\r\n",
    "line-end-before": b"\r\n" + ANSWER,
    "head-alone": told(b"14", b""),
    "one-byte": ANSWER.replace(b"x-id: 7", b"x-id: 8"),
    "first-byte": b"X" + ANSWER[1:],
    "date": ANSWER.replace(b"12:00:00", b"12:00:01"),
    "case": ANSWER.replace(b"server", b"Server"),
    "order": ANSWER.replace(b"server: uvicorn\r\n", b"").replace(
        b"x-id: 7\r\n", b"x-id: 7\r\nserver: uvicorn\r\n"
    ),
    "one-more": ANSWER.replace(b"x-id: 7\r\n", b"x-id: 7\r\ny: 1\r\n"),
    "one-less": ANSWER.replace(b"x-id: 7\r\n", b""),
    "second-length": ANSWER.replace(b"x-id: 7\r\n", b"content-length: 14\r\n"),
    "chunked-too": ANSWER.replace(b"x-id: 7\r\n", b"transfer-encoding: chunked\r\n"),
    "close": ANSWER.replace(b"x-id: 7\r\n", b"connection: close\r\n"),
    "encoded": ANSWER.replace(b"x-id: 7\r\n", b"content-encoding: gzip\r\n"),
    "1.0": ANSWER.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "created": ANSWER.replace(b"200 OK", b"201 OK"),
    "refused": ANSWER.replace(b"200 OK", b"429 OK"),
    "reason": ANSWER.replace(b"200 OK", b"200 ok"),
    "informed": b"HTTP/1.1 103 Early Hints\r\n\r\n" + ANSWER,
    "no-http": b"SSH-2.0-OpenSSH_9.2\r\n",
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
async def test_any_other_head_is_parsed(other: bytes) -> None:
    assert await spared([ANSWER], [other]) == 0


@pytest.mark.parametrize("name", ["date", "one-byte", "case", "order", "one-more", "one-less"])
async def test_one_that_changes_is_learned_anew(name: str) -> None:
    other = OTHERS[name]
    assert await spared([ANSWER], [other], [other], [ANSWER], [ANSWER]) == 2


@pytest.mark.parametrize(
    "name",
    ["created", "refused", "encoded", "zero", "line-end-before", "informed"],
)
async def test_not_learned_of(name: str) -> None:
    """What is no whole 200 with a body, as it was sent and by itself."""
    other = OTHERS[name]
    assert await spared([other], [other], [other]) == 0


async def test_a_head_too_long_to_keep_is_not_learned() -> None:
    long = ANSWER.replace(b"x-id: 7", b"x-id: " + b"7" * LIMIT)
    assert await spared([long], [long]) == 0


@pytest.mark.parametrize("size", [1, 20, len(ANSWER) - 1])
async def test_what_comes_in_pieces_is_parsed(size: int) -> None:
    pieces = [ANSWER[at : at + size] for at in range(0, len(ANSWER), size)]
    assert await spared([ANSWER], pieces, pieces) == 0
    assert await spared(pieces, [ANSWER]) == 0, "it was learned of pieces"


async def test_after_an_informational_answer_it_is_parsed() -> None:
    assert await spared([ANSWER], [b"HTTP/1.1 100 Continue\r\n\r\n", ANSWER]) == 0


async def test_an_answer_that_nobody_asked_for() -> None:
    assert await spared([ANSWER], [ANSWER, ANSWER]) == 1
    assert await spared([ANSWER], [ANSWER, b"x"]) == 1


async def test_connections_to_an_origin_share_it() -> None:
    known = Counting()
    await outcomes(known, [ANSWER])
    assert (await outcomes(known, [told(b"1", b"1")]))[0].headers["content-length"] == "1"
    assert known.spared == 1


async def test_headers_of_an_answer_stay_its_own() -> None:
    """A reader may still look at them when another answer has come to another connection."""
    known, loop = KnownHead(), asyncio.get_running_loop()
    first, second = [Connection(loop, lambda _: None, known) for _ in range(2)]
    for connection, answer in ((first, ANSWER), (second, told(b"1", b"1"))):
        connection.connection_made(Wire())
        connection.start(b"", 60, 60, None)
        connection.data_received(answer)
    assert first.headers["content-length"] == "14"
    assert second.headers["content-length"] == "1"
    first.abort()
    second.abort()


CHANGES = st.lists(
    st.tuples(
        st.integers(0, len(ANSWER)), st.integers(0, 3),
        st.sampled_from([b"", b"0", b"1", b" ", b"\r", b"\n", b"\r\n", b":", b"\x00", b"\xff"]),
    ),
    min_size=1, max_size=3,
)  # fmt: skip


@given(changes=CHANGES)
def test_whatever_comes_it_makes_no_difference(changes: list[tuple[int, int, bytes]]) -> None:
    answer = ANSWER
    for at, less, more in changes:
        answer = answer[:at] + more + answer[at + less :]
    asyncio.run(spared([ANSWER], [answer], [ANSWER]))


class TestWhoWantsAllIsWokenOnce:
    """`Connection.start` with `most`."""

    FULL = HEAD % b"14"
    CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

    async def woken(self, *reads: bytes, most: int = 100) -> list[bool]:
        """After each of these, whether a reader who waits has been woken."""
        connection = Connection(asyncio.get_running_loop(), lambda _: None, KnownHead())
        connection.connection_made(Wire())
        connection.start(b"", 60, 60, None, most)
        waiter, found = connection.more(), []
        for data in reads:
            connection.data_received(data)
            found.append(waiter.done())
        connection.abort()
        waiter.cancel()
        return found

    async def test_with_the_last_byte(self) -> None:
        head = self.FULL
        assert await self.woken(head, BODY[:5], BODY[5:]) == [False, False, True]
        assert await self.woken(head + BODY) == [True]
        pieces = (self.CHUNKED, b"5\r\nhello\r\n", b"0\r\n\r\n")
        assert await self.woken(*pieces) == [False, False, True]

    async def test_one_who_takes_what_comes_with_the_head(self) -> None:
        assert await self.woken(self.FULL, most=-1) == [True]

    async def test_when_there_is_more_than_so_much(self) -> None:
        assert await self.woken(self.FULL, BODY[:5], most=5) == [False, False]
        assert await self.woken(self.FULL, BODY[:6], most=5) == [False, True]

    async def test_when_more_is_held_than_is_held_for_anybody(self) -> None:
        large = HEAD % b"999999"
        assert await self.woken(large, b"x" * (HIGH_WATER + 1), most=HIGH_WATER) == [False, True]

    @pytest.mark.parametrize(
        "head",
        [
            FULL.replace(b"200 OK", b"500 No"),
            FULL.replace(b"200 OK", b"307 No"),
            FULL.replace(b"x-id: 7", b"content-encoding: gzip"),
            b"nonsense\r\n",
        ],
        ids=["status", "redirect", "encoded", "no-http"],
    )
    async def test_at_once_by_what_will_be_refused(self, head: bytes) -> None:
        assert await self.woken(head) == [True]

    async def test_by_its_end_in_the_middle(self) -> None:
        connection = Connection(asyncio.get_running_loop(), lambda _: None, KnownHead())
        connection.connection_made(Wire())
        connection.start(b"", 60, 60, None, 100)
        waiter = connection.more()
        connection.data_received(self.FULL + b"{")
        assert not waiter.done()
        connection.connection_lost(None)
        assert waiter.done()
        assert connection.has_head
        with pytest.raises(UpstreamDisconnected):
            connection.more()


async def test_a_head_that_ends_the_connection_is_not_learned() -> None:
    """Else the next connection would be kept."""
    known, close = KnownHead(), OTHERS["close"]
    for _ in range(2):
        (found,) = await outcomes(known, [close])
        assert (found.complete, found.kept) == (True, False)


class TestNothingIsLeftOfTheExchangeBefore:
    @contextlib.asynccontextmanager
    async def after(self, *reads: bytes) -> AsyncIterator[Connection]:
        """A connection whose first exchange was answered so, and which was kept."""
        kept: list[Connection] = []
        connection = Connection(asyncio.get_running_loop(), kept.append, KnownHead())
        connection.connection_made(Wire())
        connection.start(b"", 60, 60, None)
        for data in reads:
            connection.data_received(data)
        connection.finish(whole=False)
        assert kept == [connection]
        try:
            yield connection
        finally:
            connection.abort()

    async def test_an_answer_without_a_length(self) -> None:
        async with self.after(b"HTTP/1.1 204 No\r\n\r\n") as connection:
            connection.start(b"", 60, 60, None)
            connection.connection_lost(None)
            assert not connection.complete
            with pytest.raises(UpstreamDisconnected):
                connection.more()

    async def test_a_refusal(self) -> None:
        async with self.after(OTHERS["refused"]) as connection:
            connection.start(b"", 60, 60, None)
            assert await connection.drain(), "it has not said no to this one"

    @pytest.mark.parametrize("pieces", [[ANSWER], [ANSWER[:-3], ANSWER[-3:]]])
    async def test_a_body_that_has_begun(self, pieces: list[bytes]) -> None:
        async with self.after(*pieces) as connection:
            connection.start(b"", 0.05, 60, None)
            await asyncio.wait_for(connection.more(), 5)
            with pytest.raises(FirstByteTimeout):
                connection.more()

    async def test_what_nobody_has_read(self) -> None:
        async with self.after(ANSWER) as connection:
            for answer in (OTHERS["date"], told(b"1", b"1"), ANSWER):  # parsed, known, parsed
                connection.start(b"", 60, 60, None)
                connection.data_received(answer)
                expected = answer.partition(b"\r\n\r\n")[2]
                assert connection._pieces == [expected]
                assert connection._held == len(expected)
                connection.finish(whole=False)

    async def test_how_much_was_waited_for(self) -> None:
        async with self.after(ANSWER) as connection:
            connection.start(b"", 60, 60, None, 100)
            connection.data_received(ANSWER)
            connection.finish(whole=False)
            connection.start(b"", 60, 60, None)
            waiter = connection.more()
            connection.data_received(HEAD % b"14")
            assert waiter.done()
