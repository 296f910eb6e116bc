"""Accounts: who may sign in, by name and password."""

from __future__ import annotations

import asyncio
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ..errors import InvalidRequest, NotFound, StoreError
from . import passwords
from .database import Store, changed
from .tables import accounts as table

T = TypeVar("T")

NAME = 100  # characters
PASSWORD = 1024  # bytes
AT_ONCE = 2  # passwords that are worked on: each takes 32 MiB, whoever asks for it


@dataclass(frozen=True, slots=True)
class Account:
    name: str
    created: float
    """Unix time."""


def account_name(name: str) -> str:
    """A name as accounts have it: normalised (NFKC), without blanks around it; case counts.

    Raises InvalidRequest for one that is empty, too long, or cannot be printed.
    """
    plain = unicodedata.normalize("NFKC", name).strip()
    if not plain or len(plain) > NAME or not plain.isprintable():
        raise InvalidRequest(
            f"A user's name has 1 to {NAME} characters that can be printed.", param="name"
        )
    return plain


class Accounts:
    """All methods raise StoreError, and InvalidRequest for names and passwords that are none."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = asyncio.Semaphore(AT_ONCE)

    async def verify(self, name: str, password: str) -> Account | None:
        """The account, if this is its password. A name that is not there takes as long."""
        try:
            secret, known = _secret(password), account_name(name)
        except InvalidRequest:
            secret, known = b"", ""
        row = await self._row(known)
        stored = row[1] if row is not None else passwords.nobodys()
        try:
            good = await self._slowly(lambda: passwords.fits(secret, stored))
        except ValueError:
            raise StoreError(f"the password of {known!r} is not stored as it should be") from None
        return row[0] if row is not None and good else None

    async def register(self, name: str, password: str) -> Account:
        """A new account. Raises InvalidRequest, its code `name_taken`, where there is one."""
        account = Account(account_name(name), time.time())
        stored = await self._hashed(password)
        statement = insert(table).values(
            name=account.name, password=stored, created=account.created
        )

        def work(session: Session) -> Account:
            try:
                session.execute(statement)
            except IntegrityError:
                raise InvalidRequest(
                    "There is a user of this name already.", param="name", code="name_taken"
                ) from None
            return account

        return await self._store.run(work)

    async def set_password(self, name: str, password: str) -> None:
        """Raises NotFound."""
        known = account_name(name)
        stored = await self._hashed(password)
        statement = update(table).where(table.c.name == known).values(password=stored)
        await self._store.run(lambda session: _one(changed(session, statement)))

    async def exists(self, name: str) -> bool:
        try:
            return await self._row(account_name(name)) is not None
        except InvalidRequest:
            return False

    async def all(self) -> list[Account]:
        """By name."""
        query = select(table.c.name, table.c.created).order_by(table.c.name)

        def work(session: Session) -> list[Account]:
            return [Account(*row) for row in session.execute(query)]

        return await self._store.run(work, write=False)

    async def delete(self, name: str) -> None:
        """The account alone, not what its owner has stored. Raises NotFound."""
        statement = delete(table).where(table.c.name == account_name(name))
        await self._store.run(lambda session: _one(changed(session, statement)))

    async def _row(self, name: str) -> tuple[Account, str] | None:
        query = select(table.c.name, table.c.created, table.c.password).where(table.c.name == name)

        def work(session: Session) -> tuple[Account, str] | None:
            row = session.execute(query).one_or_none()
            return None if row is None else (Account(row[0], row[1]), row[2])

        return await self._store.run(work, write=False)

    async def _hashed(self, password: str) -> str:
        secret = _secret(password)
        return await self._slowly(lambda: passwords.hashed(secret))

    async def _slowly(self, work: Callable[[], T]) -> T:
        """In a thread: scrypt lets other threads run."""
        async with self._turn:
            return await asyncio.to_thread(work)


def _secret(password: str) -> bytes:
    """Raises InvalidRequest, which does not repeat it."""
    try:
        secret = password.encode()
    except UnicodeEncodeError:
        secret = b""
    if not 0 < len(secret) <= PASSWORD:
        raise InvalidRequest(f"A password has 1 to {PASSWORD} bytes.", param="password")
    return secret


def _one(rows: int) -> None:
    if not rows:
        raise NotFound("There is no user of this name.")
