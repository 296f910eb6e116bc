"""Holds what went over the wire against a vendor's published OpenAPI document.

    published = Published.read(Path(__file__).with_name("tgi_published.json"))
    assert published.unlike(recorder.exchanges) == set()

Both directions are looked at: parameters and body of each request, status and body of each answer,
every event of a stream. A difference is a wrong value (types, required names, enumerations, limits,
by JSON Schema) or a name that the document does not have: OpenAPI allows further names, but one
that a stand-in or a plugin made up should be noticed. Documents are reduced by `reduce_spec.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from recorded import EVENTS, JSON, LINES, Exchange

LONGEST = 120  # characters of a difference
BRANCHES = ("allOf", "anyOf", "oneOf")


class Published:
    """A reduced document.

    `errors` is the component that answers above 400 and error events have where the document names
    none, `streamed` the one of an operation's events where it names no media type for them.
    """

    def __init__(
        self, document: Mapping[str, Any], errors: str | None = None,
        streamed: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        self.document = document
        self._errors = _named(errors) if errors else None
        self._streamed = {name: _named(to) for name, to in (streamed or {}).items()}
        self._base = document["servers"][0]["url"]

    @classmethod
    def read(cls, path: Path, **more: Any) -> Published:
        return cls(json.loads(path.read_text(encoding="utf-8")), **more)

    @property
    def operations(self) -> set[str]:
        """`POST /generate`, and so on."""
        return {
            f"{method.upper()} {path}"
            for path, methods in self.document["paths"].items()
            for method in methods
        }

    def unlike(self, exchanges: Iterable[Exchange]) -> set[str]:
        """Every difference between what was said and the document."""
        return {difference for one in exchanges for difference in self._differences(one)}

    def covered(self, exchanges: Iterable[Exchange]) -> set[str]:
        """Operations with the statuses that they were answered with: `POST /generate 200`."""
        return {f"{self.operation(one)} {one.answer()[0]}" for one in exchanges}

    def operation(self, exchange: Exchange) -> str | None:
        """The operation that was asked for, if it is published."""
        method, path = exchange.request.method, urlsplit(exchange.request.path).path
        for template in self.document["paths"]:
            pattern = re.sub(r"\\\{[^}]*\\\}", "[^/]+", re.escape(self._base + template))
            if f"{method} {template}" in self.operations and re.fullmatch(pattern, path):
                return f"{method} {template}"
        return None

    def wrong(self, schema: Mapping[str, Any], value: Any) -> Iterator[str]:
        """How a value differs from a schema of the document."""
        whole = {"allOf": [as_json_schema(schema)], "components": self._components}
        for error in Draft202012Validator(whole).iter_errors(value):
            found = best_match([error]) or error
            yield f"{_place(found)}: {found.message}"[:LONGEST]
        yield from (f"{name} is not named" for name in self._unnamed([schema], value, ""))

    @cached_property
    def _components(self) -> dict[str, Any]:
        schemas = self.document["components"]["schemas"]
        return {"schemas": {name: as_json_schema(one) for name, one in schemas.items()}}

    def _differences(self, exchange: Exchange) -> Iterator[str]:
        operation = self.operation(exchange)
        if operation is None:
            path = urlsplit(exchange.request.path).path
            yield f"{exchange.request.method} {path} is not published"
            return
        method, _, template = operation.partition(" ")
        spec = self.document["paths"][template][method.lower()]
        for found in (*self._asked(spec, exchange), *self._parameters(spec, exchange)):
            yield f"{operation} asks {found}"
        for found in self._answered(operation, spec, exchange):
            yield f"{operation} answers {found}"

    def _asked(self, spec: Mapping[str, Any], exchange: Exchange) -> Iterator[str]:
        body = exchange.request.body
        if "requestBody" not in spec:
            if body:
                yield "with a body, which is not published"
            return
        yield from self.wrong(spec["requestBody"]["content"][JSON]["schema"], orjson.loads(body))

    def _parameters(self, spec: Mapping[str, Any], exchange: Exchange) -> Iterator[str]:
        queried = parse_qs(urlsplit(exchange.request.path).query)
        known = [self._resolved(one) for one in spec.get("parameters", ())]
        for one in known:
            name = one["name"]
            found = (queried.get(name) or [None])[0]
            if one["in"] == "header":
                found = exchange.request.headers.get(name.lower())
            if found is not None:
                yield from (f"{one['in']} {name}{w}" for w in self.wrong(one["schema"], found))
            elif one.get("required"):
                yield f"without the {one['in']} {name}"
        named = {one["name"] for one in known if one["in"] == "query"}
        yield from (f"query {name} is not named" for name in sorted(queried.keys() - named))

    def _answered(
        self, operation: str, spec: Mapping[str, Any], exchange: Exchange
    ) -> Iterator[str]:
        status, media, body = exchange.answer()
        answers = spec["responses"]
        answer = answers.get(str(status), answers.get("default"))
        if answer is None and self._errors and status >= 400:
            answer = {"content": {JSON: {"schema": self._errors}}}
        if answer is None:
            yield f"{status}, which is not published"
            return
        content = answer.get("content", {})
        allowed = [content[media]["schema"]] if media in content else []
        if media == EVENTS and operation in self._streamed:
            allowed = [self._streamed[operation]]
        if not allowed and (body or content):
            yield f"{status} as {media or 'nothing'}, which is not published"
        if not allowed or media not in (JSON, EVENTS, LINES):
            return
        if media != JSON:
            allowed += self._failures(spec, media, str(status))
        for document in exchange.documents():
            found = [list(self.wrong(schema, document)) for schema in allowed]
            if all(found):
                yield from (f"{status} {one}" for one in found[0])

    def _failures(self, spec: Mapping[str, Any], media: str, status: str) -> list[Any]:
        """Schemas of errors that come as an event, when the status is out already."""
        others = [one.get("content", {}) for s, one in spec["responses"].items() if s != status]
        own = [self._errors] if self._errors else []
        return [*(content[media]["schema"] for content in others if media in content), *own]

    def _unnamed(self, schemas: Sequence[Any], value: Any, at: str) -> Iterator[str]:
        """Names that none of these schemas has. A schema without any names takes all."""
        flat = [one for schema in schemas for one in self._branches(schema)]
        if isinstance(value, list):
            items = [one["items"] for one in flat if "items" in one]
            for item in value:
                yield from self._unnamed(items, item, f"{at}[]")
        if not isinstance(value, dict):
            return
        known: dict[str, list[Any]] = {}
        for one in flat:
            for name, schema in one.get("properties", {}).items():
                known.setdefault(name, []).append(schema)
        is_open = not known or any(one.get("additionalProperties") for one in flat)
        for name, item in value.items():
            if name in known:
                yield from self._unnamed(known[name], item, f"{at}.{name}")
            elif not is_open:
                yield f"{at}.{name}"

    def _branches(self, schema: Any) -> Iterator[Mapping[str, Any]]:
        """A schema and all that it refers to or is made of."""
        if not isinstance(schema, dict):
            return
        if "$ref" in schema:
            yield from self._branches(self._resolved(schema))
        yield schema
        for keyword in BRANCHES:
            for one in schema.get(keyword, ()):
                yield from self._branches(one)

    def _resolved(self, node: Mapping[str, Any]) -> Any:
        if "$ref" not in node:
            return node
        _, _, kind, name = node["$ref"].split("/")
        return self.document["components"][kind][name]


def as_json_schema(schema: Any) -> Any:
    """A schema object of OpenAPI 3.0 as JSON Schema 2020-12, which 3.1's are already: what is
    `nullable` may be null, and exclusive limits that are true or false become numbers."""
    if not isinstance(schema, dict):
        return schema
    made: dict[str, Any] = {}
    for keyword, value in schema.items():
        if keyword == "properties":
            made[keyword] = {name: as_json_schema(one) for name, one in value.items()}
        elif keyword in BRANCHES:
            made[keyword] = [as_json_schema(one) for one in value]
        elif keyword in ("items", "additionalProperties"):
            made[keyword] = as_json_schema(value)
        else:
            made[keyword] = value
    for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if isinstance(made.get(exclusive), bool) and made.pop(exclusive):
            made[exclusive] = made.pop(limit)
    return _or_null(made) if made.pop("nullable", False) else made


def _or_null(schema: dict[str, Any]) -> dict[str, Any]:
    if "type" not in schema or any(keyword in schema for keyword in BRANCHES):
        return {"anyOf": [schema, {"type": "null"}]}
    values = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **values}


def _named(component: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{component}"}


def _place(error: ValidationError) -> str:
    """Where in the value, without positions in lists."""
    return "".join("[]" if isinstance(one, int) else f".{one}" for one in error.absolute_path)
