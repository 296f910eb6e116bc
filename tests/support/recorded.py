"""What a client asked of a stand-in, and what the stand-in answered, as both went over the wire.

upstream.script = recorder = Recorder(upstream.script)
...
for exchange in recorder.exchanges:
    exchange.request.json(), exchange.status, exchange.media, exchange.documents()
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from http.client import HTTPResponse, IncompleteRead
from typing import Any

import orjson

from h2o_relay.testing.upstream import Answer, Received, Script

EVENTS, LINES, JSON = "text/event-stream", "application/x-ndjson", "application/json"


class Recorder:
    """A script for `ScriptedUpstream` that keeps what another script is asked and answers."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.exchanges: list[Exchange] = []

    async def __call__(self, request: Received, answer: Answer) -> None:
        exchange = Exchange(request)
        self.exchanges.append(exchange)
        await self.script(request, _Kept(answer, exchange))


@dataclass(eq=False)
class Exchange:
    """One request and the bytes of its answer so far."""

    request: Received
    wire: bytearray = field(default_factory=bytearray)

    def answer(self) -> tuple[int, str, bytes]:
        """Status, media type without parameters, and body, its framing removed."""
        response = self._response()
        media = response.headers.get("content-type", "").partition(";")[0].strip()
        try:
            body = response.read()
        except IncompleteRead as left:  # the client had enough
            body = left.partial
        return response.status, media, body

    def headers(self) -> dict[str, str]:
        """The answer's, by lower-case names."""
        return {name.lower(): value for name, value in self._response().headers.items()}

    def _response(self) -> HTTPResponse:
        response = HTTPResponse(_Wire(bytes(self.wire)), method=self.request.method)  # type: ignore[arg-type]
        response.begin()
        return response

    def documents(self) -> list[Any]:
        """The JSON values of the body: one, or one for each event or line that was sent whole."""
        _, media, body = self.answer()
        if media == EVENTS:
            lines = [line for event in body.split(b"\n\n")[:-1] for line in event.split(b"\n")]
            events = [line[5:].strip() for line in lines if line.startswith(b"data:")]
            return [orjson.loads(event) for event in events if event != b"[DONE]"]
        if media == LINES:
            return [orjson.loads(line) for line in body.split(b"\n")[:-1]]
        return [orjson.loads(body)]


class _Kept(Answer):
    """The wire back to the client, and a copy of what goes over it."""

    def __init__(self, answer: Answer, exchange: Exchange) -> None:
        super().__init__(answer._connection)
        self._exchange = exchange

    async def send(self, data: bytes) -> None:
        self._exchange.wire += data
        await super().send(data)


class _Wire:
    """Bytes that http.client takes for a socket."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)
