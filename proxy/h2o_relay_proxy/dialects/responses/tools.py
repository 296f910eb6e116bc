"""Tools, the choice among them, and the format of the text, as chat completions have them.

The fields are those of OpenAI's API reference ("Create a model response": `tools`, `tool_choice`,
`text`; "Create chat completion": `tools`, `tool_choice`, `response_format`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from h2o_relay.errors import InvalidRequest

from ...checking import missing, of, one_of
from .parts import not_here, optional_text, text_field, unknown
from .unread import Unread

ANYWAY: Mapping[str, Any] = {
    "defer_loading": False, "async": False, "allowed_callers": ["direct"],
}  # fmt: skip
"""Fields of a function with the value that says what is done here in any case."""
CHOICES = ("none", "auto", "required")
OBJECT = of(dict, "an object")


def functions(given: Sequence[Any], unread: Unread) -> tuple[list[dict[str, Any]], list[Any]]:
    """A chat's tools, and the same tools as a response repeats them.

    Raises InvalidRequest; `unsupported_parameter` for tools that OpenAI's own servers run, and for
    those whose input is no JSON.
    """
    sent, shown = [], []
    for number, tool in enumerate(given):
        path = f"tools[{number}]"
        OBJECT(path, tool)
        kind = text_field(path, tool, "type")
        if kind != "function":
            why = f"tools of type {kind[:100]!r} are not supported here, functions are."
            raise not_here(f"{path}.type", why)
        function = _function(path, tool)
        rest = {name: value for name, value in tool.items() if value != ANYWAY.get(name, ...)}
        unread.rest(path, rest, ("type", *FUNCTION))
        sent.append({"type": "function", "function": function})
        empty = dict.fromkeys(FUNCTION)
        shown.append({"type": "function", **empty, **function})
    return sent, shown


FUNCTION = ("name", "description", "parameters", "strict")


def _function(path: str, tool: Mapping[str, Any]) -> dict[str, Any]:
    text_field(path, tool, "name")
    optional_text(path, tool, "description")
    if tool.get("parameters") is not None:
        OBJECT(f"{path}.parameters", tool["parameters"])
    if tool.get("strict") is not None:
        of(bool, "true or false")(f"{path}.strict", tool["strict"])
    return {name: tool[name] for name in FUNCTION if tool.get(name) is not None}


def chosen(
    choice: Any, tools: Sequence[dict[str, Any]], unread: Unread
) -> tuple[str | dict[str, Any], list[dict[str, Any]]]:
    """A chat's `tool_choice`, and those of its tools that may be called: `allowed_tools` is done
    here, since few servers know it. Raises InvalidRequest.
    """
    if type(choice) is str:
        if choice not in CHOICES:
            raise unknown("tool_choice", dict.fromkeys(CHOICES))
        if choice == "required" and not tools:
            raise InvalidRequest("'tool_choice' requires a tool, but there are none in 'tools'.",
                                 param="tool_choice")  # fmt: skip
        return choice, list(tools)
    kind = text_field("tool_choice", choice, "type")
    if kind == "function":
        unread.rest("tool_choice", choice, ("type", "name"))
        name = text_field("tool_choice", choice, "name")
        _among("tool_choice.name", name, tools)
        return {"type": "function", "function": {"name": name}}, list(tools)
    if kind != "allowed_tools":
        raise not_here("tool_choice.type", f"{kind[:100]!r} is not supported here.")
    return _allowed(choice, tools, unread)


def _allowed(
    choice: Mapping[str, Any], tools: Sequence[dict[str, Any]], unread: Unread
) -> tuple[str, list[dict[str, Any]]]:
    unread.rest("tool_choice", choice, ("type", "mode", "tools"))
    mode = text_field("tool_choice", choice, "mode")
    one_of("auto", "required")("tool_choice.mode", mode)
    allowed = choice.get("tools")
    of(list, "an array")("tool_choice.tools", allowed)
    names = set()
    for number, tool in enumerate(allowed or ()):
        path = f"tool_choice.tools[{number}]"
        OBJECT(path, tool)
        unread.rest(path, tool, ("type", "name"))
        if text_field(path, tool, "type") != "function":
            raise not_here(f"{path}.type", "functions alone are supported here.")
        names.add(text_field(path, tool, "name"))
        _among(f"{path}.name", tool["name"], tools)
    if not names:
        raise InvalidRequest("'tool_choice.tools' is empty.", param="tool_choice.tools")
    return mode, [tool for tool in tools if tool["function"]["name"] in names]


def _among(path: str, name: str, tools: Sequence[dict[str, Any]]) -> None:
    if name not in {tool["function"]["name"] for tool in tools}:
        raise InvalidRequest(f"'{path}': there is no such function in 'tools'.", param=path)


def text_format(text: Mapping[str, Any], unread: Unread) -> dict[str, Any]:
    """The fields of a chat that `text` stands for: `response_format`, `verbosity`.

    Raises InvalidRequest.
    """
    unread.rest("text", text, ("format", "verbosity"))
    fields: dict[str, Any] = {}
    if text.get("verbosity") is not None:
        one_of("low", "medium", "high")("text.verbosity", text["verbosity"])
        fields["verbosity"] = text["verbosity"]
    form = text.get("format")
    if form is None:
        return fields
    OBJECT("text.format", form)
    kind = text_field("text.format", form, "type")
    if kind == "json_schema":
        fields["response_format"] = {"type": kind, "json_schema": _schema(form, unread)}
    elif kind in ("text", "json_object"):
        unread.rest("text.format", form, ("type",))
        fields |= {"response_format": {"type": kind}} if kind == "json_object" else {}
    else:
        raise unknown("text.format.type", dict.fromkeys(("text", "json_object", "json_schema")))
    return fields


def _schema(form: Mapping[str, Any], unread: Unread) -> dict[str, Any]:
    path, names = "text.format", ("name", "description", "schema", "strict")
    unread.rest(path, form, ("type", *names))
    text_field(path, form, "name")
    optional_text(path, form, "description")
    if form.get("schema") is None:
        raise missing("text.format.schema")
    OBJECT("text.format.schema", form["schema"])
    if form.get("strict") is not None:
        of(bool, "true or false")("text.format.strict", form["strict"])
    return {name: form[name] for name in names if form.get(name) is not None}
