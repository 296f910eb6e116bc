"""A chat's answer as a message: its content blocks, why it stopped, what it used.

Shapes are those of Anthropic's API reference (`Message`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import uuid4

import orjson

from h2o_relay.chunks import Completion
from h2o_relay.errors import UpstreamBadResponse

BROKEN = "INVALID_JSON"
"""The key under which arguments that are no JSON object are handed over, as a text: the one that
Anthropic's guide to fine-grained tool streaming has for them.
"""
REASONS = {
    "length": "max_tokens",
    "content_filter": "refusal",
    "stop_sequence": "stop_sequence",
    "model_length": "model_context_window_exceeded",
}
"""Finish reasons that say more than that the answer is over: OpenAI's, and those of TGI and Mistral
for a stop string and a full context.
"""
TELLS_STOP = ("stop_reason", "matched_stop")
"""Where vLLM and SGLang say which stop string it was."""
Piece = tuple[str, str]
"""`thinking` or `text`, and what it grows by."""


def new_id(prefix: str) -> str:
    """An id as Anthropic's look: `msg_` or `toolu_` and what nobody reads."""
    return prefix + uuid4().hex[:24]


def whole(completion: Completion, id: str, model: str | None, stops: Sequence[str]) -> bytes:
    """The body for a whole answer. Raises UpstreamBadResponse where there is none in it."""
    data = completion.data
    choices = data.get("choices") or [{}]
    choice = choices[0]
    message = choice.get("message")
    if not isinstance(message, dict):
        raise UpstreamBadResponse("the upstream server's answer has no message")
    content = [_block(*piece) for piece in _run_together(pieces(message))]
    calls = calls_of(message)
    content += [_call(call) for call in calls]
    reason, sequence = stopped(choice, stops, called=bool(calls), refused=refused(message))
    body = {
        "id": id,
        "type": "message",
        "role": "assistant",
        "model": str(data.get("model") or "") if model is None else model,
        "content": content,
        "stop_reason": reason,
        "stop_sequence": sequence,
        "usage": usage_of(data.get("usage")),
    }
    return orjson.dumps(body)


def pieces(message: Mapping[str, Any]) -> Iterator[Piece]:
    """What a message or a delta thinks and says, in this order. Mistral's content is a list of
    parts, of which those that think have parts themselves.
    """
    thought = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thought, str) and thought:
        yield "thinking", thought
    yield from _parts(message.get("content"))
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield "text", refusal


def calls_of(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message's calls, or a delta's pieces of them. Raises UpstreamBadResponse."""
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list) or not all(isinstance(call, dict) for call in calls):
        raise UpstreamBadResponse("the upstream server sent tool calls that are none")
    return calls


def refused(message: Mapping[str, Any]) -> bool:
    """Whether a message or a delta says that the model refuses."""
    return bool(message.get("refusal"))


def _parts(content: Any) -> Iterator[Piece]:
    if isinstance(content, str):
        if content:
            yield "text", content
        return
    for part in content if isinstance(content, list) else ():
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "thinking":
            for _, text in _parts(part.get("thinking")):
                yield "thinking", text
        elif kind == "text":
            yield from _parts(part.get("text"))


def _run_together(found: Iterator[Piece]) -> list[Piece]:
    """Pieces of one kind that follow each other are one block."""
    runs: list[Piece] = []
    for kind, text in found:
        if runs and runs[-1][0] == kind:
            text = runs.pop()[1] + text
        runs.append((kind, text))
    return runs


def _block(kind: str, text: str) -> dict[str, Any]:
    """A block. Thoughts are signed by Anthropic's models alone."""
    if kind == "thinking":
        return {"type": kind, "thinking": text, "signature": ""}
    return {"type": kind, "text": text}


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict):
        raise UpstreamBadResponse("the upstream server's answer has a tool call of no function")
    return {
        "type": "tool_use",
        "id": str(call.get("id") or new_id("toolu_")),
        "name": str(function.get("name") or ""),
        "input": input_of(arguments(function)),
    }


def arguments(function: Mapping[str, Any]) -> str:
    """What a call's arguments are or grow by; some servers write an object in place of its text."""
    given = function.get("arguments")
    if given is None or isinstance(given, str):
        return given or ""
    return orjson.dumps(given).decode()


def input_of(text: str) -> dict[str, Any]:
    """A call's arguments; no text is none. What is no object is kept as it is, under `BROKEN`."""
    found = parsed(text) if text.strip() else {}
    return {BROKEN: text} if found is None else found


def parsed(text: str) -> dict[str, Any] | None:
    """A JSON object, or None for anything else."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, dict) else None


def stopped(
    choice: Mapping[str, Any], stops: Sequence[str], *, called: bool, refused: bool
) -> tuple[str, str | None]:
    """`stop_reason` and `stop_sequence`. Servers say `stop` for an answer's own end and for a stop
    string; where they tell which it was, so does this, and with calls it is for their sake.
    """
    finish = choice.get("finish_reason")
    reason = REASONS.get(finish) if isinstance(finish, str) else None
    told = next((choice[name] for name in TELLS_STOP if isinstance(choice.get(name), str)), None)
    if told in stops and reason in (None, "stop_sequence"):
        return "stop_sequence", told
    if reason == "stop_sequence":
        return reason, stops[0] if len(stops) == 1 else None
    if reason is not None:
        return reason, None
    return "refusal" if refused else "tool_use" if called else "end_turn", None


def usage_of(given: Any) -> dict[str, Any]:
    """`usage`: what was read from a cache is counted apart there. `estimated` is ours."""
    usage = given if isinstance(given, dict) else {}
    cached = _count(usage.get("prompt_tokens_details"), "cached_tokens")
    found: dict[str, Any] = {
        "input_tokens": max(0, _count(usage, "prompt_tokens") - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": _count(usage, "completion_tokens"),
    }
    thought = _count(usage.get("completion_tokens_details"), "reasoning_tokens")
    if thought:
        found["output_tokens_details"] = {"thinking_tokens": thought}
    if usage.get("estimated") is True:
        found["estimated"] = True
    return found


def _count(given: Any, name: str) -> int:
    value = given.get(name) if isinstance(given, dict) else None
    return value if type(value) is int else 0
