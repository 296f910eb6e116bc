"""The items of a response's output while they grow, and the events that tell of it.

Events, their fields and their order are those of OpenAI's API reference ("Streaming events"). An
item of text is open alone; calls of functions stay open to the end, because chat completions may
send their arguments in turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Say = Callable[[str, dict[str, Any]], None]
"""Is told each event: its type, and its fields but for `type` and `sequence_number`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A kind of part, and its names."""

    type: str
    text: str = "text"
    """The field that grows."""
    parts: str = "content"
    """The item's field that holds parts of this kind."""
    index: str = "content_index"
    part_event: str = "response.content_part"
    text_event: str


TEXT = Kind(type="output_text", text_event="response.output_text")
REFUSAL = Kind(type="refusal", text="refusal", text_event="response.refusal")
REASONING = Kind(type="reasoning_text", text_event="response.reasoning_text")
SUMMARY = Kind(
    type="summary_text", parts="summary", index="summary_index",
    part_event="response.reasoning_summary_part", text_event="response.reasoning_summary_text",
)  # fmt: skip


class Spoken:
    """A message, or reasoning: an item that consists of parts, of which the last one grows."""

    def __init__(self, item: dict[str, Any], number: int, say: Say) -> None:
        self.item, self._say = item, say
        self._item_at = {"item_id": item["id"], "output_index": number}
        self._at: dict[str, Any] = {}  # of the open part
        self._kind: Kind | None = None
        self._part: dict[str, Any] = {}
        self._pieces: list[str] = []
        self._held: list[Any] = []  # logprobs of tokens that no text came with

    def grow(self, kind: Kind, piece: str, logprobs: list[Any]) -> None:
        self.open(kind)
        self._pieces.append(piece)
        grown = {**self._at, "delta": piece}
        if kind is TEXT:
            grown["logprobs"] = [*self._held, *logprobs]
            self._part["logprobs"] += grown["logprobs"]
            self._held = []
        self._say(f"{kind.text_event}.delta", grown)

    def hold(self, logprobs: list[Any]) -> None:
        self._held += logprobs

    def annotate(self, annotation: dict[str, Any]) -> None:
        """A note on the text so far."""
        self.open(TEXT)
        found = self._part["annotations"]
        found.append(annotation)
        at = {**self._at, "annotation_index": len(found) - 1}
        self._say("response.output_text.annotation.added", {**at, "annotation": annotation})

    def settle(self) -> None:
        """Write what has been said so far into the item."""
        if self._kind is not None:
            self._part[self._kind.text] = "".join(self._pieces)

    def end(self, status: str) -> None:
        self._end_part()
        self.item["status"] = status
        number = self._item_at["output_index"]
        self._say("response.output_item.done", {"output_index": number, "item": self.item})

    def open(self, kind: Kind) -> None:
        """See that the open part is of this kind."""
        if kind is self._kind:
            return
        self._end_part()
        notes: dict[str, Any] = {"annotations": [], "logprobs": []} if kind is TEXT else {}
        self._kind, self._part = kind, {"type": kind.type, **notes, kind.text: ""}
        parts = self.item[kind.parts]
        self._at = {**self._item_at, kind.index: len(parts)}
        parts.append(self._part)
        self._say(f"{kind.part_event}.added", {**self._at, "part": self._part})

    def _end_part(self) -> None:
        kind = self._kind
        if kind is None:
            return
        self.settle()
        said = {**self._at, kind.text: self._part[kind.text]}
        if kind is TEXT:
            self._part["logprobs"] += self._held
            said["logprobs"] = self._part["logprobs"]
        self._say(f"{kind.text_event}.done", said)
        self._say(f"{kind.part_event}.done", {**self._at, "part": self._part})
        self._kind, self._pieces, self._held = None, [], []


class Called:
    """A call of a function. It begins once its name is known."""

    def __init__(self, item: dict[str, Any], given_id: Any, say: Say) -> None:
        """`given_id` is the server's own, which need not be that of the item."""
        self.item, self.given_id, self._say = item, given_id, say
        self.begun = False
        self._at: dict[str, Any] = {}
        self._early: list[str] = []  # arguments that came before the name
        self._pieces: list[str] = []

    def begin(self, number: int) -> None:
        self.begun = True
        self._at = {"item_id": self.item["id"], "output_index": number}
        self._say("response.output_item.added", {"output_index": number, "item": self.item})
        for piece in self._early:
            self.grow(piece)

    def grow(self, piece: str) -> None:
        if not self.begun:
            self._early.append(piece)
            return
        self._pieces.append(piece)
        self._say("response.function_call_arguments.delta", {**self._at, "delta": piece})

    def settle(self) -> None:
        self.item["arguments"] = "".join(self._pieces)

    def end(self, status: str) -> None:
        self.settle()
        said = {"name": self.item["name"], "arguments": self.item["arguments"]}
        self._say("response.function_call_arguments.done", {**self._at, **said})
        self.item["status"] = status
        number = self._at["output_index"]
        self._say("response.output_item.done", {"output_index": number, "item": self.item})
