"""Text of servers and models, made safe to show on a terminal."""

from __future__ import annotations

import re

# C0 and C1 controls except newline and tab, marks that reorder what is read, lone surrogates.
UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    """`text` without what could steer a terminal; newlines and tabs stay."""
    return UNSAFE.sub("", text)


def one_line(text: str, limit: int = 600) -> str:
    """`text` as one line of at most `limit` characters."""
    line = " ".join(printable(text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
