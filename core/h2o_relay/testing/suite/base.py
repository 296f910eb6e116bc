"""What every part of the suite builds on: the plugin under test, and a relay around it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from inspect import iscoroutinefunction
from types import ModuleType
from typing import Any, ClassVar

import pytest

from ...chunks import Chunk, Completion
from ...errors import RelayError
from ...hookspecs import HOOKS, PROJECT, hookimpl
from ...kernel import Kernel
from ...plugins import Plugins, installed
from ...settings import Settings
from ...types import Capabilities, Deployment, Endpoint, Kind, Request, Server
from ..scripts import Play
from ..settings import quick
from ..upstream import Answer, Received, Script, ScriptedUpstream
from ..wire import OpenAIWire, Wire

MODEL = "test-model"
TEXTS = ("Hel", "lo, ", "wörld ", "\U0001f99c", ' "quoted"\n')
AWAY = "http://127.0.0.1:9"  # nothing listens at the discard port; only ever parsed

Reply = Callable[[Received], Script]
"""Chooses the answer to one request for a generation."""


once_installed = cache(installed)
"""Reading the entry points anew for each test took most of its time."""


@dataclass(frozen=True, slots=True)
class Relay:
    """A kernel with one server, the scripted upstream."""

    kernel: Kernel
    upstream: ScriptedUpstream
    kind: Kind
    wire: Wire

    @property
    def asked(self) -> list[Received]:
        """The requests that were not for the list of models."""
        return [item for item in self.upstream.requests if not self.wire.is_listing(item)]

    async def stream(self, **params: Any) -> list[Chunk]:
        """All chunks of an answer."""
        chunks, error = await self.stream_to_error(**params)
        if error is not None:
            raise error
        return chunks

    async def stream_to_error(self, **params: Any) -> tuple[list[Chunk], RelayError | None]:
        """The chunks of an answer that came before its end or its error."""
        chunks: list[Chunk] = []
        try:
            async with self.kernel.stream(self.kind, self.params(stream=True, **params)) as answer:
                async for item in answer:
                    chunks.append(item)  # noqa: PERF401
        except RelayError as error:
            return chunks, error
        return chunks, None

    async def generate(self, **params: Any) -> Completion:
        return await self.kernel.generate(self.kind, self.params(**params))

    def params(self, **more: Any) -> dict[str, Any]:
        return {"model": MODEL, **prompt(self.kind), **more}


class SuiteBase:
    """The plugin under test. A subclass sets `plugin` and what else its docstrings ask for."""

    plugin: ClassVar[str]
    """The plugin's entry-point name."""
    module: ClassVar[ModuleType | None] = None
    """The plugin itself, where it isn't installed."""
    speaks: ClassVar[Wire] = OpenAIWire()
    """The protocol of the plugin's servers."""
    connects: ClassVar[str] = ""
    """Why the plugin's own `connect` can't be used with a scripted upstream (it starts an engine,
    say). Where this is set, the suite's `endpoint` is connected to instead."""

    def server_for(self, url: str) -> str:
        """A server string for a server at `url` (`http://127.0.0.1:PORT`, without a path).

        Where `connects` is set: any server string.
        """
        raise NotImplementedError(f"{type(self).__name__} must say how a server string is made")

    def endpoint(self, url: str) -> Any:
        """What is connected to where `connects` is set."""
        return Endpoint(url=f"{url}/v1")

    def __init_subclass__(cls, **options: Any) -> None:
        """Async tests carry pytest-asyncio's mark, for those who use its strict mode."""
        super().__init_subclass__(**options)
        for name, test in list(vars(cls).items()):
            if name.startswith("test") and iscoroutinefunction(test):
                setattr(cls, name, pytest.mark.asyncio(test))

    def hooks(self) -> ModuleType:
        """The plugin's module."""
        if self.module is not None:
            return self.module
        (entry,) = once_installed().select(group=PROJECT, name=self.plugin)
        loaded = entry.load()
        assert isinstance(loaded, ModuleType), f"{self.plugin}: an entry point must name a module"
        return loaded

    def plugins(self, url: str = AWAY) -> Plugins:
        """The plugin alone; with `connects` set, connected to `endpoint(url)`."""
        if self.connects:
            replaced = with_connect(self.hooks(), self.endpoint(url))
            return Plugins.of(**{self.plugin: replaced})
        if self.module is not None:
            return Plugins.of(**{self.plugin: self.module})
        return Plugins.discover(self.plugin, once_installed())

    def server(self, url: str = AWAY) -> Server:
        return self.plugins().parse(self.server_for(url))

    def capabilities(self) -> Capabilities:
        found = self.plugins().get(self.plugin).capabilities(self.server())
        assert isinstance(found, Capabilities)
        return found

    @property
    def kind(self) -> Kind:
        """The kind of request that most tests make."""
        kinds = self.capabilities().kinds
        wanted = self.server().api
        if wanted in kinds and wanted is not None:
            return wanted
        return "chat" if "chat" in kinds else "text"

    @property
    def openai_shaped(self) -> bool:
        return isinstance(self.speaks, OpenAIWire)

    def request(self, **params: Any) -> Request:
        """A request as hooks are given it."""
        kind, server = self.kind, self.server()
        deployment = Deployment(name=MODEL, server=server, model=MODEL)
        asked = {"model": MODEL, **prompt(kind), **params}
        return Request(kind=kind, params=asked, body=None, deployment=deployment)

    def reply(
        self, texts: Sequence[str] = TEXTS, change: Callable[[Play], Play] = lambda play: play
    ) -> Reply:
        """Answers made of these texts, changed by `change`."""
        return lambda request: change(self.speaks.reply(request, texts))

    @asynccontextmanager
    async def relay(
        self, reply: Reply, listing: Script | None = None, settings: Settings | None = None
    ) -> AsyncIterator[Relay]:
        """A relay whose one server lists `MODEL`, or `listing`, and answers by `reply`."""
        listed = listing or self.speaks.listing([MODEL])

        async def script(request: Received, answer: Answer) -> None:
            chosen = listed if self.speaks.is_listing(request) else reply(request)
            await chosen(request, answer)

        async with ScriptedUpstream(script) as upstream:
            server = self.server_for(upstream.url)
            plugins = self.plugins(upstream.url)
            async with Kernel(settings or quick(), servers=[server], plugins=plugins) as kernel:
                await kernel.settled(20)
                yield Relay(kernel, upstream, self.kind, self.speaks)


def prompt(kind: Kind) -> Mapping[str, Any]:
    if kind == "chat":
        return {"messages": [{"role": "user", "content": "Say it."}]}
    return {"prompt": "Say it."}


def said(chunks: Sequence[Chunk]) -> str:
    return "".join(item.text for item in chunks)


def with_connect(module: ModuleType, endpoint: Any) -> ModuleType:
    """The module with a `connect` that opens nothing and yields `endpoint`."""
    copy = ModuleType(module.__name__)
    for name in HOOKS:
        if hasattr(module, name):
            setattr(copy, name, getattr(module, name))

    @asynccontextmanager
    async def connect(server: Server) -> AsyncIterator[Any]:
        yield endpoint

    copy.connect = hookimpl(connect)  # type: ignore[attr-defined]
    return copy
