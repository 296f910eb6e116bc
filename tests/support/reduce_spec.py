"""Reduces a vendor's OpenAPI document to what our stand-ins for that vendor are checked against.

    python tests/support/reduce_spec.py openapi.json plugins/tgi/tests/tgi_published.json \\
        --operation "GET /info" --operation "POST /generate" \\
        --about repository=huggingface/text-generation-inference --about path=docs/openapi.json

Kept are the operations that are named, the components that they reach, and of every schema only the
keywords that say what a value looks like: no descriptions, examples, defaults or formats, and no
parameters that a path names already. The document may be JSON or YAML; one of OpenAPI 2 is written
as 3 would have it. A reduced document reduces to itself.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

NAMED, SINGLE, SEVERAL = (
    ("properties",),
    ("items", "additionalProperties"),
    ("allOf", "anyOf", "oneOf"),
)
PLAIN = (
    "$ref", "type", "nullable", "enum", "required", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "minLength", "maxLength", "minItems", "maxItems", "pattern",
)  # fmt: skip
KEYWORDS = (*PLAIN, *SINGLE, *SEVERAL, *NAMED)
WIDTH = 100


def reduced(
    document: Mapping[str, Any], operations: Iterable[str], schemas: Iterable[str] = (),
    about: Mapping[str, str] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The document with these operations (`POST /generate`) and component schemas alone.

    Raises KeyError for one that is not there.
    """
    if "swagger" in document:
        document = _as_openapi_3(document)
    paths: dict[str, Any] = {}
    for operation in sorted(set(operations)):
        method, _, path = operation.partition(" ")
        whole = document["paths"][path][method.lower()]
        paths.setdefault(path, {})[method.lower()] = _operation(whole)
    wanted = [f"#/components/schemas/{name}" for name in schemas]
    return {
        "openapi": document["openapi"],
        "info": {name: document["info"][name] for name in ("title", "version")},
        "x-source": {**document.get("x-source", {}), **(about or {})},
        "servers": [{"url": _base(document)}],
        "paths": paths,
        "components": _components(document, [*references(paths), *wanted]),
    }


def references(node: Any) -> Iterator[str]:
    """Every `$ref` in a tree."""
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def schema(node: Any) -> Any:
    """A schema without prose."""
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for keyword in KEYWORDS:
        if keyword not in node:
            continue
        value = node[keyword]
        if keyword in NAMED:
            value = {name: schema(value[name]) for name in sorted(value)}
        elif keyword in SEVERAL:
            value = [schema(one) for one in value]
        elif keyword in SINGLE:
            value = schema(value)
        made[keyword] = value
    return made


def _as_openapi_3(document: Mapping[str, Any]) -> dict[str, Any]:
    """An OpenAPI 2 document whose operations take no body and answer in JSON."""
    moved = json.dumps(document).replace("#/definitions/", "#/components/schemas/")
    whole = json.loads(moved.replace("#/parameters/", "#/components/parameters/"))
    for methods in whole["paths"].values():
        for operation in methods.values():
            for answer in operation["responses"].values():
                if "schema" in answer:
                    answer["content"] = {"application/json": {"schema": answer.pop("schema")}}
    parameters = {
        name: {**one, "schema": {"type": one["type"]}} for name, one in whole["parameters"].items()
    }
    return {
        "openapi": f"{whole['swagger']}, as 3.0.0",
        "info": whole["info"],
        "servers": [{"url": f"https://{whole['x-ms-parameterized-host']['hostTemplate']}"}],
        "paths": whole["paths"],
        "components": {"schemas": whole["definitions"], "parameters": parameters},
    }


def _base(document: Mapping[str, Any]) -> str:
    """The path that every operation's is below."""
    servers = document.get("servers") or [{"url": ""}]
    return urlsplit(servers[0]["url"].replace("{", "").replace("}", "")).path.rstrip("/")


def _operation(whole: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    parameters = [_parameter(one) for one in whole.get("parameters", ()) if one.get("in") != "path"]
    if parameters:
        made["parameters"] = parameters
    if "requestBody" in whole:
        made["requestBody"] = _content(whole["requestBody"])
    made["responses"] = {
        status: _content(answer) for status, answer in sorted(whole["responses"].items())
    }
    return made


def _parameter(node: Mapping[str, Any]) -> dict[str, Any]:
    if "$ref" in node:
        return {"$ref": node["$ref"]}
    made = {name: node[name] for name in ("in", "name", "required") if name in node}
    return {**made, "schema": schema(node["schema"])}


def _content(node: Mapping[str, Any]) -> dict[str, Any]:
    made = {"required": node["required"]} if "required" in node else {}
    if "content" in node:
        made["content"] = {
            media: {"schema": schema(one["schema"])}
            for media, one in sorted(node["content"].items())
        }
    return made


def _components(document: Mapping[str, Any], wanted: Iterable[str]) -> dict[str, Any]:
    """What these references reach, by kind and name."""
    found: dict[str, dict[str, Any]] = {}
    left = list(wanted)
    while left:
        _, _, kind, name = left.pop().split("/")
        if name in found.get(kind, {}):
            continue
        node = document["components"][kind][name]
        made = _parameter(node) if kind == "parameters" else schema(node)
        found.setdefault(kind, {})[name] = made
        left += references(made)
    return {kind: dict(sorted(found[kind].items())) for kind in sorted(found)}


def laid_out(value: Any, indent: int = 0, name: str = "") -> str:
    """JSON with everything that fits into a line on one; `name` is written before it."""
    line = name + json.dumps(value)
    if len(line) + indent < WIDTH or not isinstance(value, dict | list):
        return line
    inner = " " * (indent + 1)
    if isinstance(value, dict):
        parts = [laid_out(v, indent + 1, f"{json.dumps(k)}: ") for k, v in value.items()]
    else:
        parts = [laid_out(one, indent + 1) for one in value]
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return f"{name}{opening}\n{inner}" + f",\n{inner}".join(parts) + f"\n{' ' * indent}{closing}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Reduce a vendor's OpenAPI document.")
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--operation", action="append", default=[], metavar="'METHOD PATH'")
    parser.add_argument("--schema", action="append", default=[], metavar="NAME")
    parser.add_argument("--about", action="append", default=[], metavar="NAME=VALUE")
    asked = parser.parse_args()
    document = yaml.safe_load(asked.source.read_text(encoding="utf-8"))
    about = dict(one.split("=", 1) for one in asked.about)
    made = reduced(document, asked.operation, asked.schema, about)
    asked.target.write_text(laid_out(made) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
