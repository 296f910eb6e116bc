"""Cutting answers at stop strings on our side, and repairing their ends, streamed or whole.

Done where the kernel rendered the prompt, and where a server does not take stop strings. What was
sent is never taken back: text that may belong to a stop is held until that is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import aclosing
from typing import Any

import orjson

from .as_text import choice_index, readable_events
from .chunks import END, PREFIX, Chunk, Completion
from .errors import RelayError
from .prompts.stops import StopCutter
from .types import Kind

USAGE_WAIT = 2.0  # seconds that the server has to tell the usage of an answer that we cut
Fix = Callable[[str, bool], str]
"""A plugin's `fix_text` for one request: the text so far, and whether that is all."""
log = logging.getLogger(__name__)


class Cutting:
    """How one request's answers are cut; each choice has a cutter of its own."""

    def __init__(
        self, cutter: Callable[[], StopCutter], fix: Fix | None, kind: Kind,
        asked: Collection[str] = (),
    ) -> None:  # fmt: skip
        """Which of the stop strings in `asked`, the caller's own, has ended a choice is told as
        vLLM tells it: as its `stop_reason`.
        """
        self._cutter, self._fix, self._kind, self._asked = cutter, fix, kind, asked

    def whole(self, completion: Completion) -> Completion:
        """A whole answer, cut."""
        data = dict(completion.data)
        data["choices"] = [self._whole_choice(choice) for choice in data["choices"]]
        return Completion(orjson.dumps(data), data)

    def _whole_choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        message = choice.get("message")
        text = message.get("content") if message else choice.get("text")
        if not isinstance(text, str):
            return choice
        growing = _Growing(self._cutter(), self._fix)
        text = growing.feed(text) + growing.finish()
        changed: dict[str, Any] = {"text": text}
        if message:
            changed = {"message": {**message, "content": text}}
        if growing.stopped:
            changed |= {"finish_reason": "stop", **growing.reason(self._asked)}
            if choice.get("logprobs"):
                changed["logprobs"] = _until(choice["logprobs"], len(text))
        return {**choice, **changed}

    async def stream(
        self, chunks: AsyncGenerator[Chunk, None], choices: int, usage: bool
    ) -> AsyncGenerator[Chunk, None]:
        """A stream of `choices` answers, cut. It ends when all of them have; with `usage` the
        server has a moment to say what the answer took.
        """
        cut = _Stream(self._cutter, self._fix, self._kind, self._asked)
        async with aclosing(chunks):
            async for chunk in chunks:
                good = cut.chunk(chunk)
                if good is not None:
                    yield good
                if cut.error is not None:
                    raise cut.error
                if cut.stopped and cut.ended >= choices:
                    break
            else:
                rest = cut.rest()
                if rest is not None:
                    yield rest
                return
            if usage:
                last = await _usage(chunks)
                if last is not None:
                    yield last


def _until(logprobs: Any, length: int) -> Any:
    """The logprobs of the tokens that lie within the first `length` characters of a text."""
    if not isinstance(logprobs, dict):
        return logprobs
    content = logprobs.get("content")
    given = logprobs.get("tokens") or [token.get("token") for token in content or ()]
    count = end = 0
    for token in given:
        end += len(token) if isinstance(token, str) else 0
        if end > length:
            break
        count += 1
    return {k: v[:count] if isinstance(v, list) else v for k, v in logprobs.items()}


async def _usage(chunks: AsyncGenerator[Chunk, None]) -> Chunk | None:
    """The event that tells the usage, if it comes in time."""
    try:
        async with asyncio.timeout(USAGE_WAIT):
            async for chunk in chunks:
                for event in chunk.events():
                    if isinstance(event, dict) and event.get("usage") and not event.get("choices"):
                        return Chunk(PREFIX + orjson.dumps(event) + END, [event])
    except (TimeoutError, RelayError) as error:  # the answer itself is whole
        log.info("an answer's usage was not told after it was cut: %s", error or "no time left")
    return None


