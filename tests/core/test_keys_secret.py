"""What is kept of a key is HMAC-SHA256 (RFC 2104), whoever works it out."""

from __future__ import annotations

import hmac

from hypothesis import given
from hypothesis import strategies as st

from h2o_relay.accounting.secret import BLOCK, SECRET, digest, digester


@given(st.binary(min_size=1, max_size=BLOCK), st.lists(st.binary(max_size=300), min_size=1))
def test_it_is_the_librarys(secret: bytes, keys: list[bytes]) -> None:
    made = digester(secret)
    for key in keys:
        assert made(key) == digest(secret, key) == hmac.digest(secret, key, "sha256")


def test_rfc_4231() -> None:
    """Its second case, whose key is shorter than ours."""
    assert SECRET <= BLOCK
    assert digest(b"Jefe", b"what do ya want for nothing?").hex() == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )
