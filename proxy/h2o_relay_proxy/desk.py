"""The desk that requests pass: who they are from, what those may, and what was used.

A request that is over becomes one `Record`, which every sink is handed: metrics, log, traces and
the store.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Protocol

from h2o_relay.accounting.caller import PAGE, Caller
from h2o_relay.accounting.limits import Limits, allowed, allows
from h2o_relay.accounting.prices import Prices
from h2o_relay.accounting.record import Record
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.errors import ModelNotFound, RelayError, Unauthorized, UpstreamUnavailable
from h2o_relay.forwarding import Forwarded
from h2o_relay.kernel import PATIENCE, KernelAPI
from h2o_relay.registry import not_found
from h2o_relay.trace_headers import PASSED_ON
from h2o_relay.types import Deployment

from .behind_page import BehindPage
from .exchange import Exchange
from .framing import Refused
from .reserving import COUNTING, reserved
from .routes import route_of
from .seeing.metrics import Metrics
from .seeing.tracing import Trace, Tracing
from .seeing.troubles import Troubles
from .used import NOTHING, Used, of_bytes, of_usage

GONE = 499
"""nginx's status for a caller who has left before the answer."""
REVOCABLE = ("key_", "list-")
"""How the ids begin of keys that may be taken back while the relay runs."""
log = logging.getLogger(__name__)


class Sink(Protocol):
    """Takes a microsecond or a few, never waits and never raises."""

    def note(self, record: Record) -> None: ...


class Stored(Protocol):
    """`KeptUsage`."""

    note: Callable[[Record], None]

    @property
    def trouble(self) -> str: ...


