"""What headers tell beside an answer: who gave it and why, what it cost in time, what was dropped.

| header | |
|---|---|
| `x-h2o-backend` | the plugin whose server answered |
| `x-h2o-server` | the name of the deployment that answered |
| `x-h2o-reason` | why it was that one (`docs/routing.md`) |
| `x-h2o-attempts` | how often the request was sent |
| `x-h2o-queue-ms` | milliseconds that it waited for a free server |
| `x-h2o-overhead-ms` | milliseconds that the relay itself took until the answer began |
| `x-h2o-dropped-params` | fields of the request that the server does not honour |
| `x-h2o-translated` | in what other shape the server was asked |
| `x-h2o-usage` | `estimated` where the server does not tell it |
| `x-h2o-trimmed`, `x-h2o-limited` ... | what was done to the request (`Request.tell`) |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote

from h2o_relay.errors import InvalidRequest
from h2o_relay.strict import unsupported

from .respond import encoded

if TYPE_CHECKING:
    from h2o_relay.chunks import Completion
    from h2o_relay.kernel import Answer
    from h2o_relay.tries import Tries

SESSIONS = (
    b"x-h2o-session",
    b"x-session-id",
    b"x-litellm-session-id",
    b"x-bf-session-id",
    b"x-olla-session-id",
)
"""Headers by which callers name a conversation: ours, and those of LiteLLM, Bifrost and Olla."""
STRICT = b"x-h2o-strict"
ANY = frozenset((*SESSIONS, STRICT))
NOTHING = (None, False)
WORDS = {b"true": True, b"1": True, b"false": False, b"0": False, b"": False}
LONGEST = 256  # bytes of a conversation's name


def asked_for(headers: Mapping[bytes, bytes]) -> tuple[str | None, bool]:
    """The conversation's name, where the caller says it, and whether fields that the server does
    not honour are to be refused. Raises InvalidRequest.
    """
    if ANY.isdisjoint(headers):
        return NOTHING
    given = next(filter(None, map(headers.get, SESSIONS)), None)
    session = None if given is None else given[:LONGEST].decode("latin-1")
    strict = headers.get(STRICT, b"false").strip().lower()
    if strict not in WORDS:
        raise InvalidRequest("x-h2o-strict must be true or false.", param="x-h2o-strict")
    return session, WORDS[strict]


def refuse_dropped(names: Iterable[str]) -> None:
    """What `strict` means. Raises InvalidRequest for the first of the fields."""
    for name in names:
        raise unsupported(name)


def about(answer: Answer | Completion, dropped: tuple[str, ...] | None = None) -> bytes:
    """The headers of an answer, encoded; with `dropped` as the fields that were not honoured."""
    deployment = answer.deployment
    told = b"" if deployment is None else backend(deployment.server.plugin or "")
    if answer.tries is not None:
        told += routed(answer.tries)
    if dropped is None:
        dropped = answer.dropped
    if dropped:
        told += unhonoured(dropped)
    if answer.notes:
        notes = answer.notes.items()
        told += encoded((f"x-h2o-{name}".encode(), _words([value])) for name, value in notes)
    return told


def unhonoured(dropped: tuple[str, ...]) -> bytes:
    """The header that tells which fields were not honoured; nothing if all were."""
    return encoded([(b"x-h2o-dropped-params", _words(dropped))]) if dropped else b""


def routed(tries: Tries) -> bytes:
    """The headers that tell how a request came to its server."""
    own = tries.begun_at - tries.started - tries.queued - tries.spent
    queued, overhead = int(tries.queued * 1000), int(own * 10000) if own > 0 else 0
    return _routed(tries.server, tries.reason, tries.count, queued, overhead)


def gone_on(tries: Tries) -> bytes:
    """The comment in a stream that its rest comes from another server; comments are for people and
    logs (WHATWG HTML, "server-sent events"), and clients pass them by.
    """
    told = (tries.count, _word(tries.server).encode())
    return b": h2o-resumed attempts=%d server=%b\n\n" % told


def _word(name: str) -> str:
    """A name as it can stand in a header or in a comment, on one line."""
    return quote(name, safe=" !#$&'()*+,-./:;=?@[]^_`{|}~")


@lru_cache(maxsize=4096)
def _routed(server: str, reason: str, count: int, queued: int, tenths: int) -> bytes:
    """`queued` is in milliseconds, `tenths` in tenths of one: most answers have the same few."""
    return encoded(
        [
            (b"x-h2o-server", _word(server).encode()),
            (b"x-h2o-reason", reason.encode()),
            (b"x-h2o-attempts", b"%d" % count),
            (b"x-h2o-queue-ms", b"%d" % queued),
            (b"x-h2o-overhead-ms", b"%d.%d" % divmod(tenths, 10)),
        ]
    )


def _words(texts: Iterable[str]) -> bytes:
    """A list for a header; what could not stand in one is left out."""
    return ", ".join(text for text in texts if text.isascii() and text.isprintable()).encode()


@lru_cache(maxsize=256)
def backend(plugin: str) -> bytes:
    """The header that tells which plugin's server answered."""
    return encoded([(b"x-h2o-backend", plugin.encode("latin-1"))])
