"""What the tests of Anthropic's Messages share: requests, answers, events as the SDK reads them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from pydantic import TypeAdapter

from h2o_relay.assemble import assemble
from h2o_relay.chunks import END, PREFIX, Chunk, Completion
from h2o_relay_proxy.dialects.base import Exchanged
from h2o_relay_proxy.dialects.messages import DIALECT

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
USER = [{"role": "user", "content": "hi"}]
PROMPTED = {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}


def asked(**fields: Any) -> dict[str, Any]:
    """A request; None leaves a field out."""
    given = {"model": "m", "max_tokens": 100, "messages": USER, **fields}
    return {name: value for name, value in given.items() if value is not None}


def read(**fields: Any) -> Exchanged:
    return DIALECT.read(asked(**fields))


def answered(message: dict[str, Any], finish: str | None = "stop", **choice: Any) -> Completion:
    """A chat's whole answer."""
    message = {"role": "assistant", "content": None, **message}
    data = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "served",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, **choice}],
        "usage": PROMPTED,
    }
    return Completion(orjson.dumps(data))


def call(arguments: str, id: str = "call_1", name: str = "look") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def told(completion: Completion, **fields: Any) -> Message:
    """A whole answer as the SDK's type, which must take it."""
    return Message.model_validate_json(read(**fields).whole(completion))


def event(
    delta: dict[str, Any] | None = None, finish: str | None = None, usage: Any = None, **choice: Any
) -> dict[str, Any]:
    """An event of a chat's stream; without `delta` it has no choice."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    for one in choices:
        one.update(choice)
    more = {} if usage is None else {"usage": usage}
    return {"id": "chatcmpl-1", "model": "served", "choices": choices, **more}


def grown(index: int, arguments: str = "", **first: str) -> dict[str, Any]:
    """The delta of a call; `id` and `name` come with its first."""
    function = {"arguments": arguments, **({"name": first["name"]} if "name" in first else {})}
    one = {"index": index, "function": function}
    return {"tool_calls": [one | ({"id": first["id"]} if "id" in first else {})]}


def chunks(events: Iterable[dict[str, Any]], together: int = 1) -> list[Chunk]:
    """Events as chunks of so many."""
    raw = [PREFIX + orjson.dumps(one) + END for one in events]
    return [
        Chunk(b"".join(raw[start : start + together])) for start in range(0, len(raw), together)
    ]


def streamed(given: Sequence[Chunk], **fields: Any) -> bytes:
    """A good stream's bytes."""
    exchanged = read(stream=True, **fields)
    pieces = [exchanged.begin(), *map(exchanged.chunk, given), exchanged.end()]
    return b"".join(pieces)


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """A stream's events. Each must be named after its type."""
    found = []
    for block in stream.split(b"\n\n")[:-1]:
        name, data = block.split(b"\n")
        payload = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + payload["type"].encode()
        found.append(payload)
    return found


def accumulated(stream: bytes) -> Message:
    """The message that the SDK makes of a stream."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for payload in events_of(stream):
        if payload["type"] != "ping":
            one = EVENT.validate_python(payload)
            snapshot = accumulate_event(
                event=one, current_snapshot=snapshot, json_bufs=buffers
            )  # fmt: skip
    return Message.model_validate(snapshot.to_dict())


def check_grammar(stream: bytes) -> list[dict[str, Any]]:
    """One block after the other, their indices rising, what belongs before and after them."""
    events = [one for one in events_of(stream) if one["type"] != "ping"]
    assert [one["type"] for one in (events[0], *events[-2:])] == [
        "message_start", "message_delta", "message_stop",
    ]  # fmt: skip
    blocks: list[dict[str, Any]] = []
    open_block = False
    for one in events[1:-2]:
        EVENT.validate_python(one)
        if one["type"] == "content_block_start":
            assert not open_block
            assert one["index"] == len(blocks)
            blocks.append(one["content_block"])
        else:
            assert open_block
            assert one["index"] == len(blocks) - 1
        open_block = one["type"] != "content_block_stop"
    assert not open_block
    return blocks


async def assembled(given: Sequence[Chunk]) -> Completion:
    """The whole answer that these chunks are."""

    async def source() -> Any:
        for chunk in given:
            yield chunk

    return await assemble(source(), "chat")
