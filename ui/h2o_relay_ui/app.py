"""The page as one ASGI application: a kernel, a store, Gradio on their loop, and what stands before
it.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from h2o_relay.errors import StoreError, Unauthorized
from h2o_relay.hosts import is_for_this_machine, is_loopback
from h2o_relay.remote import RemoteKernel
from h2o_relay.settings import Settings, store_url
from h2o_relay.settings_network import ANY, origins
from h2o_relay.store import Accounts, Conversations, Store, Votes

from . import live, page
from .context import Context, User
from .front import App, Front
from .signin import HEAD, SIGN_IN, SignIn
from .turns import Turns

IN_MEMORY = "sqlite://"
LARGEST_FILE = "16mb"
log = logging.getLogger(__name__)


def create_app(settings: Settings, api: str, key: str | None) -> App:
    """The application over the relay at `api`, whose /admin takes `key`; it opens all that it
    needs when it starts and closes it when it stops. Raises SettingError.
    """
    held: list[Context] = []
    local = is_loopback(settings.host)
    sign_in = SignIn(settings, local=is_for_this_machine(settings))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with opened(settings, sign_in, api, key) as context:
            held.append(context)
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    # Gradio would allow foreign origins, credentials included; it leaves that to a parent's.
    app.add_middleware(CORSMiddleware, **cors(settings))
    gr.mount_gradio_app(
        app, page.build(lambda: held[0], settings), path="/",
        theme=page.theme(settings), css_paths=list(page.CSS), head=page.head() + HEAD,
        auth_dependency=sign_in.username,
        footer_links=[], run_history=False, show_error=False, allowed_paths=[],
        max_file_size=LARGEST_FILE, ssr_mode=False, mcp_server=False, pwa=False,
        enable_monitoring=False, root_path=(settings.root_path or "").rstrip("/") or None,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )  # fmt: skip
    return Front(sign_in.wrap(app), local, settings)


def cors(settings: Settings) -> dict[str, Any]:
    """Who else may read what the page answers. Cookies go along for origins that are named, never
    for any (`*`): a sign-in would be everybody's.
    """
    named = origins(settings.cors_origins)
    if not named:
        return {"allow_origins": ()}
    return {
        "allow_origins": named,
        "allow_methods": ("GET", "POST"),
        "allow_headers": ("*",),
        "allow_credentials": ANY not in named,
    }


@asynccontextmanager
async def opened(
    settings: Settings, sign_in: SignIn, api: str, key: str | None
) -> AsyncIterator[Context]:
    """All that the tabs share."""
    async with AsyncExitStack() as stack:
        relay = await stack.enter_async_context(RemoteKernel(api, key, settings))
        store, kept = await stack.enter_async_context(stored(settings))
        conversations = Conversations(store)
        signing = sign_in.opened(Accounts(store), conversations, kept=kept, relay=relay)
        await stack.enter_async_context(signing)
        turns = Turns(relay, conversations)
        context = Context(
            relay=relay,
            settings=settings,
            conversations=conversations,
            votes=Votes(store),
            turns=turns,
            user=lambda request: user(sign_in, request),
            models_of=sign_in.models_of,
            may_add=may_add(settings, sign_in),
            extra={SIGN_IN: sign_in},
        )
        stack.push_async_callback(turns.close)
        stack.push_async_callback(live.close, context)
        yield context


@asynccontextmanager
async def stored(settings: Settings) -> AsyncIterator[tuple[Store, bool]]:
    """The store, and whether it outlives this process: where it cannot be opened there is one in
    memory, so that people can chat all the same.
    """
    store, kept = Store(store_url(settings)), True
    try:
        await store.__aenter__()
    except StoreError as error:
        log.warning("conversations are gone when the relay stops: %s", error.message)
        store, kept = Store(IN_MEMORY), False
        await store.__aenter__()
    try:
        yield store, kept
    finally:
        await store.__aexit__(None, None, None)


def user(sign_in: SignIn, request: Any) -> User:
    """Who uses the page. Raises Unauthorized for callers of its events who lack the key that it
    asks for (`--enforce_h2ogpt_ui_key`): its own address is closed to them before that.
    """
    if not sign_in.may_chat(request):
        raise Unauthorized("This page asks for an access key.")
    return sign_in.user(request)


def may_add(settings: Settings, sign_in: SignIn) -> bool:
    """Whether models may be added on the page: not where a model lock says which ones there are
    (h2oGPT's rule), nor where strangers could do it.
    """
    if settings.add_models is not None:
        return settings.add_models
    known = sign_in.mode != "key" or sign_in.keys.needed or sign_in.stored.told
    people = is_for_this_machine(settings) or (sign_in.asks() and known)
    return settings.model_lock is None and people
