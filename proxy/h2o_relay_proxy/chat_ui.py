"""The chat UI as a child process beside the API, so that its imports stall no answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from urllib.parse import urlsplit

import orjson

from h2o_relay.engines import EngineSpec, running
from h2o_relay.errors import RelayError
from h2o_relay.settings import Settings

from .ports import address, listen
from .tls import is_secure, look_context

MODULE = "h2o_relay_ui"
NEEDS = "gradio"
START_LIMIT = 180.0  # seconds; Gradio's import takes long on a busy machine
ENVIRONMENT = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    # After every event Gradio would sum up the last 10,000 of them.
    "GRADIO_ANALYTICS_MAX_EVENTS": "1",
    "GRADIO_ANALYTICS_CACHE_FREQUENCY": "1000000000",
}
"""Read when Gradio is imported (6.31)."""
log = logging.getLogger(__name__)


@dataclass(slots=True)
class ChatUI:
    """The UI's address, and when it answers there; `problem` says why it does not."""

    url: str | None = None
    problem: str = ""
    ready: asyncio.Event = field(default_factory=asyncio.Event)


@contextlib.asynccontextmanager
async def chat_ui(settings: Settings, api: str, key: str) -> AsyncIterator[ChatUI]:
    """Run the UI against the API at `api` for the length of the block, if it is wanted and there;
    `key` is the internal one, which /admin takes.

    Raises SettingError for a port that cannot be used.
    """
    ui = ChatUI(problem=why_not(settings))
    if ui.problem:
        yield ui
        return
    async with _running(settings, api, key, ui):
        yield ui


def why_not(settings: Settings) -> str:
    """Why there is no UI; empty if there is."""
    if not settings.ui:
        return "switched off by --no-ui"
    if find_spec(MODULE) is None or find_spec(NEEDS) is None:
        return "not installed (the extra is h2o-relay[ui])"
    return ""


@contextlib.asynccontextmanager
async def _running(settings: Settings, api: str, key: str, ui: ChatUI) -> AsyncIterator[None]:
    with contextlib.closing(listen(settings, "port")) as probe:
        ui.url = address(probe, is_secure(settings))
        port = probe.getsockname()[1]
    secrets = orjson.dumps({"key": key, "settings": asdict(settings)}) + b"\n"
    spec = EngineSpec(
        name="the chat UI",
        # -P: nothing is imported from the directory that the relay happens to be started in.
        argv=lambda port: [sys.executable, "-P", "-m", MODULE, settings.host, str(port), api],
        host=urlsplit(ui.url).hostname or settings.host,
        port=port,
        stdin=secrets,
        env=ENVIRONMENT,
        health="/",
        tls=look_context() if is_secure(settings) else None,
        start_limit=START_LIMIT,
    )
    owner = asyncio.create_task(_own(spec, ui), name="chat UI")
    try:
        yield
    finally:
        owner.cancel()
        await asyncio.wait([owner])


async def _own(spec: EngineSpec, ui: ChatUI) -> None:
    try:
        async with running(spec):
            ui.ready.set()
            await asyncio.Event().wait()
    except RelayError as error:
        ui.problem = error.message
        log.warning("%s", error.message)
        ui.ready.set()
