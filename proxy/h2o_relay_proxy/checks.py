"""A light check of a generation request: what the relay relies on, and what no server takes.

Fields that are not named here are the server's business and travel untouched. Ranges are those of
OpenAI's API reference; limits of our own are named in the message. Nothing is coerced.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Kind

MAX_INT = 2**31 - 1
MAX_CHOICES = 8
MAX_MESSAGES = 10_000
MAX_TOOLS = 512
MAX_STOPS = 256
MAX_STOP_LENGTH = 4096
MAX_PROMPTS = 1024
MAX_INPUTS = 2048
MAX_BIASES = 100_000
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
PARTS = frozenset(
    {
        "text", "image_url", "input_audio", "audio_url", "video_url", "file", "refusal",
        "image_embeds", "thinking",
    }
)  # fmt: skip
URLS = frozenset({"image_url", "audio_url", "video_url"})
SCHEMES = ("http://", "https://", "data:")
Check = Callable[[str, Any], None]


def check(kind: Kind, params: Mapping[str, Any]) -> None:
    """Raises InvalidRequest with `param` and `code`."""
    for name, value in params.items():
        checker = CHECKS.get(name)
        if checker is not None and value is not None:
            checker(name, value)
    needed = "messages" if kind == "chat" else "prompt"
    if params.get(needed) is None:
        raise _missing(needed)
    (_messages if kind == "chat" else _prompt)(needed, params[needed])
    if kind == "chat" and params.get("max_tokens") == 0:
        raise _range("max_tokens", "below_min_value", "at least 1")


def check_model(params: Mapping[str, Any]) -> None:
    """The same for a request of which only the model is ours to read."""
    if params.get("model") is not None:
        CHECKS["model"]("model", params["model"])


def check_embeddings(params: Mapping[str, Any]) -> None:
    """The same for /embeddings. vLLM takes `messages` in place of `input`."""
    for name in ("dimensions", "encoding_format", "user"):
        if params.get(name) is not None:
            EMBEDDING_CHECKS[name](name, params[name])
    if params.get("input") is not None:
        _prompt("input", params["input"], MAX_INPUTS)
    elif params.get("messages") is None:
        raise _missing("input")


def _missing(name: str) -> InvalidRequest:
    return InvalidRequest(
        f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter"
    )


def _type(name: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"'{name}' must be {wanted}.", param=name, code="invalid_type")


def _range(name: str, code: str, wanted: str) -> InvalidRequest:
    return InvalidRequest(f"'{name}' must be {wanted}.", param=name, code=code)


def _too_long(name: str, most: int) -> InvalidRequest:
    return InvalidRequest(
        f"'{name}' may have at most {most} entries.", param=name, code="array_too_long"
    )


def _number(low: float, high: float) -> Check:
    def checker(name: str, value: Any) -> None:
        if type(value) not in (int, float):
            raise _type(name, "a number")
        if value < low:
            raise _range(name, "below_min_value", f"at least {low:g}")
        if value > high:
            raise _range(name, "above_max_value", f"at most {high:g}")

    return checker


def _integer(low: int, high: int) -> Check:
    def checker(name: str, value: Any) -> None:
        if type(value) is not int:
            big = type(value) is float and value > high and value == int(value)
            raise (
                _range(name, "above_max_value", f"at most {high}")
                if big
                else _type(name, "a whole number")
            )
        if value < low:
            raise _range(name, "below_min_value", f"at least {low}")
        if value > high:
            raise _range(name, "above_max_value", f"at most {high}")

    return checker


def _of(kind: type, wanted: str) -> Check:
    def checker(name: str, value: Any) -> None:
        if type(value) is not kind:
            raise _type(name, wanted)

    return checker


def _either(*kinds: type, wanted: str) -> Check:
    def checker(name: str, value: Any) -> None:
        if type(value) not in kinds:
            raise _type(name, wanted)

    return checker


def _one_of(*words: str) -> Check:
    def checker(name: str, value: Any) -> None:
        if value not in words:
            raise _type(name, " or ".join(map(repr, words)))

    return checker


def _stop(name: str, value: Any) -> None:
    stops = [value] if type(value) is str else value
    if type(stops) is not list:
        raise _type(name, "a string or an array of strings")
    if len(stops) > MAX_STOPS:
        raise _too_long(name, MAX_STOPS)
    for number, stop in enumerate(stops):
        path = name if type(value) is str else f"{name}[{number}]"
        if type(stop) is not str:
            raise _type(path, "a string")
        if not stop:
            raise InvalidRequest(f"'{path}' is empty.", param=path)
        if len(stop) > MAX_STOP_LENGTH:
            raise InvalidRequest(
                f"'{path}' may have at most {MAX_STOP_LENGTH} characters.",
                param=path, code="string_too_long",
            )  # fmt: skip


def _bias(name: str, value: Any) -> None:
    if type(value) is not dict:
        raise _type(name, "an object")
    if len(value) > MAX_BIASES:
        raise _too_long(name, MAX_BIASES)
    for token, bias in value.items():
        if not token.lstrip("-").isdigit():
            raise InvalidRequest(f"'{name}' has a key that is no token id.", param=name)
        if type(bias) not in (int, float):
            raise _type(name, "an object of numbers")


def _tools(name: str, value: Any) -> None:
    if type(value) is not list:
        raise _type(name, "an array")
    if len(value) > MAX_TOOLS:
        raise _too_long(name, MAX_TOOLS)
    for number, tool in enumerate(value):
        if type(tool) is not dict:
            raise _type(f"{name}[{number}]", "an object")


def _messages(name: str, value: Any) -> None:
    if type(value) is not list:
        raise _type(name, "an array")
    if not value:
        raise InvalidRequest(f"'{name}' is empty.", param=name, code="empty_array")
    if len(value) > MAX_MESSAGES:
        raise _too_long(name, MAX_MESSAGES)
    for number, message in enumerate(value):
        path = f"{name}[{number}]"
        if type(message) is not dict:
            raise _type(path, "an object")
        role = message.get("role")
        if role is None:
            raise _missing(f"{path}.role")
        if type(role) is not str:
            raise _type(f"{path}.role", "a string")
        if role not in ROLES:
            raise InvalidRequest(
                f"'{path}.role' must be one of {', '.join(sorted(ROLES))}.", param=f"{path}.role"
            )
        content = message.get("content")
        if type(content) is list:
            _content(f"{path}.content", content)
        elif content is not None and type(content) is not str:
            raise _type(f"{path}.content", "a string or an array")


def _content(name: str, parts: list[Any]) -> None:
    for number, part in enumerate(parts):
        path = f"{name}[{number}]"
        if type(part) is not dict:
            raise _type(path, "an object")
        kind = part.get("type")
        if type(kind) is not str or kind not in PARTS:
            raise InvalidRequest(
                f"'{path}.type' must be one of {', '.join(sorted(PARTS))}.", param=f"{path}.type"
            )
        if kind == "text" and type(part.get("text")) is not str:
            raise _type(f"{path}.text", "a string")
        if kind in URLS and part.get(kind) is not None:
            _url(f"{path}.{kind}.url", part[kind])


def _url(name: str, value: Any) -> None:
    """Where a server is told to fetch a picture from: never one of its own files."""
    url = value.get("url") if type(value) is dict else value
    if type(url) is not str:
        raise _type(name, "a string")
    if not url[:8].lower().startswith(SCHEMES):
        raise InvalidRequest(f"'{name}' must be an http, https or data URL.", param=name)


def _prompt(name: str, value: Any, most: int = MAX_PROMPTS) -> None:
    if type(value) is str:
        return
    if type(value) is not list:
        raise _type(name, "a string or an array")
    if not value:
        raise InvalidRequest(f"'{name}' is empty.", param=name, code="empty_array")
    kinds = {type(item) for item in value}
    if kinds == {int}:
        _tokens(name, value)
        return
    if kinds not in ({str}, {list}):
        raise _type(name, "an array of strings, of token ids, or of arrays of token ids")
    if len(value) > most:
        raise _too_long(name, most)
    for number, item in enumerate(value):
        if type(item) is list:
            _tokens(f"{name}[{number}]", item)


def _tokens(name: str, value: list[Any]) -> None:
    if not value:
        raise InvalidRequest(f"'{name}' is empty.", param=name, code="empty_array")
    for token in value:
        if type(token) is not int:
            raise _type(name, "an array of token ids")
        if not 0 <= token <= MAX_INT:
            raise InvalidRequest(f"'{name}' has a token id out of range.", param=name)


CHECKS: dict[str, Check] = {
    "model": _either(str, int, wanted="a string"),  # or the number of an entry of the model lock
    "stream": _of(bool, "true or false"),
    "stream_options": _of(dict, "an object"),
    "n": _integer(1, MAX_CHOICES),
    "max_tokens": _integer(0, MAX_INT),
    "max_completion_tokens": _integer(1, MAX_INT),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "max_time": _number(0.01, MAX_INT),
    "seed": _either(int, wanted="a whole number"),
    "stop": _stop,
    "logit_bias": _bias,
    "logprobs": _either(bool, int, wanted="true, false or a number"),
    "top_logprobs": _integer(0, 1000),
    "tools": _tools,
    "tool_choice": _either(str, dict, wanted="a string or an object"),
    "response_format": _of(dict, "an object"),
    "echo": _of(bool, "true or false"),
    "continue_final_message": _of(bool, "true or false"),
    "truncation": _one_of("auto", "disabled"),
    "user": _of(str, "a string"),
}
EMBEDDING_CHECKS: dict[str, Check] = {
    "dimensions": _integer(1, MAX_INT),
    "encoding_format": _of(str, "a string"),
    "user": _of(str, "a string"),
}
