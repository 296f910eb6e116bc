"""`max_time`, h2oGPT's request field: seconds after which an answer ends with what it has.

It is whole then as an answer is that has reached its limit of tokens: `finish_reason` is `length`,
and a stream has its `[DONE]`. The time runs from when a server is asked. One that knows the field
itself (another h2oGPT) is sent it and ends its answers by itself; no other sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson

from .chunks import END, PREFIX, Chunk
from .errors import UpstreamTimeout
from .types import Everything, Request

if TYPE_CHECKING:
    from .guard import Guard
    from .route import Route
    from .settings import Settings

FIELD = "max_time"


def is_limited(params: Mapping[str, Any], route: Route, settings: Settings) -> bool:
    """Whether a request's answer has such a limit that the relay sees to."""
    named = FIELD in params or FIELD in route.deployment.tuning.overrides
    limited = named or settings.max_time is not None or settings.max_max_time is not None
    return limited and not knows(route)


def knows(route: Route) -> bool:
    """Whether the server honours the field; one of which only is known that it takes any field
    does not count.
    """
    fields = route.link.capabilities.fields
    return not isinstance(fields, Everything) and FIELD in fields


def taken_out(request: Request, route: Route, settings: Settings) -> float | None:
    """The limit of a request in seconds, None for none that the relay sees to. The field is not in
    the request any more then: servers refuse what they do not know, as OpenAI's does.
    """
    asked, own = request.params.get(FIELD), (settings.max_time, settings.max_max_time)
    if FIELD not in request.params and own == (None, None):
        return None
    if knows(route):
        return None
    if FIELD in request.params:
        request.params = {k: v for k, v in request.params.items() if k != FIELD}
        request.body = None
    limits = [settings.max_time if asked is None else asked, settings.max_max_time]
    return min((float(limit) for limit in limits if limit is not None), default=None)


async def ended(
    chunks: AsyncGenerator[Chunk, None], seconds: float, guard: Guard
) -> AsyncGenerator[Chunk, None]:
    """The stream, ended after `seconds`; `guard` tells which choices have ended by then. Raises
    UpstreamTimeout where nothing has come.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    last: Chunk | None = None
    async with aclosing(chunks):
        while True:
            try:
                async with asyncio.timeout_at(deadline) as limit:
                    chunk = await anext(chunks)
            except StopAsyncIteration:
                return
            except TimeoutError:
                if not limit.expired():
                    raise
                break
            last = chunk
            yield chunk
    if last is None:
        raise UpstreamTimeout(f"no answer had begun within the request's {seconds:g} s of max_time")
    ending = _ending(last.events()[-1], guard)
    if ending is not None:
        yield ending


def _ending(last: Mapping[str, Any], guard: Guard) -> Chunk | None:
    """The event that ends all choices that have not ended, in the shape of the last one."""
    choices: list[dict[str, Any]] = [
        {"index": index, **guard.empty_piece, "finish_reason": "length"}
        for index in guard.unfinished
    ]
    if not choices:
        return None
    event = {name: value for name, value in last.items() if name != "usage"} | {"choices": choices}
    return Chunk(PREFIX + orjson.dumps(event) + END, [event])
