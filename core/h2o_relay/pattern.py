"""Recognising an event that differs from a checked one in nothing but a plain piece of text.

Almost every event of a stream repeats the one before it with other words in its `content`. One that
begins and ends with the very bytes of an event that was parsed and found good, and has between them
nothing but the inside of a JSON string, is as good: it need not be parsed again.
"""

from __future__ import annotations

import re

END = b"\n\n"
ESCAPE = rb'\\(?:["\\/bfnrt]|u(?:[0-9a-cA-CeEfF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}))'
TEXT = rb'[^"\\\x00-\x1f]*(?:%b[^"\\\x00-\x1f]*)*' % ESCAPE
"""The inside of a JSON string (RFC 8259, 7), but for surrogates, which would have to be paired."""
PLAIN = re.compile(TEXT)
CONTENT = re.compile(rb'data: [^\n]*"content": ?"(%b)"\}[^\n]*\n\n' % TEXT)
OPEN = re.compile(rb'"finish_reason": ?null')
SPECIAL = (*range(0x20), *b'"\\', *range(0x80, 0x100))
ORDINARY = bytes(0x20 if byte in SPECIAL else byte for byte in range(0x100))
"""For `translate`: what it leaves alone is ASCII that stands for itself in a JSON string."""


def plain(text: bytes) -> bool:
    """Whether `text` is the inside of a JSON string."""
    if text.translate(ORDINARY) == text:
        return True
    if PLAIN.fullmatch(text) is None:
        return False
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class Pattern:
    """Learns from events, whole ones that were found good; others then fit, or do not."""

    __slots__ = ("after", "before")

    def __init__(self) -> None:
        self.before = b""
        """Up to the text; b"" while nothing is known."""
        self.after = b""

    def learn(self, events: bytes) -> None:
        """Remember the last of some normalised events, if it is an ordinary piece of content."""
        self.before = b""
        before = events.rfind(END, 0, -len(END))
        event = events if before < 0 else events[before + len(END) :]
        match = CONTENT.fullmatch(event)
        if match is None or OPEN.search(event) is None or b'"error"' in event:
            return
        start, end = match.span(1)
        self.before, self.after = event[:start], event[end:]

    def fits(self, data: bytes) -> bool:
        """Whether `data` is exactly one event of the kind last learnt."""
        before, after = self.before, self.after
        start, end = len(before), len(data) - len(after)
        if not start or start > end or not data.startswith(before) or not data.endswith(after):
            return False
        return plain(data[start:end])
