"""h2oGPT's sampling parameters as request fields by OpenAI's names.

In h2oGPT those of a lock's entry overrule the caller's, and so they do here (`Tuning.overrides`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import LockError, shown

NUMBERS: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "min_p": (0, 1),
    "repetition_penalty": (0.01, 3),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "max_time": (0.01, 2**31 - 1),
}
"""What is allowed, ends included: OpenAI's ranges, and h2oGPT's for `repetition_penalty`. The time
is in seconds (`max_time.py`)."""
WHOLE = {"top_k": "top_k", "seed": "seed", "num_return_sequences": "n"}
GUIDED = frozenset(
    {
        "guided_json",
        "guided_regex",
        "guided_choice",
        "guided_grammar",
        "guided_whitespace_pattern",
    }
)
KEYS = frozenset({*NUMBERS, *WHOLE, *GUIDED, "do_sample", "response_format", "stop"})


def override(key: str, value: Any, place: str) -> dict[str, Any]:
    """The request fields that one key of an entry sets. Raises LockError, naming `place`."""
    if key in NUMBERS:
        return _number(key, value, place)
    if key in WHOLE:
        return {WHOLE[key]: _whole(value, place)}
    if key == "do_sample":
        if not isinstance(value, bool):
            raise LockError(f"{place}: {shown(value)} is not true or false")
        return {} if value else {"temperature": 0, "top_p": 1}
    if key == "response_format":
        return _format(value, place)
    if key == "stop":
        return {"stop": _stops(value, place)}
    return {key: value}


def _number(key: str, value: Any, place: str) -> dict[str, Any]:
    low, high = NUMBERS[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise LockError(f"{place}: {shown(value)} is not a number from {low:g} to {high:g}")
    if key != "repetition_penalty":
        return {key: value}
    # h2oGPT's own translation for servers that speak OpenAI's API.
    return {"presence_penalty": round(min(2.0, 2 * (value - 1)), 6)}


def _whole(value: Any, place: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise LockError(f"{place}: {shown(value)} is not a whole number")
    return value


def _stops(value: Any, place: str) -> list[str]:
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list | tuple) or not all(isinstance(t, str) and t for t in texts):
        raise LockError(f"{place}: {shown(value)} is not a list of texts")
    return list(texts)


def _format(value: Any, place: str) -> dict[str, Any]:
    """h2oGPT has the type alone: text, json_object, json_code or json_schema."""
    if isinstance(value, Mapping):
        return {"response_format": dict(value)}
    if value == "text":
        return {}
    if value == "json_object":
        return {"response_format": {"type": value}}
    raise LockError(f"{place}: {shown(value)} is not text, json_object or OpenAI's object")
