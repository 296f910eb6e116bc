"""The desk that requests pass: who they are from, what those may, and what was used.

A request that is over becomes one `Record`, which every sink is handed: metrics, log, traces and
the store.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Protocol

from h2o_relay.accounting.caller import PAGE, Caller
from h2o_relay.accounting.limits import Limits, allowed, allows
from h2o_relay.accounting.prices import Prices
from h2o_relay.accounting.record import Record, made
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.answer import Answer
from h2o_relay.chunks import Completion
from h2o_relay.errors import ModelNotFound, RelayError, Unauthorized, UpstreamUnavailable
from h2o_relay.forwarding import Forwarded
from h2o_relay.kernel import PATIENCE, KernelAPI
from h2o_relay.registry import not_found
from h2o_relay.trace_headers import PASSED_ON
from h2o_relay.tries import Tries
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
        counting: Sequence[Sink] = sinks if metrics is None else [metrics, *sinks]
        self._notes = tuple(sink.note for sink in counting)
        self._stored = stored
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
        running = self._running.get(caller.id)
        if running is not None:
            running.add(exchange)
        elif caller.id.startswith(REVOCABLE):
            self._running[caller.id] = {exchange}

    async def admit(self, exchange: Exchange, params: Mapping[str, Any]) -> str | None:
        """Let a request in whose caller has limits. For one that names no model, the name of that
        which was looked at; it must be asked for. Raises Forbidden, RateLimited, ModelNotFound.
        """
        caller, model = exchange.caller, params.get("model")
        may = caller.allowance
        found = self._chosen_now(caller, model)
        if found is None:
            await self._kernel.settled(PATIENCE)
            found = self._chosen(caller, model)
        tokens, cost = 0, 0.0
        if may.tokens_per_minute is not None or may.budget is not None:
            prompt, answer = reserved(route_of(exchange.path), params)
            tokens, prices = prompt + answer, self._prices()
            if may.budget is not None and prices.models:
                members = self._kernel.members(found.name)
                cost = prices.estimate(found.name, prompt, answer, members)
        permit = await self.limits.admit(caller, tokens, cost)
        if permit is not None:
            exchange.permit, exchange.reserved = permit, cost
            exchange.more = permit.standing.block
        return found.name if model is None else None

    def _chosen_now(self, caller: Caller, name: Any) -> Deployment | None:
        """None for a model that nobody has: it is waited for while there are servers that nobody
        has looked at yet. Raises Forbidden for one that the caller may not use.
        """
        try:
            return self._chosen(caller, name)
        except (ModelNotFound, UpstreamUnavailable):
            return None

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
        if caller.allowance.models:
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
            if permit is None:
                pass
            elif _is_unknown(exchange, record):
                record.cost = exchange.reserved or record.cost  # as its budget is told
            else:
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
        for note in self._notes:
            note(record)
        if self._tracing is not None:
            self._tracing.note(record, trace)
        if self._stored is not None and record.method == "POST" and record.route[:4] == "/v1/":
            self._stored.note(record)

    def _record(self, exchange: Exchange) -> Record:
        """What its fields have as a default anyway is not written: this is for each request."""
        came = exchange.came
        seconds = monotonic() - came
        record: Record = made(Record)
        record.id, record.at = exchange.id.decode(), time.time() - seconds
        record.method, record.route = exchange.method, route_of(exchange.path)
        record.status, record.key = exchange.status or GONE, exchange.caller.id
        record.seconds = seconds
        if exchange.code is not None:
            record.code = exchange.code
        if exchange.streamed:
            record.streamed = True
        if exchange.gone and exchange.status < 400:  # else the connection refused the rest
            record.aborted = True
        answer = exchange.answer
        used = NOTHING if answer is None else used_of(answer, exchange, record.route)
        if used is not NOTHING:
            record.prompt_tokens, record.completion_tokens = used.prompt, used.completion
            record.cached_tokens, record.estimated = used.cached, used.estimated
        tries = exchange.tries
        if tries is None or not tries.count:
            if exchange.model is not None:
                record.model = self._known(exchange.model)
        else:
            self._asked(exchange, tries, record)
        return record

    def _asked(self, exchange: Exchange, tries: Tries, record: Record) -> None:
        """What there is to say only where a server was asked."""
        answer, record.attempts = exchange.answer, tries.count
        if tries.queued:
            record.queued = tries.queued
        if tries.begun_at:
            record.overhead = tries.overhead
            first = tries.begun_at - exchange.came
            record.first = first if first > 0.0 else 0.0
        deployment = self._find(tries.server) if answer is None else answer.deployment
        model = record.model = tries.pool or tries.server
        name = ""
        if deployment is not None:
            server, name = deployment.server, deployment.name
            record.deployment, record.server = name, server.shown
            record.plugin = server.plugin or ""
        prices = self._prices()
        if prices.models:
            record.cost = prices.cost(
                model, name, record.prompt_tokens, record.completion_tokens, record.cached_tokens
            )

    def _known(self, name: Any) -> str:
        found = self._find(name)
        return "" if found is None else found.name

    def _find(self, name: Any) -> Deployment | None:
        try:
            return self._kernel.find(name)
        except RelayError:
            return None


def used_of(answer: Answer | Completion | Forwarded, exchange: Exchange, route: str) -> Used:
    """What an answer has used, as far as is known."""
    if route in COUNTING:
        return NOTHING
    if type(answer) is Completion:
        return of_usage(answer.data.get("usage"))
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
