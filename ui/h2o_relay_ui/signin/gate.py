"""Pure ASGI before Gradio: nothing but signing in is answered to whoever has not done it.

Gradio's own sign-in leaves several of its routes open, keeps no session over a restart, and has no
guests and no limits. Its clients' login is answered as it answers: a form posted to /login, a
cookie and `{"success": true}` back (gradio 6.31 `routes.py`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import MutableMapping
from email.message import Message
from email.parser import BytesParser
from typing import Any
from urllib.parse import parse_qs

from . import page
from .answers import Headers, json, redirect, see_page
from .desk import Asked, Desk, Outcome
from .sessions import LIFE, Session

SESSION = "h2o_relay.session"
"""The key of a request's scope."""
OPEN = frozenset({"/favicon.ico", "/robots.txt"})
LOGIN, LOGOUT = ("/login", "/login/"), ("/logout", "/logout/")
LARGEST = 16 * 1024  # bytes of a form
QUERY = 1000  # characters
Scope = MutableMapping[str, Any]


class Gate:
    """ASGI 3 around `app`."""

    def __init__(self, app: Any, desk: Desk) -> None:
        self._app = app
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            session = await self._desk.session(cookie_of(scope, self._desk.sessions.cookie))
            await self._answer(scope, receive, send, session)
        else:  # Gradio has no web sockets
            await send({"type": "websocket.close", "code": 1008})

    async def _answer(
        self, scope: Scope, receive: Any, send: Any, session: Session | None
    ) -> None:  # fmt: skip
        path, method = scope["path"], scope["method"]
        opens = path == "/" and method in ("GET", "HEAD")
        if path in LOGIN:
            act = self._login if method == "POST" else self._ask
            await act(scope, receive, send, session)
        elif path in LOGOUT:
            await self._logout(scope, send, session)
        elif path not in OPEN and not self._passes(session, opens):
            await self._stop(scope, send, opens)
        else:
            send = self._lasting(scope, send, session) if opens else send
            await self._app({**scope, SESSION: session}, receive, send)

    def _passes(self, session: Session | None, opens: bool) -> bool:
        if session is None:  # a browser gets its cookie with the page
            return self._desk.mode == "browser" and not (opens and self._desk.keys.needed_by_page)
        return not opens or self._desk.opens_page(session)

    async def _stop(self, scope: Scope, send: Any, opens: bool) -> None:
        if opens:
            query = scope.get("query_string", b"").decode("latin-1")[:QUERY]
            await see_page(send, page.sign_in(self._desk.form(query=query)))
            return
        message = {"error": "Not authenticated", "auth_message": self._desk.form().hint}
        await json(send, {"detail": message}, 401)

    def _lasting(self, scope: Scope, send: Any, session: Session | None) -> Any:
        """`send` with the cookie that makes the session last on, where it is time for that."""
        sessions = self._desk.sessions
        fresh = sessions.begin("browser") if session is None else sessions.renewed(session)
        if fresh is None or not fresh.id:
            return send
        header = (b"set-cookie", self._cookie(scope, fresh))

        async def sending(message: Scope) -> None:
            if message["type"] == "http.response.start" and message["status"] == 200:
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        return sending

    async def _ask(self, scope: Scope, receive: Any, send: Any, session: Session | None) -> None:
        """The page of sign-in, for whoever has not done it."""
        if scope["path"].endswith("/"):
            await redirect(send, "../login")
        elif not self._desk.asks() or (session is not None and self._desk.opens_page(session)):
            await redirect(send, _home(scope))
        else:
            await see_page(send, page.sign_in(self._desk.form()))

    async def _login(self, scope: Scope, receive: Any, send: Any, session: Session | None) -> None:
        """Sign in with what a form holds."""
        html = wants_html(scope)
        fields = await read_form(scope, receive)
        if fields is None:
            await json(send, {"detail": "This is no form of ours."}, 400)
            return
        asked = Asked(
            fields.get("username", ""), fields.get("password", ""), fields.get("key", ""),
            bool(fields.get("guest")), html, address_of(scope),
        )  # fmt: skip
        query = fields.get("query", "")[:QUERY]
        headers: Headers = []
        if self._desk.asks():
            outcome = await self._desk.sign_in(asked, session)
            if outcome.session is None:
                await self._refuse(send, asked, outcome, query)
                return
            headers.append((b"set-cookie", self._cookie(scope, outcome.session)))
        if html:
            good = query.isascii() and query.isprintable()
            await redirect(
                send, f"{_home(scope)}?{query}" if query and good else _home(scope), headers
            )
        else:
            await json(send, {"success": True}, 200, headers)

    async def _refuse(self, send: Any, asked: Asked, outcome: Outcome, query: str) -> None:
        headers: Headers = [(b"retry-after", b"%d" % outcome.wait)] if outcome.wait else []
        if asked.page:
            form = self._desk.form(error=outcome.error, name=asked.name[:200], query=query)
            await see_page(send, page.sign_in(form), outcome.status, headers)
        else:
            await json(send, {"detail": outcome.error}, outcome.status, headers)

    async def _logout(self, scope: Scope, send: Any, session: Session | None) -> None:
        if scope["method"] != "POST":
            if session is None or not session.id:
                await redirect(send, _home(scope))
            else:
                await see_page(send, page.sign_out(session.kind == "guest"))
            return
        if session is not None and session.id:
            self._desk.sessions.end(session)
        gone = f"{self._desk.sessions.cookie}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
        headers: Headers = [(b"set-cookie", gone.encode())]
        if wants_html(scope):
            await redirect(send, _home(scope), headers)
        else:
            await json(send, {"success": True}, 200, headers)

    def _cookie(self, scope: Scope, session: Session) -> bytes:
        parts = [f"{self._desk.sessions.cookie}={self._desk.sessions.written(session)}", "Path=/"]
        parts += ["HttpOnly", "SameSite=Lax"]
        if session.kind != "guest":  # they are forgotten with the browser's window
            parts.append(f"Max-Age={LIFE[session.kind]:.0f}")
        if is_https(scope):
            parts.append("Secure")
        return "; ".join(parts).encode()


