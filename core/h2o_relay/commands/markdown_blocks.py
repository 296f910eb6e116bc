"""Where a growing Markdown text can be cut, so that what lies before is drawn once and for all."""

from __future__ import annotations

FENCES = ("```", "~~~")


def last_break(text: str, start: int) -> int:
    """The last place from `start` on where a block has surely ended; `start` if there is none.

    That is after a blank line, outside of a code fence, before a line that is not indented: an
    indented one may belong to the list item above it.
    """
    found, at, fence, blank = start, start, "", False
    for line in text[start:].splitlines(keepends=True):
        stripped = line.strip()
        if blank and not fence and stripped and not line[0].isspace():
            found = at
        mark = next((f for f in FENCES if stripped.startswith(f)), "")
        if mark and (not fence or fence == mark):
            fence = "" if fence else mark
        blank = not stripped
        at += len(line)
    return found
