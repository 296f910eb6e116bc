"""A worker's log, told to the coordinator, whose log tail is the relay's (`/admin/system`)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator

from h2o_relay.logtail import FORMAT
from h2o_relay.workers.channel import Channel


class Forwarding(logging.Handler):
    """Tells lines, from whatever thread they are logged in."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter(FORMAT))
        self._channel = channel
        self._loop = asyncio.get_running_loop()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._loop.call_soon_threadsafe(self._channel.say, "log", self.format(record))
        except Exception:
            self.handleError(record)


@contextlib.contextmanager
def forwarded(channel: Channel) -> Iterator[None]:
    """Tell the log's lines inside the block."""
    handler, root = Forwarding(channel), logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
