"""/v1/chat/completions and /v1/completions: decode, check, ask the kernel, pass bytes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any

from h2o_relay.accounting.caller import UNLIMITED
from h2o_relay.errors import RelayError
from h2o_relay.faults import let_go
from h2o_relay.kernel import KernelAPI
from h2o_relay.types import Kind

from . import caller_key
from .body import check_media_type, decode
from .checks import check
from .desk import Desk
from .exchange import ClientGone, Exchange
from .naming import Renaming, renaming
from .respond import DONE, EVENTS, cut_short, error_event
from .telling import about, asked_for, gone_on, refuse_dropped

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

    def __init__(self, kernel: KernelAPI, desk: Desk, max_body: int, strict: bool = False) -> None:
        self._kernel, self._desk = kernel, desk
        self._max_body = max_body
        self._strict = strict

    async def answer(self, kind: Kind, exchange: Exchange) -> None:
        """Raises RelayError while nothing has been sent; after that, errors become events."""
        head = exchange.head
        if head.asked is None:
            check_media_type(exchange.headers)
        body = exchange.ready_body(self._max_body)
        if body is None:
            body = await exchange.body(self._max_body)
        params = decode(body)
        exchange.model = params.get("model")
        check(kind, params)
        if exchange.caller.allowance is not UNLIMITED:
            chosen = await self._desk.admit(exchange, params)
            if chosen is not None:
                params, body = {**params, "model": chosen}, None
        if head.asked is None:
            head.asked = asked_for(exchange.headers)
        session, strict = head.asked
        kept: tuple[str, ...] = ()
        if caller_key.FIELD in params:
            params, body, kept = caller_key.without(params), None, (caller_key.FIELD,)
            if strict or self._strict:
                refuse_dropped(kept)
        if params.get("stream"):
            with Attended(exchange):
                await self._stream(kind, params, body, session, strict, kept, exchange)
            return
        exchange.attend()
        try:
            completion = await self._kernel.generate(kind, params, body, session, strict, exchange)
            exchange.answer = completion
            told = about(completion, (*kept, *completion.dropped) if kept else None)
            said, tries = completion.body, completion.tries
            if (tries.pool or tries.server) != completion.deployment.model:
                rename = renaming(tries, completion.deployment)
                said = said if rename is None else rename(said)
            exchange.reply(said, extra=told)
        finally:  # what `Attended` does, without the object: this is the hot path
            if exchange.leave():
                raise ClientGone from None

    async def _stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None, session: str | None,
        strict: bool, kept: tuple[str, ...], exchange: Exchange,
    ) -> None:  # fmt: skip
        async with self._kernel.stream(kind, params, body, session, strict, exchange) as answer:
            exchange.answer = answer
            exchange.begin(EVENTS, about(answer, (*kept, *answer.dropped) if kept else None))
            rename = renaming(answer.tries, answer.deployment)
            last, tries = DONE, answer.tries
            resumed = tries.resumed
            take = exchange.take if rename is None else _taking(exchange, rename)
            answer.onto(take, exchange.sink, rename)
            try:
                async for chunk in answer:
                    if tries.resumed != resumed:
                        resumed = tries.resumed
                        exchange.write(gone_on(tries))
                    exchange.write(chunk.raw if rename is None else rename(chunk.raw))
                    if exchange.full:
                        await exchange.drained()
            except RelayError as error:
                log.debug("%s: %s in mid-stream", exchange.name, error.code)
                exchange.code, last = error.code, error_event(error)
                let_go(error)
            except asyncio.CancelledError as cut:
                if exchange.gone:
                    raise
                last = error_event(cut_short(exchange))
                let_go(cut)
            exchange.end(last)


def _taking(exchange: Exchange, rename: Renaming) -> Callable[[bytes], bool]:
    return lambda data: exchange.take(rename(data))
