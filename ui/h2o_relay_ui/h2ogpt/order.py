"""What a caller of h2oGPT's API asks for, in OpenAI's terms.

Names and meaning are those of h2oGPT at commit a0ad1920 (version 0.2.1), `evaluate_params.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest

from ..conversation import for_model
from .literal import read

NUMBERS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "repetition_penalty": "repetition_penalty",
    "seed": "seed",
    "max_new_tokens": "max_tokens",
}
"""h2oGPT's names and ours."""
WHOLE = frozenset({"top_k", "seed", "max_new_tokens"})
UNCHANGED = ("prompt_type", "prompt_dict", "stop")
READ = frozenset(
    {
        *NUMBERS, *UNCHANGED, "instruction_nochat", "instruction", "iinput_nochat", "iinput",
        "context", "system_prompt", "chat_conversation", "add_chat_history_to_context",
        "stream_output", "max_time", "do_sample", "visible_models", "h2ogpt_key",
    }
)  # fmt: skip
REFUSED = ("text_context_list", "image_file", "video_file", "model_lock")
"""What an answer would be wrong without."""
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "langchain_mode": ("LLM", "Disabled"), "langchain_action": ("Query",), "chat": (True,),
    "num_beams": (1,), "num_return_sequences": (1,),
}  # fmt: skip
"""Values that ask for nothing more than an answer."""
EMPTY: tuple[Any, ...] = (None, "", [], (), {}, False)
NAMED = 20  # ignored fields that an answer names


@dataclass(frozen=True, slots=True)
class Order:
    """A request for one answer."""

    instruction: str
    """What the user says now, whole; an empty one is not worth asking."""
    params: Mapping[str, Any]
    """The request but for its model, in OpenAI's terms."""
    streams: bool
    seconds: float | None
    """After which the answer so far is the answer."""
    ignored: tuple[str, ...]
    """Fields that were given and mean nothing here."""


def argument(given: Any) -> dict[str, Any]:
    """The dict that a caller sent, as text or as it is. Raises InvalidRequest."""
    value = read(given) if isinstance(given, str) else given
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise InvalidRequest("the argument is not a dict of names and values")
    return value


def order(asked: Mapping[str, Any]) -> Order:
    """Raises InvalidRequest for what cannot be asked here."""
    for name in REFUSED:
        if asked.get(name) not in EMPTY:
            raise InvalidRequest(f"{name!r} is not served here", param=name)
    if asked.get("langchain_action") not in (*EMPTY, *NEUTRAL["langchain_action"]):
        raise InvalidRequest("only the langchain_action 'Query' is served here")
    instruction = _instruction(asked)
    params = {
        "messages": for_model([*_past(asked), {"role": "user", "content": instruction}],
                              _system(asked)),
        **{name: asked[name] for name in UNCHANGED if asked.get(name) not in EMPTY},
        **_sampling(asked),
    }  # fmt: skip
    try:
        orjson.dumps(params)
    except TypeError:  # half a character, a number of more than 64 bits, bytes
        raise InvalidRequest("the argument has values that JSON cannot carry") from None
    seconds = _number(asked, "max_time")
    return Order(
        instruction, params, bool(asked.get("stream_output")),
        seconds if seconds and seconds > 0 else None, _ignored(asked),
    )  # fmt: skip


def wanted(asked: Mapping[str, Any]) -> str | int | None:
    """The model, by name or by its place in the list. Of several h2oGPT takes the first.

    Raises InvalidRequest.
    """
    value = asked.get("visible_models")
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = read(value)
    if isinstance(value, list | tuple):
        value = value[0] if value else None
    if value in (None, "", "None"):
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidRequest("'visible_models' must be a name, a number or a list of these")
    return value


def _instruction(asked: Mapping[str, Any]) -> str:
    """Context, instruction and input, a line each, as h2oGPT joins them."""
    parts = [
        _text(asked, "context"),
        _text(asked, "instruction_nochat") or _text(asked, "instruction"),
        _text(asked, "iinput_nochat") or _text(asked, "iinput"),
    ]
    return "\n".join(part for part in parts if part)


def _system(asked: Mapping[str, Any]) -> str:
    text = _text(asked, "system_prompt")
    return "" if text == "auto" else text  # h2oGPT's word for the model's own


def _past(asked: Mapping[str, Any]) -> list[dict[str, str]]:
    """The conversation so far, out of pairs of what the user and the model said."""
    value = asked.get("chat_conversation")
    if asked.get("add_chat_history_to_context") is False:
        return []
    if isinstance(value, str) and value.strip():
        value = read(value)
    if value in EMPTY:
        return []
    said = []
    for pair in value if isinstance(value, list | tuple) else [None]:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise InvalidRequest("'chat_conversation' must be a list of pairs of texts")
        for role, text in zip(("user", "assistant"), pair, strict=True):
            if not isinstance(text, str | None):
                raise InvalidRequest("'chat_conversation' must be a list of pairs of texts")
            said.append({"role": role, "content": text or ""})
    return said


def _sampling(asked: Mapping[str, Any]) -> dict[str, Any]:
    found = {ours: _number(asked, name) for name, ours in NUMBERS.items()}
    if found["repetition_penalty"] == 1:
        del found["repetition_penalty"]  # no penalty, which needs no server that knows it
    if asked.get("do_sample") is False:
        found |= {"temperature": 0, "top_p": None, "top_k": None}
    return {name: value for name, value in found.items() if value is not None}


def _text(asked: Mapping[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str | None):
        raise InvalidRequest(f"{name!r} must be a text", param=name, code="invalid_type")
    return value or ""


def _number(asked: Mapping[str, Any], name: str) -> int | float | None:
    value = asked.get(name)
    if value is None:
        return None
    real = isinstance(value, int | float) and not isinstance(value, bool)
    if not real or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidRequest(f"{name!r} must be a number", param=name, code="invalid_type")
    if name in WHOLE and value != int(value):
        raise InvalidRequest(f"{name!r} must be a whole number", param=name, code="invalid_type")
    return int(value) if name in WHOLE else value


def _ignored(asked: Mapping[str, Any]) -> tuple[str, ...]:
    given = (
        name
        for name, value in asked.items()
        if name not in READ and value not in EMPTY and value not in NEUTRAL.get(name, ())
    )
    return tuple(list(given)[:NAMED])
