"""`/admin/keys`: the keys of callers, for a relay's operators. A key itself is in one answer only,
the one to the request that made it.

| | |
|---|---|
| GET /admin/keys | all, revoked ones too: `{"object": "list", "data": [key]}` |
| POST /admin/keys | make one, as the body wants it: 201, the key with `"key"` |
| GET, PATCH /admin/keys/{id} | one; change what the body names |
| DELETE /admin/keys/{id} | revoke it, for good |
| POST /admin/keys/{id}/rotate | another key in its place: the key with `"key"` |

A key is what `accounting.keys.view` makes of it, the body of POST and PATCH what `wanted_of` reads.
A rotation may have `{"grace": "1h"}`, or seconds. In place of an id there may be a name.
"""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import orjson

from h2o_relay.accounting.keys import KeyInfo, view
from h2o_relay.accounting.moments import LONGEST, span
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.errors import InvalidRequest

from .body import check_media_type, decode
from .exchange import Exchange

if TYPE_CHECKING:
    from h2o_relay.store import Keys

ALL = b"/admin/keys"
ONE = ALL + b"/"
ROTATE = b"/rotate"
Handler = Callable[[Exchange], Awaitable[None]]


class AdminKeys:
    """Whoever calls a handler has made sure that the request is the operator's. What is changed is
    in force when it is answered.
    """

    def __init__(self, keys: Keys, ring: KeyRing, max_body: int) -> None:
        self._keys = keys
        self._ring = ring
        self._max_body = max_body

    def handlers(self, path: bytes) -> Mapping[str, Handler] | None:
        """By method; None where there is nothing at a path."""
        if path == ALL:
            return {"GET": self._list, "POST": self._create}
        if not path.startswith(ONE):
            return None
        ref = path.removeprefix(ONE)
        rotated = ref.endswith(ROTATE)
        ref = ref.removesuffix(ROTATE)
        if not ref or b"/" in ref:
            return None
        name = unquote(ref.decode("latin-1"))
        if rotated:
            return {"POST": partial(self._rotate, name)}
        return {
            "GET": partial(self._show, name), "PATCH": partial(self._change, name),
            "DELETE": partial(self._revoke, name),
        }  # fmt: skip

    async def _list(self, exchange: Exchange) -> None:
        await self._ring.flush()
        now = time.time()
        data = [view(info, now) for info in await self._keys.all()]
        exchange.reply(orjson.dumps({"object": "list", "data": data}))

    async def _create(self, exchange: Exchange) -> None:
        info, key = await self._keys.create(await self._body(exchange))
        await self._done(exchange, info, 201, key=key)

    async def _show(self, ref: str, exchange: Exchange) -> None:
        await self._ring.flush()
        exchange.reply(orjson.dumps(view(await self._keys.get(ref), time.time())))

    async def _change(self, ref: str, exchange: Exchange) -> None:
        info = await self._keys.change(ref, await self._body(exchange))
        await self._done(exchange, info)

    async def _revoke(self, ref: str, exchange: Exchange) -> None:
        await self._done(exchange, await self._keys.revoke(ref))

    async def _rotate(self, ref: str, exchange: Exchange) -> None:
        body = await self._body(exchange) if exchange.has_body else {}
        info, key = await self._keys.rotate(ref, _grace(body))
        await self._done(exchange, info, key=key)

    async def _body(self, exchange: Exchange) -> Mapping[str, Any]:
        check_media_type(exchange.headers)
        return decode(await exchange.body(self._max_body))

    async def _done(
        self, exchange: Exchange, info: KeyInfo, status: int = 200, **more: str
    ) -> None:
        await self._ring.refresh()
        exchange.reply(orjson.dumps({**view(info, time.time()), **more}), status)


def _grace(body: Mapping[str, Any]) -> float:
    """Seconds. Raises InvalidRequest."""
    for field in body:
        if field != "grace":
            raise InvalidRequest(
                f"A rotation has no field {field[:100]!r}, but grace.",
                param=field[:100], code="unknown_parameter",
            )  # fmt: skip
    grace = body.get("grace") or 0.0
    if isinstance(grace, str):
        try:
            grace = span(grace)
        except ValueError as error:
            raise InvalidRequest(f"'grace': {error}.", param="grace") from None
    if type(grace) not in (int, float) or not math.isfinite(grace):
        raise InvalidRequest(
            "'grace' must be seconds, or a text such as 1h.", param="grace", code="invalid_type"
        )
    if not 0 <= grace <= LONGEST:
        raise InvalidRequest("'grace' must be from 0 seconds to 100 years.", param="grace")
    return float(grace)
