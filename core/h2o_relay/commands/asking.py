"""Requests of the terminal commands, and the text of an answer as it grows."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

import click

from ..notes import in_words
from .options import valued

if TYPE_CHECKING:
    from ..kernel import Kernel


def sampling_options(function: Any) -> Any:
    """A decorator: --model, --system, --temperature and --max-tokens."""
    options = (
        valued("--model", "-m", metavar="NAME", help="The model; by default the first one."),
        valued("--system", "-s", metavar="TEXT", help="The system message."),
        valued("--temperature", type=click.FloatRange(min=0), help="0 for the likeliest answer."),
        valued("--max-tokens", type=click.IntRange(min=1), help="Longest answer, in tokens."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def request(model: str, messages: list[dict[str, Any]], flags: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI's request for these messages, with what the sampling options say."""
    params: dict[str, Any] = {"model": model, "messages": messages}
    for name in ("temperature", "max_tokens"):
        if flags.get(name) is not None:
            params[name] = flags[name]
    return params


def streamed(params: Mapping[str, Any]) -> dict[str, Any]:
    return {**params, "stream": True, "stream_options": {"include_usage": True}}


class Growing:
    """An answer that is being streamed: repaired text, reasoning, and what the end said."""

    def __init__(self, kernel: Kernel, params: Mapping[str, Any]) -> None:
        self.kernel, self.params = kernel, params
        self.raw = ""
        self.text = ""
        self.reasoning = ""
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.notes: list[str] = []
        """What was done to the request, in words."""

    async def pieces(self) -> AsyncGenerator[str, None]:
        """Stream the answer; yields what its text grew by, '' where something else did."""
        async with self.kernel.stream("chat", self.params) as chunks:
            self.notes = in_words(chunks.notes, chunks.dropped)
            async for chunk in chunks:
                self.raw += chunk.text
                self.reasoning += chunk.reasoning
                self.finish_reason = chunk.finish_reason or self.finish_reason
                self.usage = chunk.usage or self.usage
                yield self._repaired(final=False)
        yield self._repaired(final=True)

    def _repaired(self, *, final: bool) -> str:
        """What is new; a repair that takes back text waits until the answer has caught up."""
        fixed = self.kernel.fix_text("chat", self.params, self.raw, final)
        if not fixed.startswith(self.text):
            return ""
        new = fixed[len(self.text) :]
        self.text = fixed
        return new
