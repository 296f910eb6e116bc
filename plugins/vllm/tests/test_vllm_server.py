"""What vLLM tells beside answers, byte for byte as vLLM 0.32 says it, and the stop fragment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest

import h2o_relay_vllm as plugin
from h2o_relay.errors import UpstreamUnreachable
from h2o_relay.http import HttpClient
from h2o_relay.testing.scripts import Play, json, whole
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import ScriptedUpstream
from h2o_relay.types import Deployment, Kind, Load, Request, Server

COUNTED = b'{"count":2,"max_model_len":1024,"tokens":[19556,905],"token_strs":null}'
METRICS = b"""\
# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="test-model"} 3.0
# HELP vllm:num_requests_waiting Number of requests waiting to be processed.
# TYPE vllm:num_requests_waiting gauge
vllm:num_requests_waiting{engine="0",model_name="test-model"} 1.0
# HELP vllm:num_requests_waiting_by_reason Number of waiting requests by reason.
# TYPE vllm:num_requests_waiting_by_reason gauge
vllm:num_requests_waiting_by_reason{engine="0",model_name="test-model",reason="capacity"} 7.0
# HELP vllm:kv_cache_usage_perc KV-cache usage. 1 means 100 percent usage.
# TYPE vllm:kv_cache_usage_perc gauge
vllm:kv_cache_usage_perc{engine="0",model_name="test-model"} 0.25
"""
TWO_ENGINES = b"""\
vllm:num_requests_running{engine="0"} 3.0
vllm:num_requests_running{engine="1"} 2.0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.5
"""
SAY = [{"role": "user", "content": "wörld"}]
WITH_TOOLS = (
    '{"messages":[{"role":"user","content":"wörld"}],"chat_template_kwargs":{"thinking":true},'
    '"tools":[{"type":"function","function":{"name":"f"}}],"model":"theirs"}'
)
TOOL = {"type": "function", "function": {"name": "f"}}


class Asking:
    """The plugin's hooks aimed at a server that plays its answer."""

    def __init__(self, upstream: ScriptedUpstream, client: HttpClient, server: Server) -> None:
        self.upstream, self.client, self.server = upstream, client, server

    async def count(
        self, kind: Kind = "text", rendered: str | None = None, **params: Any
    ) -> int | None:
        deployment = Deployment(name="public", server=self.server, model="theirs")
        request = Request(
            kind=kind, params=params, body=None, deployment=deployment, prompt=rendered
        )
        return await plugin.count_tokens(self.server, self.client, request)

    async def load(self) -> Load:
        return await plugin.load(self.server, self.client)


@asynccontextmanager
async def asking(answer: Play, form: str = "vllm:{}/v1") -> AsyncIterator[Asking]:
    async with ScriptedUpstream(answer) as upstream, HttpClient(quick()) as client:
        server = plugin.parse_server_string(form.format(upstream.url))
        assert server is not None
        yield Asking(upstream, client, server)


@pytest.mark.parametrize(
    ("kind", "prompt", "params", "sent"),
    [
        ("text", None, {"prompt": "wörld"}, '{"prompt":"wörld","model":"theirs"}'),
        (
            "text",
            None,
            {"prompt": "a", "add_special_tokens": False, "max_tokens": 5},
            '{"prompt":"a","add_special_tokens":false,"model":"theirs"}',
        ),
        (
            "chat",
            None,
            {"model": "public", "messages": SAY, "temperature": 0},
            '{"messages":[{"role":"user","content":"wörld"}],"model":"theirs"}',
        ),
        (
            "chat",
            None,
            {"messages": SAY, "tools": [TOOL], "chat_template_kwargs": {"thinking": True}},
            WITH_TOOLS,
        ),
        (
            "chat",
            "<|user|>wörld",
            {"messages": SAY, "tools": [TOOL]},
            '{"model":"theirs","prompt":"<|user|>wörld"}',
        ),
    ],
)
async def test_what_tokenize_is_asked(
    kind: Kind, prompt: str | None, params: Mapping[str, Any], sent: str
) -> None:
    async with asking(whole(COUNTED), "vllm:{}/v1:KEY") as ask:
        assert await ask.count(kind, prompt, **params) == 2
        [request] = ask.upstream.requests
    assert (request.method, request.path) == ("POST", "/tokenize")
    assert request.body.decode() == sent
    assert request.headers["authorization"] == "Bearer KEY"
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "answer",
    [
        json({"error": {"message": "Not Found", "type": "NotFoundError", "code": 404}}, 404),
        json({"error": {"message": "2 validation errors", "code": 400}}, 400),
        whole(b"<html>", content_type="text/html"),
        whole(b"[2]"),
        whole(b'{"count": "2"}'),
        whole(b'{"count": true}'),
    ],
)
async def test_a_server_that_cannot_count(answer: Play) -> None:
    async with asking(answer) as ask:
        assert await ask.count(prompt="a") is None


