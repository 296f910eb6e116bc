"""The replicate plugin under the conformance suite.

An answer takes several requests here. The suite's scripts play the one that carries it, the stream
of events, or, where they are no stream, stand for the creation of the prediction. The others are
answered by the stand-in.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from h2o_relay.kernel import Kernel
from h2o_relay.settings import Settings
from h2o_relay.testing.scripts import Play, json
from h2o_relay.testing.settings import quick
from h2o_relay.testing.suite import MODEL, BackendSuite, Relay, deviates, does_not_apply
from h2o_relay.testing.suite.base import Reply
from h2o_relay.testing.upstream import Answer, Received, Script, ScriptedUpstream
from h2o_relay.testing.wire import Wire

from .standin import VERSION, Cloud, environment, events, problem

NEEDS = {"key": None, "key_env": ("REPLICATE_API_TOKEN",), "needs": ("key",), "url": None}
HASH = "df7690f1994d94e96ad9d568eac121aecf50684a0b0963b25a41cc40061269e5"
CARRIES_AN_ANSWER = events([]).wire[:60]  # how every answer's stream begins


class ReplicateWire(Wire):
    """What a request for an answer is: the creation of a prediction."""

    def is_listing(self, request: Received) -> bool:
        return not (request.method == "POST" and request.path.endswith("/predictions"))

    def listing(self, names: Sequence[str]) -> Play:
        """The entry of the one model there is; a server without it does not know its name."""
        if not names:
            return problem(404, "Not found", "The requested resource could not be found.")
        return json(Cloud().entry())

    def reply(self, request: Received, texts: Sequence[str], finish: str | None = "stop") -> Play:
        return events(list(texts), done=finish is not None)

    def refusal(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> Play:
        return problem(status, "Refused", message, headers)

    def failing(self, request: Received, texts: Sequence[str], message: str) -> Play:
        return events(list(texts), error=message)


class TestReplicate(BackendSuite):
    plugin = "replicate"
    speaks = ReplicateWire()
    documented = {
        "replicate:meta/meta-llama-3-70b-instruct": {
            "model": "meta/meta-llama-3-70b-instruct", **NEEDS,
        },
        f"replicate:a16z-infra/llama13b-v2-chat:{HASH}": {
            "model": f"a16z-infra/llama13b-v2-chat:{HASH}", **NEEDS,
        },
        "replicate:a/b:v": {"model": "a/b:v", "options": {}},
        "replicate: a/b : None": {"model": "a/b"},
        "replicate:a/b:": {"model": "a/b"},
    }  # fmt: skip
    foreign = ("replicated:a/b", "replicateX", "vllm:host:8000", "REPLICATE:a/b")
    malformed = (
        "replicate",
        "replicate:",
        "replicate:None",
        "replicate:only-a-name",
        "replicate:a/b/c",
        "replicate:a/b:v:more",
        "replicate:a/b:two words",
        "replicate:../v1:x",
        "replicate:a/b:r8_0123456789",
    )
    expected_capabilities = {"kinds": frozenset({"chat", "text"}), "tokenizer": False}

    test_a_key_is_never_shown = does_not_apply("a server string never holds the token")
    test_a_key_is_not_in_the_error_of_a_malformed_string = does_not_apply(
        "a server string never holds the token"
    )
    test_payloads_are_the_upstreams_own = does_not_apply("Replicate has an API of its own")

    @deviates("a server string names one model, which is all that its server lists")
    async def test_listed_models_can_be_asked_for(self) -> None:
        async with self.relay(self.reply()) as relay:
            assert [item.model for item in relay.kernel.models()] == ["meta/llama"]

    def server_for(self, url: str) -> str:
        return "replicate:meta/llama"

    @asynccontextmanager
    async def relay(
        self, reply: Reply, listing: Script | None = None, settings: Settings | None = None
    ) -> AsyncIterator[Relay]:
        cloud = Cloud()
        streams: dict[str, Script] = {}

        async def script(request: Received, answer: Answer) -> None:
            chosen = await choose(request)
            await chosen(request, answer)

        async def choose(request: Received) -> Script:
            if "/models/" in request.path and request.method == "GET" and listing is not None:
                return listing
            if request.path.startswith("/v1/stream/"):
                return streams[request.path.rpartition("/")[2]]
            if not self.speaks.is_listing(request):
                chosen = reply(request)
                if not (isinstance(chosen, Play) and chosen.wire.startswith(CARRIES_AN_ANSWER)):
                    return chosen
                created = await cloud.choose(request)
                streams[list(cloud.predictions)[-1]] = chosen
                return created
            return await cloud.choose(request)

        async with ScriptedUpstream(script) as upstream:
            cloud.served = upstream
            with environment(upstream.url):
                kernel = Kernel(
                    settings or quick(),
                    servers=[(self.server_for(upstream.url), MODEL)],
                    plugins=self.plugins(upstream.url),
                )
                async with kernel:
                    await kernel.settled(5)
                    yield Relay(kernel, upstream, self.kind, self.speaks)
            self.cancelled = cloud.cancelled

    @pytest.mark.parametrize("how", ["generate", "stream"])
    async def test_no_prediction_outlives_an_answer_that_was_cut(self, how: str) -> None:
        """Beyond the suite: what the failing streams left running was cancelled."""
        from h2o_relay.errors import UpstreamIncomplete

        async with self.relay(lambda r: self.speaks.reply(r, ["a"], None)) as relay:
            asking: Any = relay.stream if how == "stream" else relay.generate
            with pytest.raises(UpstreamIncomplete):
                await asking()
        assert self.cancelled == ["p1"]


class TestReplicateVersion(TestReplicate):
    """The same by a model's version."""

    def server_for(self, url: str) -> str:
        return f"replicate:meta/llama:{VERSION}"

    @deviates("a server string names one model, which is all that its server lists")
    async def test_listed_models_can_be_asked_for(self) -> None:
        async with self.relay(self.reply()) as relay:
            found = [item.model for item in relay.kernel.models()]
        assert found == [f"meta/llama:{VERSION}"]
