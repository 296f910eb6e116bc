"""Azure OpenAI, as `openai_azure` and `openai_azure_chat` (or, shorter, `azure`, `azure_chat`).

A server string names one deployment, which is also the model that the server offers. Routes are
those of Azure's data-plane inference specification (2024-10-21) and of the newer /openai/v1 API;
bodies are OpenAI's, so the kernel carries the bytes. What Azure adds to them (content-filter
results, a first event without choices) goes through as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from h2o_relay.errors import UpstreamAuthError
from h2o_relay.hookspecs import hookimpl, steady
from h2o_relay.http import HttpClient
from h2o_relay.types import Call, Capabilities, Model, Server, Target

from . import entra, routes, strings
from .models import offered


@hookimpl
def parse_server_string(text: str) -> Server | None:
    return strings.parse(text)


@hookimpl
def capabilities(server: Server) -> Capabilities:
    return Capabilities(paths=routes.paths(server), stops=4, keeps_responses=True)


@hookimpl
@steady
def target(server: Server, call: Call) -> Target | None:
    return routes.target(server, call)


@hookimpl
async def list_models(server: Server, client: Any) -> list[Model]:
    return await offered(server, client)


@hookimpl
@asynccontextmanager
async def connect(server: Server, http: HttpClient) -> AsyncIterator[Any]:
    """The kernel's own client for a key, one that adds a fresh token for Entra ID.

    Raises UpstreamAuthError if there is neither, or Entra ID gives no token.
    """
    if strings.uses_entra(server):
        async with entra.connected(server, http) as client:
            yield client
    elif server.key or {"authorization", "api-key"} & server.headers.keys():
        yield None
    else:
        raise UpstreamAuthError(
            f"no key for this server: write it in the string, set {' or '.join(strings.KEY_ENV)}, "
            "or set H2O_AZURE_AUTH=entra to sign in with Entra ID"
        )
