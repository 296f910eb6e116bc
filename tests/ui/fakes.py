"""`FakeRelay`: a `Relay` in memory. It answers as its scripts say, and remembers what was asked.

relay = FakeRelay(view("parrot"), view("slow"), scripts={"slow": Script(endless=True)})
relay.set("parrot", state="offline", reason="connection refused")
async with relay.stream("chat", {"model": "slow", "messages": []}) as answer: ...
assert relay.asked[-1].closed
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from typing import Any, cast

from h2o_relay.accounting.caller import OPEN, Caller
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.accounting.usage_query import UsageQuery, UsageReport
from h2o_relay.admin import DeploymentView, Found, FoundModel, Series, System, Tried
from h2o_relay.answer import Answer
from h2o_relay.assemble import assemble
from h2o_relay.chunks import Completion
from h2o_relay.entry import ServerStatus
from h2o_relay.errors import (
    InvalidRequest,
    ModelNotFound,
    RelayError,
    Unauthorized,
    UnknownURL,
    UpstreamUnavailable,
)
from h2o_relay.forwarding import Forwarded
from h2o_relay.health import ANSWERING
from h2o_relay.settings import Settings
from h2o_relay.testing.settings import quick
from h2o_relay.types import Call, Deployment, Kind, Server
from h2o_relay_ui.context import Context, Relay, User

from .answers import Asked, FakeAnswer, Script

__all__ = ["Asked", "FakeRelay", "Script", "context", "pool", "view"]

STARTED = 1_800_000_000.0
"""Unix time at which everything in a fake began, unless it is told otherwise."""


def view(name: str, **changes: Any) -> DeploymentView:
    """A deployment that is healthy, but for what `changes` says."""
    usual = DeploymentView(
        id=f"id-{name}", name=name, model=name, base_model=name, server="vllm_chat:gpu1:8000",
        plugin="vllm", state="healthy", stage="ready", reason="", since=STARTED, visible=True,
        added=False, max_context=8192, kinds=("chat", "text"), fields=None, vision=False,
        prompt_type=None, loadable=False, running=0, waiting=0, latency=0.2, requests=0,
        failures=0, tokens=0,
    )  # fmt: skip
    return replace(usual, **changes)


def pool(name: str, *members: str, **changes: Any) -> DeploymentView:
    """A pool of these deployments, as the relay shows it."""
    usual = {"id": f"pool-{name}", "plugin": "pool", "server": ", ".join(members),
             "members": members, "strategy": "least-load"}  # fmt: skip
    return view(name, **{**usual, **changes})


class FakeRelay:
    """Everything may be set between calls: `views` by `set` and `put`, the rest directly."""

    def __init__(self, *views: DeploymentView, scripts: Mapping[str, Script] | None = None) -> None:
        self.views = list(views)
        self.scripts = dict(scripts or {})
        self.found: dict[str, Found | RelayError] = {}
        """What a look at a server string brings; others are a vLLM with the asked model."""
        self.tried: dict[str, Tried | RelayError] = {}
        self.failing: dict[str, RelayError] = {}
        """Raised by the method of that name: `add`, `change`, `remove`, `set_loaded` ..."""
        self.history: list[Series] = []
        self.used = UsageReport(since=0.0, until=None, by=("key",), rows=())
        self.about: System | None = None
        self.ring: KeyRing | None = None
        """What keys of h2oGPT's calls are looked up in; without one no key is needed."""
        self.entries: dict[str, dict[str, Any]] = {}
        """What was added, by id."""
        self.asked: list[Asked] = []
        self.calls: list[tuple[str, Any]] = []
        """Administration that was asked for: the method's name and its arguments."""
        self.watching = 0
        """How many `changes()` are open."""
        self._news = asyncio.Event()

    # What tests do to it.

    def set(self, name: str, **changes: Any) -> None:
        """Change the deployments of a name, or of an id."""
        self.put(*(replace(v, **changes) if name in (v.name, v.id) else v for v in self.views))

    def put(self, *views: DeploymentView) -> None:
        """These deployments and no others."""
        self.views = list(views)
        self._news.set()
        self._news = asyncio.Event()

    # KernelAPI.

    def models(self) -> list[Deployment]:
        return [_deployment(view) for view in self.views if view.visible and view.name]

    def find(self, name: str | None) -> Deployment:
        for view in self.views:
            if view.name and (name is None or view.name == name):
                return _deployment(view)
        raise ModelNotFound(f"The model `{name}` does not exist.", param="model")

    def status(self) -> list[ServerStatus]:
        return [
            ServerStatus(_deployment(view).server, cast(Any, view.state), view.reason, ())
            for view in self.views
        ]

    async def settled(self, timeout: float) -> None:
        return None

    @asynccontextmanager
    async def _answer(
        self, kind: Kind, params: Mapping[str, Any], body: bytes | None
    ) -> AsyncIterator[FakeAnswer]:
        asked = Asked(kind, dict(params), body)
        self.asked.append(asked)
        deployment = self.find(params.get("model"))
        away = next(v for v in self.views if v.name == deployment.name)
        if away.state not in ANSWERING and away.reason:
            raise UpstreamUnavailable(f"`{away.name}` cannot be used: {away.reason}")
        answer = FakeAnswer(deployment, self.scripts.get(deployment.name, Script()), asked)
        try:
            await answer.begin()
            yield answer
        finally:
            asked.closed = True
            await answer.close()

    def stream(
        self,
        kind: Kind,
        params: Mapping[str, Any],
        body: bytes | None = None,
        session: str | None = None,
    ) -> AbstractAsyncContextManager[Answer]:
        return cast("AbstractAsyncContextManager[Answer]", self._answer(kind, params, body))

    async def generate(
        self,
        kind: Kind,
        params: Mapping[str, Any],
        body: bytes | None = None,
        session: str | None = None,
    ) -> Completion:
        async with self.stream(kind, params, body) as answer:
            return await assemble(answer, kind)

    def offers(self, call: Call) -> bool:
        return False

    def forward(
        self, model: str | int | None, call: Call, session: str | None = None
    ) -> AbstractAsyncContextManager[Forwarded]:
        raise UnknownURL(f"There is nothing at {call.path}.")

    def fix_text(self, kind: Kind, params: Mapping[str, Any], text: str, final: bool) -> str:
        return text

    async def caller(self, *, key: str = "", holder: str = "") -> Caller | None:
        self._fail("caller")
        if self.ring is None:
            return OPEN
        try:
            return self.ring.find_holder(holder) if holder else self.ring.find_call(key)
        except Unauthorized:
            return None

    # AdminAPI.

    def deployments(self) -> Sequence[DeploymentView]:
        return tuple(self.views)

    async def changes(self) -> AsyncGenerator[Sequence[DeploymentView], None]:
        self.watching += 1
        try:
            while True:
                news = self._news
                self._fail("changes")
                yield self.deployments()
                await news.wait()
        finally:
            self.watching -= 1

    async def identify(self, entry: Mapping[str, Any]) -> Found:
        self._called("identify", dict(entry))
        server, model = str(entry.get("inference_server") or ""), entry.get("base_model")
        found = self.found.get(server)
        if isinstance(found, RelayError):
            raise found
        models = (FoundModel(id=str(model or "served"), max_context=4096, kinds=("chat",)),)
        usual = Found(server=server, plugin="vllm", url="http://gpu2:8000", models=models,
                      kinds=("chat", "text"), problem="")  # fmt: skip
        return found or usual

    async def add(self, entry: Mapping[str, Any]) -> str:
        self._called("add", dict(entry))
        id = f"added-{len(self.entries)}"
        self.entries[id] = dict(entry)
        name = str(entry.get("display_name") or entry.get("base_model") or "")
        self.put(*self.views, self._entered(view(name, id=id, added=True), entry))
        return id

    async def change(self, id: str, entry: Mapping[str, Any]) -> None:
        self._called("change", (id, dict(entry)))
        if id in self.entries:
            self.entries[id] |= entry
            self.put(*(self._entered(v, self.entries[id]) if v.id == id else v for v in self.views))
        elif set(entry) <= {"visible"}:
            self.set(id, visible=bool(entry.get("visible", True)))
        else:
            raise InvalidRequest("only what was added can be changed")

    async def remove(self, id: str) -> None:
        self._called("remove", id)
        if self.entries.pop(id, None) is None:
            raise InvalidRequest("only what was added can be removed")
        self.put(*(view for view in self.views if view.id != id))

    async def entry(self, id: str) -> Mapping[str, Any]:
        self._called("entry", id)
        entry = self.entries[id]
        return {k: "***" if k == "h2ogpt_key" and v else v for k, v in entry.items()}

    async def try_out(self, name: str) -> Tried:
        self._called("try_out", name)
        tried = self.tried.get(name, Tried(ok=True, seconds=0.21, text="Hello"))
        if isinstance(tried, RelayError):
            raise tried
        return tried

    async def set_loaded(self, name: str, on: bool) -> None:
        self._called("set_loaded", (name, on))

    async def series(self) -> Sequence[Series]:
        self._fail("series")
        return tuple(self.history)

    async def usage(self, query: UsageQuery) -> UsageReport:
        self._fail("usage")
        self.calls.append(("usage", query))
        return self.used

    async def system(self) -> System:
        self._fail("system")
        usual = System(version="0.1.0", python="3.11.2", instance="fake", started=STARTED,
                       plugins=({"name": "vllm", "version": "0.1.0", "state": "loaded",
                                 "reason": ""},),
                       settings={"port": 7860}, packages={"gradio": "6.31.0"}, log=())  # fmt: skip
        return self.about or usual

    @staticmethod
    def _entered(view: DeploymentView, entry: Mapping[str, Any]) -> DeploymentView:
        return replace(
            view, server=str(entry.get("inference_server") or view.server),
            max_context=entry.get("max_seq_len") or view.max_context,
            prompt_type=entry.get("prompt_type"), visible=bool(entry.get("visible", True)),
        )  # fmt: skip

    def _called(self, method: str, given: Any) -> None:
        self.calls.append((method, given))
        self._fail(method)

    def _fail(self, method: str) -> None:
        if method in self.failing:
            raise self.failing[method]


def _deployment(view: DeploymentView) -> Deployment:
    server = Server(plugin=view.plugin, shown=view.server)
    kinds = cast("frozenset[Kind]", frozenset(view.kinds))
    return Deployment(name=view.name, server=server, model=view.model, base_model=view.base_model,
                      max_context=view.max_context, kinds=kinds, visible=view.visible)  # fmt: skip


def context(relay: FakeRelay, settings: Settings | None = None, **changes: Any) -> Context:
    """A page's context around a fake; `changes` are its other fields."""
    given: dict[str, Any] = {"conversations": None, "votes": None, "turns": None, **changes}
    given.setdefault("user", lambda request: User(owner="somebody"))
    return Context(relay=cast(Relay, relay), settings=settings or quick(), **given)
