"""A server as a worker reaches it: at the address that the coordinator has opened, if it did."""

from __future__ import annotations

from functools import partial
from typing import Any

from ..gate import Gate
from ..links import Link
from .channel import Channel
from .messages import Told


class SharedGate(Gate):
    """A gate that all workers pass, which is the coordinator's: one question for each request."""

    __slots__ = ("_channel", "_number")

    def __init__(self, channel: Channel, number: int) -> None:
        super().__init__(None)
        self._channel = channel
        self._number = number

    def change(self, limit: int | None) -> None:
        """The coordinator knows it."""

    def locked(self) -> bool:
        """Who comes when too many wait is refused in `acquire`."""
        return False

    async def acquire(self) -> None:
        """Raises Overloaded."""
        await self._channel.ask("enter", self._number, unwanted=partial(self._leave))

    def release(self) -> None:
        self._leave()

    def _leave(self, _: Any = None) -> None:
        self._channel.say("exit", self._number)


class FollowedLink(Link):
    """Opened as the coordinator says. What has no address that can be handed on (an `Endpoint`)
    each worker opens for itself, as soon as the coordinator could.
    """

    def share(self, channel: Channel, number: int) -> None:
        """Have requests that are limited pass the coordinator's gate."""
        self._gate = SharedGate(channel, number)

    def gate(self, limit: int | None) -> Gate | None:
        return None if limit is None else self._gate

    def limit(self, limit: int | None) -> None:
        """The coordinator knows it."""

    def follow(self, told: Told) -> None:
        """Open it, or know it closed."""
        if told.opened == "own":
            if self._owner is None:
                self.start()
        elif told.endpoint is not None:
            if told.endpoint != self.endpoint:
                self.endpoint = told.endpoint
                self.client = self._http.at(told.endpoint.url, told.endpoint.headers)
                self.error = None
                self._ready.set()
        elif self._owner is None:
            self.client = self.endpoint = None
            self._ready.clear()
            if told.error is not None:
                self._failed(told.error)
