"""Stop sequences. TGI stops at them, but leaves the one it stopped at in its text, and it misses
one that ends within a token; so answers are cut here, too, at the earliest.
"""

from __future__ import annotations

from h2o_relay.errors import InvalidRequest
from h2o_relay.prompts.stops import cut
from h2o_relay.types import Request

MOST_SENT = 4
"""What a server takes unless it was started with another `--max-stop-sequences`; more are cut here
alone."""


def stops_of(request: Request) -> tuple[str, ...]:
    """Those that rendering added, then the caller's own. Raises InvalidRequest."""
    given = request.params.get("stop")
    own = [given] if isinstance(given, str) else given or []
    if not isinstance(own, list) or not all(isinstance(stop, str) for stop in own):
        raise InvalidRequest("'stop' must be a string or a list of strings", param="stop")
    return tuple(dict.fromkeys(stop for stop in (*request.stops, *own) if stop))


def cut_at_stop(request: Request, text: str) -> str:
    """A text up to its earliest stop sequence."""
    return cut(text, stops_of(request))[0]
