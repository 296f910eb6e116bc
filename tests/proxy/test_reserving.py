"""What is reserved for a request, compared with a plain reading of it that takes its time."""

from __future__ import annotations

import random
from math import ceil
from typing import Any

import orjson
import pytest

from h2o_relay.prompts.fit import CHARS_PER_TOKEN, WEIGHTS, estimate, likely
from h2o_relay_proxy import reserving
from h2o_relay_proxy.reserving import reserved
from h2o_relay_proxy.used import NOTHING, Used, of_usage

CHAT = "/v1/chat/completions"
TEXTS = [
    "",
    "user",
    "Say 7 things, please!",
    "déjà vu",
    "深度学习 99",
    "🎈",
    "\ud800",
    "\x00\x7f\n",
]


def words(value: Any) -> list[str | int]:
    """All that a model may read of it: texts, and token ids."""
    if type(value) in (str, int):
        return [value]
    if type(value) is list:
        return [found for item in value for found in words(item)]
    if type(value) is dict:
        kept = [item for name, item in value.items() if name not in reserving.UNREAD]
        return [found for item in kept for found in words(item)]
    return []


def plainly(params: dict[str, Any]) -> tuple[int, int]:
    read = [found for name in reserving.PROMPTS for found in words(params.get(name))]
    texts = [found for found in read if isinstance(found, str)]
    ids = len(read) - len(texts)
    if params.get("tools"):
        texts.append(orjson.dumps(params["tools"]).decode())
    lengths = [params[name] for name in reserving.LENGTHS if type(params.get(name)) is int]
    longest = max((each for each in lengths if each >= 0), default=reserving.ANSWER)
    several = [params[name] for name in reserving.CHOICES if type(params.get(name)) is int]
    answers, prompts = max([1, *several]), params.get("prompt")
    if isinstance(prompts, list) and prompts and type(prompts[0]) is not int:
        answers *= len(prompts)
    return weighed("\n".join(texts)) + ids, longest * answers


def weighed(text: str) -> int:
    """By the first byte of each character."""
    tokens = [0] * len(WEIGHTS)
    rest = 0
    for character in text:
        first = character.encode("utf-8", "replace")[0]
        kinds = [place for place, (kind, _) in enumerate(WEIGHTS) if first in kind]
        if kinds:
            tokens[kinds[0]] += 1
        else:
            rest += 1
    total = 0.0
    for count, (_, weight) in zip(tokens, WEIGHTS, strict=True):
        total += count * weight
    return ceil(total + rest / CHARS_PER_TOKEN)


def anything(dice: random.Random, depth: int = 3) -> Any:
    kind = dice.randrange(9 if depth else 6)
    if kind < 2:
        return dice.choice(TEXTS)
    if kind < 6:
        return dice.choice([7, -3, True, None, 1.5, 2])
    if kind == 6:
        return [dice.randrange(5) for _ in range(dice.randrange(4))]
    if kind == 7:
        return [anything(dice, depth - 1) for _ in range(dice.randrange(4))]
    names = ["role", "content", "text", *sorted(reserving.UNREAD)[:3]]
    return {name: anything(dice, depth - 1) for name in dice.sample(names, dice.randrange(5))}


def test_whatever_a_request_holds() -> None:
    dice = random.Random(11)
    fields = [*sorted(reserving.PROMPTS), *reserving.LENGTHS, *reserving.CHOICES, "model", "tools"]
    for _ in range(4000):
        params = {name: anything(dice) for name in dice.sample(fields, dice.randrange(6))}
        if "tools" in params:
            params["tools"] = [{"type": "function", "function": {"name": "f"}}]
        assert reserved(CHAT, params) == plainly(params), params


@pytest.mark.parametrize("seed", range(5))
def test_the_weight_of_a_text(seed: int) -> None:
    dice = random.Random(seed)
    for kinds in (range(128), range(0x2FF), range(0xD800), [0x1F388, 65, 0x4E00, 48, 33]):
        for _ in range(100):
            text = "".join(chr(dice.choice(kinds)) for _ in range(dice.randrange(40)))
            assert likely(text) == weighed(text), repr(text)
            assert estimate(text) >= likely(text)


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        (None, NOTHING),
        ({}, NOTHING),
        ("much", NOTHING),
        ({"prompt_tokens": 3, "completion_tokens": 4}, Used(3, 4)),
        ({"prompt_tokens": -3, "completion_tokens": "4"}, Used()),
        ({"prompt_tokens": True, "completion_tokens": 4.0}, Used()),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": 5}}, Used(9, None, 5)),
        ({"prompt_tokens": 9, "prompt_tokens_details": {"cached_tokens": -5}}, Used(9)),
        ({"prompt_tokens": 9, "prompt_tokens_details": [5]}, Used(9)),
        ({"completion_tokens": 1, "estimated": True}, Used(None, 1, None, True)),
        ({"completion_tokens": 1, "estimated": 1}, Used(None, 1)),
    ],
)
def test_whatever_a_server_calls_usage(usage: Any, used: Used) -> None:
    assert of_usage(usage) == used
