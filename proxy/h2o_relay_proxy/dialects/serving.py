"""A dialect's requests: forwarded to a server that speaks it, translated for any other."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import orjson

from h2o_relay.accounting.caller import UNLIMITED
from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import InvalidRequest, RelayError, UnknownURL
from h2o_relay.faults import let_go
from h2o_relay.kernel import Answer, KernelAPI

from .. import caller_key
from ..body import check_media_type, decode
from ..checks import check_model
from ..desk import Desk
from ..exchange import Exchange
from ..forwarding import Forwarding, called
from ..generation import Attended
from ..naming import renaming
from ..respond import ESTIMATED, EVENTS, cut_short
from ..telling import about, asked_for, backend, gone_on, refuse_dropped, unhonoured
from . import messages
from .base import Dialect, Exchanged
from .field_names import name_as_asked

log = logging.getLogger(__name__)


class Translating:
    """Answers the requests of dialects out of a kernel."""

    def __init__(
        self, kernel: KernelAPI, desk: Desk, forwarding: Forwarding, max_body: int,
        strict: bool = False,
    ) -> None:  # fmt: skip
        self.kernel, self._desk = kernel, desk
        self._forwarding, self._max_body, self._strict = forwarding, max_body, strict

    async def message(self, exchange: Exchange) -> None:
        """Anthropic's /messages. Raises RelayError while nothing has been sent."""
        exchange.to_anthropic = True
        body, params = await self.read(exchange)
        dialect = messages.DIALECT
        if not await self.forwarded(dialect, body, params, exchange):
            await self.translated(dialect, dialect.read(params), exchange)

    async def count(self, exchange: Exchange) -> None:
        """Anthropic's /messages/count_tokens: by the model's server, else by its tokenizer, else by
        an estimate, which a header tells.
        """
        exchange.to_anthropic = True
        body, params = await self.read(exchange)
        if await self.forwarded(messages.DIALECT, body, params, exchange):
            return
        asked, dropped = messages.read_count(params)
        told = self.dropped(dropped, exchange)
        with Attended(exchange):
            count = await self.kernel.count_tokens(asked)
        told += backend(count.deployment.server.plugin or "")
        if count.estimated:
            told += ESTIMATED
        exchange.reply(messages.count_body(count.tokens, estimated=count.estimated), extra=told)

    def dropped(self, names: tuple[str, ...], exchange: Exchange) -> bytes:
        """The header of a count that names the fields which nobody honours. Raises InvalidRequest
        where the caller wants none ignored.
        """
        _, strict = asked_for(exchange.headers)
        if strict or self._strict:
            refuse_dropped(names)
        return unhonoured(names)

    async def read(self, exchange: Exchange) -> tuple[bytes, dict[str, Any]]:
        """A request's body, and what it says."""
        check_media_type(exchange.headers)
        body = exchange.ready_body(self._max_body)
        if body is None:
            body = await exchange.body(self._max_body)
        params = decode(body)
        exchange.model = params.get("model")
        check_model(params)
        caller_key.refuse(params)
        if exchange.caller.allowance is not UNLIMITED:
            chosen = await self._desk.admit(exchange, params)
            if chosen is not None:
                params = {**params, "model": chosen}
                body = orjson.dumps(params)
        return body, params

    async def forwarded(
        self, dialect: Dialect, body: bytes, params: dict[str, Any], exchange: Exchange
    ) -> bool:
        """Whether the model's own server has answered."""
        dialect.check(params)
        call = called(exchange, body, params)
        model = params.get("model")
        if not await self.kernel.speaks(model, call):
            return False
        try:
            await self._forwarding.pass_on(model, call, exchange, dialect.broken)
        except UnknownURL as error:  # an older version of that server
            if exchange.started:
                raise
            log.debug("%s: %s; it is translated", exchange.name, error)
            let_go(error)
            return False
        return True

    async def translated(self, dialect: Dialect, exchanged: Exchanged, exchange: Exchange) -> None:
        """What the kernel says, in the dialect's words, and what it refuses, too."""
        try:
            await self._translated(dialect, exchanged, exchange)
        except InvalidRequest as error:
            name_as_asked(error, exchanged.names)
            raise

    async def _translated(self, dialect: Dialect, exchanged: Exchanged, exchange: Exchange) -> None:
        session, strict = asked_for(exchange.headers)
        if strict or self._strict:
            refuse_dropped(exchanged.dropped)
        params = exchanged.params
        with Attended(exchange):
            if params.get("stream"):
                await self._stream(dialect, exchanged, session, strict, exchange)
                return
            completion = await self.kernel.generate("chat", params, None, session, strict, exchange)
            exchange.answer = completion
            told = self._about(dialect, exchanged, completion)
            rename = renaming(completion.tries, completion.deployment)
            named = completion if rename is None else Completion(rename(completion.body))
            exchange.reply(exchanged.whole(named), extra=told)

    def _about(self, dialect: Dialect, exchanged: Exchanged, answer: Answer | Completion) -> bytes:
        """The headers of a translated answer."""
        notes = dict(answer.notes or {})
        steps = [f"{dialect.path[1:]}-to-chat", *filter(None, [notes.get("translated")])]
        answer.notes = {**notes, "translated": ", ".join(steps)}
        return about(answer, _dropped(exchanged, answer.dropped))

    async def _stream(
        self, dialect: Dialect, exchanged: Exchanged, session: str | None, strict: bool,
        exchange: Exchange,
    ) -> None:  # fmt: skip
        params = exchanged.params
        async with self.kernel.stream("chat", params, None, session, strict, exchange) as answer:
            exchange.answer = answer
            exchange.begin(EVENTS, self._about(dialect, exchanged, answer))
            rename = renaming(answer.tries, answer.deployment)
            exchange.write(exchanged.begin())
            tries = answer.tries
            resumed = tries.resumed
            try:
                async for chunk in answer:
                    if tries.resumed != resumed:
                        resumed = tries.resumed
                        exchange.write(gone_on(tries))
                    named = chunk if rename is None else Chunk(rename(chunk.raw))
                    exchange.write(exchanged.chunk(named))
                    if exchange.full:
                        await exchange.drained()
                last = exchanged.end()
            except RelayError as error:
                log.debug("%s: %s in mid-stream", exchange.name, error.code)
                exchange.code, last = error.code, exchanged.failed(error)
                let_go(error)
            except asyncio.CancelledError as cut:
                if exchange.gone:
                    raise
                last = exchanged.failed(cut_short(exchange))
                let_go(cut)
            exchange.end(last)


def _dropped(exchanged: Exchanged, dropped: tuple[str, ...]) -> tuple[str, ...]:
    """All fields that are not honoured, by the dialect's names."""
    names = exchanged.names
    named = (*exchanged.dropped, *(names.get(name, name) for name in dropped))
    return tuple(dict.fromkeys(filter(None, named)))  # '': not the caller's field
