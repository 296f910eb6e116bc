"""The fields of a request of the Responses API: what is checked of each, and what becomes of it.

Fields, their ranges and their meaning are those of OpenAI's API reference ("Create a model
response").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest

from ...checking import MAX_INT, Check, integer, of, one_of, says, too_long, wrong_type
from ...checks import CHAT
from ...fields import MAX_MESSAGES
from .parts import not_here

MAX_PAIRS = 16
MAX_KEY, MAX_VALUE = 64, 512
INCLUDES = frozenset(
    {
        "file_search_call.results", "web_search_call.results", "web_search_call.action.sources",
        "message.input_image.image_url", "computer_call_output.output.image_url",
        "code_interpreter_call.outputs", "reasoning.encrypted_content",
        "message.output_text.logprobs",
    }
)  # fmt: skip
LOGPROBS = "message.output_text.logprobs"
ENCRYPTED = "reasoning.encrypted_content"
NAMES: Mapping[str, str] = {
    "messages": "input",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "logprobs": f"include.{LOGPROBS}",
}
"""What this API calls what chat completions call otherwise."""
MOVED = {
    **NAMES, "logprobs": "include", "max_tokens": "max_output_tokens", "functions": "tools",
    "function_call": "tool_choice",
}  # fmt: skip
"""Fields of chat completions alone, and what to send instead."""
ONE_ANSWER = {
    "n": "a response is one answer.",
    "modalities": "a response is text.",
    "audio": "a response is text.",
}
REFUSED = {
    "conversation": "conversations are not kept here; use previous_response_id.",
    "prompt": "prompts are not kept here; send instructions and input.",
}
NOT_DONE = (
    "access_programs", "background_options", "context_management", "image", "moderation",
)  # fmt: skip
"""Fields that mean nothing to the servers behind this API."""
SHARED = (
    "model", "temperature", "top_p", "truncation", "user", "safety_identifier", "prompt_cache_key",
    "prompt_cache_options", "prompt_cache_retention", "service_tier",
)  # fmt: skip
"""Fields of both APIs that mean the same."""
SAMPLING = ("presence_penalty", "frequency_penalty", "seed", "stop", "logit_bias", "max_time")
"""What chat completions have, and servers take for both."""


@says({"type": "array", "items": {"type": "string", "enum": sorted(INCLUDES)}})
def _include(name: str, value: Any) -> None:
    of(list, "an array")(name, value)
    for place, word in enumerate(value):
        if type(word) is not str:
            raise wrong_type(f"{name}[{place}]", "a string")
        if word not in INCLUDES:
            wanted = ", ".join(map(repr, sorted(INCLUDES)))
            path = f"{name}[{place}]"
            raise InvalidRequest(f"'{path}' must be one of {wanted}.", param=path)


@says(
    {
        "type": "object",
        "maxProperties": MAX_PAIRS,
        "propertyNames": {"maxLength": MAX_KEY},
        "additionalProperties": {"type": "string", "maxLength": MAX_VALUE},
    }
)
def _metadata(name: str, value: Any) -> None:
    of(dict, "an object")(name, value)
    if len(value) > MAX_PAIRS:
        raise too_long(name, MAX_PAIRS)
    for key, text in value.items():
        path = f"{name}.{key[:MAX_KEY]}"
        if type(text) is not str:
            raise wrong_type(path, "a string")
        if len(key) > MAX_KEY or len(text) > MAX_VALUE:
            raise InvalidRequest(
                f"'{path}' is too long: keys may have {MAX_KEY} characters, values {MAX_VALUE}.",
                param=path, code="string_too_long",
            )  # fmt: skip


@says(
    {
        "anyOf": [
            {"type": "string"},
            {"type": "array", "maxItems": MAX_MESSAGES, "items": {"type": "object"}},
        ]
    }
)
def _input(name: str, value: Any) -> None:
    if type(value) not in (str, list):
        raise wrong_type(name, "a string or an array")
    if len(value) > MAX_MESSAGES and type(value) is list:
        raise too_long(name, MAX_MESSAGES)


STRING, BOOL, OBJECT = of(str, "a string"), of(bool, "true or false"), of(dict, "an object")
FIELDS: dict[str, Check] = {
    **{name: CHAT[name] for name in (
        "model", "stream", "stream_options", "temperature", "top_p", "truncation", "user", "tools",
        "tool_choice", *SAMPLING,
    )},
    "input": _input,
    "instructions": STRING,
    "include": _include,
    "max_output_tokens": integer(1, MAX_INT),
    "max_tool_calls": integer(1, MAX_INT),
    "metadata": _metadata,
    "parallel_tool_calls": BOOL,
    "previous_response_id": STRING,
    "prompt_cache_key": STRING,
    "prompt_cache_options": OBJECT,
    "prompt_cache_retention": one_of("in_memory", "24h"),
    "reasoning": OBJECT,
    "safety_identifier": STRING,
    "service_tier": STRING,
    "store": BOOL,
    "background": BOOL,
    "text": OBJECT,
    "top_logprobs": integer(0, 20),
}  # fmt: skip
"""What is checked of each field; a field that is null is one that is not there."""
OWN = frozenset({*FIELDS, *SHARED, *NOT_DONE, *MOVED, *ONE_ANSWER, *REFUSED})
"""All names that mean something here; other fields travel as they are."""


def check(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that are there, each good by itself. Raises InvalidRequest, also for those that
    cannot be honoured and may not be left out.
    """
    for name, value in given.items():
        if value is None:
            continue
        if name in MOVED:
            raise InvalidRequest(
                f"Unsupported parameter: '{name}'. In the Responses API it is '{MOVED[name]}'.",
                param=name, code="unsupported_parameter",
            )  # fmt: skip
        why = REFUSED.get(name) or ONE_ANSWER.get(name)
        if why and not (name == "n" and type(value) is int and value == 1):
            raise not_here(name, why)
    params = {name: value for name, value in given.items() if value is not None}
    for name, value in params.items():
        if name in FIELDS:
            FIELDS[name](name, value)
    if params.get("background"):
        raise not_here("background", "responses are not made in the background here.")
    return params
