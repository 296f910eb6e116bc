"""What goes wrong once an answer has begun; of a whole answer, in the midst of its body."""

from __future__ import annotations

import orjson

from .. import scripts
from ..scripts import DONE, LAST, Play, chunk, event, json, play, sse, stream, whole
from ..upstream import Answer
from .answers import begun, completion, failure, following, good, interrupted, payloads, tokens
from .early import MIB, PIECE
from .grammar import Asked, behaviour

FAILURE = failure("the engine is out of memory", "server_error", "oom")
BROKEN = b'{"choices":[{"index":0,"delta":{"content":"tok'
NOT_UTF8 = b'{"choices":[{"index":0,"delta":{"content":"\xff\xfe"},"finish_reason":null}]}'
MISSHAPEN = b'{"choices":{"0":"tok"}}'


@behaviour(after=3)
def reset(asked: Asked) -> Play:
    """RST after `after` tokens."""
    return begun(asked, asked.number("after")) + play(scripts.reset)


@behaviour(after=3)
def hang(asked: Asked) -> Play:
    """Silence after `after` tokens."""
    return begun(asked, asked.number("after")) + play(scripts.hang)


@behaviour(after=3, where=("between", "chunk", "string", "event"))
def truncate(asked: Asked) -> Play:
    """FIN after `after` tokens: between chunks, in one, in a string; `event`: HTTP ends well."""
    after, where = asked.number("after"), asked.word("where")
    if not asked.stream:
        return half_body(asked) if where == "event" else begun(asked, after) + play(scripts.end)
    following_event = event(following(asked, after)[0])
    half = following_event[: following_event.index(b"tok") + 2]
    cut = {
        "between": play(scripts.end),
        "chunk": play(chunk(following_event)[: len(half)], scripts.end),
        "string": play(chunk(half), scripts.end),
        "event": play(chunk(half), LAST),
    }
    return begun(asked, after) + cut[where]


def half_body(asked: Asked) -> Play:
    """Half of a whole answer, of the length that it says."""
    body = orjson.dumps(completion(asked, tokens()))
    return whole(body[: len(body) // 2])


@behaviour(after=3)
def error_event(asked: Asked) -> Play:
    """An error as an event after `after` tokens, then `[DONE]`."""
    if not asked.stream:
        return json(FAILURE)
    failing = chunk(event(orjson.dumps(FAILURE)))
    return begun(asked, asked.number("after")) + play(failing, chunk(DONE), LAST)


@behaviour(after=3)
def invalid_json(asked: Asked) -> Play:
    """An event that is cut JSON after `after` tokens."""
    return interrupted(asked, asked.number("after"), event(BROKEN), instead=BROKEN)


@behaviour(after=3)
def invalid_utf8(asked: Asked) -> Play:
    """Bytes that are no UTF-8 in the token after `after` tokens."""
    return interrupted(asked, asked.number("after"), event(NOT_UTF8), instead=NOT_UTF8)


@behaviour(after=3)
def wrong_shape(asked: Asked) -> Play:
    """JSON in which `choices` is an object after `after` tokens."""
    return interrupted(asked, asked.number("after"), event(MISSHAPEN), instead=MISSHAPEN)


@behaviour(after=3)
def bad_chunk(asked: Asked) -> Play:
    """A chunk whose size is no number after `after` tokens."""
    bad = b"zz\r\n"
    if not asked.stream:
        top = scripts.head(
            200, {"content-type": "application/json", "transfer-encoding": "chunked"}
        )
        return play(top, bad, scripts.hang)
    return begun(asked, asked.number("after")) + play(bad, scripts.hang)


@behaviour(after=3, mib=16)
def giant_event(asked: Asked) -> Play:
    """A token of `mib` MiB after `after` tokens, in many chunks; a whole answer is that long."""
    after, pieces = asked.number("after"), asked.number("mib") * MIB // PIECE
    filler = b"x" * PIECE
    if not asked.stream:
        opening, closing = orjson.dumps(completion(asked, ["<>"])).split(b"<>")
        length = len(opening) + pieces * PIECE + len(closing)
        sent = {"content-type": "application/json", "content-length": str(length)}
        return play(scripts.head(200, sent), opening, *[filler] * pieces, closing)
    giant, *rest = following(asked, after)
    opening, closing = event(giant).split(b"tok%d" % after)
    steps = [chunk(opening), *[chunk(filler)] * pieces, chunk(closing)]
    return begun(asked, after) + play(*steps, *sse(rest).steps[1:])


@behaviour()
def endless_line(asked: Asked) -> Play:
    """An event, or a whole answer, that never ends; as fast as it is read."""

    async def forever(answer: Answer) -> None:
        while True:
            await answer.send(chunk(b"x" * PIECE))

    kind = "text/event-stream" if asked.stream else "application/json"
    opening = b'data: {"choices":[{"delta":{"content":"' if asked.stream else b'{"choices":["'
    return stream([opening], content_type=kind).upto(1) + play(forever)


@behaviour(after=3, done=("no", "yes"))
def no_finish(asked: Asked) -> Play:
    """A clean end after `after` tokens without a finish reason; with or without `[DONE]`."""
    said = tokens(asked.number("after"))
    if not asked.stream:
        return json(completion(asked, said, None))
    return sse(payloads(asked, said, None), done=asked.word("done") == "yes")


@behaviour(body=("done", "none"))
def empty(asked: Asked) -> Play:
    """200 and nothing said: `[DONE]` alone, or no event. A whole answer is 0 bytes."""
    if not asked.stream:
        return whole(b"")
    return sse([], done=asked.word("body") == "done")


@behaviour()
def hang_after_done(asked: Asked) -> Play:
    """A good answer up to `[DONE]`, then silence on an open connection."""
    answer = good(asked)
    return play(*answer.steps[:-1], scripts.hang) if asked.stream else answer


@behaviour(seconds=1)
def restart(asked: Asked) -> Play:
    """The server dies instead of answering, and is back after `seconds`."""
    return play(_dying(asked))


@behaviour(after=3, seconds=1)
def die(asked: Asked) -> Play:
    """The server dies after `after` tokens, with all its connections; back after `seconds`."""
    return begun(asked, asked.number("after")) + play(_dying(asked))


def _dying(asked: Asked) -> scripts.Action:
    async def act(answer: Answer) -> None:
        asked.vanish(asked.number("seconds"))
        await answer.hang()  # until this connection is gone with the others

    return act
