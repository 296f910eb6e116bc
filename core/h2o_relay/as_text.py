"""A conversation that was rendered, over OpenAI's text completions: the request, and the answer in
the shape of a chat.

Fields and shapes are those of OpenAI's API reference (`/completions` and `/chat/completions`).
"""

from __future__ import annotations

from typing import Any

import orjson

from .chunks import END, PREFIX, Chunk, Completion
from .errors import RelayError, UpstreamBadResponse
from .types import Request

CHAT_ONLY = frozenset(
    {
        "tools", "tool_choice", "parallel_tool_calls", "functions", "function_call", "modalities",
        "audio", "reasoning_effort", "verbosity", "web_search_options", "prediction", "store",
        "metadata", "chat_template", "chat_template_kwargs", "echo", "suffix",
        "add_generation_prompt",
    }
)  # fmt: skip
"""Request fields that mean nothing to a text completion."""
CONSUMED = frozenset(
    {
        "messages", "prompt_type", "prompt_dict", "continue_final_message", "truncation",
        "max_completion_tokens", "logprobs", "top_logprobs",
    }
)  # fmt: skip
"""Fields that rendering has read, or that have another name or form there."""


def text_params(request: Request) -> dict[str, Any]:
    """The fields of a text completion for a rendered chat request."""
    params = request.params
    fields = {k: v for k, v in params.items() if k not in CHAT_ONLY and k not in CONSUMED}
    fields["model"] = request.deployment.model
    fields["prompt"] = request.prompt
    limit = params.get("max_completion_tokens")
    if limit is not None:
        fields["max_tokens"] = limit
    if params.get("logprobs"):
        fields["logprobs"] = params.get("top_logprobs") or 0
    stops = with_stops(request)
    if stops:
        fields["stop"] = stops
    return fields


def with_stops(request: Request) -> list[str]:
    """The caller's stop strings and those that rendering added, each once."""
    return list(dict.fromkeys([*asked_stops(request), *request.stops]))


def asked_stops(request: Request) -> tuple[str, ...]:
    """The caller's own stop strings."""
    given = request.params.get("stop")
    return (given,) if isinstance(given, str) else tuple(given or ())


def chat_completion(completion: Completion) -> Completion:
    """A text completion's answer as a chat completion."""
    data = {**completion.data, "object": "chat.completion"}
    data["choices"] = [_chat_choice(choice) for choice in data["choices"]]
    return Completion(orjson.dumps(data), data)


def _chat_choice(choice: dict[str, Any]) -> dict[str, Any]:
    rest = {k: v for k, v in choice.items() if k not in ("text", "logprobs")}
    message = {"role": "assistant", "content": choice.get("text") or ""}
    return {**rest, "message": message, "logprobs": chat_logprobs(choice.get("logprobs"))}


class ChatEvents:
    """Turns the events of one text completion's stream into a chat's. The first event of each
    choice tells the role.
    """

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._same: dict[str, Any] = {}  # what all events of a chat's stream share

    def chunk(self, chunk: Chunk) -> tuple[Chunk | None, RelayError | None]:
        """The same events, chat-shaped; what is no answer (an error) stays as it is. With an event
        that is no JSON: those before it, and the error that it is.
        """
        readable, error = readable_events(chunk)
        events = [part for event in readable for part in _apart(self._event(event))]
        raw = b"".join(PREFIX + orjson.dumps(event) + END for event in events)
        return (Chunk(raw, events) if events else None), error

    def _event(self, event: Any) -> Any:
        if not isinstance(event, dict) or not isinstance(event.get("choices"), list):
            return event
        choices = [self._choice(c) if isinstance(c, dict) else c for c in event["choices"]]
        self._same = self._same or {n: event[n] for n in ("id", "created") if n in event}
        return {**event, **self._same, "object": "chat.completion.chunk", "choices": choices}

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        index = choice_index(choice)
        delta: dict[str, Any] = {} if index in self._begun else {"role": "assistant"}
        self._begun.add(index)
        if choice.get("text"):
            delta["content"] = choice["text"]
        elif delta:
            delta["content"] = ""
        rest = {k: v for k, v in choice.items() if k not in ("text", "logprobs")}
        return {
            "index": index, **rest, "delta": delta,
            "logprobs": chat_logprobs(choice.get("logprobs")),
            "finish_reason": choice.get("finish_reason"),
        }  # fmt: skip


def _apart(event: Any) -> list[Any]:
    """An event; a usage that came with a choice, as llama.cpp's does, in one of its own."""
    if not isinstance(event, dict) or not event.get("usage") or not event.get("choices"):
        return [event]
    rest = {name: value for name, value in event.items() if name != "usage"}
    return [rest, {**event, "choices": []}]


def readable_events(chunk: Chunk) -> tuple[list[Any], RelayError | None]:
    """A chunk's events up to the first that is no JSON, and the error for that one."""
    events: list[Any] = []
    for payload in chunk.payloads():
        try:
            events.append(orjson.loads(payload))
        except orjson.JSONDecodeError:
            return events, UpstreamBadResponse("the upstream server sent an event that is not JSON")
    return events, None


def choice_index(choice: dict[str, Any]) -> int:
    """A choice's number; a wrong one is left to the kernel's guard."""
    index = choice.get("index")
    return index if type(index) is int else 0


def chat_logprobs(given: Any) -> dict[str, Any] | None:
    """A completion's `logprobs` (lists side by side) as a chat's (one object for each token), which
    is what llama.cpp's are already.
    """
    if isinstance(given, dict) and isinstance(given.get("content"), list):
        return given
    if not isinstance(given, dict) or not isinstance(given.get("tokens"), list):
        return None
    values = given.get("token_logprobs") or []
    tops = given.get("top_logprobs") or []
    content = []
    for number, token in enumerate(given["tokens"]):
        top = tops[number] if number < len(tops) and isinstance(tops[number], dict) else {}
        content.append(
            {
                **_token(token, values[number] if number < len(values) else None),
                "top_logprobs": [_token(name, value) for name, value in top.items()],
            }
        )
    return {"content": content, "refusal": None}


def _token(token: str, logprob: float | None) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode("utf-8", "replace"))}
