"""What answers say.

Those of servers pass through as they are: of them only that is required which the relay relies on
itself, or makes. What the relay makes is described in full.
"""

from __future__ import annotations

from h2o_relay import admin
from h2o_relay.accounting.usage_query import UsageRow
from h2o_relay.applying import Change
from h2o_relay.health import STATES

from ..checking import Schema
from ..seeing.troubles import Trouble
from .from_types import schema_of_type

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
MAYBE: Schema = {"type": ["string", "null"]}
STATE: Schema = {"type": "string", "enum": list(STATES)}
COUNTS: Schema = {"type": "object", "additionalProperties": COUNT}


KEY: dict[str, Schema] = {
    "object": {"const": "key"}, "id": TEXT, "name": TEXT, "state": TEXT, "last4": TEXT,
    "created": {"type": "number"}, "admin": {"type": "boolean"},
    "models": {"type": "array", "items": TEXT},
}  # fmt: skip
"""What `accounting.keys.view` always says; limits and times may be null."""


def obj(required: dict[str, Schema], **more: Schema) -> Schema:
    return {"type": "object", "required": list(required), "properties": {**required, **more}}


def list_of(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


USAGE = obj(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT, "total_tokens": COUNT},
    estimated={
        "type": "boolean",
        "description": "The server counted nothing: the relay guessed.",
    },
)
CHOICE: Schema = {
    "type": "object",
    "properties": {
        "index": COUNT,
        "message": {"type": "object"},
        "text": TEXT,
        "finish_reason": MAYBE,
    },
}


def completion(kind: str) -> Schema:
    return obj({"choices": list_of(CHOICE)}, id=TEXT, object={"const": kind}, usage=ref("Usage"))


EVENT: Schema = {
    "type": "object",
    "description": "One `data:` line of a stream. A stream that went well ends with "
    "`data: [DONE]`; one that failed ends with a `data:` line that is an `Error`.",
    "properties": {
        "choices": list_of({"type": "object"}),
        "usage": {"anyOf": [ref("Usage"), {"type": "null"}]},
    },
}
DOING = obj(
    {"state": STATE, "since": {"type": "number"}, "latency": {"type": ["number", "null"]},
     "running": COUNT, "waiting": COUNT},
    reason=TEXT, server=TEXT, strategy=TEXT, members=list_of(TEXT),
)  # fmt: skip
MODEL = obj(
    {"id": TEXT, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": TEXT,
     "max_model_len": {"type": ["integer", "null"]}},
    h2o=DOING,
)  # fmt: skip
EMBEDDING = obj({"embedding": {"anyOf": [list_of({"type": "number"}), TEXT]}}, index=COUNT)
RANKED = obj({"index": COUNT, "relevance_score": {"type": "number"}})
MEMBER = obj({"member": TEXT, "state": STATE, "why": TEXT})


def schemas() -> dict[str, Schema]:
    """By the names of the document's components."""
    of = schema_of_type
    return {
        "Usage": USAGE,
        "ChatCompletion": completion("chat.completion"),
        "Completion": completion("text_completion"),
        "StreamEvent": EVENT,
        "Model": MODEL,
        "Models": obj({"object": {"const": "list"}, "data": list_of(ref("Model"))}),
        "Embeddings": obj({"data": list_of(EMBEDDING)}),
        "Ranking": obj({"results": list_of(RANKED)}),
        "Scores": obj({"data": list_of(obj({"score": {"type": "number"}}, index=COUNT))}),
        "Moderations": obj({"results": list_of({"type": "object"})}),
        "Tokens": obj({"tokens": list_of({"type": "integer"})}, count=COUNT),
        "Detokenized": obj({"prompt": TEXT}),
        "Images": obj({"data": list_of({"type": "object"})}),
        "Health": obj({"status": {"const": "ok"}, "servers": COUNTS}),
        "Readiness": obj({"status": {"const": "ready"}, "models": COUNT, "states": COUNTS}),
        "Deployment": of(admin.DeploymentView),
        "Deployments": obj({"object": {"const": "list"}, "data": list_of(ref("Deployment"))}),
        "Found": of(admin.Found),
        "Tried": of(admin.Tried),
        "Change": of(Change),
        "Series": obj({"data": list_of(of(admin.Series))}),
        "System": of(admin.System),
        "Route": obj({"model": TEXT, "pool": {"type": "boolean"}, "members": list_of(MEMBER)}),
        "Yaml": obj({"yaml": TEXT}),
        "Id": obj({"id": TEXT}),
        "Name": obj({"name": TEXT}),
        "Nothing": {"type": "object", "additionalProperties": False},
        "UsageReport": obj(
            {"object": {"const": "list"}, "by": list_of(TEXT), "data": list_of(of(UsageRow))}
        ),
        "Key": obj(KEY),
        "NewKey": obj({**KEY, "key": TEXT}),
        "Troubles": obj({"object": {"const": "list"}, "data": list_of(of(Trouble))}),
        "Keys": obj({"object": {"const": "list"}, "data": list_of(ref("Key"))}),
        "Metrics": TEXT,
    }
