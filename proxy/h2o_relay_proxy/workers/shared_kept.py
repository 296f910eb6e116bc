"""Responses that are kept (`/v1/responses`), by the coordinator for all workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from h2o_relay.workers.channel import Channel, Handlers

from ..dialects.responses import Kept
from ..dialects.responses.kept import Entry

AT_HAND: Final = 50  # responses that a worker has, for the requests that it is answering
Brought = list[tuple[str, Entry]]


class SharedKept(Kept):
    """Of the worker at this end of a channel: what a request refers to is brought before it is
    read, what is new is handed on at once.
    """

    def __init__(self, channel: Channel) -> None:
        super().__init__(most=AT_HAND)
        self._channel = channel

    async def bring(self, owner: str, ids: Sequence[str]) -> None:
        """Have here what is kept under these ids of responses and items, and nothing else."""
        if not ids:
            return
        found: Brought = await self._channel.ask("kept", owner, tuple(ids))
        there = {id for id, _ in found}
        for id in ids:
            holder = self.holder(owner, id)
            while holder is not None and holder not in there:
                super().remove(owner, holder)  # it was deleted, or had to make room
                holder = self.holder(owner, id)
        for id, entry in found:
            super().put(owner, id, entry)

    def put(self, owner: str, id: str, entry: Entry) -> bool:
        good = super().put(owner, id, entry)
        if good:
            self._channel.say_now("keep", owner, id, entry)
        return good

    def remove(self, owner: str, id: str) -> None:
        super().remove(owner, id)
        self._channel.say_now("unkeep", owner, id)


def kept_handlers(kept: Kept) -> Handlers:
    """What a coordinator's end of a channel does for `SharedKept`."""

    def bring(owner: str, ids: Sequence[str]) -> Brought:
        holders = {kept.holder(owner, id) for id in ids} - {None}
        return [(str(id), kept.find(owner, str(id))) for id in holders]

    def remove(owner: str, id: str) -> None:
        if kept.has(owner, id):
            kept.remove(owner, id)

    return {"kept": bring, "keep": kept.put, "unkeep": remove}
