"""A chat's stream as the events of a message.

The grammar is that of Anthropic's guide to streaming: `message_start`, then one content block after
the other (start, deltas, stop, their indices rising), `message_delta`, `message_stop`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from h2o_relay.chunks import Chunk
from h2o_relay.errors import UpstreamBadResponse

from .answer import arguments, calls_of, new_id, parsed, pieces, refused, stopped, usage_of

DELTAS = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
"""By the kind of a block: its deltas' type, and the field that holds what it grows by."""


class _Block:
    """A content block while it grows."""

    __slots__ = ("closed", "held", "id", "kind", "name", "said", "started")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.id = self.name = ""
        self.said: list[str] = []
        """A call's arguments so far."""
        self.held: list[str] = []
        """What has come and was not sent yet."""
        self.started = self.closed = False

    def grow(self, text: str) -> None:
        self.held.append(text)
        if self.kind == "tool_use":
            self.said.append(text)

    def complete(self) -> bool:
        """Whether nothing can follow: a call's arguments are an object. Texts are over once
        another block begins.
        """
        if self.kind != "tool_use":
            return True
        last = self.said[-1].rstrip() if self.said else ""
        if last and not last.endswith("}"):
            return False  # spares the reading of what is long and not over
        return parsed("".join(self.said)) is not None

    def begin(self) -> dict[str, Any]:
        if self.kind == "text":
            return {"type": "text", "text": ""}
        if self.kind == "thinking":
            return {"type": "thinking", "thinking": "", "signature": ""}
        id = self.id or new_id("toolu_")
        return {"type": "tool_use", "id": id, "name": self.name, "input": {}}


class Events:
    """One stream."""

    def __init__(self, id: str, model: str | None, stops: Sequence[str]) -> None:
        self._id, self._model, self._stops = id, model, stops
        self._out: list[bytes] = []
        self._begun = self._called = self._refused = False
        self._blocks: deque[_Block] = deque()
        """Those that are not closed, in the order in which they began. The first is being sent;
        the others wait for it, for calls may grow side by side and blocks may not."""
        self._index = 0
        self._calls: dict[int, _Block] = {}
        self._usage: Any = None
        self._last: dict[str, Any] = {}
        """What the choice said beside its deltas."""

    def chunk(self, chunk: Chunk) -> bytes:
        """The events for a chunk. Raises UpstreamBadResponse for one that makes no sense."""
        for event in chunk.events():
            self._usage = event.get("usage") or self._usage
            if not self._begun:
                self._begin(event)
            for choice in event.get("choices") or ():
                if not choice.get("index"):
                    self._choice(choice)
        return self._taken()

    def end(self) -> bytes:
        """The events that end a good answer."""
        if not self._begun:
            self._begin({})
        self._send(final=True)
        reason, sequence = stopped(
            self._last, self._stops, called=self._called, refused=self._refused
        )
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        self._write("message_delta", delta=delta, usage=usage_of(self._usage))
        self._write("message_stop")
        return self._taken()

    def _begin(self, event: Mapping[str, Any]) -> None:
        """What was read is known at the end, but for servers that tell it as they go."""
        self._begun = True
        message: dict[str, Any] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": str(event.get("model") or "") if self._model is None else self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_of(self._usage),
        }
        self._write("message_start", message=message)
        self._write("ping")

    def _choice(self, choice: Mapping[str, Any]) -> None:
        self._last.update((k, v) for k, v in choice.items() if k != "delta" and v is not None)
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return
        self._refused = self._refused or refused(delta)
        for kind, text in pieces(delta):
            if not self._blocks or self._blocks[-1].kind != kind:
                self._blocks.append(_Block(kind))
            self._blocks[-1].grow(text)
        for call in calls_of(delta):
            self._call(call)
        self._send()

    def _call(self, call: Mapping[str, Any]) -> None:
        """A call, or more of one. Servers that number all calls alike begin each with its id."""
        function = call.get("function")
        function = function if isinstance(function, dict) else {}
        index, id, name = call.get("index"), call.get("id"), function.get("name")
        if type(index) is not int:
            index = len(self._calls) if id or not self._calls else max(self._calls)
        block = self._calls.get(index)
        if block is None or (id and name and block.id and id != block.id):
            block = self._calls[index] = _Block("tool_use")
            self._blocks.append(block)
            self._called = True
        block.id = block.id or str(id or "")
        block.name = block.name or str(name or "")
        text = arguments(function)
        if block.closed and text.strip():
            raise UpstreamBadResponse(
                "the upstream server went on with a tool call that it had finished"
            )
        if text and not block.closed:
            block.grow(text)

    def _send(self, *, final: bool = False) -> None:
        """Send what can be sent of the open blocks; with `final` all of them end."""
        while self._blocks:
            block = self._blocks[0]
            over = final or (len(self._blocks) > 1 and block.complete())
            if not block.started:
                if block.kind == "tool_use" and not (block.name or final):
                    return
                block.started = True
                self._write("content_block_start", index=self._index, content_block=block.begin())
            if block.held:
                kind, field = DELTAS[block.kind]
                delta = {"type": kind, field: "".join(block.held)}
                self._write("content_block_delta", index=self._index, delta=delta)
                block.held.clear()
            if not over:
                return
            self._write("content_block_stop", index=self._index)
            block.closed = True
            self._blocks.popleft()
            self._index += 1

    def _write(self, event: str, **fields: Any) -> None:
        data = orjson.dumps({"type": event, **fields})
        self._out.append(b"event: %b\ndata: %b\n\n" % (event.encode(), data))

    def _taken(self) -> bytes:
        written = b"".join(self._out)
        self._out.clear()
        return written
