"""The kernel: model names in, answers out. Frontends call `KernelAPI` and know nothing else.

    async with Kernel(settings, ["vllm:192.168.1.46:8000"]) as kernel:
        async with kernel.stream("chat", {"messages": [...]}) as answer:
            async for chunk in answer:
                print(chunk.text, end="")

Opening waits for no server: each is looked after by a task of its own (`catalog.py`), and a model
can be used as soon as its server is known.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import partial
from typing import Any, Self, cast

from . import applying, counting, forwarding, views
from . import settings as settings_module
from .admin import DeploymentView
from .answer import Answer
from .applying import Change, Wanted
from .catalog import Before, Catalog
from .chunks import Completion
from .counting import TokenCount
from .entry import Entry, Given, ServerStatus, entry_of
from .errors import ModelNotFound, RelayError, UpstreamUnavailable
from .faults import checked_call
from .forwarding import Forwarded
from .http import HttpClient
from .kernel_api import KernelAPI
from .plugins import Plugins
from .pooling import Pool
from .pools import PoolSpec
from .prompts.templates import TemplateRenderer
from .registry import EMPTY, Snapshot, build
from .retrying import Budget
from .route import Route
from .server_policy import ServerPolicy
from .settings import Settings
from .tries import Witness
from .turn import patience
from .types import Call, Deployment, Kind, Request
from .whole import ask

PATIENCE = 2.0  # seconds that a request waits for servers nobody has looked at yet


class Kernel:
    """The `KernelAPI` of this process. Enter it on the loop that will use it."""

    def __init__(
        self,
        settings: Settings,
        servers: Iterable[Given] = (),
        plugins: Plugins | None = None,
        pools: Iterable[PoolSpec] = (),
    ) -> None:
        """Raises BadServerString for a string that cannot be read."""
        self.settings = settings
        self.plugins = plugins or Plugins.discover(settings.load_plugins)
        self.instance = secrets.token_hex(8)
        self._created = int(time.time())
        self.snapshot: Snapshot = EMPTY
        self._entries = [entry_of(self.plugins, given) for given in servers]
        self._pools, _ = applying.pools((), pools)
        self.budget = Budget()
        self.counts = False
        """Somebody wants to know what every answer has used; streams are asked for it."""
        self.times = (settings.max_time, settings.max_max_time) != (None, None)
        """The operator limits how long answers may take."""
        self._http = HttpClient(settings)
        self.policy = ServerPolicy.of(settings)
        """Which servers may be added while it runs."""
        self._guarded = HttpClient(settings, self.policy)
        self.templates = TemplateRenderer()
        self._catalog: Catalog | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        await self._guarded.__aenter__()
        await self.templates.__aenter__()
        env = settings_module.environment()
        self._catalog = Catalog(
            self.plugins, self._http, env, self.instance, self.rebuild, self._guarded, self.policy
        )
        self.rebuild()
        for entry in self._entries:
            self._look_after(entry)
        return self

    async def __aexit__(self, *_: object) -> None:
        entries, self.snapshot = self._entries, EMPTY
        patience = self.settings.drain_timeout
        await asyncio.gather(*(self._leave(entry, patience) for entry in entries))
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self.templates.__aexit__()
        await self._guarded.__aexit__()
        await self._http.__aexit__()

    def rebuild(self) -> None:
        """Make the snapshot anew and wake those who wait for a change."""
        self.snapshot = build(self._entries, self._created, self._pools)
        self.notify()

    def notify(self) -> None:
        """Wake those who wait for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    # Changes while it runs.

    def apply(self, wanted: Sequence[Wanted], pools: Iterable[PoolSpec] | None = None) -> Change:
        """Serve exactly this from now on. Only servers that differ are opened and closed; what
        runs on one that is closed ends in its own time. Without `pools` they stay.

        Raises BadServerString and PluginError: then nothing has changed.
        """
        plan = applying.plan(self.plugins, self._entries, wanted)
        names: tuple[str, ...] = ()
        if pools is not None:
            self._pools, names = applying.pools(self._pools, pools)
        change = replace(plan.change, pools=names)
        for entry, spec in plan.adjusted:
            entry.adjust(spec)
        self._entries = plan.entries
        for entry, before in plan.opened:
            self._look_after(entry, before)
        self.rebuild()
        self._retire(plan.closed)
        return change

    def _retire(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            task = asyncio.create_task(
                self._leave(entry, self.settings.answer_timeout),
                name=f"leaving {entry.server.shown}",
            )
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)

    @property
    def active(self) -> int:
        """Requests that run on servers now."""
        return sum(entry.link.leases for entry in self._entries if entry.link is not None)

    @property
    def entries(self) -> Sequence[Entry]:
        return tuple(self._entries)

    async def changed(self, timeout: float) -> None:
        """Wait for the next change of what is known of a server, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                await self._changed.wait()

    def _look_after(self, entry: Entry, before: Before | None = None) -> None:
        assert self._catalog is not None
        entry.health.tell(partial(self._shifted, entry))
        entry.task = asyncio.create_task(
            self._catalog.look_after(entry, before), name=entry.server.shown
        )

    def _shifted(self, entry: Entry) -> None:
        entry.shifted()
        self.notify()

    async def _leave(self, entry: Entry, patience: float) -> None:
        entry.health.draining = True
        entry.shifted()  # who waits for this server is told
        if entry.task is not None:
            entry.task.cancel()
            await asyncio.gather(entry.task, return_exceptions=True)
        if entry.link is not None:
            await entry.link.retire(patience)

    # What there is.

    def models(self) -> list[Deployment]:
        """Every deployment known now that is to be listed, in the order of the servers."""
        snapshot = self.snapshot
        deployments = [
            route.deployment
            for name, route in snapshot.routes.items()
            if name not in snapshot.pools
        ]
        deployments += [pool.deployment for pool in snapshot.pools.values() if pool.members]
        return [deployment for deployment in deployments if deployment.visible]

    def deployments(self) -> list[DeploymentView]:
        """Every deployment as it is now, listed or not, and the pools after them."""
        return views.deployments(self)

    def find(self, name: str | None) -> Deployment:
        """The deployment of that name; the first one for None. Raises ModelNotFound."""
        return self.snapshot.choice(name).deployment

    def members(self, name: str) -> tuple[str, ...]:
        """Of a pool, the models that may answer for it; none for what is no pool."""
        pool = self.snapshot.pools.get(name)
        return () if pool is None else tuple(member.name for member in pool.members)

    def status(self) -> list[ServerStatus]:
        return [
            ServerStatus(
                entry.link.server if entry.link else entry.server,
                *entry.state(), tuple(entry.models), entry.stage,
            )
            for entry in self._entries
        ]  # fmt: skip

    async def settled(self, timeout: float) -> None:
        """Wait until every server was looked at once, at most `timeout` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.snapshot.pending:
                    await self._changed.wait()

    # Answers.

    def stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None,
        session: str | None = None, strict: bool = False, witness: Witness | None = None,
    ) -> AbstractAsyncContextManager[Answer]:  # fmt: skip
        """An answer in pieces. `params` is the request in OpenAI's terms and `body` its bytes, if
        there are any: they are what an OpenAI-shaped server is sent. `session` names the
        conversation, for pools that keep one where it is; `strict` refuses what would be dropped.

        Entering waits for the first chunk and raises what the server refused with; leaving closes
        the upstream on every path. Raises RelayError only.
        """
        return Answer(self, kind, params, body, session, strict, witness)

    def generate(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None,
        session: str | None = None, strict: bool = False, witness: Witness | None = None,
    ) -> Coroutine[Any, Any, Completion]:  # fmt: skip
        """A whole answer, to be awaited. Raises RelayError; cancelling it closes the upstream."""
        return ask(self, kind, params, body, session, strict, witness)

    def offers(self, call: Call) -> bool:
        """Whether some server has the path of `call`, or may turn out to have it."""
        return forwarding.offered(self._entries, call)

    async def speaks(self, model: str | int | None, call: Call) -> bool:
        """Whether whatever answers for a model takes `call` as it is: it has the path, and nothing
        is made of the model's requests before they are sent. Raises ModelNotFound,
        UpstreamUnavailable.
        """
        return forwarding.spoken(await self.choice(model), call)

    async def count_tokens(self, params: Mapping[str, Any]) -> TokenCount:
        """Tokens of a chat request's prompt. Raises RelayError."""
        return await counting.count(self, params)

    def forward(
        self, model: str | int | None, call: Call, session: str | None = None,
        strict: bool = False, witness: Witness | None = None,
    ) -> AbstractAsyncContextManager[Forwarded]:  # fmt: skip
        """Any other OpenAI path, bytes both ways; without a model, by the first one whose server
        offers it. `call.params` is the body decoded, where it is JSON; the model's name in it, or
        in a multipart form, is replaced by the server's own.

        Entering waits for the answer's head and raises what the server refused with, UnknownURL if
        it has no such path; leaving closes the upstream. Raises RelayError only.
        """
        return forwarding.forward(self, model, call, session, strict, witness)

    def fix_text(self, kind: Kind, params: Mapping[str, Any], text: str, final: bool) -> str:
        """One choice's text so far, repaired by the plugin of the server that answers."""
        choice = self.snapshot.choice(params.get("model"))
        route = choice.best() if type(choice) is Pool else cast("Route", choice)
        request = Request(kind=kind, params=params, body=None, deployment=route.deployment)
        server = route.deployment.server
        return checked_call(
            route.link.plugin, "fix_text", lambda p: p.fix_text(server, request, text, final)
        )

    # For answers: from a name to a server that is open.

    async def route(self, name: str | int | None) -> Route:
        """The route for a model's name; of a pool, a member that can be asked. Raises
        ModelNotFound, UpstreamUnavailable.
        """
        choice = await self.choice(name)
        return choice.best() if type(choice) is Pool else cast("Route", choice)

    async def choice(self, name: str | int | None) -> Route | Pool:
        """The route or the pool of a name. Servers that nobody has looked at yet are waited for.
        Raises ModelNotFound, UpstreamUnavailable.
        """
        snapshot = self.snapshot
        if not snapshot.pending:
            return snapshot.choice(name)
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while True:
            try:
                choice = self.snapshot.choice(name)
                if choice.seen or not self.snapshot.pending or _over(deadline):
                    return choice
            except (ModelNotFound, UpstreamUnavailable):
                if not self.snapshot.pending or _over(deadline):
                    raise
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    await self._changed.wait()

    @contextlib.asynccontextmanager
    async def leased(self, name: str | int | None) -> AsyncIterator[tuple[Route, Any]]:
        """A route whose link stays open, and its client."""
        route = await self.route(name)
        link = route.link
        link.lease()
        try:
            yield route, link.client or await link.wait_open(patience(link, self.settings))
        finally:
            link.release()


def _over(deadline: float) -> bool:
    return asyncio.get_running_loop().time() >= deadline


__all__ = ["Answer", "Given", "Kernel", "KernelAPI", "RelayError", "ServerStatus"]
