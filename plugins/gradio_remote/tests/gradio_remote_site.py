"""A scripted Gradio server that answers by path, and a relay in front of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from h2o_relay.chunks import Chunk
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.testing.scripts import json, stream
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream
from h2o_relay_gradio_remote.standin import EVENT, h2ogpt_config, named

Asked = dict[str, Any]
HELLO = [{"role": "user", "content": "Hello"}]
TEXTS = ("Hel", "lo")
CALL = h2ogpt_config("6.31.0", "sse_v3", "/gradio_api")
QUEUE = h2ogpt_config("4.44.1", "sse_v3")
OLD_QUEUE = h2ogpt_config("4.20.1", "sse_v2")
DIRECT = h2ogpt_config("3.50.2", "ws")
MODELS = repr([{"display_name": "big", "base_model": "org/big"}])
JOINED = {"event_id": EVENT}


class Site:
    """A Gradio server that answers by path; what is not told here is 404."""

    def __init__(self, config: Any, **answers: Script | Callable[[Received], Script]) -> None:
        self.config = config
        prefix = config.get("api_prefix", "") if isinstance(config, dict) else ""
        self.answers: dict[str, Any] = {
            "/config": json(config),
            f"{prefix}/run/model_names": json({"data": [MODELS]}),
            f"{prefix}/call/submit_nochat_api": json(JOINED),
            f"{prefix}/queue/join": json(JOINED),
            f"{prefix}/cancel": json({"success": True}),
            f"{prefix}/reset": json({"success": True}),
        }
        self.answers.update({f"/{name}": script for name, script in answers.items()})

    def on(self, path: str, script: Any) -> Site:
        self.answers[path] = script
        return self

    async def __call__(self, request: Received, answer: Answer) -> None:
        path = request.path.partition("?")[0]
        script = self.answers.get(path, json({"detail": "Not Found"}, 404))
        await script(request, answer)


def call_site(*pieces: bytes) -> Site:
    path = f"/gradio_api/call/submit_nochat_api/{EVENT}"
    return Site(CALL).on(path, stream(pieces))


def queue_site(*pieces: bytes, config: Asked = QUEUE) -> Site:
    return Site(config).on("/queue/data", stream(pieces))


def completed(text: str, **more: Any) -> bytes:
    return named("complete", [repr({"response": text, **more})])


@asynccontextmanager
async def _relay(site: Site, string: str, settings: Asked) -> Any:
    async with ScriptedUpstream(site) as upstream:
        given = string.format(url=upstream.url)
        plugins = Plugins.discover("gradio_remote")
        async with Kernel(quick(**settings), servers=[given], plugins=plugins) as kernel:
            await kernel.settled(20)
            upstream.requests.clear()
            yield kernel, upstream


def relay(
    site: Site, string: str = "gradio:{url}", **settings: Any
) -> AbstractAsyncContextManager[tuple[Kernel, ScriptedUpstream]]:
    return _relay(site, string, settings)


async def pieces(kernel: Kernel, **params: Any) -> list[Chunk]:
    async with kernel.stream("chat", {"messages": HELLO, "stream": True, **params}) as answer:
        return [chunk async for chunk in answer]


async def said(kernel: Kernel, **params: Any) -> list[str]:
    return [chunk.text for chunk in await pieces(kernel, **params) if chunk.text]


def lines(upstream: ScriptedUpstream) -> list[str]:
    return [f"{item.method} {item.path}" for item in upstream.requests]
