"""What vLLM tells beside answers: tokens of a prompt, and how busy it is.

Routes are those of vLLM's OpenAI-compatible server: `/tokenize` and `/metrics` stand beside `/v1`.
"""

from __future__ import annotations

import orjson

from h2o_relay.http import HttpClient
from h2o_relay.types import Load, Request, Server

COUNT_LIMIT = 64 * 2**20  # bytes of a /tokenize answer, which has every token id
METRICS_LIMIT = 4 * 2**20
RUNNING = "vllm:num_requests_running"
WAITING = "vllm:num_requests_waiting"
CACHE = ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc")
"""The name since vLLM 0.10, and the one before."""


def root(server: Server) -> str:
    """The server's address without /v1."""
    return (server.url or "").rstrip("/").removesuffix("/v1")


def headers(server: Server) -> dict[str, str]:
    return {"authorization": f"Bearer {server.key}", **server.headers}


async def count_tokens(server: Server, client: HttpClient, request: Request) -> int | None:
    """The prompt's tokens; None where /tokenize is missing (other servers behind `vllm:`)."""
    asked: dict[str, object] = {"model": request.deployment.model}
    if request.prompt is not None or request.kind == "text":
        asked["prompt"] = request.prompt if request.prompt is not None else request.params["prompt"]
    else:
        asked["messages"] = request.params["messages"]
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
        return None
    count = answer.get("count") if isinstance(answer, dict) else None
    return count if type(count) is int else None


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
    """The values of vLLM's gauges, one for each engine, in Prometheus' text format."""
    found: dict[str, list[float]] = {}
    for line in text.splitlines():
        name = line.partition("{")[0].partition(" ")[0]
        if name in (RUNNING, WAITING, *CACHE):
            try:
                found.setdefault(name, []).append(float(line.rpartition(" ")[2]))
            except ValueError:
                continue
    return found


def _whole(values: list[float] | None) -> int | None:
    return None if values is None else round(sum(values))
