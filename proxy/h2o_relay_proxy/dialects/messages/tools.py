"""Tools and the choice among them, in a chat's terms."""

from __future__ import annotations

from typing import Any

from h2o_relay.errors import InvalidRequest

from ...checking import of, too_long
from ...fields import MAX_TOOLS
from .report import Report, a_text, a_type, an_array, an_object, needed, optional_text

A_FLAG = of(bool, "true or false")
READ = frozenset(
    {"type", "name", "description", "input_schema", "strict", "eager_input_streaming"}
)  # fmt: skip
"""Arguments are always streamed as they come, which is what the last one asks for."""
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
CHOICE_KINDS = (*CHOICES, "tool")


def tools_of(params: dict[str, Any], report: Report) -> dict[str, Any]:
    """The fields `tools`, `tool_choice` and `parallel_tool_calls`, where they are needed.

    A tool that Anthropic defines (web search, a shell) has a type of its own and no schema; only
    Anthropic's models and servers know what it is. It is reported and left out, unless the request
    insists on it. Raises InvalidRequest.
    """
    given = params.get("tools")
    functions, left_out = ([], set()) if given is None else _functions(given, report)
    choice = params.get("tool_choice")
    fields: dict[str, Any] = {"tools": functions} if functions else {}
    if choice is not None:
        names = {tool["function"]["name"] for tool in functions}
        chosen = _choice(an_object("tool_choice", choice), names, left_out, report)
        fields |= chosen if functions else {}
    return fields


def _functions(given: Any, report: Report) -> tuple[list[dict[str, Any]], set[str]]:
    """Tools as functions, and the names of those that cannot be one."""
    if len(an_array("tools", given)) > MAX_TOOLS:
        raise too_long("tools", MAX_TOOLS)
    functions: list[dict[str, Any]] = []
    seen: set[str] = set()
    left_out: set[str] = set()
    for number, tool in enumerate(given):
        path = f"tools[{number}]"
        kind = optional_text(path, an_object(path, tool), "type") or "custom"
        own = kind == "custom"
        name = a_text(path, tool, "name", empty=False) if own else _named(path, tool, kind)
        if name in seen:
            raise InvalidRequest(f"'{path}.name' stands twice.", param=f"{path}.name")
        if own:
            functions.append(_function(path, tool, name, report))
        else:
            report.drop(f"tools.{name}")
            left_out.add(name)
        if tool.get("name") is not None:
            seen.add(name)
    return functions, left_out


def _named(path: str, tool: dict[str, Any], kind: str) -> str:
    """What to call a tool that Anthropic defines: sets of them have no name."""
    return optional_text(path, tool, "name") or kind


def _function(path: str, tool: dict[str, Any], name: str, report: Report) -> dict[str, Any]:
    function: dict[str, Any] = {"name": name}
    if tool.get("description") is not None:
        function["description"] = a_text(path, tool, "description")
    schema = needed(path, tool, "input_schema")
    function["parameters"] = an_object(f"{path}.input_schema", schema)
    if tool.get("strict") is not None:
        A_FLAG(f"{path}.strict", tool["strict"])
        function["strict"] = tool["strict"]
    read = READ | {"allowed_callers"} if tool.get("allowed_callers") == ["direct"] else READ
    report.rest("tools", tool, read)
    return {"type": "function", "function": function}


def _choice(
    choice: dict[str, Any], names: set[str], left_out: set[str], report: Report
) -> dict[str, Any]:
    kind = a_type("tool_choice", choice, CHOICE_KINDS)
    report.rest("tool_choice", choice, ("type", "name", "disable_parallel_tool_use"))
    fields: dict[str, Any] = {}
    one_by_one = choice.get("disable_parallel_tool_use")
    if one_by_one is not None:
        A_FLAG("tool_choice.disable_parallel_tool_use", one_by_one)
        fields["parallel_tool_calls"] = not one_by_one
    if kind != "tool":
        if kind == "any" and not names:
            raise InvalidRequest(
                "'tool_choice' wants a tool, but there is none that this model can be given.",
                param="tool_choice",
            )
        return {"tool_choice": CHOICES[kind], **fields}
    name = a_text("tool_choice", choice, "name")
    if name not in names:
        why = "only Anthropic's own models can be given" if name in left_out else "is not there"
        raise InvalidRequest(
            f"'tool_choice.name' names a tool that {why}.", param="tool_choice.name"
        )
    return {"tool_choice": {"type": "function", "function": {"name": name}}, **fields}
