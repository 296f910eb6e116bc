"""The page as one ASGI application: a kernel, Gradio on its loop, and what stands before it."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import gradio as gr
from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

from h2o_relay.kernel import KernelAPI

from .assistant import Assistant
from .chat import CSS, build
from .front import App, Front
from .h2ogpt.service import Service

WRONG_KEY_PAUSE = 1.0  # seconds
SIGN_IN = "Sign in with any name, and the relay's API key as the password."
FONT = gr.themes.LocalFont("IBM Plex Sans", weights=(400, 700))
MONO = gr.themes.LocalFont("IBM Plex Mono", weights=(400, 700))


def create_app(
    kernel: AbstractAsyncContextManager[KernelAPI], *, local: bool, key: str | None = None
) -> App:
    """The application; it opens `kernel` when it starts and closes it when it stops.

    `local`: only this machine is served, and its browsers need not sign in. Elsewhere they sign in
    with `key`, if there is one. Callers of h2oGPT's API send it with each call, wherever they are.
    """
    held: list[tuple[Assistant, Service]] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with kernel as opened:
            held.append((Assistant(opened), Service(opened, key)))
            yield

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)
    # Gradio would allow foreign origins, credentials included; it leaves that to a parent's.
    app.add_middleware(CORSMiddleware, allow_origins=())
    gr.mount_gradio_app(
        app, build(lambda: held[0][0], lambda: held[0][1]), path="/", theme=theme(), css_paths=CSS,
        auth=check(key) if key and not local else None, auth_message=SIGN_IN,
        footer_links=[], run_history=False, show_error=False, allowed_paths=[],
        max_file_size="1mb", ssr_mode=False, mcp_server=False, pwa=False, enable_monitoring=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
    )  # fmt: skip
    return Front(app, local)


def check(key: str) -> Callable[[str, str], Awaitable[bool]]:
    """Whether a sign-in presents the key; one that does not waits, so that guessing is slow."""

    async def allowed(_: str, password: str) -> bool:
        right = hmac.compare_digest(password.encode(), key.encode())
        if not right:
            await asyncio.sleep(WRONG_KEY_PAUSE)
        return right

    return allowed


def theme() -> Any:
    """Calm and grey, with fonts that are in Gradio's own package."""
    return gr.themes.Default(
        primary_hue="slate", secondary_hue="slate", neutral_hue="slate", font=[FONT, "sans-serif"],
        font_mono=[MONO, "monospace"],
    )  # fmt: skip
