"""`RemoteKernel`: the kernel of another process, over HTTP, for the chat UI and for notebooks.

    async with RemoteKernel("http://127.0.0.1:5000", key, settings.load({})) as kernel:
        async with kernel.stream("chat", {"messages": [...]}) as answer:
            ...

It is a `KernelAPI` over `/v1` and an `AdminAPI` over `/admin`. What the relay knows of its servers
comes as a stream of events, so that `models`, `status` and `deployments` cost nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncGenerator, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, Self, cast
from urllib.parse import quote, urlencode

import orjson

from . import behalf, remote_server
from .accounting.caller import Caller
from .accounting.usage_query import UsageQuery, UsageReport, parameters, read_report
from .admin import DeploymentView, Found, FoundModel, Series, System, Tried
from .answer import Answer
from .applying import Change
from .breaker import Breaker
from .chunks import Completion
from .counting import TokenCount
from .entry import ServerStatus, Stage
from .errors import RelayError, UpstreamBadResponse
from .forwarding import Forwarded
from .health import State
from .http import HttpClient, Response
from .kernel import Kernel
from .plugins import Plugins
from .remote_server import tupled, view_of
from .settings import Settings
from .sse import Splitter
from .tries import Witness
from .types import Call, Deployment, Kind, Server

NAME = "relay"
REFRESH = 30.0  # seconds between looks at the list; events come at once
PATIENCE = 24 * 3600.0  # seconds; the relay watches its servers' clocks, we do not
AGAIN = 0.5  # seconds before the event stream is opened again
LIMIT = 64 * 2**20  # bytes of an answer of /admin
NOT_OURS = "what answers is no relay, or one of another version"
PENDING = frozenset({"opening", "listing"})
log = logging.getLogger(__name__)


class RemoteKernel:
    """The `KernelAPI` and `AdminAPI` of the relay at `url`; enter it on the loop that uses it."""

    def __init__(self, url: str, key: str | None, settings: Settings) -> None:
        """`key` is one that the relay's /admin takes; `settings` those of the HTTP client."""
        self._url = url.rstrip("/")
        self._server = Server(
            plugin=NAME, url=f"{self._url}/v1", key=key, api="chat", shown=self._url
        )
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        own = replace(
            settings,
            refresh=REFRESH,
            first_byte_timeout=PATIENCE,
            idle_timeout=PATIENCE,
            answer_timeout=PATIENCE,
            max_time=None,
            max_max_time=None,
            drain_timeout=0.0,
            retries=0,  # the relay has tried
            http_proxy=None,  # the relay is on this machine, whatever its address
        )
        plugins = Plugins.of(**{NAME: remote_server})
        self._kernel = Kernel(own, [self._server], plugins)
        # What fails is what stands behind the relay, one server of many.
        self._kernel.entries[0].health.breaker = Breaker(failures=sys.maxsize)
        self._http = HttpClient(own)
        self._views: tuple[DeploymentView, ...] | None = None
        self._away = ""
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        await self._kernel.__aenter__()
        self._task = asyncio.create_task(self._follow(), name="events of the relay")
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._kernel.__aexit__()
        await self._http.__aexit__()

    # Events.

    async def _follow(self) -> None:
        while True:
            try:
                async with self._http.request(
                    "GET", f"{self._url}/admin/changes", headers=self._headers
                ) as response:
                    if response.status >= 400:
                        raise await remote_server.refusal(response)
                    await self._events(response)
                self._lost("the relay has ended the stream of its events")
            except RelayError as error:
                self._lost(error.message)
            except (ValueError, LookupError, TypeError, AttributeError):
                self._lost(NOT_OURS)
            await asyncio.sleep(AGAIN)

    async def _events(self, response: Response) -> None:
        splitter = Splitter(LIMIT)
        async for data in response:
            for event in splitter.feed(data).split(b"\n\n"):
                if event:
                    self._told(orjson.loads(event.removeprefix(b"data: "))["data"])
            if splitter.error is not None:
                raise splitter.error

    def _told(self, data: list[dict[str, Any]]) -> None:
        self._views, self._away = tuple(view_of(each) for each in data), ""
        models = [remote_server.model_of(each) for each in data if each["name"]]
        entry = self._kernel.entries[0]
        if entry.link is not None and entry.models != models:
            entry.models = models
            entry.listed, entry.stage, entry.reason = True, "ready", ""
            self._kernel.rebuild()
        self._wake()

    def _lost(self, why: str) -> None:
        if why != self._away:
            log.warning("%s: %s", self._url, why)
        self._away = why
        self._wake()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # KernelAPI.

    def models(self) -> list[Deployment]:
        return [self._deployment(v) for v in self._views or () if v.visible and v.name]

    def _deployment(self, view: DeploymentView) -> Deployment:
        return Deployment(
            name=view.name, server=self._server, model=view.name, base_model=view.base_model,
            max_context=view.max_context, visible=view.visible, owned_by=view.plugin or "",
        )  # fmt: skip

    def find(self, name: str | None) -> Deployment:
        found = next((v for v in self._views or () if name and v.name == name), None)
        return self._kernel.find(name) if found is None else self._deployment(found)

    def members(self, name: str) -> tuple[str, ...]:
        return next((v.members or () for v in self._views or () if v.name == name), ())

    def status(self) -> list[ServerStatus]:
        """A row for each deployment; one for the relay itself where it does not answer."""
        if self._away or self._views is None:
            why = self._away or "the relay has not answered yet"
            return [ServerStatus(self._server, "offline", why, (), "offline")]
        return [
            ServerStatus(
                Server(plugin=view.plugin, shown=view.server), cast("State", view.state),
                view.reason, (), cast("Stage", view.stage),
            )
            for view in self._views
        ]  # fmt: skip

    async def settled(self, timeout: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._views is None or any(v.stage in PENDING for v in self._views):
                    await self._news.wait()

    def stream(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None,
        session: str | None = None, strict: bool = False, witness: Witness | None = None,
    ) -> AbstractAsyncContextManager[Answer]:  # fmt: skip
        return self._kernel.stream(kind, params, body, session, strict, witness)

    def generate(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None = None,
        session: str | None = None, strict: bool = False, witness: Witness | None = None,
    ) -> Coroutine[Any, Any, Completion]:  # fmt: skip
        return self._kernel.generate(kind, params, body, session, strict, witness)

    def offers(self, call: Call) -> bool:
        return self._kernel.offers(call)

    async def speaks(self, model: str | int | None, call: Call) -> bool:
        return await self._kernel.speaks(model, call)

    def forward(
        self, model: str | int | None, call: Call, session: str | None = None,
        strict: bool = False, witness: Witness | None = None,
    ) -> AbstractAsyncContextManager[Forwarded]:  # fmt: skip
        return self._kernel.forward(model, call, session, strict, witness)

    async def count_tokens(self, params: Mapping[str, Any]) -> TokenCount:
        return await self._kernel.count_tokens(params)

    def fix_text(self, kind: Kind, params: Mapping[str, Any], text: str, final: bool) -> str:
        """The relay has repaired it already."""
        return text

    # AdminAPI.

    def deployments(self) -> Sequence[DeploymentView]:
        return self._views or ()

    async def changes(self) -> AsyncGenerator[Sequence[DeploymentView], None]:
        told: Sequence[DeploymentView] | None = None
        while True:
            news = self._news
            if self._views is not None and self._views is not told:
                told = self._views
                yield told
            else:
                await news.wait()

    async def identify(self, entry: Mapping[str, Any]) -> Found:
        data = await self._call("POST", "/admin/identify", entry)
        models = tuple(FoundModel(**{**each, "kinds": tupled(each["kinds"])})
                       for each in data["models"])  # fmt: skip
        return Found(**{**data, "models": models, "kinds": tuple(data["kinds"])})

    async def add(self, entry: Mapping[str, Any]) -> str:
        return str((await self._call("POST", "/admin/deployments", entry))["id"])

    async def change(self, id: str, entry: Mapping[str, Any]) -> None:
        await self._call("PATCH", f"/admin/deployments/{id}", entry)

    async def remove(self, id: str) -> None:
        await self._call("DELETE", f"/admin/deployments/{id}")

    async def entry(self, id: str) -> Mapping[str, Any]:
        return await self._call("GET", f"/admin/deployments/{id}")

    async def try_out(self, name: str) -> Tried:
        return Tried(**await self._call("POST", "/admin/test", {"model": name}))

    async def set_loaded(self, name: str, on: bool) -> None:
        await self._call("POST", "/admin/load" if on else "/admin/unload", {"model": name})

    async def put_pool(self, entry: Mapping[str, Any]) -> str:
        return str((await self._call("POST", "/admin/pools", entry))["name"])

    async def remove_pool(self, name: str) -> None:
        await self._call("DELETE", f"/admin/pools/{quote(name, safe='')}")

    async def reload(self) -> Change:
        data = await self._call("POST", "/admin/config/reload")
        return Change(**{k: tupled(v) for k, v in data.items()})

    async def export(self, secrets: bool = False) -> str:
        wanted = "?secrets=true" if secrets else ""
        return str((await self._call("GET", f"/admin/config{wanted}"))["yaml"])

    async def explain(self, name: str | None) -> Mapping[str, Any]:
        return await self._call("POST", "/admin/route", {"model": name})

    async def series(self) -> Sequence[Series]:
        data = (await self._call("GET", "/admin/series"))["data"]
        return [Series(**{k: tupled(v) for k, v in each.items()}) for each in data]

    async def usage(self, query: UsageQuery) -> UsageReport:
        return read_report(await self._call("GET", f"/admin/usage?{urlencode(parameters(query))}"))

    async def caller(self, *, key: str = "", holder: str = "") -> Caller | None:
        """Who calls with a key, or has signed in with that of an id; None for nobody."""
        more = behalf.written(key=key, holder=holder)
        return remote_server.caller_of(await self._call("GET", "/admin/caller", more=more))

    async def system(self) -> System:
        data = await self._call("GET", "/admin/system")
        return System(**{k: tupled(v) for k, v in data.items()})

    async def _call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None,
        more: Mapping[str, str] = behalf.NOBODY,
    ) -> dict[str, Any]:  # fmt: skip
        sent = b"" if body is None else orjson.dumps(body)
        kind = {} if body is None else {"content-type": "application/json"}
        headers = {**self._headers, **more, **kind}
        async with self._http.request(
            method, f"{self._url}{path}", headers=headers, body=sent
        ) as response:
            if response.status >= 400:
                raise await remote_server.refusal(response)
            try:
                return dict(orjson.loads(await response.read(LIMIT)))
            except (ValueError, TypeError):
                raise UpstreamBadResponse(NOT_OURS) from None
