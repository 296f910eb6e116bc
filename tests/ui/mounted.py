"""A page of Gradio with h2oGPT's endpoints behind sign-in, served from this process.

What `h2o run` serves has its tabs, too; here there is one private event in their place.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar, cast

import uvicorn

from h2o_relay.accounting.ring import KeyRing
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings, store_url
from h2o_relay.store import Accounts, Conversations, Store
from h2o_relay.testing.settings import quick
from h2o_relay_ui.context import Context, Relay
from h2o_relay_ui.front import Front
from h2o_relay_ui.signin import HEAD, SIGN_IN, SignIn

from .fakes import FakeRelay

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    url: str
    app: Any
    """FastAPI's, with Gradio's mounted in it."""
    sign_in: SignIn
    context: Context


@contextlib.asynccontextmanager
async def mounted(
    relay: Any, settings: Settings, *, local: bool = True, may_add: bool = True
) -> AsyncIterator[Page]:
    """The page over `relay`, an open kernel or what stands for it."""
    import gradio as gr
    from fastapi import FastAPI
    from fastapi.middleware.cors import CORSMiddleware

    sign_in = SignIn(settings, local=local)
    if isinstance(relay, FakeRelay):
        relay.ring = KeyRing(settings)
    context = Context(
        relay=cast(Relay, relay), settings=settings, conversations=cast(Any, None),
        votes=cast(Any, None), turns=cast(Any, None), user=sign_in.user, may_add=may_add,
        extra={SIGN_IN: sign_in},
    )  # fmt: skip
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(CORSMiddleware, allow_origins=())
    gr.mount_gradio_app(
        app, blocks(lambda: context), path="/", auth_dependency=sign_in.username, ssr_mode=False,
        show_error=False, pwa=False, mcp_server=False, run_history=False, enable_monitoring=False,
        max_file_size="1mb", allowed_paths=[], footer_links=[], head=HEAD,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )  # fmt: skip
    async with (
        Store(store_url(settings)) as store,
        sign_in.opened(Accounts(store), Conversations(store)),
        served(Front(sign_in.wrap(app), local)) as url,
    ):
        yield Page(url, app, sign_in, context)


def blocks(get_context: Callable[[], Context]) -> Any:
    import gradio as gr

    from h2o_relay_ui.h2ogpt import endpoints

    async def whose(request: gr.Request) -> str:
        return get_context().user(request).owner

    # Gradio finds what an event asks for by its annotations, which are texts here.
    whose.__annotations__ = {"request": gr.Request, "return": str}
    page: Any
    with gr.Blocks(analytics_enabled=False) as page:
        owner = gr.Textbox()
        gr.Image()
        gr.Button().click(whose, None, owner, api_name="whose", api_visibility="private")
        endpoints.add(get_context)
    page.queue(default_concurrency_limit=64, api_open=False)
    return page


@contextlib.asynccontextmanager
async def served(app: Any) -> AsyncIterator[str]:
    """The application's address on loopback."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        config = uvicorn.Config(app, log_level="warning", ws="none", access_log=False,
                                timeout_graceful_shutdown=1, proxy_headers=False)  # fmt: skip
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[sock]))
        try:
            async with asyncio.timeout(60):
                while not server.started:  # noqa: ASYNC110, nothing tells of it
                    await asyncio.sleep(0.01)
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task


@contextlib.contextmanager
def gradio_client(url: str, **more: Any) -> Iterator[Any]:
    from gradio_client import Client

    client = Client(url, verbose=False, analytics_enabled=False, **more)
    try:
        yield client
    finally:
        client.close()


async def through(url: str, call: Callable[[Any], T], **more: Any) -> T:
    """What `call` makes of Gradio's own client, in a thread."""

    def run() -> T:
        with gradio_client(url, **more) as client:
            return call(client)

    return await asyncio.to_thread(run)


@contextlib.asynccontextmanager
async def second_relay(server: str, key: str | None = None) -> AsyncIterator[Kernel]:
    """A relay whose server is a page."""
    settings = quick(first_byte_timeout=5.0, request_timeout=5.0)
    plugins = Plugins.discover("gradio_remote")
    parsed = replace(plugins.parse(server), key=key)
    async with Kernel(settings, [parsed], plugins) as kernel:
        await kernel.settled(10)
        yield kernel
