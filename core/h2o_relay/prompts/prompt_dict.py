"""The `prompt_dict` of h2oGPT: markers of a prompt type of one's own.

It is a mapping, a JSON object or, as h2oGPT's command line has it, a Python literal. The literal is
read by `ast.literal_eval`, which builds values and runs nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from .prompt_type import PromptType, invalid, nearest, shown

PARAM: Final = "prompt_dict"
SIZE_LIMIT: Final = 64 * 1024  # characters of a prompt_dict that is a text
MAX_STOPS: Final = 256
MAX_TEXT: Final = 4096  # characters of one text: some stand in every turn of 10,000
TEXTS: Final = {
    "promptA": "prompt_a",
    "promptB": "prompt_b",
    "PreInstruct": "pre_instruct",
    "PreInput": "pre_input",
    "PreResponse": "pre_response",
    "chat_sep": "chat_sep",
    "chat_turn_sep": "chat_turn_sep",
    "humanstr": "human",
    "botstr": "bot",
}
"""h2oGPT's keys for texts, and the fields of `PromptType` that they fill."""
NULLABLE: Final = frozenset({"pre_instruct", "pre_input", "human", "bot"})
KEYS: Final = (
    *TEXTS,
    "terminate_response",
    "generates_leading_space",
    "system_prompt",
    "can_handle_system_prompt",
)


def custom(value: Mapping[str, Any] | str | None) -> PromptType:
    """The prompt type that a `prompt_dict` describes.

    A missing text is empty, a missing separator is a line break and missing terminators are none,
    as in h2oGPT; the preamble is repeated in every turn, and a system prompt is told as a made-up
    first turn. Raises InvalidRequest, naming the key.
    """
    given = _mapping(value)
    for key in given:
        if key not in KEYS:
            raise invalid(
                f"{shown(key)} is no key of a prompt_dict.{nearest(str(key), KEYS)}", PARAM
            )
    fields: dict[str, Any] = dict.fromkeys(TEXTS.values(), "")
    fields |= {"chat_sep": "\n", "chat_turn_sep": "\n"}
    fields |= markers(given)
    if given.get("can_handle_system_prompt") or given.get("system_prompt"):
        raise invalid(
            "A prompt_dict cannot say where a system prompt goes: leave out "
            "can_handle_system_prompt and system_prompt.",
            PARAM,
        )
    return PromptType(name="custom", number=-1, preamble_each_turn=True, **fields)


def markers(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `PromptType` for the keys that are given. Raises InvalidRequest."""
    fields: dict[str, Any] = {}
    for key, field in TEXTS.items():
        if key in given:
            fields[field] = _text(key, given[key], nullable=field in NULLABLE)
    if "terminate_response" in given:
        fields["terminate_response"] = _terminators(given["terminate_response"])
    if "generates_leading_space" in given:
        flag = given["generates_leading_space"]
        if not isinstance(flag, bool):
            raise _wrong("generates_leading_space", "true or false", flag)
        fields["generates_leading_space"] = flag
    return fields


def _mapping(value: Mapping[str, Any] | str | None) -> Mapping[str, Any]:
    if isinstance(value, str):
        value = _parse(value)
    if value is None or (isinstance(value, Mapping) and not value):
        raise invalid("The prompt type custom needs a prompt_dict.", PARAM)
    if not isinstance(value, Mapping):
        raise invalid(f"A prompt_dict must be an object, not {shown(value)}.", PARAM)
    return value


def _parse(text: str) -> Any:
    if len(text) > SIZE_LIMIT:
        raise invalid(f"A prompt_dict may have at most {SIZE_LIMIT} characters.", PARAM)
    if text.strip() in ("", "None", "null"):
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise invalid(
            f"This prompt_dict is neither JSON nor a Python literal: {shown(text)}", PARAM
        ) from None


def _text(key: str, value: Any, *, nullable: bool) -> str | None:
    if value is None:
        return None if nullable else ""
    if not isinstance(value, str):
        raise _wrong(key, "a string or null", value)
    if len(value) > MAX_TEXT:
        raise invalid(f"{key} of a prompt_dict may have at most {MAX_TEXT} characters.", PARAM)
    return value


def _terminators(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise _wrong("terminate_response", "an array of strings or null", value)
    if len(value) > MAX_STOPS:
        raise invalid(f"A prompt_dict may have at most {MAX_STOPS} terminators.", PARAM)
    for entry in value:
        if not isinstance(entry, str) or not 0 < len(entry) <= MAX_TEXT:
            raise _wrong("terminate_response", "an array of strings that are not empty", entry)
    return tuple(value)


def _wrong(key: str, wanted: str, value: Any) -> Exception:
    return invalid(f"{key} of a prompt_dict must be {wanted}, not {shown(value)}.", PARAM)
