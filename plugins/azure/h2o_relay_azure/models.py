"""What a server offers: its deployment, and nothing else.

Azure has no list of deployments that an inference key may read. Its /models names every model that
could be deployed, so only the answer's status is looked at: the endpoint is there, and takes the
key.
"""

from __future__ import annotations

from typing import Any

from h2o_relay.openai_shape import LIST_LIMIT, refusal
from h2o_relay.types import Call, Model, Server

from .routes import placed

BROKEN = frozenset({401, 500, 502, 503, 504})
"""Statuses that mean trouble for every request. Others may come from a gateway that lets only
inference through, or from a role that may not read models."""


async def offered(server: Server, client: Any) -> list[Model]:
    """The deployment. Raises the RelayError that fits if the endpoint is away or refuses us."""
    asked = placed(server, Call(method="GET", path="/models"))
    seconds = client.settings.request_timeout
    exchange = client.request(
        asked.method, asked.url, headers=asked.headers, first_byte=seconds, total=seconds
    )
    async with exchange as response:
        if response.status in BROKEN:
            raise await refusal(response, server)
        await response.read(LIST_LIMIT)  # to the end, so that the connection can be kept
    return [Model(id=server.options["deployment"])]