class _Growing:
    """One choice's text while it grows."""

    def __init__(self, cutter: StopCutter, fix: Fix | None) -> None:
        self._cutter, self._fix = cutter, fix
        self._text, self._sent = "", 0
        self.ended = False

    @property
    def stopped(self) -> bool:
        return self._cutter.stopped is not None

    def reason(self, asked: Collection[str]) -> dict[str, str]:
        """`stop_reason`, if it was one of these."""
        stop = self._cutter.stopped
        return {"stop_reason": stop} if stop is not None and stop in asked else {}

    def feed(self, text: str) -> str:
        return self._fixed(self._cutter.feed(text), False)

    def finish(self) -> str:
        self.ended = True
        return self._fixed(self._cutter.finish(), True)

    def _fixed(self, text: str, final: bool) -> str:
        """What of the text can be sent now, after the plugin's repair."""
        if self._fix is None:
            return text
        self._text += text
        fixed = self._fix(self._text, final)
        new, self._sent = fixed[self._sent :], max(self._sent, len(fixed))
        return new


class _Stream:
    """The choices of one stream."""

    def __init__(
        self, cutter: Callable[[], StopCutter], fix: Fix | None, kind: Kind,
        asked: Collection[str],
    ) -> None:  # fmt: skip
        self._cutter, self._fix, self._kind, self._asked = cutter, fix, kind, asked
        self._choices: dict[int, _Growing] = {}
        self.stopped = 0
        """Choices that a stop string has ended."""
        self.ended = 0
        """Choices that have ended, by a stop string or of themselves."""
        self.error: RelayError | None = None
        """An event that could not be read; nothing after it counts."""
        self._last: dict[str, Any] = {}

    def chunk(self, chunk: Chunk) -> Chunk | None:
        """What can be sent of a chunk; None for nothing."""
        events = []
        readable, self.error = readable_events(chunk)
        for event in readable:
            if not isinstance(event, dict) or not isinstance(event.get("choices"), list):
                events.append(event)
                continue
            self._last = event
            choices = [c for c in map(self._choice, event["choices"]) if c is not None]
            if choices or not event["choices"]:
                events.append({**event, "choices": choices})
        if not events:
            return None
        return Chunk(b"".join(PREFIX + orjson.dumps(event) + END for event in events), events)

    def rest(self) -> Chunk | None:
        """What was held back when the server ended its stream without a finish reason."""
        choices = []
        for index, growing in self._choices.items():
            text = "" if growing.ended else growing.finish()
            if text:
                choices.append(self._with({"index": index}, text, text, None))
        if not choices:
            return None
        event = {**self._last, "choices": choices}
        return Chunk(PREFIX + orjson.dumps(event) + END, [event])

    def _choice(self, choice: Any) -> Any:
        """A choice with what can be sent of its text; None if that is nothing."""
        if not isinstance(choice, dict):
            return choice
        index = choice_index(choice)
        growing = self._choices.get(index)
        if growing is None:
            growing = self._choices[index] = _Growing(self._cutter(), self._fix)
        if growing.ended:
            return None  # the server goes on after a stop
        delta = choice.get("delta")
        given = (delta or {}).get("content") if self._kind == "chat" else choice.get("text")
        reason = choice.get("finish_reason")
        text = growing.feed(given) if isinstance(given, str) else ""
        if growing.stopped or reason:
            text += growing.finish()
            self.ended += 1
            if growing.stopped:  # `finish` may have found it, too
                reason = "stop"
                choice = {**choice, **growing.reason(self._asked)}
                self.stopped += 1
        if isinstance(given, str) and not text and not reason and not _says_more(delta):
            return None
        return self._with(choice, text, given, reason)

    def _with(self, choice: dict[str, Any], text: str, given: Any, reason: Any) -> dict[str, Any]:
        changed = {**choice, "finish_reason": reason}
        if self._kind == "text":
            return {**changed, "text": text}
        delta = dict(choice.get("delta") or {})
        if text or isinstance(given, str):
            delta["content"] = text
        return {**changed, "delta": delta}


def _says_more(delta: Any) -> bool:
    """Whether a delta has more than text: a role, tool calls, reasoning."""
    return isinstance(delta, dict) and any(v for k, v in delta.items() if k != "content")
