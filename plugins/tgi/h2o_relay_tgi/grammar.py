"""What an answer must look like: OpenAI's `response_format` as TGI's GrammarType.

GrammarType is `{"type": "json", "value": <JSON schema>}` or `{"type": "regex", "value": "..."}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest

OWN_TYPES = ("json", "regex")
NESTED = 2  # levels of arrays and objects inside the object that `json_object` asks for


def grammar_of(params: Mapping[str, Any]) -> dict[str, Any] | None:
    """The grammar that a request asks for, by `grammar` or `response_format`; None for free text.

    Raises InvalidRequest for what is neither OpenAI's nor TGI's.
    """
    name = "grammar" if params.get("grammar") is not None else "response_format"
    wanted = params.get(name)
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind in OWN_TYPES and "value" in wanted:
        return {"type": kind, "value": wanted["value"]}
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "regex", "value": ANY_OBJECT}
    if kind == "json_schema":
        described = wanted.get("json_schema", wanted.get("value"))
        schema = described.get("schema", described) if isinstance(described, dict) else None
        if isinstance(schema, dict):
            return {"type": "json", "value": schema}
        raise InvalidRequest("a JSON schema is missing", param=f"{name}.json_schema.schema")
    raise InvalidRequest(
        f"'{name}' must be of type text, json_object, json_schema, json or regex", param=name
    )


def _any_object() -> str:
    """JSON's grammar (RFC 8259) as a regular expression, as deep as one may go.

    TGI takes a schema only if it names properties, and then allows no others; so "any object" is
    said this way. White space is one blank or line end at most, or a model might never stop.
    """
    space = "[ \\n]?"
    text = r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"'
    number = r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
    value = f"(?:{text}|{number}|true|false|null)"
    for _ in range(NESTED):
        value = f"(?:{value}|{_listed('[', value, ']', space)}|{_object(text, value, space)})"
    return _object(text, value, space)


def _object(text: str, value: str, space: str) -> str:
    return _listed("{", f"{text}{space}:{space}{value}", "}", space)


def _listed(opening: str, item: str, closing: str, space: str) -> str:
    return f"\\{opening}{space}(?:{item}{space}(?:,{space}{item}{space})*)?\\{closing}"


ANY_OBJECT = _any_object()
