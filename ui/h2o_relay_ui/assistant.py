"""What the page's events do, free of Gradio: models, answers and the end of a session."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from h2o_relay.errors import RelayError
from h2o_relay.kernel import KernelAPI

from .conversation import Message, footnote, for_model, is_open, parted, remark, said, thought
from .reply import Reply, receiving

LIST_WAIT = 3.0  # seconds that a page waits for the first list of models
THINKING = "Thinking"
FAILED = "⚠ No answer."
BROKEN = "⚠ The answer broke off."
ENDINGS = {
    "length": ("⚠ Cut off.", "The answer has as many tokens as it may have."),
    "content_filter": ("⚠ Cut off.", "The server's content filter ended the answer."),
}
NOTHING = ("⚠ No answer.", "The model ended its answer without a word.")
NO_MODEL = "The relay has no model yet. It may still be loading one."
KEY_CODES = frozenset({"invalid_api_key", "missing_api_key"})
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user has chosen besides the message, as the page's fields hold it."""

    model: str | None = None
    system: str | None = None
    temperature: str | None = None
    max_tokens: str | None = None

    def params(self, history: Sequence[Message]) -> dict[str, Any]:
        """The request in OpenAI's terms; what is empty is left to the model. Raises ValueError."""
        params = {
            "model": self.model,
            "messages": for_model(history, self.system or ""),
            "stream": True,
            "truncation": "auto",  # a thread may go on for ever
            "temperature": number("Temperature", self.temperature, float),
            "max_tokens": number("Max tokens", self.max_tokens, int),
        }
        return {name: value for name, value in params.items() if value not in (None, "")}


def number(name: str, text: str | None, kind: type[float] | type[int]) -> float | None:
    """A field's number, None if it is empty. Raises ValueError with a line for its user."""
    word = (text or "").strip()
    if not word:
        return None
    try:
        value = kind(word.replace(",", "."))
    except ValueError:
        what = "a whole number" if kind is int else "a number"
        raise ValueError(f"{name} is {word!r}, which is not {what}.") from None
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite.")
    return value


class Assistant:
    """Asks the kernel on behalf of all open pages, each of which is a session."""

    def __init__(self, kernel: KernelAPI) -> None:
        self._kernel = kernel
        self._running: dict[str, set[asyncio.Task[None]]] = {}

    async def models(self) -> list[str]:
        """The names that can be asked for now."""
        if not self._kernel.models():
            await self._kernel.settled(LIST_WAIT)
        return [model.name for model in self._kernel.models()]

    def problem(self) -> str:
        """Why there is no model, as far as that is known."""
        away = [status for status in self._kernel.status() if status.state != "ready"]
        return "; ".join(status.reason for status in away if status.reason) or NO_MODEL

    async def answer(
        self, history: Sequence[Message], wishes: Wishes, session: str
    ) -> AsyncGenerator[list[Message], None]:
        """The history with an answer that grows, if its last word is the user's.

        Whatever goes wrong is said in the thread. Closing the iterator closes the upstream.
        """
        if not is_open(history):
            return
        try:
            params = wishes.params(history)
        except ValueError as error:
            yield [*history, remark(FAILED, str(error))]
            return
        tasks = self._running.setdefault(session, set())
        try:
            async with (
                receiving(self._kernel, params, tasks) as reply,
                aclosing(reply.updates()) as updates,
            ):
                async for _ in updates:
                    yield [*history, *self._shown(reply)]
        except Exception:
            log.exception("the chat page failed")
            yield [*history, remark(FAILED, "The chat page failed. The relay's log says why.")]
        finally:
            if not tasks:
                self._running.pop(session, None)

    def _shown(self, reply: Reply) -> list[Message]:
        shown = []
        aloud, text = parted(reply.text)
        thoughts = reply.reasoning or aloud
        if thoughts:
            pending = not text and not reply.ended
            shown.append(thought(THINKING, thoughts, pending=pending))
        if text:
            shown.append(said("assistant", text))
        if reply.error is not None:
            title = BROKEN if shown else FAILED
            shown.append(remark(title, self._explained(reply.error)))
        elif reply.ended and reply.finish_reason in ENDINGS:
            shown.append(remark(*ENDINGS[reply.finish_reason]))
        elif reply.ended and not text:
            shown.append(remark(*NOTHING))
        if shown and reply.notes:
            shown.append(footnote(reply.notes))
        return shown

    def _explained(self, error: RelayError) -> str:
        if error.code in KEY_CODES:
            return f"The relay does not accept the chat page's key: {error.message}"
        if not self._kernel.models():
            return f"No model can be asked. {self.problem()}"
        return error.message

    def leave(self, session: str) -> None:
        """The page was closed: nobody reads its answers any more."""
        for task in self._running.get(session, ()):
            task.cancel()
