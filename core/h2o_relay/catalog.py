"""Looking after servers in the background: what is it, is it there, which models has it?

One task for each configured server, so that a dead or slow one holds up nobody. What was last known
stays in the registry while a server is away.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from difflib import get_close_matches

from .entry import Entry
from .errors import (
    PluginError,
    RateLimited,
    RelayError,
    UpstreamError,
    UpstreamUnidentified,
    redact,
)
from .http import HttpClient
from .identification import identify
from .links import Link
from .plugins import Plugins
from .preparing import ignores_type
from .probe import Probe, redirect_target
from .registry import upstream_model
from .resolve import resolve
from .server_policy import ServerPolicy
from .types import Server

FIRST_WAIT = 0.5  # seconds before a server that is away is looked at again; doubles
LONGEST_WAIT = 4.0
STRANGE_WAIT = 30.0  # at most, for one that is there and that nobody recognises
LOAD_EVERY = 1.0  # seconds between questions to a member of a pool how busy it is
SHOWN_EVERY = 5.0  # seconds, where that is only shown
LOAD_WAIT = 2.0  # seconds for the answer
IN_USE = 10.0  # seconds after its last request for which it is asked
INSTANCE_FIELD = "h2o_relay_instance"
"""In our own model list, so that a relay that is pointed at itself notices."""
UNKNOWN = "not identified yet"
"""What is said of a bare URL until it is known whose server is behind it."""
Before = Callable[[Entry, Callable[[], None]], Awaitable[None]]
"""Given an entry and what tells others that its `reason` has changed."""
log = logging.getLogger(__name__)


class Catalog:
    """`changed` is called whenever an entry's knowledge has changed."""

    def __init__(
        self,
        plugins: Plugins,
        http: HttpClient,
        env: Mapping[str, str],
        instance: str,
        changed: Callable[[], None],
        guarded: HttpClient | None = None,
        policy: ServerPolicy | None = None,
    ) -> None:
        """`guarded` is the client, and `policy` the rules, for servers that were added later."""
        self._plugins = plugins
        self._http = http
        self._guarded = guarded or http
        self._policy = policy
        self._env = env
        self._instance = instance
        self._changed = changed

    async def look_after(self, entry: Entry, before: Before | None = None) -> None:
        """Until cancelled: open the server, list its models, look again from time to time.
        `before` is awaited first, and again for as long as it raises.
        """
        wait = FIRST_WAIT
        while True:
            try:
                if before is not None:
                    await before(entry, self._changed)
                    before = None
                await self._look(entry)
            except RelayError as error:
                self._away(entry, error)
                longest = STRANGE_WAIT if isinstance(error, UpstreamUnidentified) else LONGEST_WAIT
                pause, wait = min(wait, longest), min(wait * 2, longest)
                pause = max(pause, entry.health.limited_until - time.monotonic())
            except Exception as error:
                log.error("%s: its plugin failed", entry.server.shown, exc_info=error)
                server = entry.link.server if entry.link else entry.server
                said = redact({"": str(error)}, server.key)[""]
                self._away(entry, PluginError(f"its plugin failed: {said}"))
                pause, wait = wait, min(wait * 2, LONGEST_WAIT)
            else:
                pause = self._http.settings.refresh
                if entry.stage == "mismatch":  # the model may be on its way
                    pause = min(pause, wait)
                wait = min(wait * 2, LONGEST_WAIT) if entry.stage == "mismatch" else FIRST_WAIT
            self._changed()
            await self._rest(entry, pause * random.uniform(0.8, 1.2))

    async def _rest(self, entry: Entry, pause: float) -> None:
        """Until the next look: `pause` seconds, less if requests show that it is time. A member of
        a pool that is in use is asked how busy it is meanwhile.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + pause
        earliest = loop.time() + min(FIRST_WAIT, pause)
        while (left := until - loop.time()) > 0:
            asks = reports_load(entry)
            every = LOAD_EVERY if entry.pools else SHOWN_EVERY
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(left, every) if asks else left):
                    await entry.nudged.wait()
            if entry.nudged.is_set():
                entry.nudged.clear()
                until = min(until, max(earliest, loop.time()))
            elif asks and time.monotonic() - entry.health.used < IN_USE:
                await self._ask_load(entry)

    async def _ask_load(self, entry: Entry) -> None:
        """How busy the server is, if it says so; no error of its own."""
        link = entry.link
        assert link is not None
        if link.client is None:
            return
        try:
            async with asyncio.timeout(LOAD_WAIT):
                load = await link.plugin.load(link.server, link.client)
        except (TimeoutError, RelayError) as error:
            log.debug("%s does not say how busy it is: %s", entry.server.shown, error)
            load = None
        except Exception as error:
            log.error("%s: its plugin failed to tell its load", entry.server.shown, exc_info=error)
            load = None
        entry.health.reported(load, link.leases + link.others)

    async def _look(self, entry: Entry) -> None:
        if entry.link is None:
            server = entry.server
            if server.plugin is None:
                entry.reason = entry.reason or UNKNOWN
                async with Probe(self._client(entry), server) as probe:
                    server = (await identify(self._plugins, probe)).server
            self._open(entry, server)
        link = entry.link
        assert link is not None
        client = await link.wait_open(None)  # an engine may load a large model
        if not entry.listed and entry.stage != "offline":  # till it answers, it is away
            entry.stage = "listing"
        asked = time.monotonic()
        models = await link.plugin.list_models(link.server, client)
        took = time.monotonic() - asked
        entry.itself = any(model.raw.get(INSTANCE_FIELD) == self._instance for model in models)
        if entry.itself:
            entry.models = []
            raise UpstreamError("this server string points at the relay itself")
        if entry.stage == "offline":
            log.info("%s: back", entry.server.shown)
        entry.models, entry.listed = models, True
        entry.health.probed(took)
        self._judge(entry, link.server)
        if entry.pools and reports_load(entry):
            await self._ask_load(entry)

    def _open(self, entry: Entry, server: Server) -> None:
        assert server.plugin is not None
        plugin = self._plugins.get(server.plugin)
        env = self._env
        if entry.added and self._policy is not None:
            env = self._policy.environment(server, env)
        http = self._client(entry)
        entry.link = Link(plugin, resolve(server, entry.base_model, env), http)
        entry.link.start()
        entry.stage, entry.reason = "opening", ""
        self._changed()

    def _client(self, entry: Entry) -> HttpClient:
        """What has no address of its own is reached where its plugin says, or was started here."""
        chosen = entry.added and entry.server.url is not None
        return self._guarded if chosen else self._http

    def _away(self, entry: Entry, error: RelayError) -> None:
        reason, unknown = error.message, isinstance(error, UpstreamUnidentified)
        target = redirect_target(error, entry.server.url)
        if target:
            reason = f"{reason}: {target}"
        if entry.server.plugin is None and entry.link is None and not unknown:
            reason = f"{UNKNOWN}: {reason}"
        if entry.reason != reason:
            log.warning("%s: %s", entry.server.shown, reason)
        entry.health.unanswered(error)
        entry.reason = reason
        if isinstance(error, RateLimited) and entry.listed:
            return  # it is there
        entry.stage = "unidentified" if unknown else "offline"

    @staticmethod
    def _judge(entry: Entry, server: Server) -> None:
        """Whether an entry that was listed can be used, and what is to be said of it."""
        before = entry.reason
        entry.stage, entry.reason = "ready", ""
        if entry.tuning.renders and entry.link is not None:
            kinds = entry.link.capabilities.kinds
            if "text" not in kinds or ("chat" in kinds and ignores_type(server, entry.tuning)):
                entry.reason = "its prompt type is not used: the server renders chats itself"
        names = [model.id for model in entry.models]
        if entry.base_model is None:
            if not names and server.model is None:
                entry.reason = "the server lists no models; name one with --base_model"
        elif upstream_model(entry.base_model, server, entry.models) is None:
            near = get_close_matches(entry.base_model, names, n=3, cutoff=0.4) or names[:3]
            more = f" and {len(names) - len(near)} more" if len(names) > len(near) else ""
            entry.stage = "mismatch"
            entry.reason = (
                f"the server does not list {entry.base_model}, but {', '.join(near)}{more}"
            )
        if entry.reason != before and entry.reason:
            log.warning("%s: %s", entry.server.shown, entry.reason)


def reports_load(entry: Entry) -> bool:
    """Whether its plugin can ask how busy it is."""
    return entry.link is not None and "load" in entry.link.plugin.hooks
