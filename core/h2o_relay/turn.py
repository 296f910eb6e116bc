"""A request's turn on a server: waiting for it, what it cannot have there, and its end."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from .as_chat import NAMES
from .cutting import Cutting
from .errors import InvalidRequest, Overloaded, RelayError
from .route import Route, printable
from .strict import unsupported
from .trimming import FIELD
from .types import ALL, Kind, Request

if TYPE_CHECKING:
    from .gate import Gate
    from .links import Link
    from .settings import Settings

OPENING = 60.0  # seconds that a request waits for its server to start
BUSY = 5.0  # seconds after which a caller who cannot even wait may come again
KIND_NAMES = {"chat": "chat", "text": "text completion"}
ASKS_USAGE: tuple[dict[str, bool], ...] = ({}, {"include_usage": True}, {"include_usage": False})
SEEN_TO = frozenset(
    {"stop", "messages", "prompt_type", "prompt_dict", "continue_final_message", FIELD}
)
"""Fields that the kernel sees to where it renders or cuts."""


def is_a(kind: type, value: object) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"it gave a {type(value).__name__}, not a {kind.__name__}")


def patience(link: Link, settings: Settings) -> float:
    """Seconds that a request waits for its server to be opened. One that the relay starts itself
    may have a large model to load.
    """
    return OPENING if link.server.url is None else min(OPENING, settings.request_timeout_fast)


async def entered(link: Link, route: Route, most: int) -> Gate | None:
    """Wait for a turn where the operator limits how many requests run at the same time. Raises
    Overloaded where `most` wait already.
    """
    gate, meter = link.gate(route.deployment.tuning.concurrency), route.meter
    if gate is not None:
        if gate.locked() and meter.waiting >= most:
            name = printable(route.deployment.name)
            raise Overloaded(
                f"{meter.waiting} requests wait for the model `{name}` already.", retry_after=BUSY
            )
        meter.running -= 1
        meter.waiting += 1
        try:
            await gate.acquire()
        finally:
            meter.waiting -= 1
            meter.running += 1
    return gate


def over(route: Route, tokens: int, error: BaseException | None, now: float | None = None) -> None:
    """Count an answer that is over. A caller's own mistakes are no failures of the server."""
    meter, entry = route.meter, route.entry
    meter.running -= 1
    failed = error is not None and isinstance(error, RelayError) and error.status >= 500
    meter.ended(tokens, failed, monotonic() if now is None else now)
    if error is not None or entry.health.troubled:
        entry.health.ended(error)
    if entry.pools:
        for pool in entry.pools:
            pool.wake()


def refuse(unread: tuple[str, ...], request: Request) -> None:
    """For callers who want no field ignored. Raises InvalidRequest for the first that would be."""
    for name in (*unread, *request.unread):
        raise unsupported(name)


def dropped(
    route: Route, asked: Kind, request: Request, cutting: Cutting | None
) -> tuple[str, ...]:
    """The fields that the server will not honour, and that the kernel does not see to instead.

    Raises InvalidRequest if the server lacks the API.
    """
    can, kinds, kind = route.link.capabilities, route.deployment.kinds, request.kind
    if kinds is None:
        kinds = can.kinds
    if kind not in kinds and request.prompt is None:
        offered = " and ".join(KIND_NAMES[k] for k in sorted(kinds)) or "embeddings alone"
        raise InvalidRequest(
            f"this model's server offers {offered}, not {KIND_NAMES[kind]}", param="model"
        )
    if can.fields is ALL:
        return ()
    seen_to = SEEN_TO if cutting is not None else ()
    unread = [n for n in request.params if n not in can.fields and n not in seen_to]
    if "stream_options" in unread and request.params["stream_options"] in ASKS_USAGE:
        unread.remove("stream_options")  # the kernel tells the usage where nobody else does
    if kind != asked:
        unread = [NAMES.get(name, name) for name in unread]
    return tuple(unread)
