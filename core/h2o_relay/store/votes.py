"""Votes: which of several models' answers somebody found best."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from ..errors import InvalidRequest
from .database import Store
from .tables import votes as table
from .text import clean, decode, encode


@dataclass(frozen=True, slots=True)
class Vote:
    """One comparison."""

    models: tuple[str, ...]
    """Names, in the order of the columns."""
    winner: str | None
    """One of `models`; "" for a tie, None where none was good."""
    prompt: str
    conversation: str | None
    """Its id."""
    time: float
    """Unix time."""


class Votes:
    """All methods raise StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def add(self, owner: str, vote: Vote) -> None:
        """Raises InvalidRequest for a winner that took no part."""
        if vote.winner and vote.winner not in vote.models:
            raise InvalidRequest(f"{vote.winner!r} is none of these models.", param="winner")
        statement = insert(table).values(
            owner=owner,
            time=vote.time,
            models=encode(list(vote.models)),
            winner=None if vote.winner is None else clean(vote.winner),
            conversation=vote.conversation,
            prompt=clean(vote.prompt),
        )

        def work(session: Session) -> None:
            session.execute(statement)

        await self._store.run(work)

    async def all(self) -> list[Vote]:
        """Everybody's, the oldest first."""
        columns = table.c
        query = select(
            columns.models, columns.winner, columns.prompt, columns.conversation, columns.time
        ).order_by(columns.id)

        def work(session: Session) -> list[Vote]:
            return [Vote(tuple(decode(row[0])), *row[1:]) for row in session.execute(query)]

        return await self._store.run(work, write=False)
