"""What the ollama plugin's tests share: a relay in front of the stand-in, and its answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h2o_relay_ollama
from h2o_relay.chunks import Chunk, Completion
from h2o_relay.http import HttpClient
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import Deployment, Kind, Request, Server, Tuning

from .ollama_standin import CHATTY, StandIn


@dataclass(frozen=True, slots=True)
class Bench:
    """The plugin's hooks with a server, and the stand-in behind it."""

    ollama: StandIn
    upstream: ScriptedUpstream
    server: Server
    client: HttpClient

    def request(
        self, kind: Kind = "chat", tuning: Tuning | None = None, prompt: str | None = None,
        stops: Sequence[str] = (), **params: Any,
    ) -> Request:  # fmt: skip
        """`prompt` is a rendered conversation, `text` a caller's own prompt."""
        model = params.pop("model", CHATTY)
        if "text" in params:
            params["prompt"] = params.pop("text")
        deployment = Deployment(
            name="public", server=self.server, model=model, tuning=tuning or Tuning()
        )
        return Request(
            kind=kind, params={"model": "public", **params}, body=None, deployment=deployment,
            prompt=prompt, stops=tuple(stops),
        )  # fmt: skip

    async def generate(self, *args: Any, **params: Any) -> Completion:
        request = self.request(*args, **params)
        return await h2o_relay_ollama.generate(self.server, self.client, request)

    async def stream(self, *args: Any, **params: Any) -> list[Any]:
        """All events of an answer."""
        request = self.request(*args, **params)
        chunks = h2o_relay_ollama.stream(self.server, self.client, request)
        return [event async for chunk in chunks for event in events(chunk)]

    @property
    def sent(self) -> Any:
        """The body of the last request with one."""
        return self.ollama.asked[-1][1]

    @property
    def route(self) -> str:
        return self.ollama.asked[-1][0]


@asynccontextmanager
async def bench(server: str = "", **options: Any) -> AsyncIterator[Bench]:
    """`server` is what follows the stand-in's URL in the server string."""
    ollama = StandIn()
    async with ScriptedUpstream(ollama) as upstream, HttpClient(quick()) as client:
        parsed = h2o_relay_ollama.parse_server_string(f"ollama:{upstream.url}{server}")
        assert parsed is not None
        if options:
            parsed = Server(plugin="ollama", url=parsed.url, key=parsed.key, options=options)
        yield Bench(ollama, upstream, parsed, client)


@asynccontextmanager
async def relay(form: str = "ollama:{url}") -> AsyncIterator[tuple[Kernel, StandIn]]:
    """A kernel whose one server is the stand-in."""
    ollama = StandIn()
    async with ScriptedUpstream(ollama) as upstream:
        servers = [form.format(url=upstream.url)]
        plugins = Plugins.of(ollama=h2o_relay_ollama)
        async with Kernel(quick(), servers=servers, plugins=plugins) as kernel:
            await kernel.settled(20)
            yield kernel, ollama


def user(text: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def events(chunk: Chunk) -> list[Any]:
    """The events as the wire has them, which must be what the chunk was made of."""
    read = Chunk(chunk.raw).events()
    assert read == chunk.events()
    return read


def choices(found: Sequence[Any]) -> list[Any]:
    return [choice for event in found for choice in event["choices"]]


def text_of(found: Sequence[Any]) -> str:
    deltas = [choice.get("delta", choice) for choice in choices(found)]
    return "".join(delta.get("content") or delta.get("text") or "" for delta in deltas)


def reasons(found: Sequence[Any]) -> list[str]:
    return [c["finish_reason"] for c in choices(found) if c["finish_reason"]]
