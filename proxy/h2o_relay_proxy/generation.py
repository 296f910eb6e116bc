"""/v1/chat/completions and /v1/completions: decode, check, ask the kernel, pass bytes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any

from h2o_relay.errors import RelayError
from h2o_relay.kernel import Answer, KernelAPI
from h2o_relay.types import Completion, Kind

from .body import check_media_type, decode
from .checks import check
from .exchange import ClientGone, Exchange
from .respond import DONE, EVENTS, draining, encoded, error_event

log = logging.getLogger(__name__)


class Attended:
    """Inside it the client's going cancels the handler, and ends it with ClientGone."""

    __slots__ = ("_exchange",)

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __enter__(self) -> None:
        self._exchange.attend()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._exchange.leave():
            raise ClientGone from None


class Generation:
    """Answers generation requests out of a kernel."""

    def __init__(self, kernel: KernelAPI, max_body: int) -> None:
        self._kernel = kernel
        self._max_body = max_body

    async def answer(self, kind: Kind, exchange: Exchange) -> None:
        """Raises RelayError while nothing has been sent; after that, errors become events."""
        check_media_type(exchange.headers)
        body = exchange.ready_body(self._max_body)
        if body is None:
            body = await exchange.body(self._max_body)
        params = decode(body)
        check(kind, params)
        with Attended(exchange):
            if params.get("stream"):
                await self._stream(kind, params, body, exchange)
            else:
                completion = await self._kernel.generate(kind, params, body)
                told = about(completion)
                exchange.reply(completion.body, extra=told)

    async def _stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes, exchange: Exchange
    ) -> None:
        async with self._kernel.stream(kind, params, body) as answer:
            exchange.begin(EVENTS, about(answer))
            last = DONE
            try:
                async for chunk in answer:
                    exchange.write(chunk.raw)
                    if exchange.full:
                        await exchange.drained()
            except RelayError as error:
                log.debug("%s: %s in mid-stream", exchange.name, error.code)
                last = error_event(error)
            except asyncio.CancelledError:
                if exchange.gone:
                    raise
                last = error_event(draining())
            exchange.end(last)


def about(answer: Answer | Completion) -> bytes:
    """Encoded headers that tell who answered, what of the request it does not honour, and what was
    done to the request.
    """
    deployment = answer.deployment
    told = b"" if deployment is None else backend(deployment.server.plugin or "")
    if answer.dropped:
        told += encoded([(b"x-h2o-dropped-params", _words(answer.dropped))])
    if answer.notes:
        notes = answer.notes.items()
        told += encoded((f"x-h2o-{name}".encode(), _words([value])) for name, value in notes)
    return told


def _words(texts: Iterable[str]) -> bytes:
    """A list for a header; what could not stand in one is left out."""
    return ", ".join(text for text in texts if text.isascii() and text.isprintable()).encode()


@lru_cache(maxsize=256)
def backend(plugin: str) -> bytes:
    """The header that tells which plugin's server answered."""
    return encoded([(b"x-h2o-backend", plugin.encode("latin-1"))])
