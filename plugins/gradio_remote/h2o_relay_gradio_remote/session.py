"""An open Gradio app: logged in if it wants that, its /config read.

Login is Gradio's: a form posted to /login, answered with cookies (gradio 6.31 `routes.py`, and the
same in Gradio 3 to 5).
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import urlencode

from h2o_relay.errors import (
    MESSAGE_LIMIT,
    RelayError,
    UpstreamAuthError,
    UpstreamRedirect,
    from_error_object,
    from_response,
)
from h2o_relay.http import HttpClient, Response
from h2o_relay.openai_shape import beginning, seconds_to_wait
from h2o_relay.types import Server

from .app import App, read_config

CONFIG_LIMIT = 32 * 2**20  # bytes; h2oGPT's is over 1 MiB
LOGIN_LIMIT = 64 * 1024  # bytes of the answer to a login
COOKIE = re.compile(r"(?:^|,\s*)([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([^;,\s]*)")
FORM = {"content-type": "application/x-www-form-urlencoded"}
JSON = {"content-type": "application/json"}


@dataclass(slots=True)
class Session:
    """One server as it was found: its app, and the headers that go with every request."""

    server: Server
    client: GradioClient
    app: App
    headers: dict[str, str]

    @property
    def base(self) -> str:
        return base_of(self.server)

    @property
    def root(self) -> str:
        """What the paths of the app's API are below."""
        return self.base + self.app.prefix


class GradioClient(HttpClient):
    """The HTTP client of one link, with what was learned of its app so far."""

    def __init__(self, http: HttpClient) -> None:
        super().__init__(http.settings)
        self.share(http)
        self.session: Session | None = None
        self.opening = asyncio.Lock()
        """Held while the session is made, once however many requests wait for it."""


async def session(server: Server, client: GradioClient, stale: Session | None = None) -> Session:
    """The server's session, opened when first asked for and anew if it is `stale`.

    Raises UpstreamAuthError for a wrong or missing login, UpstreamBadResponse for what is no
    Gradio app, and what the transport raises.
    """
    async with client.opening:
        if client.session is None or client.session is stale:
            client.session = await _opened(server, client)
        return client.session


async def refreshed(server: Server, client: GradioClient) -> Session:
    """The session with /config read again: the app may have been started anew."""
    async with client.opening:
        client.session = await _opened(server, client, client.session)
        return client.session


async def _opened(server: Server, client: GradioClient, before: Session | None = None) -> Session:
    """Log in where there are credentials (unless those of `before` still do) and read /config."""
    headers = dict(before.headers) if before else await _login(server, client)
    status, body = await _get(server, client, "/config", headers)
    if status == 401 and before is not None:
        headers = await _login(server, client)
        status, body = await _get(server, client, "/config", headers)
    if status in (401, 403):
        raise UpstreamAuthError(
            "the Gradio server asks for a login: give user and password in the server string"
            if server.password is None
            else "the Gradio server refused the relay's login"
        )
    if status != 200:
        raise from_response(status, body, secret=server.password)
    return Session(server, client, read_config(body), headers)


async def _login(server: Server, client: GradioClient) -> dict[str, str]:
    """Headers with the cookies of a login; the server's own headers if it has no login."""
    headers = dict(server.headers)
    if server.user is None or server.password is None:
        return headers
    form = urlencode({"username": server.user, "password": server.password}).encode()
    seconds = client.settings.request_timeout
    exchange = client.request(
        "POST", f"{base_of(server)}/login", headers={**headers, **FORM}, body=form,
        first_byte=seconds, total=seconds,
    )  # fmt: skip
    try:
        async with exchange as response:
            if response.status in (400, 401, 403):
                raise UpstreamAuthError("the Gradio server refused the relay's login")
            if response.status >= 300:
                raise await refusal(response, server)
            cookies = COOKIE.findall(response.headers.get("set-cookie", ""))
            await response.read(LOGIN_LIMIT)
    except UpstreamRedirect:
        return headers  # Gradio's answer where it has no users
    if cookies:
        headers["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies)
    return headers


async def _get(
    server: Server, client: GradioClient, path: str, headers: dict[str, str]
) -> tuple[int, bytes]:
    seconds = client.settings.request_timeout
    exchange = client.request(
        "GET", base_of(server) + path, headers=headers, first_byte=seconds, total=seconds
    )
    async with exchange as response:
        return response.status, await response.read(CONFIG_LIMIT)


def base_of(server: Server) -> str:
    """The app's address without a slash at its end."""
    return (server.url or "").rstrip("/")


async def refusal(response: Response, server: Server) -> RelayError:
    """The error for a response of status 300 and above."""
    body = await beginning(response)
    for secret in secrets(server):
        body = body.replace(secret.encode(), b"***")
    wait = seconds_to_wait(response.headers.get("retry-after"))
    return from_response(response.status, body, retry_after=wait)


def reported(server: Server, message: str) -> RelayError:
    """The error for a message that came in an answer of status 200."""
    for secret in secrets(server):
        message = message.replace(secret, "***")
    return from_error_object({"message": message[:MESSAGE_LIMIT]})


def secrets(server: Server) -> list[str]:
    """Our own credentials, which no error may repeat; very short ones would blot out words."""
    return [text for text in (server.key, server.password) if text and len(text) >= 4]
