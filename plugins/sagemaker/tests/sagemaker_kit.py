"""A relay in front of the stand-in, for tests that say what a request or answer looks like."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.resolve import resolve
from h2o_relay.settings import Settings
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Received, Script, ScriptedUpstream
from h2o_relay.types import UNTUNED, Deployment, Kind, Request, Server, Tuning

ENDPOINT, REGION = "test-model", "us-east-2"
STRING = f"sagemaker_chat:{ENDPOINT}:{REGION}"
LLAMA2 = "h2oai/h2ogpt-4096-llama2-7b-chat"
HELLO = [{"role": "user", "content": "Say it."}]
ALONE = Plugins.discover("sagemaker")


@contextmanager
def in_environment(settings: Settings, url: str) -> Iterator[None]:
    """The environment in which the plugin finds its server there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("H2O_SAGEMAKER_ENDPOINT_URL", url)
        yield


@dataclass(frozen=True, slots=True)
class Asked:
    """A kernel with one SageMaker server, and what the server was asked."""

    kernel: Kernel
    upstream: ScriptedUpstream

    @property
    def last(self) -> Received:
        return self.upstream.requests[-1]

    async def generate(self, kind: Kind = "chat", **params: Any) -> Completion:
        return await self.kernel.generate(kind, self._params(kind, params))

    async def stream(self, kind: Kind = "chat", **params: Any) -> list[Chunk]:
        asked = {**self._params(kind, params), "stream": True}
        async with self.kernel.stream(kind, asked) as answer:
            return [chunk async for chunk in answer]

    async def failure(self, how: str, **params: Any) -> RelayError:
        """The error of an answer that must fail."""
        with pytest.raises(RelayError) as caught:
            await (self.stream(**params) if how == "stream" else self.generate(**params))
        return caught.value

    def _params(self, kind: Kind, params: Mapping[str, Any]) -> dict[str, Any]:
        (deployment,) = self.kernel.models()
        return {"model": deployment.name, **prompt_of(kind), **params}


@asynccontextmanager
async def asked(
    script: Script, text: str = STRING, base_model: str | None = None,
    settings: Settings | None = None, tuning: Tuning = UNTUNED,
) -> AsyncIterator[Asked]:  # fmt: skip
    """A relay whose one server answers by `script`."""
    chosen = settings or quick()
    async with ScriptedUpstream(script) as upstream:
        with in_environment(chosen, upstream.url):
            spec = ServerSpec(server=text, base_model=base_model, tuning=tuning)
            async with Kernel(chosen, servers=[spec], plugins=ALONE) as kernel:
                await kernel.settled(10)
                yield Asked(kernel, upstream)


def server_of(text: str = STRING, base_model: str | None = None, **env: str) -> Server:
    """A server string, parsed and resolved."""
    return resolve(ALONE.parse(text), base_model, env)


def prompt_of(kind: Kind) -> dict[str, Any]:
    return {"messages": HELLO} if kind == "chat" else {"prompt": "Say it."}


def request_of(
    server: Server, kind: Kind = "chat", base_model: str | None = None, prompt: str | None = None,
    stops: tuple[str, ...] = (), **params: Any,
) -> Request:  # fmt: skip
    """A request as hooks are given it."""
    deployment = Deployment(
        name=base_model or ENDPOINT, server=server, model=ENDPOINT, base_model=base_model
    )
    given = {"model": deployment.name, **params}
    return Request(
        kind=kind, params=given, body=None, deployment=deployment, prompt=prompt, stops=stops
    )
