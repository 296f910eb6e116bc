"""What the tgi plugin's tests share: its hooks in front of the stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import h2o_relay_tgi
from h2o_relay.chunks import Chunk, Completion
from h2o_relay.http import HttpClient
from h2o_relay.plugins import Plugins
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import Deployment, Kind, Request, Server

from .tgi_standin import MODEL, TgiStandIn, standing

MESSAGES = [{"role": "user", "content": "What do parrots eat?"}]
PROMPT = "Question: what do parrots eat? Answer:"


@dataclass(frozen=True, slots=True)
class Bench:
    """The plugin's hooks with a server, and the stand-in behind it."""

    tgi: TgiStandIn
    upstream: ScriptedUpstream
    server: Server
    client: HttpClient

    def request(
        self, kind: Kind = "text", *, rendered: str | None = None, stops: tuple[str, ...] = (),
        **params: Any,
    ) -> Request:  # fmt: skip
        """`rendered` is what a conversation became."""
        own = {"prompt": PROMPT} if kind == "text" else {"messages": MESSAGES}
        return Request(
            kind=kind, params={"model": "public", **own, **params}, body=None,
            deployment=Deployment(name="public", server=self.server, model=MODEL),
            prompt=rendered, stops=stops,
        )  # fmt: skip

    async def generate(self, *args: Any, **params: Any) -> Completion:
        asked = self.request(*args, **params)
        return await h2o_relay_tgi.generate(self.server, self.client, asked)

    async def stream(self, *args: Any, **params: Any) -> list[Chunk]:
        asked = self.request(*args, **{"stream": True, **params})
        return [c async for c in h2o_relay_tgi.stream(self.server, self.client, asked)]

    @property
    def sent(self) -> dict[str, Any]:
        """The parameters of the last generation."""
        found: dict[str, Any] = self.tgi.asked[-1]["parameters"]
        return found

    @property
    def paths(self) -> list[str]:
        return [request.path for request in self.upstream.requests]


@asynccontextmanager
async def bench(text: str = "tgi:{url}", **standin: Any) -> AsyncIterator[Bench]:
    """A stand-in with these fields, and the plugin with a server string for it."""
    tgi = TgiStandIn(**standin)
    async with standing(tgi) as upstream, HttpClient(quick()) as client:
        server = Plugins.of(tgi=h2o_relay_tgi).parse(text.format(url=upstream.url))
        yield Bench(tgi, upstream, server, client)


def said(chunks: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in chunks)


def reason(chunks: list[Chunk]) -> list[str]:
    return [chunk.finish_reason for chunk in chunks if chunk.finish_reason]


def usage(chunks: list[Chunk]) -> list[dict[str, Any]]:
    return [chunk.usage for chunk in chunks if chunk.usage]
