"""Where the page's conversations are: the store, or this process's memory for temporary ones.

Both have the methods of `h2o_relay.store.Conversations`. A temporary conversation's id begins with
`TEMPORARY`; it is in no list, and gone with the process.
"""

from __future__ import annotations

import asyncio
import copy
import secrets
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from h2o_relay.errors import NotFound
from h2o_relay.store import Conversation

from .thread import Message

if TYPE_CHECKING:
    from h2o_relay.store import Conversations

TEMPORARY = "t-"
MISSING = "This conversation is not there any more."
Change = Callable[[list[Message]], list[Message] | None]


def is_temporary(id: str) -> bool:
    return id.startswith(TEMPORARY)


class Memory:
    """Conversations that are never written down."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], Conversation] = {}

    async def get(self, owner: str, id: str) -> Conversation:
        try:
            return copy.deepcopy(self._held[owner, id])
        except KeyError:
            raise NotFound(MISSING) from None

    async def create(
        self, owner: str, *, kind: str = "chat", title: str = "",
        settings: Mapping[str, Any] | None = None, messages: Sequence[Message] | None = None,
        id: str | None = None,
    ) -> Conversation:  # fmt: skip
        now = time.time()
        id = id or f"{TEMPORARY}{secrets.token_hex(8)}"
        self._held[owner, id] = Conversation(
            id=id, owner=owner, title=title, kind=kind, created=now, updated=now,
            settings=dict(settings or {}), messages=list(messages or ()),
        )  # fmt: skip
        return await self.get(owner, id)

    async def save(
        self, owner: str, id: str, *, title: str | None = None,
        settings: Mapping[str, Any] | None = None, messages: Sequence[Message] | None = None,
    ) -> None:  # fmt: skip
        given = {"title": title, "settings": settings, "messages": messages}
        changes: dict[str, Any] = {k: v for k, v in given.items() if v is not None}
        held = await self.get(owner, id)
        self._held[owner, id] = replace(held, **copy.deepcopy(changes), updated=time.time())

    async def delete(self, owner: str, id: str) -> None:
        self._held.pop((owner, id), None)


class Shelf:
    """All conversations, by id. Raises NotFound for one that is not there, or is another's."""

    def __init__(self, stored: Conversations) -> None:
        self.stored = stored
        self._memory = Memory()
        self._locks: weakref.WeakValueDictionary[str, asyncio.Lock] = weakref.WeakValueDictionary()

    def _of(self, id: str) -> Memory | Conversations:
        return self._memory if is_temporary(id) else self.stored

    async def get(self, owner: str, id: str) -> Conversation:
        return await self._of(id).get(owner, id)

    async def create(
        self, owner: str, *, temporary: bool = False, kind: str = "chat", title: str = "",
        settings: dict[str, Any] | None = None, messages: list[Message] | None = None,
    ) -> Conversation:  # fmt: skip
        where = self._memory if temporary else self.stored
        return await where.create(
            owner, kind=kind, title=title, settings=settings, messages=messages
        )

    async def save(
        self, owner: str, id: str, *, title: str | None = None,
        settings: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        await self._of(id).save(owner, id, title=title, settings=settings)

    async def delete(self, owner: str, id: str) -> None:
        await self._of(id).delete(owner, id)

    async def change(self, owner: str, id: str, change: Change) -> Conversation:
        """Change a conversation's messages: `change` gets them as they are and returns them as
        they shall be, or None to leave them. Changes of one conversation come one after another.
        """
        lock = self._locks.setdefault(id, asyncio.Lock())
        async with lock:
            conversation = await self.get(owner, id)
            messages = change(list(conversation.messages))
            if messages is None:
                return conversation
            await self._of(id).save(owner, id, messages=messages)
            return replace(conversation, messages=messages)
