"""`h2o check --generate`: one token from each server, and how long that took."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from .printable import one_line

if TYPE_CHECKING:
    from ..entry import ServerStatus
    from ..kernel import Kernel
    from ..route import Route
    from ..types import Deployment, Kind

QUESTION = "Say hello."


async def round_trips(kernel: Kernel) -> list[dict[str, Any] | None]:
    """One token from each server of a kernel, all at the same time; None for a server that is not
    ready or has no model to ask.
    """
    trips = (_trip(kernel, place, status) for place, status in enumerate(kernel.status()))
    return list(await asyncio.gather(*trips))


async def _trip(kernel: Kernel, place: int, status: ServerStatus) -> dict[str, Any] | None:
    from ..errors import RelayError, UpstreamRejected

    route = _generating(kernel, place) if status.stage == "ready" else None
    if route is None:
        return None
    kind = _kind(route)
    trip = Trip(kernel, route.deployment, kind)
    try:
        try:
            await trip.run("max_tokens")
        except UpstreamRejected as error:
            # OpenAI's reasoning models have another name for the limit, and refuse this one.
            if kind != "chat" or error.param != "max_tokens":
                raise
            await trip.run("max_completion_tokens")
    except RelayError as error:
        trip.error = one_line(error.message)
    return trip.told()


def _generating(kernel: Kernel, place: int) -> Route | None:
    """The first model of a server that generates: some only embed."""
    first = kernel.snapshot.by_number.get(place)
    if first is None:
        return None
    routes = [r for r in kernel.snapshot.routes.values() if r.entry is first.entry]
    return next((r for r in routes if r.deployment.kinds != frozenset()), None)


def _kind(route: Route) -> Kind:
    """The API that its string asks for, as far as the model has it."""
    wanted = route.deployment.server.api or "chat"
    kinds = route.deployment.kinds
    if kinds is None and route.reached_by is not None:
        kinds = route.reached_by.capabilities.kinds
    return wanted if not kinds or wanted in kinds else next(iter(kinds))


class Trip:
    """A streamed answer of one token."""

    def __init__(self, kernel: Kernel, deployment: Deployment, kind: Kind) -> None:
        self._kernel, self._deployment, self._kind = kernel, deployment, kind
        self.first: float | None = None
        """Seconds until the first piece of text, of reasoning too."""
        self.whole: float | None = None
        """Seconds until the answer's end."""
        self.text = ""
        self.reason: str | None = None
        self.error: str | None = None

    async def run(self, limit: str) -> None:
        """Ask; `limit` is the field that says how many tokens. Raises RelayError."""
        asked = (
            {"messages": [{"role": "user", "content": QUESTION}]}
            if self._kind == "chat"
            else {"prompt": QUESTION}
        )
        params = {"model": self._deployment.name, **asked, limit: 1, "stream": True}
        start = time.monotonic()
        async with self._kernel.stream(self._kind, params) as answer:
            async for chunk in answer:
                text = chunk.text or chunk.reasoning
                if self.first is None and text:
                    self.first = time.monotonic() - start
                self.text += text
                self.reason = chunk.finish_reason or self.reason
                if text and limit in answer.dropped:
                    break  # it would go on and on: leaving ends it
        self.whole = time.monotonic() - start

    def told(self) -> dict[str, Any]:
        """The round trip for programs."""
        return {
            "model": self._deployment.model,
            "kind": self._kind,
            "time_to_first_token": _rounded(self.first),
            "seconds": _rounded(self.whole),
            "text": self.text,
            "finish_reason": self.reason,
            "error": self.error,
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)
