"""h2oGPT's endpoints in a Gradio page. They alone are public."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import gradio as gr
from gradio.events import api

from h2o_relay.errors import RelayError

from .service import Service, system_hash

QUICK: dict[str, Any] = {"queue": False}
DIRECT = ("/run/", "/api/")
"""Paths whose request lasts as long as the answer does."""


def add(service: Callable[[], Service]) -> None:
    """Add them to the page that is being built. `service` is called for each request.

    Gradio's queue would run one request at a time; how many run is the relay's business.
    """

    async def submit(inputs: str) -> AsyncIterator[str]:
        """The text of a dict in, the text of a dict out, each time with the whole answer so far."""
        try:
            async with aclosing(service().answers(inputs)) as told:
                async for one in told:
                    yield repr(one)
        except RelayError as error:
            raise shown(error) from None

    async def plain(inputs: str, request: gr.Request) -> str:
        """The same, told once."""
        last: dict[str, Any] = {}
        try:
            async with aclosing(service().answers(inputs)) as told:
                async for one in told:
                    last = one
                    if await has_left(request):
                        break
        except RelayError as error:
            raise shown(error) from None
        return repr(last)

    async def model_names() -> str:
        """The text of a list of dicts."""
        return repr(await service().models())

    async def num_model_lock() -> int:
        """How many models there are."""
        return len(await service().models())

    api(submit, api_name="submit_nochat_api", concurrency_limit=None)
    api(plain, api_name="submit_nochat_plain_api", concurrency_limit=None, **QUICK)
    api(model_names, api_name="model_names", concurrency_limit=None, **QUICK)
    api(num_model_lock, api_name="num_model_lock", concurrency_limit=None, **QUICK)
    api(system_hash, api_name="system_hash", concurrency_limit=None, **QUICK)


async def has_left(request: gr.Request) -> bool:
    """Whether nobody waits any more, as far as the request can tell."""
    asked: Any = request.request
    if not any(part in asked.url.path for part in DIRECT):
        return False
    return bool(await asked.is_disconnected())


def shown(error: RelayError) -> gr.Error:
    """The error as Gradio passes it on; any other it would hide."""
    return gr.Error(error.message, print_exception=False)
