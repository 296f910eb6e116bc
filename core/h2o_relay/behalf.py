"""For whom the chat page asks its relay: what goes beside the page's internal key.

    with behalf(user="ann"):
        async with relay.stream("chat", params) as answer: ...

The relay believes these headers where the internal key is (`h2o_relay_proxy.behind_page`), and
nowhere else. Their values are percent-encoded: names and keys may have any character.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Final
from urllib.parse import quote, unquote

USER: Final = "x-h2o-user"
"""The name of the account that somebody is signed in with."""
KEY: Final = "x-h2o-key"
"""A key that somebody has sent the page."""
HOLDER: Final = "x-h2o-holder"
"""The id of the key that somebody has signed in with."""
LONGEST: Final = 4096  # characters of a value
NOBODY: Mapping[str, str] = {}
_headers: ContextVar[Mapping[str, str]] = ContextVar("behalf", default=NOBODY)


@contextlib.contextmanager
def behalf(*, user: str = "", key: str = "", holder: str = "") -> Iterator[None]:
    """What this task asks a `RemoteKernel` for inside the block is asked for this account, with
    this key, or for who holds the key of this id.
    """
    token = _headers.set(written(user=user, key=key, holder=holder))
    try:
        yield
    finally:
        _headers.reset(token)


def headers() -> Mapping[str, str]:
    """Those of this task."""
    return _headers.get()


def written(*, user: str = "", key: str = "", holder: str = "") -> Mapping[str, str]:
    """As headers. What is too long for one is left out: no account and no key is."""
    given = {USER: user, KEY: key, HOLDER: holder}
    coded = {n: quote(v, safe="", errors="surrogatepass") for n, v in given.items() if v}
    return {name: value for name, value in coded.items() if len(value) <= LONGEST}


def read(headers: Mapping[bytes, bytes], name: str) -> str:
    """The value of a header of a request; "" without it."""
    value = headers.get(name.encode(), b"")
    return unquote(value.decode("latin-1"), errors="surrogatepass") if value else ""
