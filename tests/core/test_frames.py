"""Chunks that go on as they came: only whole ones, only good ones, in order, none twice."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable
from typing import Any

import pytest

from h2o_relay.frames import SHORT, Frames, Passage, stands_between
from h2o_relay.http_connection import Connection
from h2o_relay.http_known import KnownHead
from h2o_relay.pattern import Pattern

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
BEFORE = b'data: {"model":"m","choices":[{"index":0,"delta":{"content":"'
AFTER = b'"},"finish_reason":null}]}\n\n'
LIMIT = 2**16
SENT = [b"hi", b"", b" \\n\\u00e9", "\u00e9\u2603".encode(), b"x" * 300, b"x" * 5000]
ODD = [b"data: [DONE]\n\n", b'data: {"error":{}}\n\n', b": hi\n\n", b"\n", b"4\r\n4", b"7\r\n\r\n"]


def event(text: bytes) -> bytes:
    return BEFORE + text + AFTER


def chunk(data: bytes, size: bytes = b"%x") -> bytes:
    return size % len(data) + b"\r\n" + data + b"\r\n"


class Caller:
    """A connection, and the count of what it was given."""

    def __init__(self) -> None:
        self.full = False
        self.given: list[bytes] = []
        self.pieces = 0
        self.last: bytes | None = None

    def write(self, data: bytes) -> None:
        self.given.append(data)


def taking(
    caller: Caller, limit: int = LIMIT, rename: Callable[[bytes], bytes] | None = None
) -> Callable[[bytes], bytes]:
    pattern = Pattern()
    pattern.learn(event(b"a"))
    assert pattern.before
    return Frames(pattern, limit, Passage(caller, caller, rename)).taker()


@pytest.mark.parametrize("text", SENT)
@pytest.mark.parametrize("size", [b"%x", b"%X", b"000%x"])
def test_a_whole_chunk_goes_on_as_it_is(text: bytes, size: bytes) -> None:
    caller, data = Caller(), chunk(event(text), size)
    assert taking(caller)(data) == b""
    assert caller.given == [data]
    assert (caller.pieces, caller.last) == (1, data)


def test_every_length_has_its_size_line() -> None:
    caller = Caller()
    take = taking(caller)
    for length in [*range(300), *range(SHORT - 200, SHORT + 200), *range(3900, 4200)]:
        data = chunk(event(b"x" * length))
        assert take(data) == b""
        assert caller.given.pop() == data
        for wrong in (data[1:], b"1" + data, data.replace(b"x", b"", 1), data + b"\n"):
            if wrong != data:
                left = take(wrong)
                assert wrong == b"".join(caller.given) + left
                assert set(caller.given) <= {data}
                caller.given.clear()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"0\r\n\r\n",
        event(b"a"),
        b"\r\n" + event(b"a") + b"\r\n",
        *[chunk(odd) for odd in ODD],
        *[chunk(event(bad)) for bad in (b'"', b"\\", b"\x1f", b"\xff", b"\\ud800", b'"}')],
        chunk(event(b"a") * 2),
        chunk(BEFORE + AFTER[1:]),
        chunk(BEFORE[:-1] + AFTER),
        chunk(event(b"a"), b"%x;x=y"),
        chunk(event(b"a"), b"%x "),
        chunk(event(b"a"), b"+%x"),
        chunk(event(b"a"), b"0x%x"),
        chunk(event(b"a"), b"00000000%x"),
        chunk(event(b"a")).replace(b"\r\n", b"\n"),
        chunk(event(b"a"))[:-2] + b"\n\n",
        *[chunk(event(b"a"))[:end] for end in range(len(chunk(event(b"a"))))],
        *[chunk(event(b"a"))[start:] for start in range(1, len(chunk(event(b"a"))))],
    ],
)
def test_what_is_not_one_of_them_stays(data: bytes) -> None:
    caller = Caller()
    take = taking(caller)
    assert take(data) == data
    assert caller.given == []
    good = chunk(event(b"a")) + chunk(event(b"bc"))
    if data not in (b"", good[: len(data)]):
        assert take(good + data) == data, "what comes before it goes"
        assert caller.given == [good]
        assert (caller.pieces, caller.last) == (2, good)


def test_a_full_caller_gets_nothing() -> None:
    caller = Caller()
    take = taking(caller)
    caller.full = True
    data = chunk(event(b"a"))
    assert take(data) == data
    assert take(data * 2) == data * 2
    caller.full = False
    assert take(data * 2) == b""
    assert caller.given == [data * 2]


def test_an_event_over_the_limit_stays() -> None:
    caller = Caller()
    take = taking(caller, limit=SHORT)
    room = SHORT - len(event(b""))
    most, over = chunk(event(b"x" * room)), chunk(event(b"x" * (room + 1)))
    assert take(most + over) == over
    assert take(over) == over
    assert caller.given == [most]


def test_another_name_makes_another_chunk() -> None:
    caller = Caller()
    take = taking(caller, rename=lambda data: data.replace(b'"model":"m"', b'"model":"name"'))
    texts = [b"a", b"model", b'\\"model\\":\\"m\\"']
    for text in texts:
        assert take(chunk(event(text))) == b""
    assert take(b"".join(chunk(event(text)) for text in texts)) == b""
    named = [chunk(event(text).replace(b'{"model":"m"', b'{"model":"name"')) for text in texts]
    assert caller.given == [*named, b"".join(named)]
    assert caller.pieces == 2 * len(texts)


@pytest.mark.parametrize(
    ("data", "piece"),
    [
        (b"4\r\n4\r\n4\r\n", b"4\r\n4"),  # read in the middle of a chunk
        (b"1\r\n5\r\n5\r\n", b"5"),  # the size of the next one
        (b"3\r\na\n\r\n", b"a\n\r\n"),
        (b"2\r\na\n\r\n2\r\nb", b"a\n"),
        (b"2\r\na\n\r\n2", b"a\n"),
        (b"2\r\na\n", b"a\n"),
    ],
)
def test_it_is_not_said_where_it_is_not_sure(data: bytes, piece: bytes) -> None:
    assert not stands_between(data, piece)
    assert stands_between(b"2\r\na\n\r\n", b"a\n")


class Pipe:
    """The transport of a connection that only reads."""

    def pause_reading(self) -> None:
        pass

    resume_reading = abort = write = lambda *_: None


def a_stream(rng: random.Random) -> tuple[bytes, bytes]:
    """A body in its framing, and the body: mostly what fits, and all else that there may be."""
    framed, body = [], []
    for _ in range(rng.randrange(1, 30)):
        data = event(rng.choice(SENT)) if rng.random() < 0.8 else rng.choice(ODD)
        style = rng.choice([b"%x"] * 12 + [b"%X", b"00%x", b"%x;data", b'%x;a="b"'])
        framed.append(chunk(data, style))
        body.append(data)
    framed.append(rng.choice([b"0\r\n\r\n", b"0\r\ndata: x\r\n\r\n"]))
    return b"".join(framed), b"".join(body)


def cut(rng: random.Random, data: bytes) -> list[bytes]:
    """At the ends of chunks mostly, and anywhere."""
    ends = [i + 1 for i in range(len(data) - 1) if data[i - 1 : i + 1] == b"\r\n"]
    places = {end for end in ends if rng.random() < 0.4}
    places |= {rng.randrange(len(data)) for _ in range(rng.choice([0, 0, 1, 5]))}
    marks = sorted({0, len(data), *places})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


async def passed_on(parts: list[bytes]) -> tuple[bytes, int]:
    """The body as a caller would get it, and how many of its chunks went by."""
    loop, caller, got = asyncio.get_running_loop(), Caller(), []
    connection = Connection(loop, lambda _: None, KnownHead())
    transport: Any = Pipe()
    connection.connection_made(transport)
    connection.start(b"", 9, 9, None)
    connection.data_received(HEAD)
    take = taking(caller)

    def frames(data: bytes) -> bytes:
        rest = take(data)
        if caller.given:
            parser_free = data[: len(data) - len(rest)]
            assert caller.given == [parser_free]
            while parser_free:
                size, _, parser_free = parser_free.partition(b"\r\n")
                got.append(parser_free[: int(size, 16)])
                parser_free = parser_free[int(size, 16) + 2 :]
            caller.given.clear()
        return rest

    async def read() -> None:
        connection.offer(lambda _: False, frames)
        add = got.append  # while others add to it
        async for data in connection:
            add(data)

    reader = asyncio.create_task(read())
    for part in parts:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        connection.data_received(part)
    await reader
    return b"".join(got), caller.pieces


async def test_random_streams_come_out_as_they_are() -> None:
    rng, by = random.Random(11), 0
    for _ in range(400):
        framed, body = a_stream(rng)
        got, pieces = await passed_on(cut(rng, framed))
        assert got == body
        by += pieces
    assert by > 400


async def test_cut_at_every_byte() -> None:
    framed = b"".join(chunk(event(b"%d" % n)) for n in range(4)) + b"0\r\n\r\n"
    body = b"".join(event(b"%d" % n) for n in range(4))
    first = len(chunk(event(b"0")))
    for place in range(first, len(framed)):
        parts = [framed[:first], framed[first:place], framed[place:]]
        got, pieces = await passed_on([part for part in parts if part])
        assert got == body
        assert pieces == (place // first - 1 if place % first and place < 4 * first else 3)


async def test_broken_framing_is_found_after_them() -> None:
    from h2o_relay.errors import UpstreamBadResponse

    good = chunk(event(b"a"))
    with pytest.raises(UpstreamBadResponse):
        await passed_on([good, good, good + b"zz\r\n" + good])
