"""How many tokens a request may use, before anybody has answered it: what is reserved for it.

Its fields are looked at as they came: those of most paths and dialects are checked later, or by the
server alone. So whatever they hold, nothing here raises, and no field makes a request count less
than another one of it does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import orjson

from h2o_relay.prompts.fit import likely

from .routes import KNOWN

COUNTING: Final = frozenset(
    {
        "/v1/tokenize", "/v1/detokenize", "/v1/chat/completions/input_tokens",
        "/v1/responses/input_tokens", "/v1/messages/count_tokens",
    }
)  # fmt: skip
"""Paths that tell numbers of tokens, and use none."""
SILENT: Final = frozenset(f"/v1{path}" for path in KNOWN)
"""Paths whose answers are not made of tokens."""
PROMPTS: Final = frozenset(
    {
        "messages", "prompt", "system", "input", "instructions", "query", "queries",
        "documents", "texts", "items", "text_1", "text_2", "data_1", "data_2",
    }
)  # fmt: skip
"""Where OpenAI's, Anthropic's and vLLM's request models have what a model reads."""
UNREAD: Final = frozenset(
    {"image_url", "image", "input_audio", "audio", "file", "file_data", "source", "type"}
)
"""Fields within them whose text no model reads: pictures and files, which nobody can count here."""
LENGTHS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")
CHOICES: Final = ("n", "best_of")
SEVERAL: Final = frozenset({*CHOICES, "prompt"})
"""Without these there is one answer."""
ANSWER: Final = 1024
"""Tokens of an answer whose request names no length."""


def reserved(route: str, params: Mapping[str, Any]) -> tuple[int, int]:
    """Tokens of a request's prompt, and of its longest answer; `route` is that of `route_of`."""
    if route in COUNTING:
        return 0, 0
    words, ids = _read([*map(params.__getitem__, PROMPTS.intersection(params))])
    tools = params.get("tools")
    if tools:
        words.append(orjson.dumps(tools).decode())
    prompt = likely("\n".join(words)) + ids
    if route in SILENT:
        return prompt, 0
    longest = _longest(params)
    return prompt, longest if SEVERAL.isdisjoint(params) else longest * _answers(params)


def _longest(params: Mapping[str, Any]) -> int:
    """Of several lengths nobody knows which the server goes by."""
    longest = -1
    for name in LENGTHS:
        length = params.get(name)
        if type(length) is int and length > longest:
            longest = length
    return ANSWER if longest < 0 else longest


def _answers(params: Mapping[str, Any]) -> int:
    """How many there are: to each of several prompts as many as are asked for."""
    given: list[int] = [params[name] for name in CHOICES if type(params.get(name)) is int]
    prompts = params.get("prompt")
    several = isinstance(prompts, list) and bool(prompts) and type(prompts[0]) is not int
    return max([1, *given]) * (len(prompts or ()) if several else 1)


def _read(left: list[Any]) -> tuple[list[str], int]:
    """The words of prompts in whatever shape, and the number of their token ids."""
    words, ids = [], 0
    while left:
        value = left.pop()
        kind = type(value)
        if kind is dict:
            if not UNREAD.isdisjoint(value):
                value = {name: item for name, item in value.items() if name not in UNREAD}
            for item in value.values():  # nearly always those of a message: a role, a text
                if type(item) is str:
                    words.append(item)
                else:
                    left.append(item)
        elif kind is str:
            words.append(value)
        elif kind is int:
            ids += 1
        elif kind is list:
            if value and type(value[0]) is int and set(map(type, value)) == {int}:
                ids += len(value)
            else:
                left += value
    return words, ids
