"""The rules of TGI's router, in its words: what it refuses, how it reads a request and writes an
answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from h2o_relay.testing.scripts import Play, whole
from h2o_relay.testing.upstream import Received

WORDS = re.compile(r"\s*\S+|\s+$")
HEADERS = {"x-compute-type": "1-nvidia-a10g", "access-control-allow-origin": "*"}
SSE_HEADERS = {**HEADERS, "cache-control": "no-cache", "x-accel-buffering": "no"}

DEFAULTS: dict[str, Any] = {
    "best_of": None, "temperature": None, "repetition_penalty": None, "frequency_penalty": None,
    "top_k": None, "top_p": None, "typical_p": None, "do_sample": False, "max_new_tokens": 100,
    "return_full_text": None, "stop": [], "truncate": None, "watermark": False, "details": False,
    "decoder_input_details": False, "seed": None, "top_n_tokens": None, "grammar": None,
    "adapter_id": None,
}  # fmt: skip
"""GenerateParameters; what is not among them is not read."""


class Refused(Exception):
    """An InferError."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind, self.text = kind, text

    @property
    def body(self) -> dict[str, str]:
        return {"error": self.text, "error_type": self.kind}


def invalid(text: str) -> Refused:
    return Refused("validation", f"Input validation error: {text}")


def sampling_rules(params: Mapping[str, Any]) -> list[tuple[bool, str]]:
    sampling = ("temperature", "top_k", "top_p", "typical_p")
    samples = params["do_sample"] or any(params[name] is not None for name in sampling)
    frequency = params["frequency_penalty"] or 0
    several = (params["best_of"] or 1) > 1
    between = "must be > 0.0 and < 1.0"
    penalty = "`repetition_penalty` must be strictly positive"
    return [
        (several and not samples, "you must use sampling when `best_of` is > 1"),
        (not_above(params["temperature"], 0), "`temperature` must be strictly positive"),
        (not_above(params["repetition_penalty"], 0), penalty),
        (not -2 <= frequency <= 2, "`frequency_penalty` must be >= -2.0 and <= 2.0"),
        (not between_0_and_1(params["top_p"]), f"`top_p` {between}"),
        (not between_0_and_1(params["typical_p"]), f"`typical_p` {between}"),
        (not_above(params["top_k"], 0), "`top_k` must be strictly positive"),
    ]


def unreadable(why: str) -> Refused:
    """What axum says in plain text of a body that does not fit."""
    return Refused("validation", f"Failed to deserialize the JSON body into the target type: {why}")


def read(request: Received) -> dict[str, Any]:
    """A GenerateRequest, with the defaults of what it leaves out."""
    asked = orjson.loads(request.body)
    if not isinstance(asked.get("inputs"), str):
        raise unreadable("missing field `inputs`")
    given = {n: v for n, v in (asked.get("parameters") or {}).items() if n in DEFAULTS}
    grammar = given.get("grammar")
    if grammar is not None and (grammar.get("type") not in ("json", "regex")):
        raise unreadable("parameters.grammar: unknown variant")
    return {"inputs": asked["inputs"], "parameters": {**DEFAULTS, **given}}


def check_chat(chat: Mapping[str, Any]) -> None:
    """The types of ChatRequest that OpenAI's clients offend against."""
    wrong = [
        ("stop", chat.get("stop") is not None and not isinstance(chat["stop"], list)),
        ("logit_bias", isinstance(chat.get("logit_bias"), dict)),
        (
            "response_format",
            (chat.get("response_format") or {"type": "json"})["type"] not in ("json", "regex"),
        ),
    ]
    for name, offends in wrong:
        if offends:
            raise unreadable(f"{name}: invalid type")


def as_generate(chat: Mapping[str, Any], inputs: str) -> dict[str, Any]:
    """What the router makes of a ChatRequest."""
    presence, temperature = chat.get("presence_penalty"), chat.get("temperature")
    limit = chat.get("max_tokens")
    mapped = {
        "temperature": None if temperature == 0 else temperature,
        "do_sample": temperature != 0,
        "repetition_penalty": None if presence is None else presence + 2.0,
        "frequency_penalty": chat.get("frequency_penalty"), "top_p": chat.get("top_p"),
        "max_new_tokens": 100 if limit is None else limit, "stop": chat.get("stop") or [],
        "seed": chat.get("seed"), "grammar": chat.get("response_format"), "details": True,
        "top_n_tokens": chat.get("top_logprobs"),
    }  # fmt: skip
    return {"inputs": inputs, "parameters": {**DEFAULTS, **mapped}}


def not_above(value: float | None, least: float) -> bool:
    return value is not None and value <= least


def between_0_and_1(value: float | None) -> bool:
    return value is None or 0 < value < 1


def json_answer(data: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Play:
    return whole(orjson.dumps(data), status, headers={**HEADERS, **(headers or {})})


def simple_tokens(text: str, truncate: int | None) -> list[dict[str, Any]]:
    found = [{"id": 1, "text": "", "start": 0, "stop": 0}]
    for match in WORDS.finditer(text):
        start, stop = match.span()
        found.append({"id": number(match[0]), "text": match[0], "start": start, "stop": stop})
    return found[-truncate:] if truncate else found


def likeliest(token: Mapping[str, Any], count: int | None) -> list[dict[str, Any]]:
    others = [
        {"id": 9000 + i, "text": f" other{i}", "logprob": -2.0 - i, "special": False}
        for i in range(1, count or 0)
    ]
    return [dict(token), *others] if count else []


def told(reason: str) -> str:
    """A finish reason in the Messages API (since 2.2)."""
    return "length" if reason == "length" else "stop"


def used(prompt: int, completion: int) -> dict[str, int]:
    total = prompt + completion
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total}


def number(word: str) -> int:
    """A token's id."""
    return 2 + sum(word.encode()) % 32000
