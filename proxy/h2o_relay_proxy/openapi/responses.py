"""Good answers and operations: the parts that all paths are put together from."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..checking import Schema
from ..telling import WORDS
from .answers import ref
from .failures import REQUEST_ID, Kind, failing

JSON = "application/json"
EVENTS = "text/event-stream"
FORM = "multipart/form-data"
ANY = "*/*"
STREAM: Schema = {
    "type": "object",
    "required": ["data"],
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "additionalProperties": False,
}
"""One event, as is usual before OpenAPI 3.2, which has a word for it; none has an id or a retry."""
TOLD: dict[str, str] = {
    "x-h2o-backend": "The plugin of the server that answered.",
    "x-h2o-server": "The name of the deployment that answered.",
    "x-h2o-reason": "Why it was that one.",
    "x-h2o-attempts": "How often the request was sent.",
    "x-h2o-queue-ms": "Milliseconds that it waited for a free server.",
    "x-h2o-overhead-ms": "Milliseconds that the relay itself took until the answer began.",
    "x-h2o-dropped-params": "Fields of the request that this server does not honour.",
    "x-h2o-trimmed": "How many messages were left out because they did not fit.",
    "x-h2o-trimmed-by": "`estimate`: the relay guessed how many tokens there are.",
    "x-h2o-limited": "A limit of the request that was lowered.",
    "x-h2o-translated": "The request was of another kind than the server takes.",
}
"""Headers of answers that a server has a part in (`telling.py`)."""
KEYED: list[dict[str, list[str]]] = [{"bearer": []}, {"x-api-key": []}, {"api-key": []}, {}]
"""A key in any of three headers, or none where the operator has set none."""
OPEN: list[dict[str, list[str]]] = []
ADMIN: list[dict[str, list[str]]] = [{"admin": []}]
HEADERS = {name: {"description": says, "schema": {"type": "string"}} for name, says in TOLD.items()}
SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
    "admin": {
        "type": "http",
        "scheme": "bearer",
        "description": "What ADMIN_PASS is set to where the relay runs.",
    },
}
SESSION: dict[str, Any] = {
    "name": "x-h2o-session",
    "in": "header",
    "description": "The name of the conversation, which a `sticky` pool keeps where it is.",
    "schema": {"type": "string"},
}
STRICT: dict[str, Any] = {
    "name": "x-h2o-strict",
    "in": "header",
    "description": "`true`: a field that the server does not honour is refused, not dropped.",
    "schema": {"type": "string", "enum": sorted(word.decode() for word in WORDS)},
}


def good(
    *schemas: str,
    kind: str = JSON,
    status: str = "200",
    streams: bool = False,
    told: bool = False,
    description: str = "The answer.",
) -> dict[str, Any]:
    """The response of a status for success, which is one of `schemas`, or anything. `streams`: it
    may also be events; `told`: it has the headers that tell who answered.
    """  # fmt: skip
    found = [ref(name) for name in schemas]
    content: dict[str, Any] = {kind: {}}
    if found:
        content[kind] = {"schema": found[0] if len(found) == 1 else {"anyOf": found}}
    if streams:
        content[EVENTS] = {"schema": STREAM}
    headers: dict[str, Any] = {"x-request-id": REQUEST_ID}
    if told:
        headers |= {name: {"$ref": f"#/components/headers/{name}"} for name in TOLD}
    return {status: {"description": description, "headers": headers, "content": content}}


def operation(
    id: str,
    summary: str,
    answers: dict[str, Any],
    kinds: Iterable[Kind],
    *,
    body: str | None = None,
    form: bool = False,
    security: list[dict[str, list[str]]] = KEYED,
    parameters: Iterable[dict[str, Any]] = (),
    errors: str = "Error",
    tag: str = "API",
) -> dict[str, Any]:
    """One method of a path. `body` and `errors` name schemas."""
    found: dict[str, Any] = {
        "operationId": id,
        "summary": summary,
        "tags": [tag],
        "security": security,
        "responses": {**answers, **failing(kinds, errors)},
    }
    given = list(parameters)
    if given:
        found["parameters"] = given
    if body is not None:
        content = {FORM if form else JSON: {"schema": ref(body)}}
        found["requestBody"] = {"required": True, "content": content}
    return found


def in_path(name: str, description: str, **schema: Any) -> dict[str, Any]:
    """A parameter that is a part of the path."""
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string", "minLength": 1, **schema},
    }
