"""What the plugin's hooks are given as `client`: the API, and the model's schema once it is known.

Requests are not given what `list_models` found, and to ask the API again for each of them would
cost a round trip; so the schema is kept here, as long as the server is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2o_relay.http import HttpClient
from h2o_relay.settings import Settings
from h2o_relay.types import Server

from .api import Api
from .schema import Schema, read
from .server_string import base_url


class ReplicateClient:
    """One open server."""

    def __init__(self, server: Server, http: HttpClient) -> None:
        """`http`'s connections are used. Raises BadServerString for an address that is none."""
        base = base_url(server)
        token = {"authorization": f"Bearer {server.key}"}
        self.api = Api(http.at(base, token), server.key, base)
        self._entry = entry_path(server)
        self._schema: Schema | None = None

    @property
    def settings(self) -> Settings:
        return self.api.client.settings

    async def look_up(self) -> tuple[Mapping[str, Any], Schema]:
        """Ask the API for the model's entry and schema, and keep the latter."""
        entry = await self.api.get(self._entry)
        self._schema = read(entry)
        return entry, self._schema

    async def schema(self) -> Schema:
        """The schema as it was last looked up."""
        return self._schema if self._schema is not None else (await self.look_up())[1]


def entry_path(server: Server) -> str:
    """Below /v1: where the model is described, or that version of it."""
    name, _, version = (server.model or "").partition(":")
    return f"/models/{name}/versions/{version}" if version else f"/models/{name}"
