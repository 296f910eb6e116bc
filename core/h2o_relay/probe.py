"""GETs below a bare URL, by which plugins tell whose server it is; nothing else is ever sent."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Mapping
from typing import Self
from urllib.parse import urljoin, urlsplit

from .errors import FirstByteTimeout, RelayError, UpstreamUnidentified
from .http import HttpClient
from .spec import NO_KEY
from .types import Server

Got = tuple[int, Mapping[str, str], bytes]
"""Status, headers, body."""


class Probe:
    """GETs below a bare URL, each path once however many plugins ask for it.

    A URL that ends in /v1 is probed from above it. Leaving the block gives up what is under way.
    """

    def __init__(self, http: HttpClient, server: Server) -> None:
        self.server = server
        self.seconds = http.settings.request_timeout
        """How long a look at one server may take."""
        self.error: RelayError | None = None
        self.answered = False
        self.refused = False
        """Some path wanted other credentials than the server string has."""
        self.authorization: str | None = None
        """The Authorization header that a path wanted and took; None if none was wanted."""
        self.redirect = ""
        """Where the first redirect leads to."""
        self._base = (server.url or "").rstrip("/").removesuffix("/v1")
        self._plain = http.at(self._base, server.headers)
        self._keyed = [
            (header, http.at(self._base, {**server.headers, "authorization": header}))
            for header in authorizations(server)
        ]
        self._got: dict[str, asyncio.Task[Got]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def get(self, path: str) -> Got:
        """Status, headers and body of a path. Raises RelayError."""
        if path not in self._got:
            self._got[path] = asyncio.create_task(self._get(path or "/"))
        try:
            answer = await asyncio.shield(self._got[path])
        except RelayError as error:
            self.error = error
            target = redirect_target(error, self._base + (path or "/"))
            self.redirect = self.redirect or target.removesuffix(path or "/")
            raise
        self.answered = True
        return answer

    async def _get(self, path: str) -> Got:
        """With credentials only where they are asked for: they may be a Gradio login's."""
        answer = await self._plain.get(path)
        for header, client in self._keyed:
            if answer[0] != 401:
                break
            answer = await client.get(path)
            if answer[0] != 401:
                self.authorization = header
        self.refused = self.refused or answer[0] in (401, 403)
        return answer

    async def close(self) -> None:
        """Give up what nobody waits for any more."""
        for task in self._got.values():
            task.cancel()
        await asyncio.gather(*self._got.values(), return_exceptions=True)

    def fault(self) -> RelayError:
        """Why nobody recognised the server."""
        if self.redirect:
            return UpstreamUnidentified(
                f"the server redirects, which is not followed; give the URL that it redirects to: "
                f"{self.redirect}"
            )
        if self.answered or not self._got:
            return UpstreamUnidentified(
                "the server answers, but no installed plugin recognises it"
                + (" without other credentials (401 or 403)" if self.refused else "")
            )
        return self.error or FirstByteTimeout("the upstream server sent nothing")


def authorizations(server: Server) -> list[str]:
    """The Authorization headers that a server string's credentials may be meant as, in the order
    in which they are tried; [] where the string has the header itself.
    """
    if "authorization" in server.headers:
        return []
    found = []
    if server.user is not None:
        pair = f"{server.user}:{server.password or ''}".encode()
        found.append(f"Basic {b64encode(pair).decode()}")
    keys = [key for key in (server.key, server.password) if key and key != NO_KEY]
    found += [f"Bearer {key}" for key in keys if key.isascii() and key.isprintable()]
    return list(dict.fromkeys(found))


def redirect_target(error: RelayError, asked: str | None) -> str:
    """Where a redirect of the URL `asked` leads to, without queries and user names, which may be
    secret; "" for any other error.
    """
    location: str = getattr(error, "location", "")
    if not location:
        return ""
    try:
        parts = urlsplit(urljoin(asked or "", location))
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
