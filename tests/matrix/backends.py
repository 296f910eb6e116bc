"""Every plugin and its variants, as a relay reaches them, each with a stand-in for its server."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from h2o_relay.testing.scripts import Play, json
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream
from h2o_relay.testing.wire import Wire
from h2o_relay_gradio_remote.standin import CallWire
from h2o_relay_replicate.standin import Cloud, environment
from h2o_relay_sagemaker.standin import Llama2Container, TgiContainer, only_these_keys

from .speaking import TEXTS, ChatApp, LlamaCpp, Ollama, OpenAIPayload, Speaking, Tgi

MODEL = "test-model"
LLAMA2 = "h2oai/h2ogpt-4096-llama2-7b-chat"
"""A model that h2oGPT has a prompt type for."""
PATHS = {
    "chat": "/chat/completions", "text": "/completions", "responses": "/responses",
    "messages": "/messages", "embeddings": "/embeddings",
}  # fmt: skip
OPENAI_SHAPED = {"chat": "messages", "text": "prompt", "embeddings": "input"}
"""Dialects that a container tells apart by a field of each."""
VOLATILE = frozenset({"session_hash"})
"""Fields of an upstream's request that are new each time."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request that the stand-in got: its route and its body, decoded."""

    path: str
    body: Any


@dataclass(frozen=True)
class Backend:
    """A column of the matrix."""

    name: str
    string: str
    """The server string, with `{url}` and `{host}` for the stand-in's."""
    speaks: Wire
    base_model: str | None = MODEL
    invoked: Mapping[str, str] = field(default_factory=dict)
    """Dialects that the server takes as they are at a path that does not tell which, and the field
    that does.
    """

    @property
    def openai_shaped(self) -> bool:
        """Its stream is OpenAI's, event by event."""
        return isinstance(self.speaks, Speaking)

    def script(self, upstream: ScriptedUpstream, played: list[Play]) -> Script:
        """What the stand-in answers; its answers to what is asked are put into `played`."""
        wire = self.speaks

        async def run(request: Received, answer: Answer) -> None:
            if wire.is_listing(request):
                chosen = wire.listing([MODEL])
            elif request.method == "GET" and not isinstance(wire, CallWire):
                chosen = json({"detail": "Not Found"}, 404)
            else:
                chosen = wire.reply(request, TEXTS)
                played.append(chosen)
            await chosen(request, answer)

        return run

    def environment(self, url: str) -> AbstractContextManager[None]:
        return contextlib.nullcontext()

    def asked(self, request: Received) -> bool:
        """Whether it is a request for an answer, not a look at the server."""
        return request.method == "POST" and not (
            request.path.endswith("/model_names")
            if isinstance(self.speaks, CallWire)
            else self.speaks.is_listing(request)
        )

    def is_native(self, dialect: str, sent: Sent) -> bool:
        """Whether that request is one of the caller's own dialect."""
        if dialect in self.invoked:
            return self.invoked[dialect] in sent.body
        return sent.path.endswith(PATHS[dialect]) and (
            dialect != "text" or not sent.path.endswith(PATHS["chat"])
        )


class OnSageMaker(Backend):
    """An endpoint, whose address and keys are in the environment."""

    @contextlib.contextmanager
    def environment(self, url: str) -> Iterator[None]:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            only_these_keys(patch, Path(folder))
            patch.setenv("H2O_SAGEMAKER_ENDPOINT_URL", url)
            yield


class OnReplicate(Backend):
    """A model on Replicate; its cloud plays its own part."""

    def script(self, upstream: ScriptedUpstream, played: list[Play]) -> Script:
        return Cloud(texts=TEXTS, served=upstream)

    @contextlib.contextmanager
    def environment(self, url: str) -> Iterator[None]:
        with environment(url):
            yield


OPENAI = Speaking()
BACKENDS = (
    Backend("llama_cpp", "{url}", LlamaCpp()),
    Backend("openai", "openai_chat:None:{url}/v1", OPENAI),
    Backend("azure", f"openai_azure_chat:{MODEL}:{{url}}:2024-10-21:KEY", OPENAI),
    Backend("vllm", "vllm_chat:{url}/v1", OPENAI),
    Backend("vllm, rendered", "vllm:{url}/v1", OPENAI, base_model=LLAMA2),
    Backend("ollama", "ollama:{url}", Ollama()),
    Backend("tgi", "tgi:{url}", Tgi()),
    Backend("gradio, h2oGPT", "gradio:{url}", CallWire()),
    Backend("gradio, chat", "gradio:{url}", ChatApp(), base_model="Parrot"),
    OnReplicate("replicate", "replicate:meta/llama", CallWire()),
    OnSageMaker(
        "sagemaker, openai", f"sagemaker_chat:{MODEL}:us-east-2", OpenAIPayload(),
        invoked=OPENAI_SHAPED,
    ),
    OnSageMaker("sagemaker, tgi", f"sagemaker:{MODEL}:us-east-2", TgiContainer()),
    OnSageMaker("sagemaker, llama2", f"sagemaker_chat:{MODEL}:us-east-2:llama2", Llama2Container()),
)  # fmt: skip
IDS = [backend.name for backend in BACKENDS]


def sent_of(request: Received) -> Sent:
    """A request without what is new each time."""
    body = orjson.loads(request.body) if request.body else None
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in VOLATILE}
    return Sent(request.path.partition("?")[0], body)
