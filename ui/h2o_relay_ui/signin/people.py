"""Names and passwords, checked: the operator's pairs, h2oGPT's file, the store's accounts."""

from __future__ import annotations

import hashlib
import hmac
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from h2o_relay.auth_settings import Auth
from h2o_relay.errors import InvalidRequest

from .decision import Who, decide, who

if TYPE_CHECKING:
    from h2o_relay.store import Accounts

    from .roll import Roll

log = logging.getLogger(__name__)


class People:
    """Raises StoreError where the store fails."""

    def __init__(self, auth: Auth, accounts: Accounts, roll: Roll | None) -> None:
        self._auth = auth
        self._accounts = accounts
        self._roll = roll

    async def admit(self, name: str, password: str) -> Who | None:
        """Who signs in with these, None if nobody does. All ways take about as long: each of them
        hashes a password once.
        """
        person = who(self._auth, plain(name))
        if self._roll is not None:
            await self._roll.look()
        check = decide(self._auth, person, await self._known(person.name))
        if check == "guest":
            return person
        if check == "register":
            return await self._registered(person, password)
        account = await self._account(person.name, password)
        if self._roll is not None and self._roll.is_shut(person.name):
            return None
        pair = fits(self._auth.pairs.get(person.name), password)
        good = {"account": account, "pair": pair, "both": account and pair}.get(check, False)
        return person if good else None

    async def exists(self, name: str) -> bool:
        """Whether somebody who signed in by this name could still do so."""
        if self._roll is not None:
            await self._roll.look()
            if self._roll.is_shut(name):
                return False
        return name in self._auth.pairs or await self._known(name)

    def pair(self, name: str) -> str | None:
        """The operator's password for a name."""
        return self._auth.pairs.get(name)

    async def _known(self, name: str) -> bool:
        return (self._roll is not None and self._roll.has(name)) or await self._accounts.exists(
            name
        )

    async def _account(self, name: str, password: str) -> bool:
        stored = await self._accounts.verify(name, password) is not None
        given = self._roll.password(name) if self._roll is not None else None
        return stored if given is None else fits(given, password)

    async def _registered(self, person: Who, password: str) -> Who | None:
        if self._roll is not None and self._roll.problem:
            log.warning("nobody is registered while the state file cannot be read")
            await self._accounts.verify(person.name, password)
            return None
        try:
            await self._accounts.register(person.name, password)
        except InvalidRequest as error:
            if error.code != "name_taken":
                raise
            return None  # somebody else was first, just now
        return replace(person, new=True)


def plain(name: str) -> str:
    """A name as it is kept; "" for one that nobody can have."""
    from h2o_relay.store import account_name

    try:
        return account_name(name)
    except InvalidRequest:
        return ""


def fits(expected: str | None, given: str) -> bool:
    """Whether two passwords are the same, in constant time."""
    if expected is None:
        return False
    one, other = (hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
                  for text in (expected, given))  # fmt: skip
    return hmac.compare_digest(one, other)
