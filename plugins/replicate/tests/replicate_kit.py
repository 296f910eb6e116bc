"""What the tests of this plugin share: a kernel whose one server is the stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

import h2o_relay_replicate
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import UNTUNED, Tuning

from .replicate_standin import TOKEN, Cloud

NAME = "llama"
OPTIONS = {"H2O_REPLICATE_POLL_INTERVAL": "0.02", "H2O_REPLICATE_CANCEL_TIMEOUT": "0.3"}


@asynccontextmanager
async def relayed(
    cloud: Cloud, server: str = "replicate:meta/llama", settings: Settings | None = None,
    env: Mapping[str, str] = OPTIONS, tuning: Tuning = UNTUNED,
) -> AsyncIterator[Kernel]:  # fmt: skip
    """A kernel that serves the cloud's model as `NAME`."""
    async with ScriptedUpstream(cloud) as upstream:
        cloud.served = upstream
        plugins = Plugins.of(replicate=h2o_relay_replicate)
        with environment(upstream.url, env):
            spec = ServerSpec(server=server, base_model=NAME, tuning=tuning)
            kernel = Kernel(settings or quick(), servers=[spec], plugins=plugins)
            async with kernel:
                await kernel.settled(5)
                yield kernel


class environment:
    """The variables that an operator sets, for as long as the block lasts."""

    def __init__(self, url: str, more: Mapping[str, str] = OPTIONS) -> None:
        self.values = {"H2O_REPLICATE_URL": url, "REPLICATE_API_TOKEN": TOKEN, **more}
        self.patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        for name, value in self.values.items():
            self.patch.setenv(name, value)

    def __exit__(self, *_: object) -> None:
        self.patch.undo()


def chat(*texts: str, system: str | None = None, **more: Any) -> dict[str, Any]:
    """A chat request: texts of user and assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return {"model": NAME, "messages": messages, **more}
