"""An answer's stay at a server: its lease, and its move to another server in mid-stream."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from . import max_time
from .chunks import Chunk
from .errors import Overloaded, RelayError, UpstreamIncomplete
from .preparing import prepare
from .resuming import Said, continued, resumable
from .route import Route
from .tries import Tries
from .trimming import FIELD
from .turn import entered, over, patience
from .types import Kind, Request

if TYPE_CHECKING:
    from .gate import Gate
    from .kernel import Kernel
log = logging.getLogger(__name__)


class Tenancy:
    """What `Answer` does where its server changes, or is done."""

    __slots__ = ("_asked", "_gate", "_kernel", "_leased", "_said_before", "tries")

    _asked: tuple[Kind, Mapping[str, Any], bytes | None]
    _gate: Gate | None
    _kernel: Kernel
    _leased: Route | None
    _said_before: int  # tokens, by servers before the one that speaks
    tries: Tries
    """Who was asked, why, and how often."""

    async def _go_on(self, said: Said, error: RelayError) -> AsyncGenerator[Chunk, None]:
        """The rest of an answer that a server broke off, from another one. Raises `error` where
        there is none.
        """
        while True:
            route = await self.tries.elsewhere(error, self._leased)
            if self._leased is not None:
                self._release(error, said.tokens)
            route.link.lease()
            route.meter.running += 1
            self._leased, self._said_before = route, said.tokens
            try:
                rest = await self._rest(route, said)
            except Overloaded as late:  # it has no room, or is still being opened
                self._release(late, said.tokens)
            except UpstreamIncomplete:  # nobody can be asked for the rest
                self._release(GeneratorExit(), said.tokens)
                raise
            else:
                if rest is not None:
                    self.tries.resumed += 1
                    log.warning("an answer that broke off (%s) goes on at %s", error, route.name)
                    return rest
                self._release(GeneratorExit(), said.tokens)  # nothing was asked of it
            self.tries.leave_out(route)

    async def _rest(self, route: Route, said: Said) -> AsyncGenerator[Chunk, None] | None:
        """What a server goes on with; None if it cannot."""
        kind, params, _ = self._asked
        link, params = route.link, {**params, "stream": True}
        client = link.client or await link.wait_open(patience(link, self._kernel.settings))
        if route.plain and FIELD not in params and not (kind == "text" and route.wraps):
            request = Request(kind=kind, params=params, body=None, deployment=route.deployment)
        else:
            self._gate = await entered(link, route, self._kernel.settings.max_queue)
            templates = self._kernel.templates
            request, _ = await prepare(route, client, templates, kind, params, None)
            if request.kind != kind:
                return None
        max_time.taken_out(request, route, self._kernel.settings)  # the clock of the first goes on
        can = link.capabilities
        if not resumable(kind, request.params, request, can):
            return None
        fields, changes = continued(kind, request.params, request, said, can)
        request = replace(request, params=fields, **changes)
        generator = link.plugin.stream(route.deployment.server, client, request)
        return cast("AsyncGenerator[Chunk, None]", generator)

    def _release(self, error: BaseException | None, tokens: int) -> None:
        """Let the server go that has answered."""
        leased, self._leased = self._leased, None
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.release()
        if leased is not None:
            leased.link.release()
            over(leased, max(0, tokens - self._said_before), error)
