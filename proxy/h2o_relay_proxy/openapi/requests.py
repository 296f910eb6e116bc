"""What requests say: schemas made of the checks that the relay does.

A field without a type is the server's to judge. Fields that nobody knows travel with the request,
so that no schema forbids any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, get_args

from h2o_relay.accounting.caller import Period
from h2o_relay.accounting.keys import COUNTS
from h2o_relay.config.entry_help import ENTRY_HELP
from h2o_relay.pools import READERS, PoolSpec

from .. import checks, path_checks
from ..checking import Check, Schema, schema_of

SAYS: Mapping[str, str] = {
    "model": "A name that /v1/models lists, a hidden one, or the number of an entry of the model "
    "lock. Without it the first model whose server is up answers.",
    "truncation": "`auto`: the oldest turns are left out where a conversation does not fit.",
    "max_time": "Seconds after which the answer ends with what it has; its `finish_reason` is "
    "`length` then.",
    "continue_final_message": "Where the relay renders: go on with the assistant's last message.",
    "prompt_type": "Where the relay renders: h2oGPT's prompt type for this request.",
    "prompt_dict": "Where the relay renders: h2oGPT's prompt dict for this request.",
    "stream": "Answer in server-sent events.",
}
RENDERED: dict[str, Schema] = {"prompt_type": {}, "prompt_dict": {}}
OBJECT: Schema = {"type": "object"}
TEXT: Schema = {"type": "string"}
GIVEN: Schema = {"not": {"type": "null"}}


def body(
    table: Mapping[str, Check], *required: str, more: Mapping[str, Schema] | None = None
) -> Schema:
    """A request of the fields in `table`. What is not required may be null, which is the same as
    leaving it out. `more` are fields that the relay does not check.
    """
    properties = {
        name: schema_of(check) if name in required else nullable(schema_of(check))
        for name, check in table.items()
    }
    found = {"type": "object", "properties": _described({**properties, **(more or {})})}
    return {**found, "required": list(required)} if required else found


def nullable(schema: Schema) -> Schema:
    kind = schema.get("type")
    if kind is None or "enum" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [*([kind] if isinstance(kind, str) else kind), "null"]}


def _described(properties: dict[str, Schema]) -> dict[str, Schema]:
    return {
        name: {**schema, "description": SAYS[name]} if name in SAYS else schema
        for name, schema in properties.items()
    }


def given(*names: str) -> Schema:
    """What has these fields, none of them null."""
    return {"required": list(names), "properties": dict.fromkeys(names, GIVEN)}


def without(name: str) -> Schema:
    return {"properties": {name: {"type": "null"}}}


def named(*others: str) -> Schema:
    """A request of which only the model is the relay's to read."""
    return body({"model": checks.MODEL}, more={name: {} for name in others})


def form(*files: str) -> Schema:
    """A form with files in it, of which only the model is the relay's to read."""
    return {"type": "object", "properties": {"model": TEXT, **dict.fromkeys(files, FILE)}}


FILE: Schema = {"contentMediaType": "application/octet-stream"}


def _embeddings() -> Schema:
    """vLLM takes `messages` in place of `input`."""
    found = body(checks.EMBEDDINGS, more={"messages": {}})
    return {**found, "anyOf": [given("input"), given("messages")]}


def _tokenize() -> Schema:
    excluding = ("continue_final_message", "add_generation_prompt")
    both = {name: {"const": True} for name in excluding}
    return {
        **body(path_checks.TOKENIZE),
        "anyOf": [
            {"allOf": [given("prompt"), without("messages")]},
            {"allOf": [given("messages"), without("prompt")]},
        ],
        "not": {"required": list(excluding), "properties": both},
    }


def _rerank() -> Schema:
    found = body(path_checks.RERANK, "query")
    return {**found, "anyOf": [given("documents"), given("texts")]}


def _score() -> Schema:
    return {
        **body(path_checks.SCORE),
        "anyOf": [given(*pair) for pair in path_checks.PAIRS],
    }


def _pool() -> Schema:
    kinds: dict[str, Schema] = {
        "members": {"type": "array", "minItems": 1, "items": {"type": ["string", "integer"]}},
        "name": TEXT,
    }
    known = [item for item in fields(PoolSpec) if item.name in READERS]
    return {
        "type": "object",
        "required": [
            item.name for item in known if item.default is item.default_factory is MISSING
        ],
        "additionalProperties": False,
        "properties": {
            item.name: kinds.get(item.name, {}) | {"description": item.metadata["help"]}
            for item in known
        },
    }


def _entry() -> Schema:
    """An entry of a model lock. What it means is read by `lock/`, which says what is wrong."""
    properties: dict[str, Any] = {key: {"description": text} for key, text in ENTRY_HELP.items()}
    return {"type": "object", "properties": properties}


def _key() -> Schema:
    """What `accounting.keys.wanted_of` reads; null takes a limit away."""
    count: Schema = {"type": ["integer", "null"], "minimum": 1}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "name": TEXT,
            "models": {"type": ["array", "null"], "items": TEXT},
            **dict.fromkeys(COUNTS, count),
            "budget": {"type": ["number", "null"]},
            "budget_period": {"enum": list(get_args(Period))},
            "expires": {"type": ["string", "number", "null"]},
            "admin": {"type": "boolean"},
        },
    }


def schemas() -> dict[str, Schema]:
    """By the names of the document's components."""
    return {
        "ChatRequest": body(checks.CHAT, "messages", more=RENDERED),
        "CompletionRequest": body(checks.TEXT, "prompt"),
        "EmbeddingsRequest": _embeddings(),
        "RerankRequest": _rerank(),
        "ScoreRequest": _score(),
        "TokenizeRequest": _tokenize(),
        "DetokenizeRequest": body(path_checks.DETOKENIZE, "tokens"),
        "SpeechRequest": body(path_checks.SPEECH, "input"),
        "ImagesRequest": body(path_checks.IMAGES, "prompt"),
        "ModerationsRequest": named("input"),
        "AudioForm": form("file"),
        "ImageForm": form("image", "mask"),
        "Entry": _entry(),
        "PoolEntry": _pool(),
        "KeyEntry": _key(),
        "Rotation": {"type": "object", "properties": {"grace": {"type": ["string", "number"]}}},
        "ModelName": {"type": "object", "required": ["model"], "properties": {"model": TEXT}},
    }
