"""Tokens of a prompt, as the server counts them (README of llama.cpp's HTTP server: /tokenize and
/v1/chat/completions/input_tokens).
"""

from __future__ import annotations

from typing import Any

import orjson

from h2o_relay.http import HttpClient
from h2o_relay.types import Request

LIMIT = 64 * 2**20  # bytes of an answer: each token comes as a number
OF_CHAT = (
    "messages", "tools", "tool_choice", "parallel_tool_calls", "chat_template_kwargs",
    "add_generation_prompt", "continue_final_message", "reasoning_effort",
)  # fmt: skip
"""Fields that change what messages become."""


async def count(client: HttpClient, request: Request) -> int | None:
    params = request.params
    prompt = request.prompt if request.prompt is not None else params.get("prompt")
    if isinstance(prompt, str):
        asked = {"content": prompt, "add_special": True, "parse_special": True}
        answer = await _asked(client, "/tokenize", asked)
        tokens = answer.get("tokens")
        return len(tokens) if isinstance(tokens, list) else None
    if not params.get("messages"):
        return None
    told = {name: params[name] for name in OF_CHAT if params.get(name) is not None}
    answer = await _asked(client, "/v1/chat/completions/input_tokens", told)
    counted = answer.get("input_tokens")
    return counted if type(counted) is int else None


async def _asked(client: HttpClient, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """A JSON answer; empty for one that is none."""
    seconds = client.settings.request_timeout
    exchange = client.request(
        "POST", path, body=orjson.dumps(body), headers={"content-type": "application/json"},
        first_byte=seconds, total=seconds,
    )  # fmt: skip
    async with exchange as response:
        if response.status != 200:
            return {}
        try:
            data = orjson.loads(await response.read(LIMIT))
        except orjson.JSONDecodeError:
            return {}
    return data if isinstance(data, dict) else {}
