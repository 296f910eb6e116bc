"""Writing events that differ in one text alone, for plugins that translate.

Almost every event of an answer repeats the one before it with other words. What is the same in all
of them is written once; an event is then three pieces of bytes put together. A plugin that finds
such a text where its connection shows it what arrives (`Response.offer`) may send the event on at
once (`Request.direct`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from uuid import uuid4

import orjson

from .chunks import END, PREFIX

MARK = uuid4().hex.encode()  # stands for the text; nobody else can know it
PLAIN = rb"[ !#-\[\]-\x7f]"
"""For regular expressions: a character of a JSON string that is written like this and in no other
way. ASCII without quotes, backslashes and control characters."""


class Wording:
    """What is around the text in an event, as a stream has it."""

    __slots__ = ("after", "before")

    def __init__(self, make: Callable[[str], Mapping[str, Any]]) -> None:
        """`make` gives the event for a text, which it has in one place; nothing else in it may
        change. Raises ValueError if the text is in no place, or in several.
        """
        pieces = (PREFIX + orjson.dumps(make(MARK.decode())) + END).split(b'"%b"' % MARK)
        if len(pieces) != 2:
            raise ValueError("the event has the text in no place, or in several")
        self.before = pieces[0] + b'"'
        """Ends with the text's quotation mark."""
        self.after = b'"' + pieces[1]
        """Begins with it. Bytes that are all `PLAIN` may stand between as they come."""

    def event(self, text: str) -> bytes:
        """The event for any text, in the bytes that all of it made anew would have."""
        return self.before + orjson.dumps(text)[1:-1] + self.after
