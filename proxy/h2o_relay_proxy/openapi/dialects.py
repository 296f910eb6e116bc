"""Requests and answers of the dialects: OpenAI's Responses and Anthropic's Messages.

What is inside of messages, items and tools is checked further than the schemas here tell.
"""

from __future__ import annotations

from ..checking import Schema
from ..dialects.messages import conversation
from ..dialects.messages import request as messages
from ..dialects.responses import fields as responses
from ..fields import MAX_MESSAGES
from .answers import COUNT, MAYBE, TEXT, list_of, obj
from .requests import body

NOTHING: Schema = {"type": "null"}
BLOCK = obj({"type": TEXT})
TURN = obj(
    {
        "role": {"type": "string", "enum": list(conversation.ROLES)},
        "content": {"anyOf": [TEXT, list_of(BLOCK)]},
    }
)
TURNS: Schema = {"type": "array", "minItems": 1, "maxItems": MAX_MESSAGES, "items": TURN}


def _responses() -> Schema:
    """Fields of chat completions that have another name here are refused, and so is what one
    answer cannot have.
    """
    refused = {*responses.MOVED, *responses.ONE_ANSWER, *responses.REFUSED} - {"n", "text"}
    more = dict.fromkeys(sorted(refused - responses.FIELDS.keys()), NOTHING)
    return body(responses.FIELDS, more={**more, "n": {"enum": [1, None]}})


def _messages(*required: str) -> Schema:
    found = body(messages.CHECKS, *required, more={"messages": TURNS})
    return {**found, "required": [*required, "messages"]}


ANTHROPICS_MODEL = obj(
    {"type": {"const": "model"}, "id": TEXT, "display_name": TEXT, "created_at": TEXT}
)


def schemas() -> dict[str, Schema]:
    """By the names of the document's components."""
    return {
        "ResponsesRequest": _responses(),
        "MessagesRequest": _messages("max_tokens"),
        "CountTokensRequest": _messages(),
        "Response": obj(
            {"id": TEXT, "object": {"const": "response"}, "status": TEXT, "output": list_of({})}
        ),
        "Deleted": obj({"id": TEXT, "deleted": {"const": True}}),
        "InputItems": obj({"object": {"const": "list"}, "data": list_of({"type": "object"})}),
        "Message": obj(
            {"id": TEXT, "type": {"const": "message"}, "role": {"const": "assistant"},
             "content": list_of(BLOCK), "stop_reason": MAYBE,
             "usage": obj({"input_tokens": COUNT, "output_tokens": COUNT})}
        ),
        "TokenCount": obj({"input_tokens": COUNT}),
        "AnthropicModel": ANTHROPICS_MODEL,
        "AnthropicModels": obj(
            {"data": list_of(ANTHROPICS_MODEL), "has_more": {"type": "boolean"}}
        ),
    }  # fmt: skip
