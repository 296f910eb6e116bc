"""Tool calls that a request demands: `tool_choice` is `required` or names a function.

llama.cpp ignores the second and lets a model talk before (so: instead of) the first. Therefore the
functions are told in the system message, the engine is held to a JSON schema, and the JSON comes
back as tool calls. Fields are those of OpenAI's API reference; as there, an answer ends with
`tool_calls` where a call was required, and with `stop` where it was this very one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Request

OURS = ("tools", "tool_choice", "parallel_tool_calls")
ANY_OBJECT = {"type": "object", "properties": {}}
ONE = "Call the function {}: answer with the JSON object of its arguments, and nothing else.\n{}"
SEVERAL = (
    'Call one of these functions: answer with a JSON object of its "name" and its "arguments", '
    "and nothing else.\n{}"
)
CALL = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\S)')
CLOSING = re.compile(r"[\s}]*$")


class Forced:
    """One such request, and what its answer becomes."""

    def __init__(self, request: Request, functions: list[dict[str, Any]], named: bool) -> None:
        if "response_format" in request.params:
            request.drop("response_format")
        self.request = replace(request, params=_asked(request.params, functions), body=None)
        self._name = functions[0]["name"] if len(functions) == 1 else None
        self._reason = "stop" if named else "tool_calls"
        self._calls: dict[int, _Call] = {}

    def event(self, event: Any) -> Any:
        choices = event.get("choices") if isinstance(event, dict) else None
        if not isinstance(choices, list) or not all(map(_has_delta, choices)):
            return event  # the kernel judges it
        return {**event, "choices": [self._choice(choice) for choice in choices]}

    def last(self) -> None:
        return None

    def _choice(self, choice: dict[str, Any]) -> dict[str, Any]:
        index, reason = choice.get("index") or 0, choice.get("finish_reason")
        call = self._calls.setdefault(index, _Call(self._name))
        delta = dict(choice["delta"])
        content = delta.pop("content", None)
        pieces = call.grow(content if isinstance(content, str) else "", reason)
        if pieces:
            delta["tool_calls"] = pieces
        reason = self._reason if reason == "stop" else reason
        return {**choice, "delta": delta, "finish_reason": reason}


class _Call:
    """The call of one choice. With a name its text is the arguments, else it says both."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._whole = name is None  # the text is an object around the arguments
        self._begun = False
        self._held = ""

    def grow(self, text: str, reason: str | None) -> list[dict[str, Any]]:
        """What there is to tell after more text."""
        self._held += text
        if self._name is None:
            match = CALL.match(self._held)
            if match is None:
                return []
            self._name, self._held = orjson.loads(match[1]), self._held[match.end() :]
        arguments = self._arguments(reason)
        if self._begun:
            return [{"index": 0, "function": {"arguments": arguments}}] if arguments else []
        self._begun = True
        function = {"name": self._name, "arguments": arguments}
        id = f"call_{secrets.token_hex(12)}"
        return [{"index": 0, "id": id, "type": "function", "function": function}]

    def _arguments(self, reason: str | None) -> str:
        """What is certain to belong to them; the last bracket closes the object around them."""
        held = self._held
        if not self._whole or (reason is not None and reason != "stop"):
            self._held = ""
            return held
        if reason == "stop":
            self._held = ""
            return held.rstrip().removesuffix("}").rstrip()
        end = CLOSING.search(held)
        at = end.start() if end else len(held)
        self._held = held[at:]
        return held[:at]


def forced(request: Request) -> Forced | None:
    """What to do with a request that demands a call; None for all others. Raises InvalidRequest."""
    choice = request.params.get("tool_choice")
    if request.kind != "chat" or request.prompt is not None or choice in (None, "auto", "none"):
        return None
    tools = request.params.get("tools") or []
    functions = [tool["function"] for tool in tools if _is_function(tool)]
    if choice == "required":
        if not functions:
            raise _wrong("'tool_choice' is 'required', but there are no functions in 'tools'")
        return Forced(request, functions, named=False)
    name = _named(choice)
    found = [function for function in functions if function["name"] == name]
    if not found:
        raise _wrong(f"'tool_choice' names {name!r}, which is not a function in 'tools'")
    return Forced(request, found[:1], named=True)


def _named(choice: Any) -> str:
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise _wrong("'tool_choice' must be none, auto, required or name a function")
    return name


def _asked(params: Mapping[str, Any], functions: list[dict[str, Any]]) -> dict[str, Any]:
    """The request with its functions as a schema and a system message."""
    told = "\n".join(orjson.dumps(function).decode() for function in functions)
    if len(functions) == 1:
        schema = _parameters(functions[0])
        told = ONE.format(functions[0]["name"], told)
    else:
        schema = {"anyOf": [_call_of(f, place) for place, f in enumerate(functions)]}
        told = SEVERAL.format(told)
    kept = {name: value for name, value in params.items() if name not in OURS}
    json_schema = {"name": "call", "schema": schema}
    return {
        **kept,
        "messages": _with_system(params.get("messages"), told),
        "response_format": {"type": "json_schema", "json_schema": json_schema},
    }


def _call_of(function: dict[str, Any], place: int) -> dict[str, Any]:
    inner = f"#/anyOf/{place}/properties/arguments"
    arguments = _moved(_parameters(function), inner)
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, "arguments": arguments},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def _moved(schema: Any, place: str) -> Any:
    """A schema whose references to itself still hold when it stands at `place` of another."""
    if isinstance(schema, list):
        return [_moved(item, place) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: place + value[1:]
        if key == "$ref" and isinstance(value, str) and value.startswith("#")
        else _moved(value, place)
        for key, value in schema.items()
    }


def _parameters(function: dict[str, Any]) -> Any:
    return function.get("parameters") or ANY_OBJECT


def _with_system(messages: Any, text: str) -> list[Any]:
    """The conversation, with this at the end of its system message."""
    first, *rest = messages
    content = first.get("content") if isinstance(first, dict) else None
    if content is None or first.get("role") not in ("system", "developer"):
        return [{"role": "system", "content": text}, *messages]
    if isinstance(content, list):
        return [{**first, "content": [*content, {"type": "text", "text": text}]}, *rest]
    return [{**first, "content": f"{content}\n\n{text}"}, *rest]


def _is_function(tool: Any) -> bool:
    function = tool.get("function") if isinstance(tool, dict) else None
    return isinstance(function, dict) and isinstance(function.get("name"), str)


def _has_delta(choice: Any) -> bool:
    return isinstance(choice, dict) and isinstance(choice.get("delta"), dict)


def _wrong(why: str) -> InvalidRequest:
    return InvalidRequest(f"{why}.", param="tool_choice")
