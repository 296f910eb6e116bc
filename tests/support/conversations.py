"""Conversations that tests of several plugins hold, and what is compared of every answer."""

from __future__ import annotations

from typing import Any

from h2o_relay.chunks import Completion
from h2o_relay.errors import RelayError
from h2o_relay.kernel import KernelAPI

HISTORY: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one " * 60},
    {"role": "assistant", "content": "first"},
    {"role": "user", "content": "two"},
]
"""What is too long for a context of 90 tokens or so, and is not without its first turn."""
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "look", "description": "Looks.", "parameters": {"type": "object"}},
}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
LONG: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "What is it?"}, IMAGE]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "A parrot.", "tool_call_id": "call_1"},
]
"""One of every kind of message."""


async def whole_and_streamed(
    kernel: KernelAPI, asked: dict[str, Any]
) -> tuple[Completion, dict[str, int] | None]:
    """A chat's whole answer, and the usage of the streamed one, which must be the same in text,
    finish reason and notes.
    """
    whole = await kernel.generate("chat", asked)
    text, reasons, usage = "", [], None
    streaming = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    async with kernel.stream("chat", streaming) as answer:
        notes = {k: v for k, v in (whole.notes or {}).items() if k != "usage"}  # not known before
        assert (answer.notes or {}, answer.dropped) == (notes, whole.dropped)
        async for chunk in answer:
            assert "text_completion" not in {event["object"] for event in chunk.events()}
            text += chunk.text
            reasons += [chunk.finish_reason] if chunk.finish_reason else []
            usage = chunk.usage or usage
    assert whole.data["object"] == "chat.completion"
    assert (text, reasons) == (whole.text, [whole.finish_reason])
    return whole, usage


async def streamed(kernel: KernelAPI, asked: dict[str, Any]) -> tuple[str, RelayError | None]:
    """A streamed chat's text, and the error that ended it."""
    text = ""
    try:
        async with kernel.stream("chat", {**asked, "stream": True}) as answer:
            async for chunk in answer:
                text += chunk.text
    except RelayError as error:
        return text, error
    return text, None


async def cut_short(kernel: KernelAPI, asked: dict[str, Any]) -> tuple[str, RelayError]:
    """The same of a stream that must fail."""
    text, error = await streamed(kernel, asked)
    assert error is not None, f"the stream did not fail after {text!r}"
    return text, error