class Desk:
    """Between the requests and those who count."""

    def __init__(
        self, kernel: KernelAPI, ring: KeyRing, limits: Limits, prices: Callable[[], Prices],
        sinks: Sequence[Sink] = (), stored: Stored | None = None, metrics: Metrics | None = None,
        page: BehindPage | None = None, tracing: Tracing | None = None,
    ) -> None:  # fmt: skip
        """`stored` takes the requests that servers are asked with, the others take all."""
        self._kernel, self.ring, self.limits, self._prices = kernel, ring, limits, prices
        self.page = page
        self._sinks, self._stored = tuple(sinks), stored
        self.metrics, self._tracing = metrics, tracing
        self._running: dict[str, set[Exchange]] = {}
        ring.on_revoked(self._revoked)
        self.troubles = Troubles(
            keys=lambda: ring.trouble, limits=lambda: limits.trouble,
            usage=lambda: stored.trouble if stored is not None else "",
        )  # fmt: skip

    def begin(self, exchange: Exchange) -> None:
        """A request has come."""
        metrics = self.metrics
        if metrics is not None:
            metrics.in_flight += 1
            exchange.streams = metrics
        if self._tracing is not None:
            exchange.trace = self._tracing.begin(exchange.headers)
            PASSED_ON.set(exchange.trace.head)

    def identify(self, exchange: Exchange) -> None:
        """Whom a request is from. Raises Unauthorized, and Overloaded while nobody can tell."""
        head = exchange.head
        proof = head.proof
        if proof is None or not self.ring.holds(proof):
            proof = self.ring.find_again(head.headers, exchange.proof)
            head.proof = exchange.proof = proof
        caller = proof.caller
        if caller is PAGE and self.page is not None:
            caller = self.page.caller(exchange.headers)
        self._from(exchange, caller)

    def identify_admin(self, exchange: Exchange) -> None:
        """The same for a request to /admin."""
        self._from(exchange, self.ring.find_admin(exchange.header_list))

    def _from(self, exchange: Exchange, caller: Caller) -> None:
        exchange.caller = caller
        if caller.id.startswith(REVOCABLE):
            self._running.setdefault(caller.id, set()).add(exchange)

    async def admit(self, exchange: Exchange, params: Mapping[str, Any]) -> str | None:
        """Let a request in whose caller has limits. For one that names no model, the name of that
        which was looked at; it must be asked for. Raises Forbidden, RateLimited, ModelNotFound.
        """
        caller = exchange.caller
        found, may = await self._allowed(caller, params.get("model")), caller.allowance
        tokens, cost = 0, 0.0
        if may.tokens_per_minute is not None or may.budget is not None:
            prompt, answer = reserved(route_of(exchange.path), params)
            tokens, prices = prompt + answer, self._prices()
            if may.budget is not None and prices.models:
                members = self._kernel.members(found.name)
                cost = prices.estimate(found.name, prompt, answer, members)
        permit = await self.limits.admit(caller, tokens, cost)
        exchange.permit, exchange.reserved = permit, cost
        if permit is not None:
            exchange.more = permit.standing.block
        return found.name if params.get("model") is None else None

    async def _allowed(self, caller: Caller, name: Any) -> Deployment:
        """Raises Forbidden for a model that the caller may not use. One that nobody has is waited
        for while there are servers that nobody has looked at yet.
        """
        with contextlib.suppress(ModelNotFound, UpstreamUnavailable):
            return self._chosen(caller, name)
        await self._kernel.settled(PATIENCE)
        return self._chosen(caller, name)

    def _chosen(self, caller: Caller, name: Any) -> Deployment:
        if name is None and caller.allowance.models:
            for model in self.visible(caller):
                return model
        return self.find(caller, name)

    def find(self, caller: Caller, name: Any) -> Deployment:
        """The model of this name. Raises ModelNotFound, which tells of no model that the caller may
        not use, and Forbidden.
        """
        try:
            found = self._kernel.find(name)
        except ModelNotFound:
            if not caller.allowance.models:
                raise
            raise not_found(str(name), [model.name for model in self.visible(caller)]) from None
        allowed(caller, found.name, "" if name is None else str(name))
        return found

    def _revoked(self, key: str) -> None:
        """End what a key that is no longer good has running."""
        for exchange in self._running.pop(key, ()):
            exchange.cut(Unauthorized("The API key was revoked."))

    def visible(self, caller: Caller) -> list[Deployment]:
        """The models that are listed for a caller."""
        return [model for model in self._kernel.models() if allows(caller, model.name)]

    # Afterwards.

    def over(self, exchange: Exchange) -> None:
        """Settle a request that is over, and tell of it. Never raises."""
        metrics = self.metrics
        if metrics is not None:
            metrics.in_flight -= 1
            metrics.streams -= exchange.streamed
        try:
            self._over(exchange)
        except Exception:
            log.exception("%s: could not be accounted for", exchange.name)

    def _over(self, exchange: Exchange) -> None:
        running = self._running.get(exchange.caller.id)
        if running is not None:
            running.discard(exchange)
            if not running:
                del self._running[exchange.caller.id]
        permit = exchange.permit
        try:
            record = self._record(exchange)
            if permit is not None and _is_unknown(exchange, record):
                record.cost = exchange.reserved or record.cost  # as its budget is told
            elif permit is not None:
                tokens = (record.prompt_tokens or 0) + (record.completion_tokens or 0)
                permit.settle(tokens, record.cost or 0.0)
        finally:
            if permit is not None:
                permit.release()  # what was not settled counts as it was estimated
        self._tell(record, exchange.trace)

    def refused(self, request: Refused, error: RelayError) -> None:
        """Tell of a request that never came here: the connection has refused it. Never raises."""
        try:
            self._tell(
                Record(
                    id=request.id.decode(), at=time.time(), method=request.method,
                    route=route_of(request.path), status=error.status, code=error.code,
                )
            )  # fmt: skip
        except Exception:
            log.exception("%s: could not be accounted for", request.id)

    def _tell(self, record: Record, trace: Trace | None = None) -> None:
        if self.metrics is not None:
            self.metrics.note(record)
        if self._tracing is not None:
            self._tracing.note(record, trace)
        for sink in self._sinks:
            sink.note(record)
        if self._stored is not None and record.method == "POST" and record.route[:4] == "/v1/":
            self._stored.note(record)

    def _record(self, exchange: Exchange) -> Record:
        seconds, answer = monotonic() - exchange.came, exchange.answer
        used, name = used_of(exchange), exchange.model
        record = Record(
            id=exchange.name, at=time.time() - seconds, method=exchange.method,
            route=route_of(exchange.path), status=exchange.status or GONE, key=exchange.caller.id,
            code=exchange.code, streamed=exchange.streamed, seconds=seconds,
            aborted=exchange.gone and exchange.status < 400,  # else the connection refused the rest
            prompt_tokens=used.prompt, completion_tokens=used.completion,
            cached_tokens=used.cached, estimated=used.estimated,
        )  # fmt: skip
        tries = exchange.tries
        if tries is None or not tries.count:
            record.model = "" if name is None else self._known(name)
            return record
        deployment = self._find(tries.server) if answer is None else answer.deployment
        if deployment is not None:
            record.deployment = deployment.name
            record.plugin, record.server = deployment.server.plugin or "", deployment.server.shown
        record.model = tries.pool or tries.server
        record.attempts, record.queued = tries.count, tries.queued
        if tries.begun_at:
            record.overhead = tries.overhead
            record.first = max(0.0, tries.begun_at - exchange.came)
        prices = self._prices()
        if prices.models:
            record.cost = prices.cost(
                record.model, record.deployment, used.prompt, used.completion, used.cached
            )
        return record

    def _known(self, name: Any) -> str:
        found = self._find(name)
        return "" if found is None else found.name

    def _find(self, name: Any) -> Deployment | None:
        try:
            return self._kernel.find(name)
        except RelayError:
            return None


def used_of(exchange: Exchange) -> Used:
    """What an answer has used, as far as is known."""
    answer = exchange.answer
    if answer is None or route_of(exchange.path) in COUNTING:
        return NOTHING
    if isinstance(answer, Forwarded):
        return of_bytes(*exchange.ends)
    return of_usage(answer.usage)


def _is_unknown(exchange: Exchange, record: Record) -> bool:
    """Whether a server has worked on a request, and nobody knows how much it was: its caller left
    before the end of what was passed on, which tells it there, or its answer tells of no tokens.
    """
    answer = exchange.answer
    if not record.attempts or record.route in COUNTING:
        return False
    if exchange.gone and (answer is None or isinstance(answer, Forwarded)):
        return True
    return answer is not None and record.prompt_tokens is None and record.completion_tokens is None
