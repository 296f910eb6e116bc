"""Conversations: each is its owner's, and nobody else's."""

from __future__ import annotations

import builtins
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..errors import InvalidRequest, NotFound
from .database import Store, changed
from .tables import conversations as table
from .text import clean, decode, encode, fold, searchable, words

KINDS = ("chat", "compare", "grid")
ID = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(slots=True)
class Conversation:
    """`messages` are JSON objects with `role` and `content`, and what else the page keeps there."""

    id: str
    owner: str
    title: str
    kind: str
    """`chat`, `compare`, `grid`."""
    created: float
    """Unix time."""
    updated: float
    """Unix time."""
    settings: dict[str, Any]
    messages: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Summary:
    """A conversation without its messages."""

    id: str
    title: str
    kind: str
    created: float
    updated: float


class Conversations:
    """All methods raise StoreError; those with an id raise NotFound where this owner has none."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list(
        self, owner: str, *, search: str = "", kind: str | None = None, limit: int = 200
    ) -> builtins.list[Summary]:
        """The newest first, `limit` at most. Every word of `search` is in title or text."""
        columns = table.c
        query = select(
            columns.id, columns.title, columns.kind, columns.created, columns.updated
        ).where(columns.owner == owner)
        if kind is not None:
            query = query.where(columns.kind == kind)
        for word in words(search):
            query = query.where(_has(word))
        query = query.order_by(columns.updated.desc(), columns.id).limit(max(0, limit))

        def work(session: Session) -> builtins.list[Summary]:
            return [Summary(*row) for row in session.execute(query)]

        return await self._store.run(work, write=False)

    async def get(self, owner: str, id: str) -> Conversation:
        query = select(table).where(_is(owner, id))

        def work(session: Session) -> Conversation:
            row = session.execute(query).mappings().one_or_none()
            if row is None:
                raise _missing()
            return Conversation(
                id=row["id"],
                owner=row["owner"],
                title=row["title"],
                kind=row["kind"],
                created=row["created"],
                updated=row["updated"],
                settings=decode(row["settings"]),
                messages=decode(row["messages"]),
            )

        return await self._store.run(work, write=False)

    async def create(
        self,
        owner: str,
        *,
        kind: str = "chat",
        title: str = "",
        settings: Mapping[str, Any] | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
        id: str | None = None,
    ) -> Conversation:
        """A new one, by a random id unless one is given. Raises InvalidRequest for an unknown
        kind, an id that is none, and one that this owner has already.
        """
        if kind not in KINDS:
            raise InvalidRequest(f"A conversation is one of {', '.join(KINDS)}.", param="kind")
        if id is not None and not ID.fullmatch(id):
            raise InvalidRequest("An id has up to 64 letters, digits, - and _.", param="id")
        now = time.time()
        head = {"owner": owner, "id": id or secrets.token_hex(16), "kind": kind}
        head |= {"title": clean(title)}
        given = _columns(title, settings or {}, messages or [])
        statement = insert(table).values(**head | given, created=now, updated=now)

        def work(session: Session) -> None:
            try:
                session.execute(statement)
            except IntegrityError:
                raise InvalidRequest(
                    "There is a conversation with this id already.", param="id"
                ) from None

        await self._store.run(work)
        return Conversation(
            **head,
            created=now,
            updated=now,
            settings=dict(settings or {}),
            messages=[dict(message) for message in messages or []],
        )

    async def save(
        self,
        owner: str,
        id: str,
        *,
        title: str | None = None,
        settings: Mapping[str, Any] | None = None,
        messages: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        """Replace what is given, as it is at the time of the call; the rest stays."""
        given = _columns(title, settings, messages)
        statement = update(table).where(_is(owner, id)).values(**given, updated=time.time())

        def work(session: Session) -> None:
            if not changed(session, statement):
                raise _missing()

        await self._store.run(work)

    async def delete(self, owner: str, id: str) -> None:
        """Raises nothing where there is none: it is gone, as was wanted."""
        statement = delete(table).where(_is(owner, id))
        await self._store.run(lambda session: changed(session, statement))

    async def delete_all(self, owner: str) -> int:
        """How many there were."""
        statement = delete(table).where(table.c.owner == owner)
        return await self._store.run(lambda session: changed(session, statement))


def _columns(
    title: str | None,
    settings: Mapping[str, Any] | None,
    messages: Sequence[Mapping[str, Any]] | None,
) -> dict[str, str]:
    """The columns of what is given. Made before the store's thread is asked: the page goes on
    changing its messages.
    """
    columns: dict[str, str] = {}
    if title is not None:
        columns |= {"title": clean(title), "folded_title": fold(title)}
    if settings is not None:
        columns["settings"] = encode(dict(settings))
    if messages is not None:
        columns |= {"messages": encode(list(messages)), "text": searchable(messages)}
    return columns


def _is(owner: str, id: str) -> ColumnElement[bool]:
    return and_(table.c.owner == owner, table.c.id == clean(id))


def _has(word: str) -> ColumnElement[bool]:
    title = table.c.folded_title.contains(word, autoescape=True)
    return or_(title, table.c.text.contains(word, autoescape=True))


def _missing() -> NotFound:
    return NotFound("There is no such conversation.", param="id")
