"""Sessions as a browser keeps them: signed, so that they outlive this process, and ended here.

A session's cookie is `1.PAYLOAD.SIGNATURE`, both in base64: a JSON list and its HMAC-SHA256 under
a key that is in a file beside the store. What was signed out is in a file too, until the sessions
would have ended by themselves.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import orjson

from .files import Ended, read_or_make

Kind = Literal["user", "guest", "browser", "local"]
KINDS = frozenset({"user", "guest", "browser", "local"})
DAY = 24 * 3600.0
LIFE: dict[str, float] = {
    "user": 30 * DAY, "guest": DAY, "browser": 365 * DAY, "local": 30 * DAY
}  # fmt: skip
"""Seconds without the page being opened."""
RENEWED = DAY  # seconds after which opening the page makes a session last on
NAME = "h2o_session_"
MARK = 16  # bytes
LONGEST = 4096  # characters of a cookie


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    kind: Kind
    name: str = ""
    """Signed in with; "" where nobody gives one."""
    by: str = ""
    """The mark of what was given beside the name, where the operator can change it: a pair's
    password or a key; "" for an account."""
    key: str = ""
    """The mark of the key for the chat page, where one was given."""
    since: float = 0.0
    """Unix time of signing in."""
    issued: float = 0.0
    """Unix time at which it was last made to last on."""


class Sessions:
    def __init__(self, folder: Path | None, clock: Callable[[], float] = time.time) -> None:
        """Without a folder, or where it cannot be written, they end with this process."""
        self._clock = clock
        self._secret = read_or_make(folder / "session.key") if folder else secrets.token_bytes(32)
        self._ended = Ended(folder / "signed-out.json" if folder else None, clock)
        public = hashlib.sha256(b"name" + self._secret).hexdigest()
        self.cookie = NAME + public[:8]
        """Its name: browsers do not tell the ports of a host apart, and so relays would."""

    def begin(self, kind: Kind, name: str = "", by: str = "", key: str = "") -> Session:
        now = self._clock()
        return Session(secrets.token_hex(16), kind, name, by, key, since=now, issued=now)

    def renewed(self, session: Session) -> Session | None:
        """The session made to last on; None if it is too early for that."""
        now = self._clock()
        return replace(session, issued=now) if now - session.issued > RENEWED else None

    def written(self, session: Session) -> str:
        fields = [
            session.id, session.kind, session.name, session.by, session.key, session.since,
            session.issued,
        ]  # fmt: skip
        payload = _text(orjson.dumps(fields))
        return f"1.{payload}.{_text(self._signature(payload))}"

    def read(self, cookie: str) -> Session | None:
        """The session of a cookie that we made, unless it has ended."""
        version, _, rest = cookie.partition(".")
        payload, _, signature = rest.partition(".")
        if version != "1" or len(cookie) > LONGEST or not cookie.isascii():
            return None
        try:
            if not hmac.compare_digest(_bytes(signature), self._signature(payload)):
                return None
            session = _session(orjson.loads(_bytes(payload)))
        except (binascii.Error, ValueError, TypeError):
            return None
        over = self._clock() - session.issued > LIFE[session.kind]
        return None if over or self._ended.has(session.id, session.name, session.since) else session

    def end(self, session: Session) -> None:
        """Nobody can use it any more."""
        if session.kind != "local":
            self._ended.add(session.id, self._clock() + LIFE[session.kind])

    def end_all(self, name: str) -> None:
        """End the sessions of a user whose password has changed."""
        self._ended.add_name(name, LIFE["user"])

    def mark(self, secret: str) -> str:
        """By which a secret is recognised in a session; it cannot be found out from it."""
        text = secret.encode("utf-8", "surrogatepass")
        return _text(hmac.digest(self._secret, b"mark" + text, "sha256")[:MARK])

    def _signature(self, payload: str) -> bytes:
        return hmac.digest(self._secret, b"1." + payload.encode(), "sha256")


def _session(fields: Any) -> Session:
    """Raises ValueError or TypeError."""
    session = Session(*fields)
    if session.kind not in KINDS:
        raise ValueError(session.kind)
    return session


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
