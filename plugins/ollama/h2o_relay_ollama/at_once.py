"""Lines that bring a piece of text and nothing else, which nearly all of a stream are.

Their events go to the caller from within the callback that their bytes arrive in: the same events
that `Translator` would make, one turn of the answer's task later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from h2o_relay.frames import Passage
from h2o_relay.types import Direct
from h2o_relay.wording import PLAIN

from .answers import Translator
from .lines import Lines

LINE = re.compile(
    rb'\{"model":"@*+","created_at":"@*+","message":\{"role":"assistant","content":"(@++)"\},'
    rb'"done":false\}\n'.replace(b"@", PLAIN)
)
"""Most of them, in the form that Ollama gives them; `text_of` reads the others."""
FRAME = re.compile(rb"([0-9a-fA-F]{1,7}+)\r\n%b\r\n" % LINE.pattern)
"""One as a chunk of HTTP (RFC 9112, 7.1)."""
FRAMING = 4  # bytes of line ends in it


def taking(direct: Direct, lines: Lines, translator: Translator) -> Callable[[bytes], bool]:
    """For `Response.offer`: takes whole lines of that kind. If there is any other among those that
    came together, none is taken.
    """
    wording, limit, match = translator.wordings["content"], lines.limit, LINE.fullmatch
    before, after = wording.before, wording.after

    def taker(data: bytes) -> bool:
        if lines.rest or len(data) > limit:
            return False
        found = match(data)
        if found is not None:
            return direct(before + found[1] + after)
        if not data.endswith(b"\n"):
            return False
        events = [event_of(line, translator) for line in data[:-1].split(b"\n")]
        good = [event for event in events if event is not None]
        return len(good) == len(events) and direct(b"".join(good), len(good))

    return taker


def framed(
    passage: Passage | None, lines: Lines, translator: Translator
) -> Callable[[bytes], bytes] | None:
    """The same for a line that is a whole chunk of HTTP, and alone, before anybody parses it: the
    caller gets a chunk, too. Anything else is given back.
    """
    if passage is None:
        return None
    wording, match = translator.wordings["content"], FRAME.fullmatch
    before, after = wording.before, wording.after
    if passage.rename is not None:
        before, after = passage.rename(before), passage.rename(after)
    sink, count, limit = passage.sink, passage.count, lines.limit
    around = len(before) + len(after)

    def take(data: bytes) -> bytes:
        found = match(data)
        if found is None or sink.full or lines.rest or len(data) > limit:
            return data
        size, text = found.groups()
        if int(size, 16) != len(data) - len(size) - FRAMING:
            return data
        count.last = made = b"%x\r\n%b%b%b\r\n" % (around + len(text), before, text, after)
        count.pieces += 1
        sink.write(made)
        return b""

    return take


def event_of(line: bytes, translator: Translator) -> bytes | None:
    """The event for such a line, which is not an answer's first; None for any other."""
    try:
        found = text_of(orjson.loads(line))
    except orjson.JSONDecodeError:
        return None
    return None if found is None else translator.wordings[found[0]].event(found[1])


def text_of(said: Any) -> tuple[str, str] | None:
    """The name and the text of a line's `content` or `thinking`; None if it may bring anything
    else, or is not what a line should be.
    """
    if type(said) is not dict or said.get("done") is not False:
        return None
    message = said.get("message")
    if type(message) is dict:
        text = message.get("content")
    else:
        message, text = said, said.get("response")
    if "error" in said or "logprobs" in said or "tool_calls" in message or "images" in message:
        return None
    thinking = message.get("thinking", "")
    if thinking == "":
        return ("content", text) if type(text) is str and text else None
    return ("thinking", thinking) if text == "" and type(thinking) is str else None
