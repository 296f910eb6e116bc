"""Entra ID: a bearer token from azure-identity in place of a key.

Tokens live for about an hour, so they cannot be fixed headers of an `Endpoint`: the client that the
kernel is given asks `Tokens` before each request. azure-identity blocks (it may run `az` or ask a
metadata service), and so runs in a thread. Which identity it finds is its own affair: environment,
workload identity, managed identity, Azure CLI.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Protocol

from h2o_relay.errors import UpstreamAuthError
from h2o_relay.http import HttpClient, Limits, Response
from h2o_relay.types import Server

SCOPE = "https://cognitiveservices.azure.com/.default"
MARGIN = 300.0  # seconds before its end at which a token is renewed, as Azure's own clients do
PAUSE = 30.0  # seconds until a renewal that failed is tried again, while the old token is good
PATIENCE = 60.0  # seconds for one token
MOST = 500  # characters of azure-identity's reasons that are passed on
log = logging.getLogger(__name__)


class AccessToken(Protocol):
    """What azure-identity gives: the token, and when it ends in seconds since 1970."""

    @property
    def token(self) -> str: ...

    @property
    def expires_on(self) -> int: ...


class Credential(Protocol):
    """azure-core's `TokenCredential`, the blocking one."""

    def get_token(self, *scopes: str) -> AccessToken: ...

    def close(self) -> None: ...


class Tokens:
    """A token for one scope, fetched when it is needed and kept while it is good."""

    def __init__(
        self, credential: Credential, scope: str, clock: Callable[[], float] = time.time
    ) -> None:
        self._credential = credential
        self._scope = scope
        self._clock = clock
        self._lock = asyncio.Lock()
        self._token = ""
        self._ends = 0.0
        self._renew = 0.0

    async def get(self) -> str:
        """A good token. Raises UpstreamAuthError if none can be had."""
        now = self._clock()
        if now < self._renew or (now < self._ends and self._lock.locked()):
            return self._token
        async with self._lock:
            if self._clock() >= self._renew:
                await self._fetch()
            return self._token

    def forget(self, token: str) -> None:
        """The server refused this token: the next request gets a new one."""
        if token == self._token:
            self._renew = self._ends = 0.0

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                found = await asyncio.to_thread(self._credential.get_token, self._scope)
        except Exception as error:
            reason = " ".join(str(error).split())[:MOST] or type(error).__name__
            if self._clock() >= self._ends:
                raise UpstreamAuthError(f"Entra ID gave no token: {reason}") from error
            log.warning("Entra ID did not renew a token: %s", reason)
            self._renew = min(self._clock() + PAUSE, self._ends)
            return
        self._token, self._ends = found.token, float(found.expires_on)
        self._renew = max(self._ends - MARGIN, min(self._clock() + PAUSE, self._ends))


class EntraClient(HttpClient):
    """The kernel's HTTP client with a token in every request."""

    def __init__(self, tokens: Tokens, http: HttpClient) -> None:
        super().__init__(http.settings)
        self.share(http)
        self._tokens = tokens

    async def open(
        self, method: str, url: str, headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes], limits: Limits,
    ) -> Response:  # fmt: skip
        """As `HttpClient.open`; raises UpstreamAuthError too."""
        token = await self._tokens.get()
        signed = {**headers, "authorization": f"Bearer {token}"}
        response = await super().open(method, url, signed, body, limits)
        if response.status == 401:
            self._tokens.forget(token)
        return response


@asynccontextmanager
async def connected(server: Server, http: HttpClient) -> AsyncIterator[EntraClient]:
    """A client for the server, once a first token was had. Raises UpstreamAuthError."""
    credential = await asyncio.to_thread(default_credential)
    try:
        tokens = Tokens(credential, str(server.options.get("scope") or SCOPE))
        await tokens.get()
        yield EntraClient(tokens, http)
    finally:
        await asyncio.to_thread(credential.close)


def default_credential() -> Credential:
    """azure-identity's chain of identities. Imported here: it is optional, and slow to import."""
    try:
        identity = import_module("azure.identity")
    except ModuleNotFoundError as error:
        raise UpstreamAuthError(
            "Entra ID needs azure-identity: pip install 'h2o-relay-azure[entra]'"
        ) from error
    credential: Credential = identity.DefaultAzureCredential()
    return credential
