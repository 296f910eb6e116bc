"""Answers with nothing wrong in them, slow and odd ones too: they must arrive intact."""

from __future__ import annotations

from typing import Any

import orjson

from ..scripts import DONE, LAST, Play, Step, chunk, each, event, json, play, sse, stream
from .answers import WIRE, completion, good, payloads, tokens
from .grammar import Asked, behaviour

BOM = b"\xef\xbb\xbf"
FOREIGN = b'event: execute\ndata: {"code":"alert(1)"}\n\n'
MULTIBYTE = ["é", "日本", "🦆", "ok"]
LOOKALIKE = ["\n\ndata: [DONE]\n\n", "\r", "\u2028", "\x00", "\ufeff", "id: 1\n", "ok"]
ARGUMENTS = ['{"pla', 'ce": "Zü', 'rich 🦆"', "}"]


def slowly(asked: Asked) -> Play:
    """`tokens` tokens, a wait before the head (`first`) and before each further one (`delay`)."""
    said, delay = tokens(asked.number("tokens")), asked.seconds("delay")
    top, *pieces = good(asked, said).steps
    first = asked.seconds("first") if "first" in asked.options else 0.0
    if not asked.stream:
        return play(first + delay * max(0, len(said) - 1), top, *pieces)
    steps: list[Step] = [first, top]
    for place, piece in enumerate(pieces):
        steps += [delay, piece] if 0 < place < len(said) else [piece]
    return play(*(step for step in steps if step != 0))


@behaviour(tokens=5, delay=0, first=0)
def ok(asked: Asked) -> Play:
    """A good answer of `tokens` tokens, `delay` ms apart; `first` ms before the head."""
    return slowly(asked)


@behaviour(tokens=5, delay=1500)
def drip(asked: Asked) -> Play:
    """A good answer whose tokens come `delay` ms apart."""
    return slowly(asked)


@behaviour(delay=200)
def slow_headers(asked: Asked) -> Play:
    """A good answer whose head comes byte by byte, `delay` ms apart."""
    top, *rest = good(asked).steps
    return play(top).recut(each(1)).paced(asked.seconds("delay")) + play(*rest)


@behaviour(size=1)
def utf8_split(asked: Asked) -> Play:
    """Multibyte text, cut every `size` bytes into HTTP chunks and TCP segments: legal."""
    size = max(1, asked.number("size"))
    answer = good(asked, MULTIBYTE)
    if asked.stream:
        return answer.rechunk(each(size))
    top, body = answer.steps
    return play(top) + play(body).recut(each(size))


@behaviour()
def sse_text(asked: Asked) -> Play:
    """Tokens that look like framing: `data: [DONE]`, CR, NUL, U+2028, a byte order mark."""
    return good(asked, LOOKALIKE)


@behaviour()
def tools(asked: Asked) -> Play:
    """A tool call whose arguments come in pieces that are no JSON by themselves."""
    call = {"index": 0, "id": "call-1", "type": "function"}
    if not asked.stream:
        data = completion(asked, [], "tool_calls")
        function = {"name": "weather", "arguments": "".join(ARGUMENTS)}
        message = {
            "role": "assistant",
            "content": None,
            "tool_calls": [{**call, "function": function}],
        }
        data["choices"][0] = {"index": 0, "message": message, "finish_reason": "tool_calls"}
        return json(data)
    deltas: list[dict[str, Any]] = [{**call, "function": {"name": "weather", "arguments": ""}}]
    deltas += [{"index": 0, "function": {"arguments": piece}} for piece in ARGUMENTS]
    events = [orjson.loads(one) for one in payloads(asked, tokens(len(deltas)), "tool_calls")]
    for item, delta in zip(events, deltas, strict=False):
        item["choices"][0]["delta"] = {"tool_calls": [delta]}
    return sse([orjson.dumps(item) for item in events])


@behaviour(tokens=1000)
def giant_chunk(asked: Asked) -> Play:
    """A good answer of `tokens` tokens in a single HTTP chunk."""
    answer = good(asked, tokens(asked.number("tokens")))
    return answer.rechunk(lambda data: [data]) if asked.stream else answer


@behaviour(style=("all", "crlf", "cr", "no-space", "id", "retry", "comment", "bom", "event-type"))
def dialect(asked: Asked) -> Play:
    """Events as the standard also allows them: line ends, `id:`, comments, a BOM."""
    if not asked.stream:
        return good(asked)
    style = asked.word("style")
    pieces = [event(payload) for payload in payloads(asked, tokens())] + [DONE]
    return stream([spoken(piece, style, place == 0) for place, piece in enumerate(pieces)])


def spoken(piece: bytes, style: str, first: bool) -> bytes:
    """One event, `data: ...`, LF, LF, in another dialect of the same meaning."""
    every = style == "all"
    if every or style == "no-space":
        piece = b"data:" + piece.removeprefix(b"data: ")
    if every or style == "event-type":
        piece = b"event: message\n" + piece
    if every or style == "retry":
        piece = b"retry: 10\n" + piece
    if every or style == "id":
        piece = b"id: 7\n" + piece
    if every or style == "comment":
        piece = b": keep-alive\n\n" + piece
    if every or style == "crlf":
        piece = piece.replace(b"\n", b"\r\n")
    if style == "cr":
        piece = piece.replace(b"\n", b"\r")
    return BOM + piece if first and (every or style == "bom") else piece


@behaviour(after=3)
def foreign_event(asked: Asked) -> Play:
    """An event of type `execute` after `after` tokens: not part of the answer."""
    answer = good(asked)
    if not asked.stream:
        return answer
    after = asked.number("after")
    top, *pieces = answer.steps
    return play(top, *pieces[:after], chunk(FOREIGN), *pieces[after:])


@behaviour()
def duplicate(asked: Asked) -> Play:
    """Every token's event twice: equal tokens are legal, so nobody may take one out."""
    twice = [text for text in tokens() for _ in (1, 2)]
    if not asked.stream:
        return json(completion(asked, twice))
    *said, finish = WIRE.payloads(asked.request, tokens())
    return sse([payload for payload in said for _ in (1, 2)] + [finish])


@behaviour()
def no_done(asked: Asked) -> Play:
    """A finish reason, no `[DONE]`, a clean end."""
    if not asked.stream:
        return good(asked)
    return sse(payloads(asked, tokens()), done=False)


@behaviour()
def after_done(asked: Asked) -> Play:
    """A token after `[DONE]`."""
    answer = good(asked)
    if not asked.stream:
        return answer
    late = payloads(asked, ["AFTER-DONE"], None)[0]
    return play(*answer.steps[:-1], chunk(event(late)), LAST)
