"""The usage of an answer with several choices. llama.cpp tells one for each choice of a stream, as
if the choice were all there is (and for a whole answer that of one choice alone). As OpenAI has it
there is one, at the end, in which every prompt counts once and every choice.
"""

from __future__ import annotations

from typing import Any

from h2o_relay.as_text import choice_index
from h2o_relay.guard import expected_choices
from h2o_relay.types import Request
from h2o_relay.usage import asks_usage


class Summed:
    """The usages of one stream."""

    def __init__(self, each: int) -> None:
        """`each`: the choices for each prompt, whose numbers follow each other."""
        self._each = each
        self._prompts: dict[int, dict[str, Any]] = {}
        self._completion = 0
        self._event: dict[str, Any] = {}

    def event(self, event: Any) -> Any:
        usage = event.get("usage") if isinstance(event, dict) else None
        if not isinstance(usage, dict):
            return event
        choices = event.get("choices")
        index = choice_index(choices[0]) if choices and isinstance(choices[0], dict) else 0
        prompt = {name: v for name, v in usage.items() if name.startswith("prompt_")}
        self._prompts.setdefault(index // self._each, prompt)
        self._completion += _number(usage.get("completion_tokens"))
        self._event = event
        if not choices:
            return None
        return {name: value for name, value in event.items() if name not in ("usage", "timings")}

    def last(self) -> dict[str, Any] | None:
        if not self._prompts:
            return None
        first, *others = self._prompts.values()
        for other in others:
            first = _plus(first, other)
        total = _number(first.get("prompt_tokens")) + self._completion
        usage = {**first, "completion_tokens": self._completion, "total_tokens": total}
        return {**self._event, "choices": [], "usage": usage}


def summed(request: Request) -> Summed | None:
    """For a stream that is to tell its usage and has more than one choice; None for others."""
    params = request.params
    if expected_choices(request.kind, params) < 2 or not asks_usage(params):
        return None
    return Summed(params.get("n") or 1)


def _plus(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Numbers are added, those inside of objects too; what else there is stays the first's."""
    found = dict(one)
    for name, value in other.items():
        if isinstance(value, dict):
            found[name] = _plus(one.get(name) or {}, value)
        elif type(value) is int:
            found[name] = _number(one.get(name)) + value
    return found


def _number(value: Any) -> int:
    return value if type(value) is int else 0