def _home(scope: Scope) -> str:
    """The page, from one of our paths: whatever is before them stays."""
    return "../" if scope["path"].endswith("/") else "./"


def header_of(scope: Scope, name: bytes) -> str:
    """A header, those of the same name joined as HTTP has it."""
    separator = b"; " if name == b"cookie" else b", "
    found = [value for other, value in scope["headers"] if other.lower() == name]
    return separator.join(found).decode("latin-1")


def cookie_of(scope: Scope, name: str) -> str | None:
    for part in header_of(scope, b"cookie").split(";"):
        found, _, value = part.strip().partition("=")
        if found == name:
            return value
    return None


def wants_html(scope: Scope) -> bool:
    """Whether a browser shows the answer to somebody."""
    return "text/html" in header_of(scope, b"accept")


def is_https(scope: Scope) -> bool:
    """Whether the browser came by https. A header that lies about it harms its sender alone."""
    return "https" in (scope.get("scheme"), header_of(scope, b"x-forwarded-proto").lower())


def address_of(scope: Scope) -> str:
    """The caller's address; behind a proxy on this machine the one that the proxy names."""
    address = str((scope.get("client") or ("",))[0])
    try:
        near = ipaddress.ip_address(address).is_loopback
    except ValueError:
        near = False
    named = header_of(scope, b"x-forwarded-for").rpartition(",")[2].strip()
    return named[:64] if near and named else address


async def read_form(scope: Scope, receive: Any) -> dict[str, str] | None:
    """The fields of a form, as browsers and Gradio's clients send them; None if it is none."""
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            return None
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > LARGEST:
            return None
    kind = header_of(scope, b"content-type")
    if kind.lower().startswith("multipart/form-data"):
        return _parts(kind, body)
    try:
        pairs = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        return None
    return {name: values[0] for name, values in pairs.items()}


def _parts(kind: str, body: bytes) -> dict[str, str] | None:
    """The fields of a form in parts (RFC 7578), which are written as those of a letter."""
    head = f"content-type: {kind}\r\n\r\n".encode("latin-1")
    parts = BytesParser().parsebytes(head + body).get_payload()
    if not isinstance(parts, list):
        return None
    fields = {}
    for part in parts:
        if not isinstance(part, Message):
            return None
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if isinstance(name, str) and isinstance(value, bytes) and not part.get_filename():
            fields[name] = value.decode("utf-8", "replace")
    return fields