async def test_a_server_below_a_path_is_asked_there() -> None:
    async with asking(whole(COUNTED), "vllm_chat:{}/team/v1/") as ask:
        assert await ask.count(prompt="a") == 2
        assert await ask.load() == Load()  # an answer that is no metrics says nothing
        assert [item.path for item in ask.upstream.requests] == ["/team/tokenize", "/team/metrics"]


async def test_load_is_read_from_the_metrics() -> None:
    async with asking(
        whole(METRICS, content_type="text/plain; version=0.0.4"), "vllm:{}/v1:KEY"
    ) as ask:
        assert await ask.load() == Load(running=3, waiting=1, cache_use=0.25)
        [request] = ask.upstream.requests
    assert (request.method, request.path, request.body) == ("GET", "/metrics", b"")
    assert request.headers["authorization"] == "Bearer KEY"


@pytest.mark.parametrize(
    ("text", "load"),
    [
        (
            TWO_ENGINES,
            Load(running=5, cache_use=0.5),
        ),
        (b"vllm:gpu_cache_usage_perc 0.125\n", Load(cache_use=0.125)),
        (b'vllm:num_requests_waiting{reason="a b} 9"} 4.0\n', Load(waiting=4)),
        (b"vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf\n", Load()),
        (b"vllm:num_requests_running\nvllm:num_requests_waiting many\n", Load()),
        (b"process_cpu_seconds_total 1.0\n", Load()),
        (b"", Load()),
    ],
)
async def test_metrics_of_other_shapes(text: bytes, load: Load) -> None:
    async with asking(whole(text, content_type="text/plain")) as ask:
        assert await ask.load() == load


async def test_a_server_without_metrics_says_nothing() -> None:
    async with asking(json({"detail": "Not Found"}, 404)) as ask:
        assert await ask.load() == Load()


async def test_a_server_that_is_away_raises() -> None:
    async with asking(whole(METRICS)) as ask:
        ask.server = Server(plugin="vllm", url="http://127.0.0.1:9/v1", key="EMPTY")
        with pytest.raises(UpstreamUnreachable):
            await ask.load()
        with pytest.raises(UpstreamUnreachable):
            await ask.count(prompt="a")


@pytest.mark.parametrize(
    ("stops", "text", "fixed"),
    [
        (("<|im_end|>",), "Paris.<|im_end|", "Paris."),
        (("<|im_end|>",), "Paris.<|im_e", "Paris."),
        (("<|im_end|>",), "Paris.<|im_", "Paris.<|im_"),  # five characters may be anything
        (("<|im_end|>",), "Paris.<|im_end|>", "Paris.<|im_end|>"),  # whole ones are the kernel's
        (("<|im_end|>",), "<|im_end is a marker", "<|im_end is a marker"),
        (("\n### Human:", "<|im_end|>"), "Paris.\n### Hum", "Paris."),
        (("<|im_end|>",), "Paris.<|im_end<|im_end", "Paris."),
        (("</s>",), "Paris.</s", "Paris.</s"),  # shorter than a fragment
        ((), "Paris.<|im_end|", "Paris.<|im_end|"),
        (("<|im_end|>",), "", ""),
    ],
)
@pytest.mark.parametrize("final", [True, False])
def test_the_beginning_of_a_stop_string_is_cut(
    stops: tuple[str, ...], text: str, fixed: str, final: bool
) -> None:
    server = Server(plugin="vllm", url="http://host/v1", key="EMPTY")
    deployment = Deployment(name="public", server=server, model="theirs")
    request = Request(kind="chat", params={}, body=None, deployment=deployment, stops=stops)
    assert plugin.fix_text(server, request, text, final) == fixed
    assert plugin.fix_text(server, request, fixed, final) == fixed
