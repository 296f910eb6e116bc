"""Ollama's token probabilities (`Logprob` of its docs/openapi.yaml) in OpenAI's two shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .failures import nonsense


def chat_logprobs(entries: Any) -> dict[str, Any]:
    """As in a choice of a chat completion."""
    content = [
        {**_token(entry), "top_logprobs": [_token(other) for other in _others(entry)]}
        for entry in _checked(entries)
    ]
    return {"content": content, "refusal": None}


def text_logprobs(entries: Any, offset: int) -> dict[str, Any]:
    """As in a choice of a text completion; `offset` is the first token's place in the text, in
    characters.
    """
    made: dict[str, Any] = {
        "tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": [],
    }  # fmt: skip
    for entry in _checked(entries):
        made["tokens"].append(entry["token"])
        made["token_logprobs"].append(entry["logprob"])
        made["top_logprobs"].append({o["token"]: o["logprob"] for o in _others(entry)})
        made["text_offset"].append(offset)
        offset += len(entry["token"])
    return made


def _token(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"token": entry["token"], "logprob": entry["logprob"], "bytes": entry.get("bytes")}


def _others(entry: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return _checked(entry.get("top_logprobs") or [])


def _checked(entries: Any) -> list[Mapping[str, Any]]:
    right = isinstance(entries, list) and all(
        isinstance(one, Mapping) and isinstance(one.get("token"), str) and "logprob" in one
        for one in entries
    )
    if not right:
        raise nonsense("sent token probabilities of a wrong shape")
    return list(entries)
