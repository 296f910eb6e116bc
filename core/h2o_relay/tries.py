"""One request's tries: which server first, which next, how long it waited, and what is told of it.

A request is tried again only before its first piece has come, only for what another try may mend,
and only inside the relay's retry budget (Envoy's rule, see `retrying`).
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, cast

from . import retrying
from .errors import Overloaded, RelayError, UpstreamUnavailable
from .pooling import Pool
from .route import Route, printable
from .routing import conversation_key

if TYPE_CHECKING:
    from .kernel import Kernel

ONLY = "only-server"


class Witness(Protocol):
    """Is given a request's tries before the first, and so knows of those that fail as well."""

    tries: Tries | None


log = logging.getLogger(__name__)


class Tries:
    """Made for each request; `count` is how often it was sent."""

    # What is so for nearly every request is not written for each.
    pool = ""
    """The pool's name, where one was asked for."""
    budgeted = False
    """Its last try is one that the budget counts."""
    count = 0
    queued = 0.0
    """Seconds in queues."""
    spent = 0.0
    """Seconds that servers had it, and pauses between tries."""
    begun_at = 0.0
    """When the first piece was there, as `monotonic` tells it."""
    reason = ONLY
    resumed = 0
    """Times that the stream was gone on with elsewhere."""
    server = ""
    """The name of the deployment that answers."""
    strict = False
    """A field that would not be honoured is an error."""
    _choice: Route | Pool | None = None
    _failed: tuple[Route, ...] = ()
    _key: int | None = None
    _name: Any = None  # of what is to answer
    _passed: tuple[str, ...] = ()  # pools that could not
    _paid = 1  # tries that count against the limit

    def __init__(
        self, kernel: Kernel, params: Mapping[str, Any], session: str | None = None
    ) -> None:
        """`session` names the conversation for sticky pools, where the caller names it."""
        self._kernel = kernel
        self._params = params
        self._session = session
        self.started = monotonic()

    @property
    def overhead(self) -> float:
        """Seconds until the first piece that neither a server nor a queue took."""
        return max(0.0, self.begun_at - self.started - self.queued - self.spent)

    def at_once(self) -> Route | None:
        """The server to ask where there is nothing to wait for or to choose, which is nearly
        always; else None, and `first` knows. Raises what `first` does.
        """
        kernel, started = self._kernel, self.started
        name = self._name = self._params.get("model")
        snapshot = kernel.snapshot
        if snapshot.pending or (snapshot.pools and type(snapshot.choice(name)) is Pool):
            return None
        route = snapshot.routes.get(name) if type(name) is str else None
        if route is None:
            route = snapshot.find(name)
        self._choice = route
        kernel.budget.started(started)
        health = route.entry.health
        if health.troubled or route.reached_by is None or route.mismatch:
            return self._begin(route, ONLY, started)
        health.used = started
        self.count, self.server = 1, route.deployment.name
        return route

    async def first(self) -> Route:
        """The server to ask. Raises what `Snapshot.choice` and `Pool.take` do, and
        UpstreamUnavailable for one that fails request after request.
        """
        kernel = self._kernel
        name = self._name = self._params.get("model")
        snapshot = kernel.snapshot
        choice = await kernel.choice(name) if snapshot.pending else snapshot.choice(name)
        self._choice = choice
        kernel.budget.started(self.started)
        if type(choice) is Route:
            return self._begin(choice, ONLY)
        try:
            return await self._taken()
        except Overloaded as error:
            return await self._fallen_back(error)

    def _begin(self, route: Route, reason: str, now: float | None = None) -> Route:
        if route.reached_by is None or route.mismatch:
            _ = route.link  # raises, before it takes a turn that it could not give back
        health = route.entry.health
        now = monotonic() if now is None else now
        if health.troubled and not health.breaker.enter(now):
            raise _broken(route)
        health.used = now
        self.count += 1
        self.reason, self.server = reason, route.deployment.name
        return route

    async def _taken(self) -> Route:
        """A member of the pool, after a wait in its queue if there must be one."""
        pool = self._choice
        assert type(pool) is Pool
        self.pool = pool.name
        if self._key is None and pool.spec.strategy == "sticky":
            self._key = conversation_key(self._params, self._session)
        patience = self._kernel.settings.queue_timeout
        start = monotonic()
        try:
            async with asyncio.timeout(patience):
                member, reason = await pool.take(self._key, self._failed)
        except TimeoutError:
            raise Overloaded(
                f"The request waited for {patience:g} s for the model `{pool.name}`.",
                retry_after=patience,
            ) from None
        finally:
            self.queued += monotonic() - start
        assert type(member) is Route
        return self._begin(member, reason)

    async def after(self, error: RelayError, route: Route) -> Route:
        """Where to try next after `error`, which ended a try at `route` before its first piece.
        Raises it where another try is not allowed, or would not help.
        """
        self.settle()
        if error.begun:
            raise error
        self._failed = (*self._failed, route)
        try:
            again = await self._again(error, route)
        except RelayError as late:  # what ended the try tells more
            log.debug("no other try after %s: %s", error.message, late.message)
            again = None
        return again or await self._fallen_back(error)

    async def _again(self, error: RelayError, route: Route) -> Route | None:
        """Where to try next in the same pool; None where another try is not allowed."""
        settings, budget, wait = self._kernel.settings, self._kernel.budget, 0.0
        other = retrying.elsewhere(error) and self._has_other()
        if not (other and retrying.unsent(error)):
            pause = retrying.wait_before(error, self._paid, random.random)
            if self._paid > settings.retries or (pause is None and not other):
                return None
            if not budget.take(monotonic(), self._kernel.active):
                return None
            self.budgeted, wait = True, pause or 0.0
            self._paid += 1
        if other:
            return await self._taken()
        await asyncio.sleep(wait)
        self.spent += wait
        if route.entry.health.draining:  # a reload came between
            self._choice = choice = await self._kernel.choice(self._name)
            return self._begin(choice, ONLY) if type(choice) is Route else await self._taken()
        return self._begin(route, self.reason)

    def settle(self) -> None:
        """A try is over, or has its first piece: a retry counts against the budget until then."""
        if self.budgeted:
            self.budgeted = False
            self._kernel.budget.done()

    def _has_other(self) -> bool:
        """Whether a member of the pool is left that was not asked."""
        pool = self._pool
        return pool is not None and any(
            member.usable and not member.degraded and member not in self._failed
            for member in pool.members
        )

    @property
    def resumes(self) -> bool:
        """Whether another member goes on where one breaks off in mid-stream."""
        pool = self._pool
        return pool is not None and (pool.spec.resume or self._kernel.settings.resume)

    async def elsewhere(self, error: RelayError, route: Route | None) -> Route:
        """Who goes on with an answer that `route` broke off with `error`; raises that where nobody
        can. Not a matter of the budget: the work is half done already.
        """
        if route is not None:
            self._failed = (*self._failed, route)
        if self._paid > self._kernel.settings.retries or not self._has_other():
            raise error
        self._paid += 1
        try:
            return await self._taken()
        except Overloaded:
            raise error from None

    def leave_out(self, route: Route) -> None:
        """Ask this one no more: it cannot do what is wanted."""
        self._failed = (*self._failed, route)
        self._paid -= 1

    @property
    def _pool(self) -> Pool | None:
        return self._choice if type(self._choice) is Pool else None

    async def _fallen_back(self, error: RelayError) -> Route:
        """The model that is to answer where the pool cannot, if one is configured; else the next
        one's, each pool once. Raises `error` where there is none.
        """
        self.settle()
        helps = retrying.is_retryable(error) or isinstance(error, Overloaded)
        while helps and (pool := self._pool) is not None and pool.spec.fallback is not None:
            self._passed = (*self._passed, pool.name)
            name = pool.spec.fallback
            if name in self._passed:
                break
            try:
                self._choice = self._kernel.snapshot.choice(name)
                self._name = name
                self._failed = ()
                self.pool = ""  # unless it is another one
                route = await self._taken() if self._pool else self._only()
            except RelayError as late:
                log.warning("%s: its fallback cannot be asked: %s", pool.name, late.message)
                if self._choice is pool:
                    break
            else:
                self.reason = "fallback"
                return route
        raise error

    def _only(self) -> Route:
        return self._begin(cast("Route", self._choice), ONLY)


def _broken(route: Route) -> UpstreamUnavailable:
    name, health = printable(route.deployment.name), route.entry.health
    return UpstreamUnavailable(
        f"The server of the model `{name}` fails request after request and is left alone for a "
        f"moment. Its last error: {health.last_error}",
        retry_after=health.breaker.left(monotonic()),
    )
