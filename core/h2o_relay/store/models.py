"""Models that were added while a relay ran: entries as a model lock has them, keys included."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from .database import changed
from .lasting import Runs
from .tables import added_models as table
from .text import decode, encode


class AddedModels:
    """All methods raise StoreError."""

    def __init__(self, store: Runs) -> None:
        self._store = store

    async def all(self) -> list[tuple[str, dict[str, Any]]]:
        """Ids and entries, in the order in which they were added."""
        query = select(table.c.id, table.c.entry).order_by(table.c.created, table.c.id)

        def work(session: Session) -> list[tuple[str, dict[str, Any]]]:
            return [(id, decode(entry)) for id, entry in session.execute(query)]

        return await self._store.run(work, write=False)

    async def put(self, id: str, entry: Mapping[str, Any]) -> None:
        """Add an entry, or replace the one of that id in its place."""
        text, now = encode(dict(entry)), time.time()

        def work(session: Session) -> None:
            change = update(table).where(table.c.id == id).values(entry=text)
            if not changed(session, change):
                session.execute(insert(table).values(id=id, entry=text, created=now))

        await self._store.run(work)

    async def delete(self, id: str) -> None:
        """Raises nothing where there is none."""
        statement = delete(table).where(table.c.id == id)
        await self._store.run(lambda session: changed(session, statement))
