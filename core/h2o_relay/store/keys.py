"""Keys of callers. The keys themselves are not here: `accounting/secret.py` says what is.

One row of `key_state` has the secret of the digests and a revision that every change makes another
one: a random one, so that a backup that is put in place is noticed. It is changed first: whoever
changes keys at the same time waits, with any database.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Row, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

from ..accounting.caller import Allowance
from ..accounting.keys import KeyInfo, Snapshot, StoredKey, Wanted, wanted_of
from ..accounting.secret import ID, SECRET, SHOWN, digest, new_id, new_key
from ..errors import InvalidRequest, NotFound, StoreError
from .database import changed
from .lasting import Runs
from .tables import key_state
from .tables import keys as table
from .text import clean, decode, encode

SIZE = 32  # bytes of a digest
DAMAGED = "the store holds damaged keys"


class Keys:
    """All methods raise StoreError. `ref` is an id, or the name of a key that is not revoked; they
    raise NotFound where there is none.
    """

    def __init__(self, store: Runs, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    async def all(self) -> list[KeyInfo]:
        """In the order in which they were made, revoked ones too."""

        def work(session: Session) -> list[KeyInfo]:
            return [_stored(row).info for row in _rows(session)]

        return await self._store.run(work, write=False)

    async def get(self, ref: str) -> KeyInfo:
        return await self._store.run(lambda s: _stored(_found(s, ref)).info, write=False)

    async def create(self, body: Mapping[str, Any]) -> tuple[KeyInfo, str]:
        """A new key as `body` wants it (`accounting.keys.FIELDS`), and the key itself, which is
        told here and never again. Raises InvalidRequest, also for a name that is taken.
        """
        now, key, id = self._clock(), new_key(), new_id()
        wanted = wanted_of(body, now)

        def work(session: Session) -> KeyInfo:
            made = digest(_begin(session), key.encode())
            _check_name(session, wanted.name, id)
            values = {"id": id, "digest": made.hex(), "last4": key[-SHOWN:], "created": now}
            session.execute(insert(table).values(**values, **_columns(wanted)))
            return _stored(_found(session, id)).info

        return await self._store.run(work), key

    async def change(self, ref: str, body: Mapping[str, Any]) -> KeyInfo:
        """What `body` names. Raises InvalidRequest, also for a key that is revoked."""

        def work(session: Session) -> KeyInfo:
            _begin(session)
            info = _stored(_found(session, ref)).info
            if info.revoked is not None:
                raise InvalidRequest("This key is revoked.")
            wanted = wanted_of(body, self._clock(), info.wanted)
            _check_name(session, wanted.name, info.id)
            return _update(session, info.id, _columns(wanted))

        return await self._store.run(work)

    async def revoke(self, ref: str) -> KeyInfo:
        """For good; one that is revoked stays as it is."""

        def work(session: Session) -> KeyInfo:
            _begin(session)
            info = _stored(_found(session, ref)).info
            if info.revoked is not None:
                return info
            values = {"revoked": self._clock(), "old_digest": None, "old_until": None}
            return _update(session, info.id, values)

        return await self._store.run(work)

    async def rotate(self, ref: str, grace: float = 0.0) -> tuple[KeyInfo, str]:
        """Another key in place of this one, which stays good for `grace` seconds; what an earlier
        rotation left is good no longer. Raises InvalidRequest for a key that is not good.
        """
        key = new_key()

        def work(session: Session) -> KeyInfo:
            secret, now = _begin(session), self._clock()
            stored = _stored(_found(session, ref))
            state = stored.info.state(now)
            if state != "good":
                raise InvalidRequest(f"This key is {state}.")
            old = (stored.digest.hex(), now + grace) if grace > 0 else (None, None)
            values = {"digest": digest(secret, key.encode()).hex(), "last4": key[-SHOWN:]}
            return _update(
                session, stored.info.id, values | {"old_digest": old[0], "old_until": old[1]}
            )

        return await self._store.run(work), key

    async def snapshot(self, seen: int | None) -> Snapshot | None:
        """All of them, with what tells whether a key is one; None if the revision is `seen`."""

        def work(session: Session) -> Snapshot | None:
            revision, secret = _state(session)
            if revision == seen:
                return None
            return Snapshot(revision, secret, [_stored(row) for row in _rows(session)])

        return await self._store.run(work, write=False)

    async def note_used(self, times: Mapping[str, float]) -> None:
        """That keys of these ids were presented, last at these Unix times. No new revision."""
        rows = [{"of": id, "at": at} for id, at in times.items()]
        statement = (
            update(table)
            .where(table.c.id == bindparam("of"))
            .where(or_(table.c.used.is_(None), table.c.used < bindparam("at")))
            .values(used=bindparam("at"))
        )

        def work(session: Session) -> None:
            session.connection().execute(statement, rows)

        if rows:
            await self._store.run(work)


def _begin(session: Session) -> bytes:
    """Begin a change: nobody else changes keys until it is over. The store's secret."""
    changed(session, update(key_state).values(revision=secrets.randbelow(2**31 - 1) + 1))
    return _state(session)[1]


def _state(session: Session) -> tuple[int, bytes]:
    """Revision and secret."""
    row = session.execute(select(key_state.c.revision, key_state.c.secret)).one_or_none()
    if row is None:
        raise StoreError(DAMAGED)
    return row.revision, _bytes(row.secret, SECRET)


def _rows(session: Session) -> list[Row[Any]]:
    return list(session.execute(select(table).order_by(table.c.created, table.c.id)))


def _found(session: Session, ref: str) -> Row[Any]:
    wanted = table.c.id == ref
    if not ref.startswith(ID):
        wanted = (table.c.name == clean(ref)) & table.c.revoked.is_(None)
    row = session.execute(select(table).where(wanted)).one_or_none()
    if row is None:
        raise NotFound(f"There is no key {ref[:100]!r}.")
    return row


def _check_name(session: Session, name: str, id: str) -> None:
    """Raise InvalidRequest for a name that another key has."""
    others = (table.c.name == name) & table.c.revoked.is_(None) & (table.c.id != id)
    if session.execute(select(table.c.id).where(others)).first() is not None:
        raise InvalidRequest(
            f"There is a key called {name!r} already.", param="name", code="name_taken"
        )


def _update(session: Session, id: str, values: Mapping[str, Any]) -> KeyInfo:
    changed(session, update(table).where(table.c.id == id).values(**values))
    return _stored(_found(session, id)).info


def _columns(wanted: Wanted) -> dict[str, Any]:
    return {
        "name": wanted.name,
        "admin": wanted.admin,
        "expires": wanted.expires,
        "allowance": encode(asdict(wanted.allowance)),
    }


def _stored(row: Row[Any]) -> StoredKey:
    """Raises StoreError for a row that is not one of ours: what it allows cannot be told."""
    try:
        allowance = Allowance(**decode(row.allowance))
    except TypeError:
        raise StoreError(DAMAGED) from None
    wanted = Wanted(
        name=row.name, expires=row.expires, admin=bool(row.admin),
        allowance=replace(allowance, models=tuple(allowance.models)),
    )  # fmt: skip
    info = KeyInfo(
        id=row.id, wanted=wanted, last4=row.last4, created=row.created, revoked=row.revoked,
        used=row.used, old_until=row.old_until,
    )  # fmt: skip
    old = None if row.old_digest is None else _bytes(row.old_digest, SIZE)
    return StoredKey(info, _bytes(row.digest, SIZE), old)


def _bytes(text: str, size: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != size:
        raise StoreError(DAMAGED)
    return found
