"""What the tests of OpenAI's Responses share: requests, answers, events as the SDK reads them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from h2o_relay.chunks import END, PREFIX, Chunk, Completion
from h2o_relay.errors import InvalidRequest
from h2o_relay_proxy.dialects.base import Exchanged
from h2o_relay_proxy.dialects.responses import DIALECT, Kept, Responses

EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
USAGE = {
    "prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12,
    "prompt_tokens_details": {"cached_tokens": 3},
    "completion_tokens_details": {"reasoning_tokens": 2},
}  # fmt: skip
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
ME = "me"


def read(**fields: Any) -> Exchanged:
    """A request; None leaves a field out."""
    given = {"model": "m", "input": "hi", **fields}
    return DIALECT.read({name: value for name, value in given.items() if value is not None})


def messages(*items: Any, **fields: Any) -> list[dict[str, Any]]:
    """The chat that these items become."""
    found: list[dict[str, Any]] = read(input=list(items), **fields).params["messages"]
    return found


def refused(**fields: Any) -> tuple[str | None, str | None]:
    """Where a request is at fault, and the code of that."""
    with pytest.raises(InvalidRequest) as caught:
        read(**fields)
    assert caught.value.message
    return caught.value.param, caught.value.code


def user(content: Any = "hi") -> dict[str, Any]:
    return {"role": "user", "content": content}


def called(call_id: str = "c1", name: str = "look", arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}


def result(call_id: str = "c1", output: Any = "done") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def thought(text: str) -> dict[str, Any]:
    return {
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": text}],
    }


def call(arguments: str, id: str | None = "call_1", name: str = "look") -> dict[str, Any]:
    """A call of a tool in a chat's message."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def answered(message: dict[str, Any], finish: str | None = "stop", **choice: Any) -> Completion:
    """A chat's whole answer."""
    message = {"role": "assistant", "content": None, **message}
    data = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "served",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, **choice}],
        "usage": USAGE,
    }
    return Completion(orjson.dumps(data))


def told(completion: Completion, **fields: Any) -> Response:
    """A whole answer as the SDK's type, which must take it."""
    return Response.model_validate_json(read(**fields).whole(completion))


def event(
    delta: dict[str, Any] | None = None, finish: str | None = None, usage: Any = None, **choice: Any
) -> dict[str, Any]:
    """An event of a chat's stream; without `delta` it has no choice."""
    choices = [{"index": 0, "delta": delta, "finish_reason": finish, **choice}]
    return {
        "id": "c", "object": "chat.completion.chunk", "model": "served",
        "choices": [] if delta is None else choices, "usage": usage,
    }  # fmt: skip


def chunk(*events: dict[str, Any]) -> Chunk:
    return Chunk(b"".join(PREFIX + orjson.dumps(one) + END for one in events))


def streamed(exchanged: Exchanged, events: Iterable[dict[str, Any]]) -> bytes:
    """A good answer as it is sent, one chunk for each event."""
    sent = [exchanged.begin(), *(exchanged.chunk(chunk(one)) for one in events), exchanged.end()]
    return b"".join(sent)


def stream(events: Iterable[dict[str, Any]], **fields: Any) -> list[Any]:
    """The same as the SDK's events, which must take them."""
    return events_of(streamed(read(stream=True, **fields), events))


def events_of(sent: bytes) -> list[Any]:
    """Each event is named as its payload says, and numbered in order."""
    found = []
    for block in sent.split(b"\n\n")[:-1]:
        name, data = block.split(b"\n")
        payload = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + payload["type"].encode()
        assert payload["sequence_number"] == len(found)
        found.append(EVENT.validate_python(payload))
    return found


def plain(model: Any) -> Any:
    """What an SDK's object says, without what it does not say."""
    return model.to_dict(mode="json")


def anonymous(items: Iterable[Any]) -> list[dict[str, Any]]:
    """Items without their ids, which no two answers share."""
    return [{k: v for k, v in plain(item).items() if k != "id"} for item in items]


class Keeping:
    """A dialect that keeps what it answers, and somebody who asks it."""

    def __init__(self, kept: Kept | None = None) -> None:
        self.kept = Kept() if kept is None else kept
        self.dialect = Responses(self.kept)

    def ask(self, owner: str = ME, **fields: Any) -> Exchanged:
        return self.dialect.read_for({"model": "m", "input": "hi", **fields}, owner)

    def answer(self, text: str = "Hello.", owner: str = ME, **fields: Any) -> Response:
        body = self.ask(owner, **fields).whole(answered({"content": text}))
        return Response.model_validate_json(body)
