"""Servers that speak OpenAI's Responses or Anthropic's Messages themselves: one text, whole or in
the least of events that their references have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from h2o_relay.testing.scripts import Play, json, stream


def event(data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (data["type"].encode(), orjson.dumps(data))


def response_play(params: Mapping[str, Any], text: str) -> Play:
    """OpenAI's API reference, "The response object" and "Streaming events"."""
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [part]}  # fmt: skip
    usage = {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}
    whole = {"id": "resp_1", "object": "response", "created_at": 1, "status": "completed",
             "model": params.get("model"), "output": [item], "usage": usage}  # fmt: skip
    if not params.get("stream"):
        return json(whole)
    created = {"type": "response.created", "response": {**whole, "output": [], "usage": None}}
    grows = {"type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0,
             "content_index": 0, "delta": text}  # fmt: skip
    said = [created, grows, {"type": "response.completed", "response": whole}]
    return stream([event({**one, "sequence_number": n}) for n, one in enumerate(said)])


def message_play(params: Mapping[str, Any], text: str) -> Play:
    """Anthropic's API reference, "Messages" and "Streaming messages"."""
    usage = {"input_tokens": 3, "output_tokens": 4}
    whole = {"id": "msg_1", "type": "message", "role": "assistant", "model": params.get("model"),
             "content": [{"type": "text", "text": text}], "stop_reason": "end_turn",
             "stop_sequence": None, "usage": usage}  # fmt: skip
    if not params.get("stream"):
        return json(whole)
    empty = {**whole, "content": [], "stop_reason": None}
    block = {"type": "text", "text": ""}
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": empty},
        {"type": "content_block_start", "index": 0, "content_block": block},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return stream([event(one) for one in said])
