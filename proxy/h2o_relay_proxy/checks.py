"""A light check of a request: what the relay relies on, and what no server takes.

Fields that are not named here are the server's business and travel untouched. Ranges are those of
OpenAI's API reference; limits of our own are named in the message. Nothing is coerced. The OpenAPI
document is made of these tables (`openapi/`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2o_relay.types import Kind

from .checking import INT64, MAX_INT, Check, either, integer, missing, number, of, one_of
from .fields import bias, messages, stop, texts, tools
from .steering import refuse

MAX_CHOICES = 8
MAX_PROMPTS = 1024
MAX_INPUTS = 2048
MODEL = either(str, int, wanted="a string")
"""A name, or the number of an entry of the model lock."""
CHECKS: dict[str, Check] = {
    "model": MODEL,
    "stream": of(bool, "true or false"),
    "stream_options": of(dict, "an object"),
    "n": integer(1, MAX_CHOICES),
    "max_completion_tokens": integer(1, MAX_INT),
    "temperature": number(0, 2),
    "top_p": number(0, 1),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "max_time": number(0.01, MAX_INT),
    "seed": integer(*INT64),
    "stop": stop,
    "logit_bias": bias,
    "logprobs": either(bool, int, wanted="true, false or a number"),
    "top_logprobs": integer(0, 1000),
    "tools": tools,
    "tool_choice": either(str, dict, wanted="a string or an object"),
    "response_format": of(dict, "an object"),
    "echo": of(bool, "true or false"),
    "continue_final_message": of(bool, "true or false"),
    "truncation": one_of("auto", "disabled"),
    "user": of(str, "a string"),
}
"""What conversations and texts have in common."""
CHAT = {**CHECKS, "max_tokens": integer(1, MAX_INT), "messages": messages}
TEXT = {**CHECKS, "max_tokens": integer(0, MAX_INT), "prompt": texts(MAX_PROMPTS)}
EMBEDDINGS: dict[str, Check] = {
    "model": MODEL,
    "dimensions": integer(1, MAX_INT),
    "encoding_format": of(str, "a string"),
    "user": of(str, "a string"),
    "input": texts(MAX_INPUTS),
}


def check(kind: Kind, params: Mapping[str, Any]) -> None:
    """Raises InvalidRequest with `param` and `code`."""
    refuse(params)
    table, needed = (CHAT, "messages") if kind == "chat" else (TEXT, "prompt")
    _check(table, params)
    if params.get(needed) is None:
        raise missing(needed)


def check_model(params: Mapping[str, Any]) -> None:
    """The same for a request of which only the model is ours to read."""
    refuse(params)
    if params.get("model") is not None:
        MODEL("model", params["model"])


def check_embeddings(params: Mapping[str, Any]) -> None:
    """The same for /embeddings. vLLM takes `messages` in place of `input`."""
    _check(EMBEDDINGS, params)
    if params.get("input") is None and params.get("messages") is None:
        raise missing("input")


def _check(table: Mapping[str, Check], params: Mapping[str, Any]) -> None:
    """A field that is null is one that is not there."""
    for name, value in params.items():
        checker = table.get(name)
        if checker is not None and value is not None:
            checker(name, value)
