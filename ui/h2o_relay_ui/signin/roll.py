"""The users of h2oGPT's file while the page runs: read again when it changes, and moved.

Moving a user: the password is hashed into the store, the conversations are copied there, then the
password is taken out of the file. Until that is done, and for good with `--auth_freeze`, the
password in the file is the one that counts. A user who was moved stays in the file without a
password: the name is known, the store has the rest.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from h2o_relay.errors import InvalidRequest, RelayError

from .people import plain
from .state_file import Entry, StateFile, Unreadable, is_shut, password_of

if TYPE_CHECKING:
    from h2o_relay.store import Accounts

LOOK_AGAIN = 1.0  # seconds
BATCH = 20  # users between two writings of the file
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    written: str
    """The name as the file has it."""
    password: str | None
    """None: the store has it."""
    shut: bool
    entry: Entry


async def nothing(name: str, entry: Entry) -> None:
    """Keep nothing of an entry but its password."""


class Roll:
    def __init__(
        self, file: StateFile, accounts: Accounts, *, frozen: bool = False,
        changed: Callable[[str], None] = lambda name: None,
        keep: Callable[[str, Entry], Awaitable[None]] = nothing,
    ) -> None:  # fmt: skip
        """`changed` is told whose password has become another; `keep` gets the entry of each user
        who is moved."""
        self._file = file
        self._accounts = accounts
        self._frozen = frozen
        self._changed = changed
        self._keep = keep
        self._stamp: tuple[int, ...] | None = None
        self._looked = float("-inf")
        self._looking = asyncio.Lock()
        self._users: dict[str, Listed] = {}
        self._left: dict[str, str] = {}
        self._moving: asyncio.Task[None] | None = None
        self.problem = ""
        """Why the file cannot be read: who is in it is not known then."""

    def has(self, name: str) -> bool:
        return name in self._users

    def password(self, name: str) -> str | None:
        """The password that the file has; None if the store has it."""
        listed = self._users.get(name)
        return listed.password if listed else None

    def is_shut(self, name: str) -> bool:
        """Whether the file says that nobody signs in by this name."""
        listed = self._users.get(name)
        return listed is not None and listed.shut

    async def close(self) -> None:
        if self._moving is not None:
            self._moving.cancel()
            await asyncio.wait([self._moving])

    async def moved(self) -> None:
        """Wait until what can be moved is."""
        if self._moving is not None:
            await asyncio.wait([self._moving])

    async def look(self, *, now: bool = False) -> None:
        """Read the file if it has changed, and begin to move who is new in it."""
        async with self._looking:
            clock = time.monotonic()
            if not now and clock - self._looked < LOOK_AGAIN:
                return
            self._looked = clock
            stamp = await asyncio.to_thread(self._file.stamp)
            if stamp != self._stamp or self.problem:
                self._stamp = stamp
                await self._read()

    async def _read(self) -> None:
        try:
            entries = await asyncio.to_thread(self._file.read)
        except Unreadable as error:
            if str(error) != self.problem:
                log.error("%s, the file of users, cannot be read: %s; nobody can make an account "
                          "until it can", self._file.path, error)  # fmt: skip
            self.problem = str(error)
            return
        first = not self._users
        self.problem = ""
        self._users = _by_name(entries, kept=not self._frozen)
        if self._frozen and first:
            log.info("%s: %d users, whose passwords are left there (--auth_freeze)",
                     self._file.path, len(self._users))  # fmt: skip
        if not self._frozen and self._waiting() and (self._moving is None or self._moving.done()):
            self._moving = asyncio.create_task(self._move(), name="users of h2oGPT's file")

    def _waiting(self) -> list[tuple[str, Listed]]:
        """Who is to be moved, but for those who could not be."""
        return [
            (name, listed)
            for name, listed in self._users.items()
            if listed.password is not None and self._left.get(name) != listed.password
        ]

    async def _move(self) -> None:
        done = 0
        while batch := self._waiting()[:BATCH]:
            taken = {}
            for name, listed in batch:
                if await self._stored(name, listed):
                    taken[listed.written] = listed.password or ""
            if taken and not await self._taken_out(taken):
                break
            done += len(taken)
            self._stamp = None  # read it as it is now
            await self.look(now=True)
            for name, listed in batch:
                if self.password(name) == listed.password:
                    self._left[name] = listed.password or ""
        left = f"; {len(self._left)} could not be, and stay as they are" if self._left else ""
        log.info("%s: %d passwords were moved to the relay's store, hashed%s",
                 self._file.path, done, left)  # fmt: skip

    async def _stored(self, name: str, listed: Listed) -> bool:
        """The password is the account's, which is made if there is none."""
        password = listed.password or ""
        try:
            if not await self._accounts.exists(name):
                await self._accounts.register(name, password)
            elif await self._accounts.verify(name, password) is None:
                await self._accounts.set_password(name, password)
                self._changed(name)
            await self._keep(name, listed.entry)
        except InvalidRequest:
            return False
        except RelayError as error:
            log.error("a user of %s is not moved: %s", self._file.path, error.message)
            return False
        return True

    async def _taken_out(self, passwords: dict[str, str]) -> bool:
        try:
            await asyncio.to_thread(self._file.take_out, passwords)
        except Unreadable as error:
            log.error("%s: passwords that are in the store by now stay in the file too: %s",
                      self._file.path, error)  # fmt: skip
            for name, listed in self._users.items():
                self._left[name] = listed.password or ""
            return False
        return True


def _by_name(entries: dict[str, Entry], kept: bool) -> dict[str, Listed]:
    """By the name that counts. The first of two that are the same wins. Entries hold whole
    conversations: those of users who are moved are let go.
    """
    users: dict[str, Listed] = {}
    for written, entry in entries.items():
        name, password = plain(written), password_of(entry)
        if name:
            rest = entry if kept and password is not None else {}
            users.setdefault(name, Listed(written, password, is_shut(entry), rest))
    return users
