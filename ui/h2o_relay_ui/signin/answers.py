"""What sign-in answers with, as ASGI messages."""

from __future__ import annotations

from typing import Any

import orjson

Headers = list[tuple[bytes, bytes]]
HTML = b"text/html; charset=utf-8"


async def respond(
    send: Any, body: bytes, kind: bytes, status: int = 200, headers: Headers | None = None
) -> None:
    head = [(b"content-type", kind), (b"content-length", b"%d" % len(body)), *(headers or ())]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": body})


async def see_page(
    send: Any, body: bytes, status: int = 200, headers: Headers | None = None
) -> None:
    await respond(send, body, HTML, status, headers)


async def json(send: Any, value: Any, status: int = 200, headers: Headers | None = None) -> None:
    await respond(send, orjson.dumps(value), b"application/json", status, headers)


async def redirect(send: Any, to: str, headers: Headers | None = None) -> None:
    """To a place beside this one, by GET."""
    await respond(send, b"", HTML, 303, [(b"location", to.encode("ascii")), *(headers or ())])
