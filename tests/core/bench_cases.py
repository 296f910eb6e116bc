"""What each behaviour of the bench sends: the whole wire of an answer, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable

from .bench_client import DONE, HEAD, LAST, Ending, Said, chunked, sized

Says = tuple[bytes, Ending]
Case = Callable[[Said], Says]
"""The whole wire of an answer, and how it ends."""


def error(message: str, kind: str, code: str, param: str = "null") -> bytes:
    fields = f'"message":"{message}","type":"{kind}","param":{param},"code":"{code}"'
    return f'{{"error":{{{fields}}}}}'.encode()


OOM = error("the engine is out of memory", "server_error", "oom")
BROKEN = b'{"choices":[{"index":0,"delta":{"content":"tok'
NOT_UTF8 = b'{"choices":[{"index":0,"delta":{"content":"\xff\xfe"},"finish_reason":null}]}'
MISSHAPEN = b'{"choices":{"0":"tok"}}'
PAGE = b"<!DOCTYPE html><html><title>Sign in</title><p>Please sign in.</html>"
LIMITED = error("too many requests", "rate_limit_error", "rate_limit_exceeded")
CONTEXT = error(
    "This model's maximum context length is 8 tokens.",
    "invalid_request_error",
    "context_length_exceeded",
    '"messages"',
)
JSON_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def says(code: int, kind: str = "server_error") -> bytes:
    return error(f"the bench says {code}", kind, "bench", '"messages"')


def moved(place: bytes) -> bytes:
    return (
        b"HTTP/1.1 307 Temporary Redirect\r\ncontent-type: application/json\r\n"
        b"content-length: 0\r\nlocation: " + place + b"\r\n\r\n"
    )


def page() -> bytes:
    top = b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: %d\r\n\r\n"
    return top % len(PAGE) + PAGE


def event(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


def in_between(odd: bytes) -> Case:
    """An event between the third token and the fourth."""
    return lambda m: (m.upto(3) + chunked(odd) + m.rest(3, 5), "kept")


def always(wire: bytes, ending: Ending = "kept") -> Case:
    return lambda m: (wire, ending)


def styled(change: Callable[[bytes], bytes], first: bytes = b"") -> Case:
    def wire(m: Said) -> Says:
        pieces = [change(e) for e in (*m.tokens(0, 5), m.finish, DONE)]
        return HEAD + chunked(first + pieces[0], *pieces[1:]) + LAST, "kept"

    return wire


def every_dialect(piece: bytes) -> bytes:
    piece = b": keep-alive\n\nid: 7\nretry: 10\nevent: message\ndata:" + piece[6:]
    return piece.replace(b"\n", b"\r\n")


def bytewise(m: Said) -> Says:
    texts = [m.text(text, n == 0) for n, text in enumerate(["é", "日本", "🦆", "ok"])]
    body = b"".join([*texts, m.finish, DONE])
    return HEAD + chunked(*(bytes([byte]) for byte in body)) + LAST, "kept"


def in_one_chunk(m: Said) -> Says:
    body = b"".join([*m.tokens(0, 1000), m.finish, DONE])
    return HEAD + chunked(body) + LAST, "kept"


def lookalikes(m: Said) -> Says:
    texts = ["\n\ndata: [DONE]\n\n", "\r", "\u2028", "\x00", "\ufeff", "id: 1\n", "ok"]
    return HEAD + chunked(*(m.text(t, n == 0) for n, t in enumerate(texts))) + m.rest(7, 7), "kept"


def called(m: Said) -> Says:
    start = '{"tool_calls":[{"index":0,"id":"call-1","type":"function","function":'
    deltas = [start + '{"name":"weather","arguments":""}}]}']
    for piece in ('{"pla', 'ce": "Zü', 'rich 🦆"', "}"):
        arguments = json.dumps(piece, ensure_ascii=False)
        deltas.append(f'{{"tool_calls":[{{"index":0,"function":{{"arguments":{arguments}}}}}]}}')
    events = [m.event(delta) for delta in deltas]
    return HEAD + chunked(*events, m.event("{}", '"tool_calls"'), DONE) + LAST, "kept"


def doubled(m: Said) -> Says:
    return HEAD + chunked(*(e for e in m.tokens(0, 5) for _ in (1, 2))) + m.rest(5, 5), "kept"


def cut_in_token(m: Said) -> bytes:
    """The event of the fourth token up to the `o` of its text."""
    token = m.tokens(3, 4)[0]
    return token[: token.index(b"tok3") + 2]


def inside_chunk(m: Said) -> Says:
    token = m.tokens(3, 4)[0]
    return m.upto(3) + chunked(token)[: len(cut_in_token(m))], "FIN"


def hidden(kind: bytes) -> Case:
    framing = b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n"
    top = b"HTTP/1.1 200 OK\r\ncontent-type: " + kind + b"\r\n" + framing + LAST
    return lambda m: (top + sized(m.body(1, "SMUGGLED")), "kept")


def good(m: Said) -> Says:
    return m.good(), "kept"


def fine(m: Said) -> Says:
    return m.whole(), "kept"


EITHER: dict[str, Case] = {
    "no-answer": always(b"", "silence"),
    "reset-at-once": always(b"", "RST"),
    "close-at-once": always(b"", "FIN"),
    "restart@seconds=0": always(b"", "FIN"),
    "status": always(sized(says(500), b"500 Internal Server Error")),
    "status@code=503~wait=7": always(
        sized(says(503), b"503 Service Unavailable", b"retry-after: 7\r\n")
    ),
    "status@code=422": always(
        sized(says(422, "invalid_request_error"), b"422 Unprocessable Entity")
    ),
    "rate-limit@wait=99999": always(
        sized(LIMITED, b"429 Too Many Requests", b"retry-after: 99999\r\n")
    ),
    "rate-limit@form=none": always(sized(LIMITED, b"429 Too Many Requests")),
    "context": always(sized(CONTEXT, b"400 Bad Request")),
    "error-body": always(sized(OOM)),
    "html": always(page()),
    "redirect": always(moved(b"http://elsewhere.invalid/v1/chat/completions")),
    "redirect@to=here": always(moved(b"/__canary")),
    "redirect@to=loop": always(moved(b"/v1/chat/completions")),
    "not-http": always(b"SSH-2.0-bench\r\n", "silence"),
    "flaky": always(b"", "RST"),
    "flaky@by=close": always(b"", "FIN"),
    "flaky@by=status": always(sized(says(503), b"503 Service Unavailable")),
    "flaky@by=status~code=502~fails=1": always(sized(says(502), b"502 Bad Gateway")),
}
"""Answered alike, whether a stream is asked for or not."""

STREAMED: dict[str, Case] = {
    "ok": good,
    "ok@tokens=0": lambda m: (
        HEAD + chunked(m.event('{"role":"assistant"}', '"stop"'), DONE) + LAST, "kept",
    ),
    "ok@tokens=20~delay=1": lambda m: (m.good(20), "kept"),
    "drip@delay=1~tokens=2": lambda m: (m.good(2), "kept"),
    "slow-headers@delay=0": good,
    "flaky@fails=0": good,
    "utf8-split": bytewise,
    "sse-text": lookalikes,
    "tools": called,
    "duplicate": doubled,
    "dialect": styled(every_dialect, b"\xef\xbb\xbf"),
    "dialect@style=crlf": styled(lambda e: e.replace(b"\n", b"\r\n")),
    "dialect@style=cr": styled(lambda e: e.replace(b"\n", b"\r")),
    "dialect@style=no-space": styled(lambda e: b"data:" + e[6:]),
    "dialect@style=id": styled(lambda e: b"id: 7\n" + e),
    "dialect@style=retry": styled(lambda e: b"retry: 10\n" + e),
    "dialect@style=comment": styled(lambda e: b": keep-alive\n\n" + e),
    "dialect@style=bom": styled(lambda e: e, b"\xef\xbb\xbf"),
    "dialect@style=event-type": styled(lambda e: b"event: message\n" + e),
    "foreign-event": in_between(b'event: execute\ndata: {"code":"alert(1)"}\n\n'),
    "giant-chunk": in_one_chunk,
    "no-done": lambda m: (m.upto(5) + chunked(m.finish) + LAST, "kept"),
    "after-done": lambda m: (
        m.good()[: -len(LAST)] + chunked(m.text("AFTER-DONE", True)) + LAST, "kept",
    ),
    "hang-after-done": lambda m: (m.good()[: -len(LAST)], "silence"),
    "junk-status": lambda m: (m.good().replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 banana"), "kept"),
    "smuggled": hidden(b"text/event-stream"),
    "reset": lambda m: (m.upto(3), "RST"),
    "reset@after=0": always(HEAD, "RST"),
    "hang": lambda m: (m.upto(3), "silence"),
    "hang@after=0": always(HEAD, "silence"),
    "truncate": lambda m: (m.upto(3), "FIN"),
    "truncate@where=chunk": inside_chunk,
    "truncate@where=string": lambda m: (m.upto(3) + chunked(cut_in_token(m)), "FIN"),
    "truncate@where=event": lambda m: (m.upto(3) + chunked(cut_in_token(m)) + LAST, "kept"),
    "error-event": lambda m: (m.upto(3) + chunked(event(OOM), DONE) + LAST, "kept"),
    "error-event@after=0": always(HEAD + chunked(event(OOM), DONE) + LAST),
    "invalid-json": in_between(event(BROKEN)),
    "invalid-utf8": in_between(event(NOT_UTF8)),
    "wrong-shape": in_between(event(MISSHAPEN)),
    "bad-chunk": lambda m: (m.upto(3) + b"zz\r\n", "silence"),
    "no-finish": lambda m: (m.upto(3) + LAST, "kept"),
    "no-finish@after=0": always(HEAD + LAST),
    "no-finish@done=yes": lambda m: (m.upto(3) + chunked(DONE) + LAST, "kept"),
    "empty": always(HEAD + chunked(DONE) + LAST),
    "empty@body=none": always(HEAD + LAST),
    "die@seconds=0": lambda m: (m.upto(3), "FIN"),
}  # fmt: skip

WHOLE: dict[str, Case] = {
    **dict.fromkeys(("ok", "dialect", "foreign-event", "no-done", "after-done"), fine),
    **dict.fromkeys(("slow-headers@delay=0", "hang-after-done", "flaky@fails=0"), fine),
    "ok@tokens=2~first=1~delay=1": lambda m: (m.whole(2), "kept"),
    "drip@delay=1": fine,
    "giant-chunk@tokens=9": lambda m: (m.whole(9), "kept"),
    "utf8-split": lambda m: (sized(m.body(4, "é日本🦆ok")), "kept"),
    "sse-text": lambda m: (
        sized(m.body(7, "\n\ndata: [DONE]\n\n\r\u2028\x00\ufeffid: 1\nok")), "kept",
    ),
    "duplicate": lambda m: (sized(m.body(10, "tok0tok0tok1tok1tok2tok2tok3tok3tok4tok4")), "kept"),
    "junk-status": lambda m: (m.whole().replace(b"HTTP/1.1 200 OK", b"HTTP/1.1 banana"), "kept"),
    "smuggled": hidden(b"application/json"),
    "reset": lambda m: (m.half(5), "RST"),
    "hang": lambda m: (m.half(5), "silence"),
    "truncate": lambda m: (m.half(5), "FIN"),
    "truncate@where=chunk": lambda m: (m.half(5), "FIN"),
    "truncate@where=string": lambda m: (m.half(5), "FIN"),
    "truncate@where=event": lambda m: (sized(m.body()[: len(m.body()) // 2]), "kept"),
    "die@seconds=0": lambda m: (m.half(5), "FIN"),
    "error-event": always(sized(OOM)),
    "invalid-json": always(sized(BROKEN)),
    "invalid-utf8": always(sized(NOT_UTF8)),
    "wrong-shape": always(sized(MISSHAPEN)),
    "bad-chunk": always(JSON_HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n", "silence"),
    "no-finish": lambda m: (sized(m.body(3, finish="null")), "kept"),
    "empty": always(sized(b"")),
}  # fmt: skip
