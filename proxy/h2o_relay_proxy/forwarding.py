"""POST to any other path below /v1 that a server offers: the body goes up and the answer comes down
as they are, but for the model's name.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from h2o_relay.accounting.caller import UNLIMITED
from h2o_relay.errors import RelayError
from h2o_relay.faults import let_go
from h2o_relay.form_data import find_field, is_form
from h2o_relay.forwarding import Forwarded
from h2o_relay.http_body import read_all
from h2o_relay.kernel import KernelAPI
from h2o_relay.settings import Settings
from h2o_relay.types import Call

from . import caller_key
from .body import JSON, check_media_type, decode
from .checks import check_embeddings, check_model
from .desk import Desk
from .exchange import Exchange
from .generation import Attended
from .naming import renamed, renaming
from .path_checks import check_path
from .respond import SAFE, cut_short, encoded, error_event
from .routes import KNOWN
from .telling import asked_for, backend, routed, unhonoured

PATH = re.compile(rb"/v1((?:/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+)")
"""Plain words between slashes: nothing that a server could read as another path."""
UP = (
    b"content-type", b"accept", b"accept-language", b"openai-beta", b"anthropic-version",
    b"anthropic-beta",
)  # fmt: skip
"""The caller's headers that a server is sent."""
DOWN = ("content-type", "content-disposition")
"""The server's headers that the caller is sent."""
EVENTS = "text/event-stream"
NAMING = ("application/json", EVENTS)
Failed = Callable[[RelayError], bytes]
END = 4096  # bytes of an answer that are searched for what it has used
SMALL = 64 * 1024  # bytes of an answer of known length that is sent in one piece
log = logging.getLogger(__name__)


class Forwarding:
    """Passes requests on to what a kernel's servers offer."""

    def __init__(self, kernel: KernelAPI, desk: Desk, settings: Settings) -> None:
        self._kernel, self._desk = kernel, desk
        self._max_body = settings.max_body
        self._max_answer = settings.max_event

    def offers(self, path: bytes) -> bool:
        """Whether some server has, or may have, this path; or whether it is one of `KNOWN`."""
        match = PATH.fullmatch(path)
        if match is None:
            return False
        name = match[1].decode()
        return knows(path) or self._kernel.offers(Call(method="POST", path=name))

    async def answer(self, exchange: Exchange) -> None:
        """Raises RelayError while nothing has been sent."""
        headers = exchange.headers
        kind = headers.get(b"content-type", b"").decode("latin-1")
        form = is_form(kind)
        check_media_type({**headers, b"content-type": JSON} if form else headers)
        body = exchange.ready_body(self._max_body)
        if body is None:
            body = await exchange.body(self._max_body)
        call = called(exchange, body, None if form else decode(body))
        model = exchange.model = _named(call, kind, body)
        if exchange.caller.allowance is not UNLIMITED:
            asked = {**(call.params or {}), "model": model}
            chosen, may = await self._desk.admit(exchange, asked), exchange.caller.allowance
            if may.models or may.budget is not None:
                model = chosen or model  # else the first whose server has this path will do
        await self.pass_on(model, call, exchange)

    async def pass_on(
        self, model: Any, call: Call, exchange: Exchange, failed: Failed = error_event
    ) -> None:
        """What the model's server says to `call`. Raises RelayError while nothing has been sent;
        `failed` makes the event of one that comes after that.
        """
        with Attended(exchange):
            session, strict = asked_for(exchange.headers)
            async with self._kernel.forward(model, call, session, strict, exchange) as reply:
                exchange.answer = reply
                await self._pass_on(reply, exchange, failed)

    async def _pass_on(self, reply: Forwarded, exchange: Exchange, failed: Failed) -> None:
        block = _block(reply)
        extra = backend(reply.deployment.server.plugin or "") + routed(reply.tries)
        extra += unhonoured(reply.dropped)
        rename = renaming(reply.tries, reply.deployment)
        if rename is not None and reply.headers.get("content-type", "").startswith(NAMING):
            reply.chunks = renamed(reply.chunks, rename, reply.deployment.model)
        if reply.status != 200 or _length(reply) <= SMALL:
            body = await read_all(reply.chunks, self._max_answer)
            exchange.ends = (b"", body[-END:])
            exchange.reply(body, reply.status, block, extra)
            return
        first = await anext(reply.chunks, b"")
        if not first:
            exchange.reply(b"", 200, block, extra)
            return
        exchange.begin(block, extra)
        await _stream(first, reply.chunks, exchange, failed if _is_stream(reply) else None)


def knows(path: bytes) -> bool:
    """Whether a path, as it was sent, is one of `KNOWN` below /v1."""
    return path.startswith(b"/v1/") and path[3:].decode("latin-1") in KNOWN


def called(exchange: Exchange, body: bytes, params: dict[str, Any] | None) -> Call:
    """A request as a call that servers can be asked to take."""
    headers = exchange.headers
    return Call(
        method="POST",
        path=exchange.path.removeprefix(b"/v1").decode(),
        query=exchange.query.decode("latin-1"),
        headers={name.decode(): headers[name].decode() for name in UP if name in headers},
        body=body,
        params=params,
    )


async def _stream(
    first: bytes, chunks: AsyncIterator[bytes], exchange: Exchange, failed: Failed | None
) -> None:
    """Write what comes. An answer that breaks off does not end as if it were whole: the connection
    does, after an error event where there can be one.
    """
    data, ending, before = first, b"", b""
    broken: RelayError | None = None
    try:
        while data:
            exchange.write(data)
            ending = (ending + data)[-4:]
            if exchange.full:
                await exchange.drained()
            before, data = before[-END:] + data if len(data) < END else data, b""
            data = await anext(chunks, b"")
    except RelayError as error:
        log.warning("%s: %s in mid-answer", exchange.name, error.code)
        broken, exchange.code = error, error.code
        let_go(error)
    except asyncio.CancelledError as cut:
        if exchange.gone:
            raise
        broken = cut_short(exchange)
        let_go(cut)
    finally:
        exchange.ends = (first[:END], before[-END:])
    if broken is None:
        exchange.end(b"")
    elif failed is not None and ending.endswith((b"\n\n", b"\r\n\r\n", b"\r\r")):
        exchange.end(failed(broken))


def _named(call: Call, kind: str, body: bytes) -> Any:
    """The model that a request names, in whatever shape. Raises InvalidRequest."""
    if call.params is None:
        field = find_field(body, kind, "model")
        return None if field is None else field.value
    check_model(call.params)
    caller_key.refuse(call.params)
    if call.path == "/embeddings":
        check_embeddings(call.params)
    else:
        check_path(call.path, call.params)
    return call.params.get("model")


def _block(reply: Forwarded) -> bytes:
    """The answer's own headers, encoded."""
    sent = [
        (name.encode(), reply.headers[name].encode("latin-1"))
        for name in DOWN
        if name in reply.headers
    ]
    if _is_stream(reply):
        sent.append((b"x-accel-buffering", b"no"))  # nginx would hold events back otherwise
    return encoded([*sent, *SAFE])


def _is_stream(reply: Forwarded) -> bool:
    return reply.headers.get("content-type", "").lower().startswith(EVENTS)


def _length(reply: Forwarded) -> float:
    """Bytes of the answer, if the server says so; else more than any."""
    length = reply.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else float("inf")
