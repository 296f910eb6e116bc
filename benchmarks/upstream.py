"""A fast scripted server in OpenAI's shape, with nothing behind it.

`GET /v1/models` lists one model; `POST /v1/chat/completions` follows the script in its messages
(see `wire.Script`): a whole answer, or a stream of numbered tokens at a pace, each token one event
in one HTTP chunk. `/api/chat` does the same in Ollama's shape (`wire_ollama.py`). What else is in
`DOCUMENTS` is for gateways that look at a server first; anything else is a 404.
"""

from __future__ import annotations

import asyncio

import click
import httptools
import uvloop

from . import wire, wire_ollama

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\n"
    b"cache-control: no-cache\r\ntransfer-encoding: chunked\r\n\r\n"
)
SHAPES = {wire.PATH.encode(): wire.OPENAI, wire_ollama.PATH.encode(): wire_ollama.OLLAMA}
DOCUMENTS = {b"/v1/models": wire.models(), b"/health": b"{}", **wire_ollama.DOCUMENTS}


class Upstream(asyncio.Protocol):
    """One kept-alive connection; one request at a time."""

    def __init__(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body = b""
        self.stream: Stream | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.stream is not None:
            self.stream.stop()

    def pause_writing(self) -> None:
        if self.stream is not None:
            self.stream.pause()

    def resume_writing(self) -> None:
        if self.stream is not None:
            self.stream.resume()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self.url = self.body = b""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        if self.stream is not None and not self.stream.over:
            self.transport.abort()
        elif (shape := SHAPES.get(self.url)) is not None:
            self.answer(wire.Script.read(self.body), shape)
        elif (document := DOCUMENTS.get(self.url)) is not None:
            self.reply(b"200 OK", document)
        else:
            self.reply(b"404 Not Found", b'{"error":{"message":"no such path"}}')

    def answer(self, script: wire.Script | None, shape: wire.Shape) -> None:
        if script is None:
            # A look at the server by some other client: answer it, as a real one would.
            script = wire.Script(1, 0, False)
        if script.stream:
            self.stream = Stream(self.transport, script, shape)
        else:
            self.reply(b"200 OK", shape.whole(script.tokens))

    def reply(self, status: bytes, body: bytes) -> None:
        self.transport.write(
            b"HTTP/1.1 %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (status, len(body), body)
        )


class Stream:
    """One streamed answer, written token by token on the loop's clock."""

    def __init__(
        self, transport: asyncio.Transport, script: wire.Script, shape: wire.Shape
    ) -> None:
        self.transport, self.script, self.shape = transport, script, shape
        self.loop = asyncio.get_running_loop()
        self.start = self.loop.time()
        self.sent = 0
        self.over = self.paused = False
        self.timer: asyncio.Handle | None = None
        first = b"".join(map(wire.chunked, [*shape.begin(), shape.token(0)]))
        transport.write(STREAM_HEAD % shape.kind + first)
        self.sent = 1
        self.schedule()

    def schedule(self) -> None:
        if self.script.pace:
            when = self.start + self.sent * self.script.pace
            self.timer = self.loop.call_at(when, self.step)
        else:
            self.timer = self.loop.call_soon(self.step)

    def step(self) -> None:
        self.timer = None
        if self.sent >= self.script.tokens:
            self.finish()
            return
        self.transport.write(wire.chunked(self.shape.token(self.sent)))
        self.sent += 1
        if not self.paused:
            self.schedule()

    def finish(self) -> None:
        self.over = True
        events = self.shape.last(self.script.tokens, self.script.usage)
        self.transport.write(b"".join(map(wire.chunked, events)) + b"0\r\n\r\n")

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False
        if self.timer is None and not self.over:
            self.schedule()

    def stop(self) -> None:
        self.over = True
        if self.timer is not None:
            self.timer.cancel()


async def serve(port: int) -> None:
    """Answer until cancelled."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Upstream, "127.0.0.1", port, backlog=4096)
    async with server:
        await server.serve_forever()


@click.command()
@click.option("--port", type=int, required=True)
def main(port: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(port))


if __name__ == "__main__":
    main()
