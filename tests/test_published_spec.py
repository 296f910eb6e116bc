"""What holds the stand-ins against published specifications: it finds what differs, and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from published_spec import Published, as_json_schema
from recorded import Exchange, Recorder
from reduce_spec import laid_out, reduced

from h2o_relay.http import HttpClient
from h2o_relay.testing import ScriptedUpstream, scripts
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Received

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "plugins").glob("*/tests/*_published*.json"))
KEPT = ("repository", "path", "commit")
DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "info": {"title": "Test", "version": "1", "description": "Prose."},
    "servers": [{"url": "https://{host}/base"}],
    "paths": {
        "/things/{id}": {
            "post": {
                "summary": "Prose.",
                "parameters": [
                    {"in": "path", "name": "id", "required": True, "schema": {"type": "string"}},
                    {"in": "query", "name": "v", "required": True, "schema": {"type": "string"}},
                    {"$ref": "#/components/parameters/Wait"},
                ],
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/In"}}
                    }
                },
                "responses": {
                    "200": {
                        "description": "Prose.",
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Out"}},
                            "text/event-stream": {"schema": {"$ref": "#/components/schemas/Out"}},
                        },
                    },
                    "500": {
                        "content": {
                            "text/event-stream": {"schema": {"$ref": "#/components/schemas/No"}}
                        }
                    },
                },
            },
            "get": {"responses": {"204": {}}},
        }
    },
    "components": {
        "parameters": {
            "Wait": {"in": "header", "name": "Wait", "schema": {"type": "string", "pattern": "^w"}}
        },
        "schemas": {
            "In": {
                "type": "object",
                "required": ["title"],
                "properties": {
                    "title": {"type": "string", "description": "A name like a keyword's."},
                    "limit": {
                        "type": "integer", "nullable": True, "minimum": 0, "exclusiveMinimum": True,
                        "default": 3, "example": 4,
                    },
                    "free": {"type": "object"},
                },
            },
            "Base": {"type": "object", "properties": {"id": {"type": "integer"}}},
            "Out": {
                "allOf": [
                    {"$ref": "#/components/schemas/Base"},
                    {"properties": {"tags": {"type": "array", "items": {"type": "string"}}}},
                ],
                "required": ["id"],
            },
            "No": {"type": "object", "required": ["error"],
                   "properties": {"error": {"type": "string"}}},
            "Unused": {"type": "string"},
        },
    },
}  # fmt: skip
OPERATION = "POST /things/{id}"
PUBLISHED = Published(reduced(DOCUMENT, [OPERATION]))


def told(answer: scripts.Play, body: Any = None, path: str = "/base/things/7?v=1") -> set[str]:
    """What differs when this is answered to this."""
    asked = orjson.dumps({"title": "x"} if body is None else body)
    request = Received("POST", path, {"wait": "while"}, asked, 0.0)
    return PUBLISHED.unlike([Exchange(request, bytearray(answer.wire))])


RIGHT = scripts.json({"id": 1, "tags": ["a"]})


def test_what_is_right_is_let_through() -> None:
    assert told(RIGHT) == set()
    assert told(RIGHT, {"title": "x", "limit": None, "free": {"any": [1]}}) == set()
    events = [b'data: {"id": 1}\n\n', b'data: {"error": "late"}\n\n', b"data: [DONE]\n\n"]
    assert told(scripts.stream(events)) == set()


@pytest.mark.parametrize(
    ("body", "difference"),
    [
        ({}, ": 'title' is a required property"),
        ({"title": None}, ".title: None is not of type 'string'"),
        ({"title": "x", "limit": 0}, ".limit: 0 is less than or equal to the minimum of 0"),
        ({"title": "x", "limit": 1.5}, ".limit: 1.5 is not of type 'integer', 'null'"),
        ({"title": "x", "name": "y"}, ".name is not named"),
    ],
)
def test_requests(body: dict[str, Any], difference: str) -> None:
    assert told(RIGHT, body) == {f"{OPERATION} asks {difference}"}


def test_parameters() -> None:
    assert told(RIGHT, path="/base/things/7?w=1") == {
        f"{OPERATION} asks without the query v", f"{OPERATION} asks query w is not named",
    }  # fmt: skip
    request = Received("POST", "/base/things/7?v=1", {"wait": "no"}, b'{"title": ""}', 0.0)
    (found,) = PUBLISHED.unlike([Exchange(request, bytearray(RIGHT.wire))])
    assert found == f"{OPERATION} asks header Wait: 'no' does not match '^w'"


@pytest.mark.parametrize(
    ("answer", "difference"),
    [
        (scripts.json({"id": "1"}), "200 .id: '1' is not of type 'integer'"),
        (scripts.json({"tags": []}), "200 : 'id' is a required property"),
        (scripts.json({"id": 1, "tags": [1]}), "200 .tags[]: 1 is not of type 'string'"),
        (scripts.json({"id": 1, "more": {}}), "200 .more is not named"),
        (scripts.json({"id": 1}, 201), "201, which is not published"),
        (scripts.whole(b"id", content_type="text/plain"),
         "200 as text/plain, which is not published"),
        (scripts.stream([b'data: {"id": 1}\n\n', b'data: {"id": null}\n\n']),
         "200 .id: None is not of type 'integer'"),
    ],
)  # fmt: skip
def test_answers(answer: scripts.Play, difference: str) -> None:
    assert told(answer) == {f"{OPERATION} answers {difference}"}


def test_what_is_not_published_is_told() -> None:
    assert told(RIGHT, path="/things/7") == {"POST /things/7 is not published"}


def test_components_for_errors_and_events() -> None:
    named = Published(reduced(DOCUMENT, [OPERATION], ["No"]), errors="No",
                      streamed={OPERATION: "Base"})  # fmt: skip
    request = Received("POST", "/base/things/7?v=1", {}, b'{"title": ""}', 0.0)
    refused = scripts.json({"error": 1}, 404)
    (found,) = named.unlike([Exchange(request, bytearray(refused.wire))])
    assert found == f"{OPERATION} answers 404 .error: 1 is not of type 'string'"
    streamed = scripts.stream([b'data: {"tags": []}\n\n'])
    (found,) = named.unlike([Exchange(request, bytearray(streamed.wire))])
    assert found == f"{OPERATION} answers 200 .tags is not named"


async def test_what_goes_over_the_wire_is_kept() -> None:
    """Also of an answer that its client had enough of."""
    events = scripts.stream([b'data: {"id": 1}\n\n', b'data: {"id": 2}\n\n'])
    async with ScriptedUpstream(events.upto(1) + scripts.play(scripts.hang)) as upstream:
        upstream.script = recorder = Recorder(upstream.script)
        async with HttpClient(quick()) as client:
            url = f"{upstream.url}/base/things/7?v=1"
            async with client.request("POST", url, body=b"{}", first_byte=5) as response:
                async for _ in response:
                    break
    (exchange,) = recorder.exchanges
    assert exchange.request.body == b"{}"
    assert exchange.answer()[:2] == (200, "text/event-stream")
    assert exchange.documents() == [{"id": 1}]
    assert PUBLISHED.covered([exchange]) == {f"{OPERATION} 200"}


def test_limits_and_null_become_json_schemas() -> None:
    schema = {"type": "integer", "maximum": 3, "exclusiveMaximum": True, "nullable": True}
    assert as_json_schema(schema) == {"type": ["integer", "null"], "exclusiveMaximum": 3}
    assert as_json_schema({"type": "string", "enum": ["a"], "nullable": True}) == {
        "type": ["string", "null"], "enum": ["a", None],
    }  # fmt: skip
    several = {"oneOf": [{"type": "string"}], "nullable": True}
    assert as_json_schema(several) == {"anyOf": [{"oneOf": [{"type": "string"}]}, {"type": "null"}]}
    names = {"properties": {"nullable": {"type": "boolean", "nullable": False}}}
    assert as_json_schema(names) == {"properties": {"nullable": {"type": "boolean"}}}


def test_a_document_is_reduced_to_what_is_needed() -> None:
    made = reduced(DOCUMENT, [OPERATION], about={"repository": "a/b"})
    assert made["servers"] == [{"url": "/base"}]
    assert made["x-source"] == {"repository": "a/b"}
    assert set(made["paths"]["/things/{id}"]) == {"post"}
    assert set(made["components"]["schemas"]) == {"Base", "In", "No", "Out"}
    assert made["components"]["schemas"]["In"]["properties"] == {
        "free": {"type": "object"},
        "limit": {"type": "integer", "nullable": True, "minimum": 0, "exclusiveMinimum": True},
        "title": {"type": "string"},
    }
    assert "Prose" not in json.dumps(made)
    assert json.loads(laid_out(made)) == made
    with pytest.raises(KeyError):
        reduced(DOCUMENT, ["GET /nothing"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_files_are_reduced_and_say_of_what(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    document = json.loads(text)
    operations = Published(document).operations
    assert operations
    assert reduced(document, operations, document["components"]["schemas"]) == document
    assert laid_out(document) + "\n" == text
    assert all(document["x-source"][name] for name in KEPT)
