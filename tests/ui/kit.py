"""A real API in front of the echo backend, and the page's own kernel in front of that."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from h2o_relay.kernel import Given, Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import address, bind
from h2o_relay_proxy.server import running
from h2o_relay_ui.assistant import Assistant
from h2o_relay_ui.conversation import Message, said, text_of
from h2o_relay_ui.relay import open_kernel

KEY = "sk-page-canary-7d31"


@contextlib.asynccontextmanager
async def api(
    *servers: Given, plugins: Plugins | None = None, **changes: Any
) -> AsyncIterator[tuple[str, Settings]]:
    """The API's address, without /v1, and its settings; its plugin is the echo by default."""
    settings = quick(**changes)
    echo.journal.clear()
    plugins = plugins or Plugins.of(echo=echo)
    async with Kernel(settings, servers or ["echo"], plugins) as kernel:
        await kernel.settled(5)
        sock = bind("127.0.0.1", 0)
        url = address(sock)
        async with running(create_app(kernel, settings), settings, sock):
            yield url, settings


@contextlib.asynccontextmanager
async def page(*servers: Given, key: str | None = None, **changes: Any) -> AsyncIterator[Assistant]:
    """An assistant that asks over a socket; `key` is what the page presents."""
    async with (
        api(*servers, **changes) as (url, settings),
        open_kernel(url, key or settings.api_key, quick()) as kernel,
    ):
        await kernel.settled(5)
        yield Assistant(kernel)


def asked(text: str) -> list[Message]:
    return [said("user", text)]


def lines(history: Sequence[Message]) -> list[str]:
    return [text_of(message) for message in history]
