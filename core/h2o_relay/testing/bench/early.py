"""What goes wrong before the first token: no answer, a refusal, or something else."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import orjson

from .. import scripts
from ..scripts import Play, each, head, json, play, whole
from .answers import completion, failure, good, refusal, tokens
from .grammar import Asked, behaviour

ELSEWHERE = "http://elsewhere.invalid/v1/chat/completions"
"""A host that cannot be there (RFC 2606)."""
CANARY = "/__canary"
PAGE = b"<!DOCTYPE html><html><title>Sign in</title><p>Please sign in.</html>"
BANNER = b"SSH-2.0-bench\r\n"
PIECE = 2**16  # bytes
MIB = 2**20


@behaviour()
def no_answer(asked: Asked) -> Play:
    """Takes the request and says nothing."""
    return play(scripts.hang)


@behaviour()
def reset_at_once(asked: Asked) -> Play:
    """RST instead of an answer."""
    return play(scripts.reset)


@behaviour()
def close_at_once(asked: Asked) -> Play:
    """FIN instead of an answer."""
    return play(scripts.end)


@behaviour(code=500, wait=0)
def status(asked: Asked) -> Play:
    """An error of status `code`; with a Retry-After if `wait` (seconds) is not 0."""
    code, wait = asked.number("code"), asked.number("wait")
    kind = "server_error" if code >= 500 else "invalid_request_error"
    error = failure(f"the bench says {code}", kind, "bench", "messages")
    return refusal(code, error, str(wait) if wait else None)


@behaviour(wait=1, form=("seconds", "date", "none"))
def rate_limit(asked: Asked) -> Play:
    """429 with a Retry-After of `wait` seconds, as a number, as a date, or without one."""
    error = failure("too many requests", "rate_limit_error", "rate_limit_exceeded")
    wait, form = asked.number("wait"), asked.word("form")
    if form == "none":
        return refusal(429, error)
    return refusal(429, error, str(wait) if form == "seconds" else _date(wait))


def _date(wait: int) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=wait), usegmt=True)


@behaviour()
def context(asked: Asked) -> Play:
    """400 `context_length_exceeded`."""
    said = "This model's maximum context length is 8 tokens."
    code = "context_length_exceeded"
    return refusal(400, failure(said, "invalid_request_error", code, "messages"))


@behaviour()
def error_body(asked: Asked) -> Play:
    """200 with an error as its body, JSON."""
    return json(failure("the engine is out of memory", "server_error", "oom"))


@behaviour()
def html(asked: Asked) -> Play:
    """200 with a web page."""
    return whole(PAGE, content_type="text/html; charset=utf-8")


@behaviour(to=("elsewhere", "here", "loop"), status=307)
def redirect(asked: Asked) -> Play:
    """A redirect to another host, to this one (which counts who follows), or to itself."""
    path = asked.request.path
    places = {"elsewhere": ELSEWHERE, "here": CANARY, "loop": path}
    return scripts.redirect(places[asked.word("to")], asked.number("status"))


@behaviour()
def junk_status(asked: Asked) -> Play:
    """A status line that is none, then a good answer."""
    top, *rest = good(asked).steps
    assert isinstance(top, bytes)
    return play(top.replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 banana"), *rest)


@behaviour()
def not_http(asked: Asked) -> Play:
    """The banner of another protocol."""
    return play(BANNER, scripts.hang)


@behaviour()
def smuggled(asked: Asked) -> Play:
    """Both Content-Length and Transfer-Encoding, and a second answer hidden between the two."""
    hidden = json(completion(asked, ["SMUGGLED"])).wire
    kind = "text/event-stream" if asked.stream else "application/json"
    framing = {"content-type": kind, "content-length": "5", "transfer-encoding": "chunked"}
    return play(head(200, framing), scripts.LAST + hidden)


@behaviour(mib=1)
def giant_headers(asked: Asked) -> Play:
    """A good answer with a header of `mib` MiB."""
    top, *rest = good(asked).steps
    assert isinstance(top, bytes)
    filler = play(b"y" * (asked.number("mib") * MIB)).recut(each(PIECE))
    return play(top[:-2] + b"x-filler: ") + filler + play(b"\r\n\r\n", *rest)


@behaviour(mib=64, code=500)
def giant_error(asked: Asked) -> Play:
    """An error of status `code` with a body of `mib` MiB."""
    opening, closing = orjson.dumps(failure("<>", "server_error", "giant")).split(b"<>")
    pieces = asked.number("mib") * MIB // PIECE
    length = len(opening) + pieces * PIECE + len(closing)
    sent = {"content-type": "application/json", "content-length": str(length)}
    filler = b"x" * PIECE
    return play(head(asked.number("code"), sent), opening, *[filler] * pieces, closing)


@behaviour(fails=2, by=("reset", "status", "close"), code=503, wait=0)
def flaky(asked: Asked) -> Play:
    """Fails `fails` times, by RST, FIN or status `code` (Retry-After: `wait`), then is fine."""
    if asked.times >= asked.number("fails"):
        return good(asked, tokens())
    by = {"reset": reset_at_once, "status": status, "close": close_at_once}
    return by[asked.word("by")].answer(asked)
