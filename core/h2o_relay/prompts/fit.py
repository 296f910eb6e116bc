"""Fitting a conversation into a model's context: the oldest turns go first.

A turn is a user's message with all that follows it up to the next one, so that a call of a tool
never loses its result. System messages stay, and so does the last turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Final

from ..errors import ContextTooLong
from .messages import SYSTEM_ROLES, Message
from .render import Rendered

Render = Callable[[Sequence[Message]], Awaitable[Rendered]]
Count = Callable[[str], Awaitable[int | None]]
"""Tokens of a prompt as the server counts them; None where it cannot."""

DIGIT, MARK = 1.0, 0.8
DIGITS: Final = bytes(range(0x30, 0x3A))
MARKS: Final = b"!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
WEIGHTS: Final = (
    (DIGITS, DIGIT),
    (MARKS, MARK),
    (bytes(range(0xC2, 0xE0)), 0.8),
    (bytes(range(0xE0, 0xF0)), 1.8),
    (bytes(range(0xF0, 0xF5)), 2.5),
)
"""Tokens for a digit, a mark, and a character of two, three and four bytes, by the first of them:
what a small English vocabulary (SmolLM2's, 49,152 tokens) needs. Larger ones need less."""
CHARS_PER_TOKEN: Final = 3.5
"""Of other ASCII. English prose has about 4.2 (byte-pair vocabularies)."""
CONTINUED: Final = bytes(range(0x80, 0xC0))
"""Bytes of a character behind its first."""
BYTES_PER_TOKEN: Final = 32
"""More than any prompt has on average: a longer one need not be counted to be too long."""
MARGIN: Final = 1.1
SPECIAL_TOKENS: Final = 8
"""Tokens that a server may add on its own, such as the beginning of the text."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What fits."""

    messages: tuple[Message, ...]
    rendered: Rendered
    dropped: int
    """Messages that were left out."""
    tokens: int
    """Of the prompt."""
    estimated: bool
    """`tokens` is our guess, not the server's count."""

    @property
    def prompt(self) -> str:
        return self.rendered.prompt


async def fit(
    messages: Sequence[Message],
    render: Render,
    count: Count | None,
    limit: int,
    reserve: int = 0,
) -> Fitted:
    """The longest end of the conversation whose prompt leaves `reserve` tokens of `limit`.

    `count` is called about log2(turns) times, and not at all where the prompt has fewer bytes than
    there is room for tokens. Without it, or where it answers None, tokens are estimated: see
    `estimate`. Raises ContextTooLong where not even the last turn fits, and what `render` raises.
    """
    room = limit - reserve
    turns = _turns(messages)
    measured = _Measured(render, count, room)
    whole = await measured.prompt(messages)
    if whole.fits:
        return whole.fitted(messages, 0)
    best, low, high = None, 1, len(turns) - 1
    while low <= high:
        middle = (low + high) // 2
        kept = _without(messages, turns[:middle])
        tried = await measured.prompt(kept)
        if tried.fits:
            best, high = tried.fitted(kept, len(messages) - len(kept)), middle - 1
        else:
            whole, low = tried, middle + 1
    if best is None:
        raise _too_long(whole, limit, reserve)
    return best


def estimate(text: str) -> int:
    """How many tokens a text may have, for servers that do not count.

    By kinds of characters (`WEIGHTS`), a tenth more for safety and 8 for special tokens: above the
    truth for prose, program text and numbers, below it for random letters.
    """
    return ceil(MARGIN * _weighed(text)) + SPECIAL_TOKENS


def likely(text: str) -> int:
    """The same without anything for safety."""
    return ceil(_weighed(text))


def _weighed(text: str) -> float:
    if text.isascii():  # nearly always: nothing that the other kinds would find
        rest = text.encode()
        others = rest.translate(None, DIGITS)
        plain = others.translate(None, MARKS)
        tokens = (len(rest) - len(others)) * DIGIT + (len(others) - len(plain)) * MARK
        return tokens + len(plain) / CHARS_PER_TOKEN
    rest = text.encode("utf-8", "replace").translate(None, CONTINUED)
    tokens = 0.0
    for kind, weight in WEIGHTS:
        others = rest.translate(None, kind)
        tokens += (len(rest) - len(others)) * weight
        rest = others
    return tokens + len(rest) / CHARS_PER_TOKEN


@dataclass(frozen=True, slots=True)
class _Size:
    """A prompt and its size."""

    rendered: Rendered
    tokens: int
    estimated: bool
    fits: bool

    def fitted(self, messages: Sequence[Message], dropped: int) -> Fitted:
        return Fitted(tuple(messages), self.rendered, dropped, self.tokens, self.estimated)


class _Measured:
    """Renders and counts."""

    def __init__(self, render: Render, count: Count | None, room: int) -> None:
        self._render, self._count, self._room = render, count, room

    async def prompt(self, messages: Sequence[Message]) -> _Size:
        rendered = await self._render(messages)
        # A token is at least one byte: so short a prompt fits whatever the vocabulary is.
        size = len(rendered.prompt.encode("utf-8", "replace"))
        most = size + SPECIAL_TOKENS
        certain = most <= self._room or size > BYTES_PER_TOKEN * self._room
        if self._count is not None and not certain:
            tokens = await self._count(rendered.prompt)
            if tokens is not None:
                return _Size(rendered, tokens, False, tokens <= self._room)
            self._count = None
        guess = min(estimate(rendered.prompt), most)
        fits = guess <= self._room and size <= BYTES_PER_TOKEN * self._room
        return _Size(rendered, guess, True, fits)


def _turns(messages: Sequence[Message]) -> list[list[int]]:
    """Positions of all messages but the system's, turn by turn."""
    turns: list[list[int]] = []
    for number, message in enumerate(messages):
        if message.get("role") in SYSTEM_ROLES:
            continue
        if message.get("role") == "user" or not turns:
            turns.append([number])
        else:
            turns[-1].append(number)
    return turns


def _without(messages: Sequence[Message], turns: Sequence[Sequence[int]]) -> list[Message]:
    gone = {number for turn in turns for number in turn}
    return [message for number, message in enumerate(messages) if number not in gone]


def _too_long(size: _Size, limit: int, reserve: int) -> ContextTooLong:
    about = "about " if size.estimated else ""
    kept = f", of which {reserve} are kept for the answer" if reserve else ""
    return ContextTooLong(
        f"This model's context has {limit} tokens{kept}. Without the older turns the messages "
        f"still have {about}{size.tokens} tokens.",
        param="messages",
    )
