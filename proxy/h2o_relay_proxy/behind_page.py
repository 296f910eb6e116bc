"""Whom the chat page asks for. Its requests have the internal key, and beside that key alone count
the headers of `h2o_relay.behalf`: who is signed in, or with which of the store's keys, or which key
one of h2oGPT's calls brought.

What people may is in the settings, and counted by the same limits as what keys may.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from h2o_relay.accounting.caller import PAGE, UNLIMITED, Allowance, Caller
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.behalf import HOLDER, KEY, USER, read
from h2o_relay.errors import Unauthorized
from h2o_relay.settings import Settings

from .exchange import Exchange

PERSON: Final = "user:"
"""How the ids of people begin; those of keys have no colon."""
PATH: Final = b"/admin/caller"


class BehindPage:
    """Tells who a request of the chat page is from."""

    def __init__(self, settings: Settings, ring: KeyRing) -> None:
        self._ring = ring
        self._people = allowance_of(settings)
        self._page = replace(PAGE, allowance=self._people)

    def caller(self, headers: Mapping[bytes, bytes]) -> Caller:
        """Of a request that has the internal key: who brought the page a key, now or to sign in,
        else who is signed in, else whoever uses the page. Raises Unauthorized, and Overloaded while
        nobody can tell.
        """
        key, holder = read(headers, KEY), read(headers, HOLDER)
        if key:
            return self._ring.find_call(key)
        if holder:
            return self._ring.find_holder(holder)
        user = read(headers, USER)
        return Caller(id=PERSON + user, allowance=self._people) if user else self._page

    async def answer(self, exchange: Exchange) -> None:
        """`GET /admin/caller`, for the page alone: `{"admitted", "id", "models"}`, whether a key is
        good for h2oGPT's calls, or that of an id for signing in, the `Caller.id` that it stands
        for, and what it may use. Raises Overloaded while nobody can tell.
        """
        holder = read(exchange.headers, HOLDER)
        told: dict[str, Any] = {"admitted": False, "id": "", "models": ()}
        with contextlib.suppress(Unauthorized):
            key = read(exchange.headers, KEY)
            who = self._ring.find_holder(holder) if holder else self._ring.find_call(key)
            told = {"admitted": True, "id": who.id, "models": who.allowance.models}
        exchange.reply(orjson.dumps(told))


def allowance_of(settings: Settings) -> Allowance:
    """What each person on the page may."""
    if not any((settings.user_requests_per_minute, settings.user_tokens_per_minute,
                settings.user_concurrent)):  # fmt: skip
        return UNLIMITED
    return Allowance(
        requests_per_minute=settings.user_requests_per_minute,
        tokens_per_minute=settings.user_tokens_per_minute,
        concurrent=settings.user_concurrent,
    )
