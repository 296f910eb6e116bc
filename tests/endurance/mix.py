"""A mix of requests, the same in every run: good and bad ones, ones that fail, ones whose caller
leaves. `drawn(20_000)` is what is asked; `BENCH` is what the upstream has to list for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..proxy.kit import CHAT, MESSAGES, TEXT, request

Leaves = Literal["", "in the body", "waiting", "in the stream"]
Fields = Mapping[str, Any]

OK = "ok"
SLOW = "ok@first=60000"  # nobody waits for its end
LONG = "ok@tokens=2000~delay=20"  # nor for this one's
GONE = "gone"  # a deployment whose server is not there
BENCH = {
    OK: OK, "slow": SLOW, "long": LONG, "refusing": "status@code=500", "limited":
    "rate-limit@wait=99999", "full": "context", "resetting": "reset-at-once", "cut": "reset",
    "truncated": "truncate", "erring": "error-event", "garbled": "invalid-json",
}  # fmt: skip
"""Deployments by the model of the bench that each one is."""
BROKEN = frozenset({502, 503})  # 503 once its breaker is open


@dataclass(frozen=True, slots=True)
class Kind:
    """What one of them is, and what its caller may be answered."""

    name: str
    share: int
    """Of a thousand."""
    statuses: frozenset[int] = frozenset({200})
    method: str = "POST"
    target: str = CHAT
    body: bytes | Fields | None = None
    key: Literal["good", "wrong", "none"] = "good"
    headers: Mapping[str, str] | None = None
    leaves: Leaves = ""
    code: str | None = None
    """Of the error in a stream that has begun."""

    @property
    def stored(self) -> bool:
        """The store has what servers may be asked with; log and metrics have every request."""
        return self.method == "POST" and self.target.startswith("/v1/")

    def wire(self, id: str, key: str, encode: Callable[[Any], bytes]) -> bytes:
        """The request's bytes. `user` tells the upstream which one it is."""
        presented = {"good": key, "wrong": "sk-wrong-canary-77c1"}.get(self.key)
        headers = {"x-request-id": id, **(self.headers or {})}
        if presented:
            headers["Authorization"] = f"Bearer {presented}"
        body = self.body
        if body is not None and not isinstance(body, bytes):
            body = encode({**body, "user": id} if self.leaves else dict(body))
        return request(self.method, self.target, headers, body)


def chat(model: str, stream: bool) -> Fields:
    return {"model": model, "messages": MESSAGES, "stream": stream}


def text(stream: bool) -> Fields:
    return {"model": OK, "prompt": "hi", "stream": stream}


def status(*codes: int) -> frozenset[int]:
    return frozenset(codes)


KINDS = (
    # Good.
    Kind("whole", 170, body=chat(OK, False)),
    Kind("stream", 200, body=chat(OK, True)),
    Kind("text", 50, target=TEXT, body=text(False)),
    Kind("text stream", 50, target=TEXT, body=text(True)),
    Kind("response", 30, target="/v1/responses", body={"model": OK, "input": "hi"}),
    Kind("message", 30, target="/v1/messages",
         body={"model": OK, "max_tokens": 9, "messages": MESSAGES}),
    Kind("models", 30, method="GET", target="/v1/models"),
    Kind("one model", 10, method="GET", target=f"/v1/models/{OK}"),
    # Bad.
    Kind("no JSON", 20, status(400), body=b'{"model": '),
    Kind("no messages", 20, status(400), body={"model": OK}),
    Kind("no such model", 30, status(404), body=chat("nobody", False)),
    Kind("no such path", 20, status(404), method="GET", target="/v1/nothing"),
    Kind("no such method", 10, status(405), method="GET"),
    Kind("no such kind", 10, status(415), body=b"hi", headers={"Content-Type": "text/plain"}),
    Kind("wrong key", 25, status(401), body=chat(OK, False), key="wrong"),
    Kind("no key", 15, status(401), body=chat(OK, True), key="none"),
    # Failing.
    Kind("refused", 20, status(502, 503), body=chat("refusing", True)),
    Kind("limited", 20, status(429, 503), body=chat("limited", False)),
    Kind("too long", 15, status(400), body=chat("full", False)),
    Kind("reset", 15, BROKEN, body=chat("resetting", True)),
    Kind("cut", 20, status(200, 502, 503), body=chat("cut", True), code="upstream_disconnected"),
    Kind("truncated", 15, status(200, 502, 503), body=chat("truncated", True),
         code="upstream_disconnected"),
    Kind("erring", 15, status(200, 502, 503), body=chat("erring", True),
         code="upstream_bad_response"),
    Kind("garbled", 15, status(200, 502, 503), body=chat("garbled", True),
         code="upstream_bad_response"),
    Kind("nobody there", 15, BROKEN, body=chat(GONE, True)),
    # Left.
    Kind("left in the stream", 40, body=chat("long", True), leaves="in the stream"),
    Kind("left while it waited", 40, body=chat("slow", True), leaves="waiting"),
    Kind("left while it waited for all", 20, body=chat("slow", False), leaves="waiting"),
    Kind("left in the body", 30, body=chat(OK, True), leaves="in the body",
         headers={"Expect": "100-continue"}),
)  # fmt: skip


def named(name: str) -> Kind:
    return next(kind for kind in KINDS if kind.name == name)


def drawn(count: int, seed: int = 8) -> list[Kind]:
    """So many, in an order that only the seed makes; each kind by its share."""
    pack = [kind for kind in KINDS for _ in range(kind.share)]
    many = [pack[place * len(pack) // count] for place in range(count)]
    random.Random(seed).shuffle(many)
    return many
