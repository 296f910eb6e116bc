"""A password that opens what only the relay's operator may see, and is slow to be guessed."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Literal

from h2o_relay.hosts import is_for_this_machine
from h2o_relay.settings import Settings

from .context import Context

FREE = 2  # wrong passwords that cost one second each; after them it doubles
LONGEST = 30.0  # seconds
WAITING = 8  # who is told to wait at the same time; others are refused at once
KEY = "password gate"
Access = Literal["open", "password", "closed"]


def access(settings: Settings) -> Access:
    """With an admin password by it; without one for a relay that only this machine can reach."""
    if settings.admin_pass:
        return "password"
    return "open" if is_for_this_machine(settings) else "closed"


class PasswordGate:
    """Compares passwords one after the other, however many are tried at once, and waits longer
    before each one the more were wrong.
    """

    def __init__(self, pause: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._pause = pause
        self._turn = asyncio.Lock()
        self._waiting = 0
        self.wrong = 0
        """Wrong passwords since the last right one."""

    async def admits(self, settings: Settings, given: str) -> bool:
        """Whether somebody who presents `given` may see it."""
        kind = access(settings)
        if kind != "password":
            return kind == "open"
        if self._waiting >= WAITING:
            return False
        self._waiting += 1
        try:
            async with self._turn:
                return await self._compared(settings.admin_pass or "", given)
        finally:
            self._waiting -= 1

    async def _compared(self, password: str, given: str) -> bool:
        if self.wrong:
            await self._pause(min(LONGEST, 2.0 ** max(0, self.wrong - FREE)))
        right = hmac.compare_digest(given.encode("utf-8", "replace"), password.encode())
        self.wrong = 0 if right else self.wrong + 1
        return right


def gate(context: Context) -> PasswordGate:
    """The process's one gate, made when it is first asked for."""
    found = context.extra.get(KEY)
    if not isinstance(found, PasswordGate):
        found = context.extra[KEY] = PasswordGate()
    return found
