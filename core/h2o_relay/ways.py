"""Where generations go, kept from one to the next: of a `steady` target only the body differs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .hookspecs import STEADY

if TYPE_CHECKING:
    from .http import HttpClient
    from .http_pool import Limits
    from .openai_shape import Find
    from .types import Server, Target

MOST = 256  # kept by a client


def keep(
    find: Find, server: Server, client: HttpClient, kind: str, target: Target, limits: Limits
) -> None:
    """Keep the way to what `find` said, where it would say the same of the next call."""
    if not getattr(find, STEADY, False):
        return
    way = client.way(target.method, target.url, target.headers, limits)
    if way is not None:
        if len(client.ways) >= MOST:
            client.ways.clear()
        client.ways[find, id(server), kind] = way, server  # or the id would be another's one day
