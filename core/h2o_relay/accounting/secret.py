"""Keys that callers present: how they are made, and what of them is kept.

A key is `sk-h2o-` and 43 random letters and digits (256 bits). Kept is HMAC-SHA256 of it (RFC 2104)
under a secret that each store has of its own: nobody gets from there to the key, nor finds one of
another store in it. A slow hash, as passwords need, would add nothing
to 256 bits and cost every request a tenth of a second.
"""

from __future__ import annotations

import hashlib
import secrets
import string
from collections.abc import Callable

PREFIX = "sk-h2o-"
LETTERS = string.ascii_letters + string.digits
LENGTH = 43  # letters, each of log2(62) bits
SHOWN = 4  # last letters, by which people tell keys apart; 232 bits are left
SECRET = 32  # bytes of a store's secret
BLOCK = 64  # bytes of a block of SHA-256
IPAD, OPAD = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
ID = "key_"


def new_key() -> str:
    """A key that nobody has seen yet."""
    return PREFIX + "".join(secrets.choice(LETTERS) for _ in range(LENGTH))


def new_id() -> str:
    """What a key is called by programs, in usage and in the log; no secret."""
    return ID + secrets.token_hex(8)


def new_secret() -> bytes:
    """For a new store."""
    return secrets.token_bytes(SECRET)


def digest(secret: bytes, key: bytes) -> bytes:
    """What is kept of a key: 32 bytes, which tell nothing of it."""
    return digester(secret)(key)


def digester(secret: bytes) -> Callable[[bytes], bytes]:
    """`digest` for many keys under one secret of `SECRET` bytes, with what is the same for all of
    them worked out beforehand: half the cost of the library's, which every request pays.
    """
    padded = secret.ljust(BLOCK, b"\0")
    inner = hashlib.sha256(padded.translate(IPAD))
    outer = hashlib.sha256(padded.translate(OPAD))

    def made(key: bytes) -> bytes:
        first, second = inner.copy(), outer.copy()
        first.update(key)
        second.update(first.digest())
        return second.digest()

    return made
