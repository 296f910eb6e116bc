"""Who somebody is, and how they become somebody: sessions, sign-in, and what both are asked for."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from h2o_relay.api_keys import ApiKeys
from h2o_relay.auth_settings import Auth, read_auth
from h2o_relay.errors import InvalidRequest, RelayError
from h2o_relay.settings import SettingError, Settings, data_dir

from .attempts import Attempts
from .old_chats import keeper
from .page import Form
from .people import People, plain
from .roll import Roll, nothing
from .sessions import Session, Sessions
from .state_file import state_file
from .stored import Asked as AskedRelay
from .stored import StoredKeys

if TYPE_CHECKING:
    from h2o_relay.store import Accounts, Conversations

Mode = Literal["accounts", "key", "browser", "local"]
"""People sign in by name and password; with a key as the password; a browser is a person; nobody
is asked."""
FRESH = 30.0  # seconds for which a user who was there is taken to be there
KEPT = 10_000  # users of whom that is remembered
WRONG = "The name or the password is not right."
WRONG_KEY = "This access key is not known."
NO_GUESTS = "Guests are not let in."
BROKEN = "Signing in does not work at the moment. The relay's log says why."
HINTS: dict[tuple[Mode, bool], str] = {
    ("accounts", True): "New here? Choose a name and a password: they become your account.",
    ("accounts", False): "Sign in to go on.",
    ("key", False): "Sign in with any name, and the relay's API key as the password.",
}
NOBODY = Session("", "local")
STORED = "id:"
"""How a session tells a key of the store, by its id; no mark of another key begins so."""
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Asked:
    """What came with an attempt to sign in."""

    name: str = ""
    password: str = ""
    key: str = ""
    guest: bool = False
    page: bool = True
    """By a person at a page, who is asked for a key where one is needed; programs send theirs
    with each call."""
    address: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    session: Session | None = None
    error: str = ""
    status: int = 200
    wait: int = 0
    """Seconds until it may be tried again."""
    new: bool = False
    """An account was made."""


class Desk:
    """Raises SettingError for settings that cannot be read."""

    def __init__(self, settings: Settings, *, local: bool) -> None:
        """`local`: only this machine is served; its people need not sign in."""
        self.auth: Auth = _normalised(read_auth(settings))
        self.keys = ApiKeys(settings)
        self.stored = StoredKeys()
        self._local = local
        kept = self.mode != "local" or self.keys.needed_by_page
        self.sessions = Sessions(data_dir(settings) if kept else None)
        self._attempts = Attempts()
        self._people: People | None = None
        self._there: dict[str, float] = {}
        self._marks: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())

    @asynccontextmanager
    async def opened(
        self, accounts: Accounts, conversations: Conversations | None = None, *, kept: bool = True,
        relay: AskedRelay | None = None,
    ) -> AsyncIterator[None]:  # fmt: skip
        """Able to sign people in for the length of the block. The users of h2oGPT's file are moved
        to `accounts`, what they said is copied to `conversations`; but where the store is not
        `kept` when this process ends the file stays as it is. `relay` knows the store's keys.
        """
        roll = None
        if self.auth.filename is not None:
            keep = keeper(conversations) if conversations is not None else nothing
            roll = Roll(
                state_file(self.auth.filename), accounts, frozen=self.auth.frozen or not kept,
                changed=self.sessions.end_all, keep=keep,
            )  # fmt: skip
            await roll.look()
        self._people = People(self.auth, accounts, roll)
        await self.stored.use(relay)
        try:
            yield
        finally:
            self._people = None
            if roll is not None:
                await roll.close()

    @property
    def mode(self) -> Mode:
        """The first key of the relay's store has browsers sign in that were people till then."""
        if self.auth.wanted:
            return "accounts"
        if self._local:
            return "local"
        return "key" if self.keys.needed or self.stored.needed else "browser"

    @property
    def signs_in(self) -> bool:
        """Whether people say who they are."""
        return self.mode in ("accounts", "key")

    def form(self, **more: str) -> Form:
        """What to ask for, before anything was given."""
        guests = self.mode == "accounts" and self.auth.open and bool(self.auth.guest)
        opens = self.mode == "accounts" and self.auth.open and not self.auth.frozen
        hint = HINTS.get((self.mode, opens), "This page asks for an access key.")
        return Form(
            names=self.signs_in, key=self.keys.needed_by_page, guests=guests, hint=hint, **more
        )

    def asks(self) -> bool:
        """Whether anything is asked for at all."""
        return self.signs_in or self.keys.needed_by_page

    async def session(self, cookie: str | None) -> Session | None:
        """Whose request this is; None for somebody who has to sign in, or has no cookie yet."""
        if not (self._local or self.auth.wanted):
            await self.stored.look()
        found = self.sessions.read(cookie) if cookie else None
        if found is not None and await self._holds(found):
            await self._key_holds(found.key)  # for `opens_page`
            return found
        return NOBODY if self.mode == "local" else None

    def opens_page(self, session: Session) -> bool:
        """Whether the chat page may be used, and not only the calls that bring their own key."""
        known = session.key in self._key_marks() or self.stored.held(_id(session.key))
        return known or not self.keys.needed_by_page

    async def sign_in(self, asked: Asked, current: Session | None = None) -> Outcome:
        """Who these credentials make somebody, who has come as `current`. Wrong ones are slowed
        down.
        """
        name = plain(asked.name) or asked.name[:100]
        wait = math.ceil(self._attempts.begin(name, asked.address))
        if wait > 0:
            unit = "second" if wait == 1 else "seconds"
            return Outcome(None, f"Too many attempts. Try again in {wait} {unit}.", 429, wait)
        try:
            outcome = await self._checked(asked, current)
        except InvalidRequest as error:
            return Outcome(None, error.message, 401)
        except RelayError as error:
            log.error("nobody can sign in: %s", error.message)
            return Outcome(None, BROKEN, 503)
        if outcome.session is not None:
            self._attempts.succeeded(name, asked.address, free=not outcome.new)
        else:
            log.info("somebody could not sign in, from %s", asked.address or "somewhere")
        return outcome

    async def _checked(self, asked: Asked, current: Session | None) -> Outcome:
        begun = await self._begun(asked, current)
        if begun.session is None or not (self.keys.needed_by_page and (asked.page or asked.key)):
            return begun
        key = await self._key(asked.key.strip())
        if not key:
            return Outcome(None, WRONG_KEY, 401)
        return replace(begun, session=replace(begun.session, key=key))

    async def _begun(self, asked: Asked, current: Session | None) -> Outcome:
        """By the name, before a key is looked at."""
        if self.mode == "accounts":
            return await self._person(asked)
        if self.mode != "key":
            known = current if current is not None and current.id else None
            return Outcome(known or self.sessions.begin(self.mode))
        name, key = plain(asked.name), await self._key(asked.password.strip())
        if not name or not key:
            return Outcome(None, WRONG, 401)
        return Outcome(self.sessions.begin("user", name, key))

    async def _key(self, key: str) -> str:
        """What a session has of a good key; "" for any other. Raises RelayError."""
        if self.keys.check(key):
            return self.sessions.mark(key)
        id = await self.stored.id_of(key)
        return f"{STORED}{id}" if id else ""

    async def _key_holds(self, mark: str) -> bool:
        """Whether the key is still good that a session was begun with."""
        id = _id(mark)
        return await self.stored.holds(id) if id else mark in self._key_marks()

    async def _person(self, asked: Asked) -> Outcome:
        if asked.guest:
            if not (self.auth.open and self.auth.guest):
                return Outcome(None, NO_GUESTS, 401)
            return Outcome(self.sessions.begin("guest", self.auth.guest))
        assert self._people is not None
        person = await self._people.admit(asked.name, asked.password)
        if person is None:
            return Outcome(None, WRONG, 401)
        if person.guest:
            return Outcome(self.sessions.begin("guest", self.auth.guest))
        pair = self._people.pair(person.name)
        by = self.sessions.mark(pair) if pair is not None else ""
        return Outcome(self.sessions.begin("user", person.name, by), new=person.new)

    async def _holds(self, session: Session) -> bool:
        """Whether what a session was begun with is still so."""
        if self.mode == "accounts" and self._people is not None:
            if session.kind == "guest":
                guest = self.auth.guest
                return bool(guest) and (self.auth.open or await self._is_there(guest))
            pair = self._people.pair(session.name)
            by = self.sessions.mark(pair) if pair is not None else ""
            same = session.kind == "user" and session.by == by
            return same and await self._is_there(session.name)
        if self.mode == "key":
            return session.kind == "user" and await self._key_holds(session.by)
        return session.kind == self.mode

    async def _is_there(self, name: str) -> bool:
        """Whether a user can still sign in, as of a moment ago."""
        now = time.monotonic()
        if now - self._there.get(name, float("-inf")) < FRESH:
            return True
        assert self._people is not None
        if not await self._people.exists(name):
            self._there.pop(name, None)
            return False
        if len(self._there) >= KEPT:
            self._there.clear()
        self._there[name] = now
        return True

    def _key_marks(self) -> frozenset[str]:
        """The marks of all keys that are good now."""
        keys = self.keys.current()
        if keys is not self._marks[0]:
            self._marks = (keys, frozenset(map(self.sessions.mark, keys)))
        return self._marks[1]


def _id(mark: str) -> str:
    """Of a key of the store; "" for the mark of any other."""
    return mark.removeprefix(STORED) if mark.startswith(STORED) else ""


def holder(session: Session) -> str:
    """The id of the store's key that somebody has signed in with; "" without one."""
    return _id(session.by)


def _normalised(auth: Auth) -> Auth:
    """With names as accounts have them. Raises SettingError."""
    pairs = {plain(name): password for name, password in auth.pairs.items()}
    if "" in pairs:
        raise SettingError("--auth: a name is too long, or cannot be printed")
    return replace(auth, pairs=pairs)
