"""What vLLM tells beside answers: tokens of a prompt, and how busy it is.

Routes are those of vLLM's OpenAI-compatible server: `/tokenize` and `/metrics` stand beside `/v1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite

import orjson

from h2o_relay.http import HttpClient
from h2o_relay.types import Load, Request, Server

COUNT_LIMIT = 64 * 2**20  # bytes of a /tokenize answer, which has every token id
METRICS_LIMIT = 4 * 2**20
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
SHAPING = {
    "text": ("add_special_tokens",),
    "chat": (
        "add_generation_prompt", "add_special_tokens", "chat_template", "chat_template_kwargs",
        "continue_final_message", "media_io_kwargs", "mm_processor_kwargs", "tools",
    ),
}  # fmt: skip
"""Request fields beside the prompt that change its tokens, which /tokenize takes too."""
CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
"""The name since vLLM 0.10, and the one before."""


def base(server: Server) -> str:
    """The base URL with its /v1; of a server that we started the path alone."""
    return "/v1" if server.url is None else server.url.rstrip("/")


def root(server: Server) -> str:
    """The server's address without /v1."""
    return base(server).removesuffix("/v1")


def headers(server: Server) -> dict[str, str]:
    """The key of a server that we started comes from `connect`."""
    own = {} if server.key is None else {"authorization": f"Bearer {server.key}"}
    return {**own, **server.headers}


async def count_tokens(server: Server, client: HttpClient, request: Request) -> int | None:
    """The prompt's tokens; None where /tokenize is missing (other servers behind `vllm:`) or takes
    no such prompt (several texts, or token ids).

    llama.cpp's has other fields (its server's README): the text is `content`, and there is no
    count beside the tokens.
    """
    kind = "text" if request.prompt is not None else request.kind
    field = "messages" if kind == "chat" else "prompt"
    params = request.params
    asked = {name: params[name] for name in (field, *SHAPING[kind]) if name in params}
    asked["model"] = request.deployment.model
    if request.prompt is not None:
        asked["prompt"] = request.prompt
    answer = await _tokenize(server, client, asked)
    count, text = answer.get("count"), asked.get("prompt")
    if count is None and isinstance(answer.get("tokens"), list) and isinstance(text, str):
        answer = await _tokenize(server, client, {"content": text, "add_special": True})
        tokens = answer.get("tokens")
        count = len(tokens) if isinstance(tokens, list) else None
    return count if type(count) is int else None


async def _tokenize(
    server: Server, client: HttpClient, asked: Mapping[str, object]
) -> dict[str, object]:
    """What /tokenize answers; nothing where it is missing."""
    seconds = client.settings.request_timeout
    exchange = client.request(
        "POST", f"{root(server)}/tokenize", body=orjson.dumps(asked), first_byte=seconds,
        headers={"content-type": "application/json", **headers(server)}, total=seconds,
    )  # fmt: skip
    async with exchange as response:
        body = await response.read(COUNT_LIMIT) if response.status == 200 else b"null"
    try:
        answer = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return answer if isinstance(answer, dict) else {}


async def load(server: Server, client: HttpClient) -> Load:
    """Requests running and waiting and the use of the KV cache, of all engines together."""
    seconds = client.settings.request_timeout
    exchange = client.request(
        "GET", f"{root(server)}/metrics", headers=headers(server), first_byte=seconds, total=seconds
    )
    async with exchange as response:
        if response.status != 200:
            return Load()
        text = (await response.read(METRICS_LIMIT)).decode("utf-8", "replace")
    values = gauges(text)
    cache = next((values[name] for name in CACHE if name in values), None)
    return Load(
        running=_whole(values.get(RUNNING)), waiting=_whole(values.get(WAITING)),
        cache_use=None if cache is None else max(cache),
    )  # fmt: skip


def gauges(text: str) -> dict[str, list[float]]:
    """The values of vLLM's gauges, one for each engine, in Prometheus' text format.

    What is no number, NaN and infinities are left out.
    """
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in (RUNNING, WAITING, *CACHE):
            try:
                value = float(line.rpartition(" ")[2])
            except ValueError:
                continue
            if isfinite(value):
                found.setdefault(name, []).append(value)
    return found


def _whole(values: list[float] | None) -> int | None:
    return None if values is None else round(sum(values))
