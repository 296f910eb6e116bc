"""Passwords as they are stored: `scrypt$n$r$p$salt$hash`, the last two in base64 (RFC 7914)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

N, R, P = 2**15, 8, 1  # 32 MiB and about a tenth of a second for each try
SALT = 16  # bytes
LENGTH = 32  # bytes


def hashed(password: bytes) -> str:
    """A new salt each time. Takes long: for a thread."""
    salt = secrets.token_bytes(SALT)
    return _written(salt, _derived(password, salt, N, R, P, LENGTH))


def nobodys() -> str:
    """What no password fits, and takes as long to find out as any other."""
    return _written(secrets.token_bytes(SALT), secrets.token_bytes(LENGTH))


def fits(password: bytes, stored: str) -> bool:
    """Whether this is the password. Takes long: for a thread. Raises ValueError for a stored text
    that is not one of ours.
    """
    kind, n, r, p, salt, expected = stored.split("$")
    if kind != "scrypt":
        raise ValueError(kind)
    wanted = base64.b64decode(expected, validate=True)
    bare = base64.b64decode(salt, validate=True)
    found = _derived(password, bare, int(n), int(r), int(p), len(wanted))
    return hmac.compare_digest(found, wanted)


def _written(salt: bytes, derived: bytes) -> str:
    texts = (base64.b64encode(value).decode() for value in (salt, derived))
    return "$".join(["scrypt", str(N), str(R), str(P), *texts])


def _derived(password: bytes, salt: bytes, n: int, r: int, p: int, length: int) -> bytes:
    memory = 128 * r * (n + p + 2)  # what OpenSSL counts: its default allows just less than ours
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=memory, dklen=length)
