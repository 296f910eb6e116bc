"""One relay in front of one stand-in, and what became of a request there: what the server got, what
came back, and what the caller was told.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import Play, play
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay_proxy.app import create_app
from h2o_relay_proxy.ports import bind
from h2o_relay_proxy.server import running

from ..proxy.kit import Relay, get, post
from ..proxy.raw_client import Reply
from .backends import Backend, Sent, sent_of

NAME = "the-model"
"""What callers call every backend's model."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request."""

    reply: Reply
    sent: tuple[Sent, ...]
    answers: tuple[bytes, ...] = ()
    """The bodies that the stand-in answered with, where it is asked."""

    @property
    def refused(self) -> bool:
        return 400 <= self.reply.status < 500

    @property
    def dropped(self) -> frozenset[str]:
        """The fields that are named as not honoured, by the first words of their paths."""
        given = self.reply.headers.get("x-h2o-dropped-params", "")
        return frozenset(root_of(path) for path in given.split(", ") if path)

    @property
    def error(self) -> dict[str, Any]:
        """What a refusal says, in whichever dialect's shape."""
        return dict(self.reply.json()["error"])

    @property
    def named(self) -> str:
        """The field that a refusal names. Anthropic's errors have no place for it but their text,
        where it stands in quotes, or before a colon.
        """
        error = self.error
        if "param" in error:
            return root_of(str(error["param"] or ""))
        quoted = re.search(r"'([\w.\[\]]+)'|^(\S+): ", error["message"])
        return root_of(quoted[1] or quoted[2]) if quoted else ""


def body_of(play: Play) -> bytes:
    """What `scripts.json` and `scripts.stream` send, without HTTP's framing."""
    head, _, body = play.wire.partition(b"\r\n\r\n")
    return play.body if b"transfer-encoding: chunked" in head else body


def root_of(path: str) -> str:
    return path.partition(".")[0].partition("[")[0]


@dataclass(frozen=True, slots=True)
class Bench:
    """A running relay, and the backend behind it."""

    backend: Backend
    relay: Relay
    played: list[Play]

    async def get(self, path: str) -> Reply:
        return await self.relay.ask(get(f"/v1{path}"))

    async def ask(self, path: str, body: Mapping[str, Any], strict: bool = False) -> Outcome:
        """One request; every body names the model."""
        upstream, headers = self.relay.upstream, {"x-h2o-strict": "true"} if strict else {}
        upstream.requests.clear()
        self.played.clear()
        reply = await self.relay.ask(post({"model": NAME, **body}, f"/v1{path}", headers))
        assert reply.complete, reply
        asked = filter(self.backend.asked, upstream.requests)
        answers = tuple(body_of(play) for play in self.played)
        return Outcome(reply, tuple(map(sent_of, asked)), answers)


@contextlib.asynccontextmanager
async def bench(backend: Backend, plugins: Plugins | None = None) -> AsyncIterator[Bench]:
    """A relay that serves the backend's model as `NAME`."""
    settings = quick()
    played: list[Play] = []
    async with contextlib.AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream(play()))
        upstream.script = backend.script(upstream, played)
        stack.enter_context(backend.environment(upstream.url))
        spec = ServerSpec(
            server=backend.string.format(url=upstream.url), base_model=backend.base_model,
            display_name=NAME,
        )  # fmt: skip
        kernel = await stack.enter_async_context(Kernel(settings, [spec], plugins))
        await kernel.settled(10)
        app, sock = create_app(kernel, settings, kernel.instance), bind("127.0.0.1", 0)
        port = sock.getsockname()[1]
        server = await stack.enter_async_context(running(app, settings, sock))
        yield Bench(backend, Relay(port, kernel, settings, upstream, server, []), played)
