"""A raw client of the bench, and the bytes of good answers, written down independently of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Literal

from h2o_relay.testing.bench import Bench

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
DONE = b"data: [DONE]\n\n"
LAST = b"0\r\n\r\n"
Ending = Literal["kept", "FIN", "RST", "silence"]


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def sized(body: bytes, status: bytes = b"200 OK", more: bytes = b"") -> bytes:
    """An answer of JSON with its length."""
    length = b"content-length: %d\r\n" % len(body)
    return b"HTTP/1.1 %b\r\ncontent-type: application/json\r\n%b%b\r\n%b" % (
        status, length, more, body,
    )  # fmt: skip


WELL = sized(b'{"status":"ok"}')


class Said:
    """What the model of this name says when nothing is wrong."""

    def __init__(self, name: str) -> None:
        self.name = name

    def event(self, delta: str, finish: str = "null") -> bytes:
        return (
            f'data: {{"id":"cmpl-1","object":"chat.completion.chunk","created":1750000000,'
            f'"model":"{self.name}","choices":[{{"index":0,"delta":{delta},'
            f'"finish_reason":{finish}}}]}}\n\n'
        ).encode()

    def text(self, text: str, first: bool) -> bytes:
        said = f'"content":{json.dumps(text, ensure_ascii=False)}'
        return self.event(f'{{"role":"assistant",{said}}}' if first else f"{{{said}}}")

    def tokens(self, start: int, stop: int) -> list[bytes]:
        return [self.text(f"tok{n}", n == 0) for n in range(start, stop)]

    @property
    def finish(self) -> bytes:
        return self.event("{}", '"stop"')

    def upto(self, count: int) -> bytes:
        """The head and so many tokens."""
        return HEAD + chunked(*self.tokens(0, count))

    def rest(self, start: int, stop: int) -> bytes:
        return chunked(*self.tokens(start, stop), self.finish, DONE) + LAST

    def good(self, count: int = 5) -> bytes:
        return self.upto(count) + self.rest(count, count)

    def body(self, count: int = 5, text: str | None = None, finish: str = '"stop"') -> bytes:
        """The same as one object."""
        text = "".join(f"tok{n}" for n in range(count)) if text is None else text
        usage = f'{{"prompt_tokens":3,"completion_tokens":{count},"total_tokens":{3 + count}}}'
        return (
            f'{{"id":"cmpl-1","object":"chat.completion","created":1750000000,'
            f'"model":"{self.name}","choices":[{{"index":0,"message":{{"role":"assistant",'
            f'"content":{json.dumps(text, ensure_ascii=False)}}},"logprobs":null,'
            f'"finish_reason":{finish}}}],"usage":{usage}}}'
        ).encode()

    def whole(self, count: int = 5) -> bytes:
        return sized(self.body(count))

    def half(self, count: int) -> bytes:
        """The head and half of the body."""
        body = self.body(count)
        return sized(body)[: -len(body)] + body[: len(body) // 2]


def post(name: str, stream: bool = True, path: str = "/v1/chat/completions") -> bytes:
    asked: dict[str, object] = {"model": name, "messages": [], "stream": stream}
    body = json.dumps(asked).encode()
    return b"POST %b HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (
        path.encode(), len(body), body,
    )  # fmt: skip


async def fetched(bench: Bench, sent: bytes) -> tuple[bytes, bytes]:
    """The head and the body of an answer that says its length."""
    async with asyncio.timeout(20), connected(bench) as (reader, writer):
        writer.write(sent)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        assert length, head
        return head, await reader.readexactly(int(length[1]))


def get(path: str) -> bytes:
    return b"GET %b HTTP/1.1\r\nhost: x\r\n\r\n" % path.encode()


@contextlib.asynccontextmanager
async def connected(
    bench: Bench,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", bench.port, limit=2**20)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def taken(bench: Bench, sent: bytes, size: int, patience: float = 5) -> tuple[bytes, Ending]:
    """The first `size` bytes of what comes, or all if it is less, and what follows them. More
    bytes than that are an error; nothing more for `patience` seconds is silence.
    """
    async with asyncio.timeout(20), connected(bench) as (reader, writer):
        writer.write(sent)
        data = b""
        try:
            while len(data) < size and (piece := await reader.read(size - len(data))):
                data += piece
        except ConnectionResetError:
            return data, "RST"
        return data, await ending(reader, writer, patience)


async def ending(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, patience: float
) -> Ending:
    """One more request tells a connection that is kept from one that is not."""
    for _ in range(20):  # both ends are in this loop: a FIN that was sent is here after some turns
        await asyncio.sleep(0)
    if reader.at_eof():
        return "FIN"
    more = b""
    try:
        writer.write(get("/health"))
        async with asyncio.timeout(patience):
            while len(more) < len(WELL) and (piece := await reader.read(len(WELL) - len(more))):
                more += piece
    except ConnectionError:
        return "RST"
    except TimeoutError:
        return "silence"
    assert more in (b"", WELL)
    return "kept" if more else "FIN"
