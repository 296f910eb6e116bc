"""What the tests of this plugin share: a kernel whose one server is the stand-in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import h2o_relay_replicate
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import Settings
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import UNTUNED, Tuning
from h2o_relay_replicate.standin import OPTIONS, Cloud, environment

NAME = "llama"
PATIENT = {**OPTIONS, "H2O_REPLICATE_CANCEL_TIMEOUT": "5"}


@asynccontextmanager
async def relayed(
    cloud: Cloud, server: str = "replicate:meta/llama", settings: Settings | None = None,
    env: Mapping[str, str] = PATIENT, tuning: Tuning = UNTUNED,
) -> AsyncIterator[Kernel]:  # fmt: skip
    """A kernel that serves the cloud's model as `NAME`."""
    async with ScriptedUpstream(cloud) as upstream:
        cloud.served = upstream
        plugins = Plugins.of(replicate=h2o_relay_replicate)
        with environment(upstream.url, env):
            spec = ServerSpec(server=server, base_model=NAME, tuning=tuning)
            kernel = Kernel(settings or quick(), servers=[spec], plugins=plugins)
            async with kernel:
                await kernel.settled(20)
                yield kernel


def chat(*texts: str, system: str | None = None, **more: Any) -> dict[str, Any]:
    """A chat request: texts of user and assistant in turn."""
    roles = ("user", "assistant")
    messages = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    if system is not None:
        messages.insert(0, {"role": "system", "content": system})
    return {"model": NAME, "messages": messages, **more}
