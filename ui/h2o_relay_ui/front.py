"""What stands before Gradio: who may call, and what a page may do in a browser. Pure ASGI."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from h2o_relay.hosts import ANY, FLAG, allowed_names, name_of
from h2o_relay.settings import Settings
from h2o_relay.settings_network import origins

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# Gradio's page configures itself with inline scripts and styles. Nothing may come from elsewhere,
# images least of all: an answer could name one whose address carries the conversation away.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self' blob:",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
).encode()
HEADERS = (
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    # Not no-referrer: with it a browser hides where a form comes from, and it would be refused.
    (b"referrer-policy", b"same-origin"),
)
NO_STORE = (b"cache-control", b"no-store")
CACHED = ("/assets/", "/static/", "/favicon.ico", "/theme.css")
ALIASES = {"/api/submit_nochat_plain_api": "/gradio_api/api/submit_nochat_plain_api"}
"""Where h2oGPT, whose Gradio is older, has what others call by hand."""
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Front:
    """ASGI 3 around `app`.

    With `local` only loopback names are answered, and those of `--allowed-hosts`, so that no web
    site can reach the page by pointing a name of its own at this machine (DNS rebinding). Pages of
    other sites may change nothing here, but for those of `--cors-origins`.
    """

    def __init__(self, app: App, local: bool, settings: Settings | None = None) -> None:
        self._app = app
        self._local = local
        self._settings = settings = settings or Settings()
        self._origins = frozenset(origins(settings.cors_origins))
        self._prefix = (settings.root_path or "").rstrip("/")

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        reason = self._refusal(scope) if scope["type"] == "http" else ""
        if reason:
            await refuse(send, reason)
            return
        path = self._below(scope.get("path", ""))
        if path != scope.get("path", ""):
            scope = {**scope, "path": path, "raw_path": path.encode()}
        kept = path.startswith(CACHED)
        if path in ALIASES:
            scope = {**scope, "path": ALIASES[path], "raw_path": ALIASES[path].encode()}

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = with_ours(message.get("headers", ()), kept)
            await send(message)

        await self._app(scope, receive, guarded)

    def _refusal(self, scope: MutableMapping[str, Any]) -> str:
        """Why a request is not answered; "" if it is."""
        headers = dict(scope["headers"])
        host = headers.get(b"host", b"").decode("latin-1")
        if self._local and not self._is_named(host):
            return (
                "This page is served to this machine only. Open it as http://localhost, or name "
                f"the host with {FLAG}."
            )
        origin = headers.get(b"origin")
        if origin is None or scope["method"] in SAFE_METHODS:
            return ""
        place = origin.decode("latin-1")
        if place_of(place) != host and not ({place.lower(), ANY} & self._origins):
            return "This request comes from another site; --cors-origins names those that may."
        return ""

    def _is_named(self, host: str) -> bool:
        return is_loopback_name(host) or bool({name_of(host), ANY} & allowed_names(self._settings))

    def _below(self, path: str) -> str:
        """A path without the prefix that a proxy may have left on (`--root-path`)."""
        rest = path.removeprefix(self._prefix)
        if not self._prefix or rest == path:
            return path
        return (rest or "/") if rest[:1] in ("", "/") else path


def place_of(origin: str) -> str:
    """Host and port of an Origin header; "" for one that has none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def is_loopback_name(host: str) -> bool:
    """Whether a Host header, with or without a port, names this machine."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def with_ours(headers: Iterable[tuple[bytes, bytes]], kept: bool) -> list[tuple[bytes, bytes]]:
    """The headers with ours in place of those of the same names; `kept` may be cached."""
    ours = HEADERS if kept else (*HEADERS, NO_STORE)
    names = {name for name, _ in ours}
    return [pair for pair in headers if pair[0].lower() not in names] + list(ours)


async def refuse(send: Send, reason: str) -> None:
    body = reason.encode()
    head = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 403, "headers": [*head, *HEADERS]})
    await send({"type": "http.response.body", "body": body})
