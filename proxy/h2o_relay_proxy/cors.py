"""Which web pages may call the API from a browser (the Fetch standard, 3.2: CORS).

Off unless the operator names origins. An answer never says that credentials may go along: the API
knows no cookie, and a key in a header is no credential in that sense.
"""

from __future__ import annotations

import logging

from h2o_relay.errors import Forbidden
from h2o_relay.settings import Settings
from h2o_relay.settings_network import ANY, origins

from .exchange import Exchange
from .respond import encoded

FLAG = "--cors-origins"
ASKS = b"access-control-request-method"
KEPT = 600  # seconds for which a browser need not ask again
METHODS = b"GET, POST, PATCH, DELETE"
SENT = b"authorization, content-type"
"""Where a browser does not say what it wants to send."""
SHOWN = (
    b"retry-after, x-should-retry, x-request-id, request-id, x-h2o-backend, x-h2o-server, "
    b"x-h2o-reason, x-h2o-attempts, "
    b"x-h2o-queue-ms, x-h2o-overhead-ms, x-h2o-dropped-params, x-h2o-translated, x-h2o-usage, "
    b"x-h2o-trimmed, x-h2o-trimmed-by, x-h2o-limited, x-ratelimit-limit-requests, "
    b"x-ratelimit-remaining-requests, x-ratelimit-reset-requests, x-ratelimit-limit-tokens, "
    b"x-ratelimit-remaining-tokens, x-ratelimit-reset-tokens"
)
"""The headers of answers that a page may read."""
VARY = (b"vary", b"origin")
MOST_TOLD = 100  # origins whose refusal is logged
log = logging.getLogger(__name__)


class Cors:
    """Ask `admit` first of all, before keys: a browser sends none when it asks."""

    def __init__(self, settings: Settings) -> None:
        self._origins = frozenset(one.encode() for one in origins(settings.cors_origins))
        self._any = ANY.encode() in self._origins
        self._told: set[bytes] = set()

    def admit(self, exchange: Exchange) -> bool:
        """Have the answer of a request that a page sends say whether the page may read it; whether
        the request was a browser's question beforehand, which is answered with that.

        Raises Forbidden for a question from a page that may not. Without an Origin header, or with
        one of a page that may not, a request is answered as if it came from anywhere: what a
        browser may do unasked no answer can undo.
        """
        origin = exchange.headers.get(b"origin")
        if origin is None:
            return False
        asks = exchange.method == "OPTIONS" and ASKS in exchange.headers
        if not self._any and origin.lower() not in self._origins:
            if asks:
                raise self._refused(origin)
            return False
        named = b"*" if self._any else origin
        exchange.shared = encoded(
            [(b"access-control-allow-origin", named), (b"access-control-expose-headers", SHOWN),
             *(() if self._any else (VARY,))]
        )  # fmt: skip
        if asks:
            self._answer(exchange)
        return asks

    def _answer(self, exchange: Exchange) -> None:
        wanted = exchange.headers.get(b"access-control-request-headers")
        told = [
            (b"access-control-allow-methods", METHODS),
            (b"access-control-allow-headers", wanted or SENT),
            (b"access-control-max-age", b"%d" % KEPT),
        ]
        exchange.reply(b"", block=b"", extra=encoded(told))

    def _refused(self, origin: bytes) -> Forbidden:
        """The log has it too: browsers hide the answer from the page."""
        shown = origin[:100].decode("ascii", "replace")
        if origin not in self._told and len(self._told) < MOST_TOLD:
            self._told.add(origin)
            log.warning("a page of %s may not call the API; %s names those that may", shown, FLAG)
        return Forbidden(
            f"Pages of this origin may not call the API; {FLAG} names those that may.",
            code="origin_not_allowed",
        )
