"""Fields of OpenAI's API reference that llama.cpp's server passes over without a word, tried in
October 2026. Those that change no answer are not named: `user`, `metadata`, `store`, `prediction`,
`service_tier`, `safety_identifier` and what is said about caching prompts. `reasoning_effort` and
`parallel_tool_calls` it hands to the model's chat template.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2o_relay.types import Request

Params = Mapping[str, Any]


def fields(request: Request) -> tuple[str, ...]:
    """Those of a request that ask for something and get nothing."""
    params = request.params
    if request.prompt is not None:
        return ()  # the kernel has sorted them out where it rendered the conversation
    asked = _of_chat(params) if request.kind == "chat" else _of_text(params)
    return tuple(name for name, asks in asked.items() if asks)


def _of_text(params: Params) -> dict[str, bool]:
    best = params.get("best_of")
    return {
        "echo": bool(params.get("echo")),
        "suffix": bool(params.get("suffix")),
        "best_of": isinstance(best, int) and best > (params.get("n") or 1),
    }


def _of_chat(params: Params) -> dict[str, bool]:
    spoken = params.get("modalities")
    return {
        "audio": params.get("audio") is not None,
        "modalities": isinstance(spoken, list) and any(kind != "text" for kind in spoken),
        "web_search_options": params.get("web_search_options") is not None,
        "moderation": params.get("moderation") is not None,
        "verbosity": params.get("verbosity") not in (None, "medium"),  # medium is OpenAI's default
        "functions": bool(params.get("functions")),
        "function_call": isinstance(params.get("function_call"), dict),
    }
