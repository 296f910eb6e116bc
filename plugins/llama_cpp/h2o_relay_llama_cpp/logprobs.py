"""Log-probabilities of a text completion. llama.cpp tells them in the shape of a chat's, and none
where 0 alternatives are asked for, which to OpenAI's API reference means the chosen tokens alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from h2o_relay.as_chat import text_logprobs
from h2o_relay.as_text import choice_index
from h2o_relay.types import Request


class Told:
    """One such request, and the shape of its answer."""

    def __init__(self, request: Request, alone: bool) -> None:
        """`alone`: without alternatives."""
        self.request = request
        self._alone = alone
        self._text = request.kind == "text"
        self._ends: dict[int, int] = {}  # characters of each choice so far

    def event(self, event: Any) -> Any:
        choices = event.get("choices") if isinstance(event, dict) else None
        if not isinstance(choices, list):
            return event
        return {**event, "choices": [self._choice(choice) for choice in choices]}

    def last(self) -> None:
        return None

    def _choice(self, choice: Any) -> Any:
        given = choice.get("logprobs") if isinstance(choice, dict) else None
        given = given if isinstance(given, dict) else {}
        content = given.get("content")
        if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
            return choice
        if self._alone:
            content = [{**one, "top_logprobs": []} for one in content]
        if not self._text:
            return {**choice, "logprobs": {**given, "content": content}}
        found = text_logprobs({"content": content})
        assert found is not None
        index = choice_index(choice)
        begin = self._ends.get(index, 0)
        found["text_offset"] = [begin + offset for offset in found["text_offset"]]
        self._ends[index] = begin + sum(map(len, found["tokens"]))
        return {**choice, "logprobs": found}


def told(request: Request) -> Told | None:
    """What to do with a request at /completions that asks for them; None for all others."""
    params = request.params
    if request.prompt is not None:  # a chat that was rendered
        wanted = params.get("logprobs") and request.kind == "chat"
        name, most = "top_logprobs", params.get("top_logprobs")
    else:
        name, most = "logprobs", params.get("logprobs")
        wanted = request.kind == "text" and most is not None and most is not False
    if not wanted:
        return None
    if most:
        return Told(request, alone=False)
    return Told(replace(request, params={**params, name: 1}, body=None), alone=True)
