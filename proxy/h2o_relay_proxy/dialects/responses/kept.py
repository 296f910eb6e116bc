"""Responses that are kept in memory, so that others can go on from them and they can be read.

Nothing is written to disk: after a restart, and once newer ones need the room, they are gone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest, NotFound

from .items import Item
from .request import Earlier

MOST = 1000  # responses
MOST_BYTES = 64 * 2**20
ENTRY_COST = 700  # bytes of a response beside its body and its items: measured, as the next one
ITEM_COST = 400  # bytes beside an item's own
PREFIXES: Mapping[str, str] = {
    "message": "msg_", "reasoning": "rs_", "function_call": "fc_", "function_call_output": "fco_",
}  # fmt: skip
Encoded = tuple[str, bytes]
"""An item's id, and the item as JSON: conversations share the bytes of their older items."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One response."""

    body: bytes
    input: tuple[Encoded, ...]
    """Its whole context but for the instructions: that of the response before it as well."""
    output: tuple[Encoded, ...]

    @property
    def cost(self) -> int:
        """Bytes. What is shared with other responses counts for each of them."""
        items = (*self.input, *self.output)
        return ENTRY_COST + len(self.body) + sum(len(data) + ITEM_COST for _, data in items)


Key = tuple[str, str]
"""An owner, and an id."""


class Kept:
    """The newest responses, each for its owner alone."""

    def __init__(self, most: int = MOST, most_bytes: int = MOST_BYTES) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._items: dict[Key, Key] = {}  # the newest response that has an item
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def keep(
        self, owner: str, earlier: Sequence[Encoded], items: Sequence[Item], id: str, body: bytes,
        output: Sequence[Item],
    ) -> bool:  # fmt: skip
        """False for one that is too large to be kept. The oldest ones make room."""
        new = [_encoded(item, f"{id.removeprefix('resp_')}i{n:x}") for n, item in enumerate(items)]
        said = tuple(_encoded(item, "") for item in output)
        entry = Entry(body=_fitted(body), input=(*earlier, *new), output=said)
        return self.put(owner, id, entry)

    def put(self, owner: str, id: str, entry: Entry) -> bool:
        """The same for one that is made already, in place of any of that id."""
        if entry.cost > self._most_bytes:
            return False
        key = (owner, id)
        if key in self._entries:
            self._forget(key)
        self._entries[key] = entry
        self.bytes += entry.cost
        for item_id, _ in (*entry.input, *entry.output):
            self._items[owner, item_id] = key
        while len(self._entries) > self._most or self.bytes > self._most_bytes:
            self._forget(next(iter(self._entries)))
        return (owner, id) in self._entries

    def find(self, owner: str, id: str) -> Entry:
        """Raises NotFound, also for a response of somebody else."""
        entry = self._entries.get((owner, id))
        if entry is None:
            raise NotFound(f"Response with id '{id[:100]}' not found.")
        return entry

    def item(self, owner: str, id: str) -> Item | None:
        key = self._items.get((owner, id))
        if key is None:
            return None
        entry = self._entries[key]
        data = next(data for name, data in (*entry.input, *entry.output) if name == id)
        return _decoded(data)

    def remove(self, owner: str, id: str) -> None:
        """Raises NotFound."""
        self.find(owner, id)
        self._forget((owner, id))

    def holder(self, owner: str, id: str) -> str | None:
        """The id of the response that has this one, or an item of it; None where there is none."""
        key = (owner, id) if (owner, id) in self._entries else self._items.get((owner, id))
        return None if key is None else key[1]

    def has(self, owner: str, id: str) -> bool:
        return (owner, id) in self._entries

    def has_item(self, owner: str, id: str) -> bool:
        return (owner, id) in self._items

    def _forget(self, key: Key) -> None:
        entry = self._entries.pop(key)
        self.bytes -= entry.cost
        for item_id, _ in (*entry.input, *entry.output):
            if self._items.get((key[0], item_id)) == key:
                del self._items[key[0], item_id]


class Of(Earlier):
    """What is kept of one owner's: nothing where nothing is kept."""

    def __init__(self, kept: Kept | None, owner: str) -> None:
        self._kept, self._owner = kept, owner
        self._before: tuple[Encoded, ...] = ()

    def context(self, response_id: str) -> list[Item]:
        """Raises InvalidRequest, with the code that OpenAI's servers give."""
        try:
            if self._kept is None:
                raise NotFound("Nothing is kept.")
            entry = self._kept.find(self._owner, response_id)
        except NotFound:
            raise InvalidRequest(
                f"Previous response with id '{response_id[:100]}' not found. Responses are kept in "
                "memory for a while, and not at all where `store` is false.",
                param="previous_response_id", code="previous_response_not_found",
            ) from None  # fmt: skip
        self._before = (*entry.input, *entry.output)
        return [_decoded(data) for _, data in self._before]

    def item(self, item_id: str) -> Item | None:
        return None if self._kept is None else self._kept.item(self._owner, item_id)

    def keeper(self, items: Sequence[Item]) -> partial[bool] | None:
        """What keeps the response to a request with these new items; see `answer.Keep`."""
        if self._kept is None:
            return None
        return partial(self._kept.keep, self._owner, self._before, items)


def _encoded(item: Mapping[str, Any], new: str) -> Encoded:
    """`new` is the end of an id for an item without one."""
    name = item.get("id") or f"{PREFIXES[item['type']]}{new}"
    return name, _fitted(orjson.dumps({**item, "id": name}))


def _fitted(data: bytes) -> bytes:
    """A copy of its own size: what orjson returns keeps the room that it was written in, which is
    up to sixteen times as much.
    """
    return bytes(memoryview(data))


def _decoded(data: bytes) -> Item:
    item: Item = orjson.loads(data)
    return item
