"""The bench: a server on loopback whose models are faults."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from ...errors import InvalidRequest, ModelNotFound, UnknownURL
from ..scripts import json
from ..upstream import Answer, Received, Script, ScriptedUpstream
from .answers import WIRE
from .catalogue import BEHAVIOURS, names
from .early import CANARY
from .grammar import Asked, read_name

REQUESTS = "/__requests"
HEALTH = "/health"
PREFIX = "/v1"
"""May be left out: as h2oGPT does, a server string that has no path gets none."""
MODELS = "/models"
ANSWERS = frozenset({"/chat/completions", "/completions"})
KEPT = 20_000
"""Requests that are kept to be looked at; the older half of more is forgotten."""


@dataclass(slots=True)
class Count:
    """What became of the requests for one model."""

    requests: int = 0
    open: int = 0
    """Being answered now."""
    disconnected: int = 0
    """Whose client left before the answer's end."""


class Bench(ScriptedUpstream):
    """Behaves as the name of a request's model says (`grammar`, `catalogue`).

        async with Bench(also=["ok@tokens=200~delay=50"]) as bench:
            ...                                   # bench.url is its address
            assert bench.count("reset").requests == 1

    `also` are names with options that `/v1/models` lists besides the catalogue's: a relay only asks
    for what is listed. Names that are not listed answer as well. Raises ModelNotFound if one says
    nothing.
    """

    def __init__(self, *, also: Sequence[str] = (), port: int = 0) -> None:
        super().__init__(self._answer, port=port)
        for name in also:
            read_name(name, BEHAVIOURS)
        self.names = list(dict.fromkeys([*names(), *also]))
        self.counts: dict[str, Count] = {}
        self.canaries = 0
        """Requests to the place that `redirect@to=here` points to."""
        self.gets: Script = self._get
        """What answers GETs; exchange it to break the model list and the probes."""
        self._restarts: set[asyncio.Task[None]] = set()

    def count(self, name: str) -> Count:
        """Of requests for this very name."""
        return self.counts.setdefault(name, Count())

    def forget(self) -> None:
        """Begin to count anew: `flaky` fails again."""
        self.counts.clear()
        self.requests.clear()
        self.gone.clear()
        self.canaries = 0

    def vanish_for(self, seconds: float) -> None:
        """Be killed, and be back after so many seconds."""
        self.vanish()
        if self._restarts:
            return
        task = asyncio.get_running_loop().create_task(self._return(seconds))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _return(self, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            await self.listen()
        except OSError as error:  # somebody else took the port
            self.errors.append(error)

    async def __aexit__(self, *raised: Any) -> None:
        for task in list(self._restarts):
            task.cancel()
        await asyncio.gather(*self._restarts, return_exceptions=True)
        await super().__aexit__(*raised)

    async def _answer(self, request: Received, answer: Answer) -> None:
        for kept in (self.requests, self.gone):
            if len(kept) > KEPT:
                del kept[: KEPT // 2]
        path = path_of(request)
        if path == CANARY:
            self.canaries += 1
        if request.method in ("GET", "HEAD"):
            await self.gets(request, answer)
        elif path in ANSWERS:
            await self._generate(request, answer)
        else:
            await no_such_url(request, answer)

    async def _get(self, request: Received, answer: Answer) -> None:
        path = path_of(request)
        if path == MODELS:
            await WIRE.listing(self.names)(request, answer)
        elif path == REQUESTS:
            await json(self.report())(request, answer)
        elif path in (HEALTH, CANARY):
            await json({"status": "ok"})(request, answer)
        else:
            await no_such_url(request, answer)

    def report(self) -> dict[str, Any]:
        """What `GET /__requests` says."""
        return {
            "models": {name: asdict(count) for name, count in sorted(self.counts.items())},
            "connections": {"open": self.open, "accepted": self.accepted},
            "redirects_followed": self.canaries,
        }

    async def _generate(self, request: Received, answer: Answer) -> None:
        try:
            params = read_body(request)
            name = params["model"]
            found, options = read_name(name, BEHAVIOURS)
        except InvalidRequest as error:
            await json(error.body(), error.status)(request, answer)
            return
        count = self.count(name)
        asked = Asked(request, params, options, count.requests, self.vanish_for)
        count.requests += 1
        count.open += 1
        try:
            await found.answer(asked)(request, answer)
        finally:
            count.open -= 1
            count.disconnected += request.left_at is not None


def path_of(request: Received) -> str:
    """Without its query and without `/v1`."""
    return request.path.partition("?")[0].removeprefix(PREFIX)


async def no_such_url(request: Received, answer: Answer) -> None:
    error = UnknownURL(f"The bench has nothing at {request.path}.")
    await json(error.body(), error.status)(request, answer)


def read_body(request: Received) -> dict[str, Any]:
    """The decoded body of a request. Raises InvalidRequest, ModelNotFound."""
    try:
        params = request.json()
    except orjson.JSONDecodeError:
        raise InvalidRequest("the body is not JSON") from None
    if not isinstance(params, dict):
        raise InvalidRequest("the body is not an object")
    if not isinstance(params.get("model"), str):
        raise ModelNotFound("the request names no model", param="model")
    return params
