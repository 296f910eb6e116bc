"""TGI's answers in OpenAI's shape: finish reasons, usage, log-probabilities, whole answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from h2o_relay.errors import UpstreamBadResponse, UpstreamIncomplete
from h2o_relay.types import Kind

FINISH = {"length": "length", "eos_token": "stop", "stop_sequence": "stop"}
"""TGI's FinishReason in OpenAI's words."""


def decoded(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises UpstreamBadResponse."""
    try:
        found = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise UpstreamBadResponse("the upstream server sent something that is not JSON") from None
    if not isinstance(found, dict):
        raise UpstreamBadResponse("the upstream server sent something that is no JSON object")
    return found


def finish_reason(details: Any) -> str:
    """OpenAI's finish reason for TGI's details. Raises UpstreamIncomplete if they have none."""
    reason = details.get("finish_reason") if isinstance(details, dict) else None
    if not isinstance(reason, str):
        raise UpstreamIncomplete("the upstream server did not say how its answer ended")
    return FINISH.get(reason, reason)


def usage(prompt: int, completion: int) -> dict[str, int]:
    """OpenAI's usage object, in tokens."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
    }


def count(value: Any) -> int | None:
    """A number of tokens, if it is one."""
    return value if type(value) is int and value >= 0 else None


def token_of(event: Mapping[str, Any]) -> dict[str, Any]:
    """The token of an event. Raises UpstreamBadResponse if it is none."""
    token = event.get("token")
    if not isinstance(token, dict) or not isinstance(token.get("text"), str):
        raise UpstreamBadResponse("the upstream server sent an event without a token")
    return token


Pair = tuple[dict[str, Any], list[dict[str, Any]]]
"""A generated token, and the likeliest ones in its place."""


def pairs_of(details: Mapping[str, Any]) -> list[Pair]:
    """The visible tokens of a whole answer's details. Raises UpstreamBadResponse."""
    tokens = [token_of({"token": token}) for token in details.get("tokens") or ()]
    tops = details.get("top_tokens") or [[]] * len(tokens)
    return [(t, top) for t, top in zip(tokens, tops, strict=False) if not t.get("special")]


def within(pairs: list[Pair], text: str) -> list[Pair]:
    """Those pairs whose tokens the text has kept, after it was cut at a stop sequence."""
    kept, size = [], 0
    for token, top in pairs:
        size += len(token["text"])
        if size > len(text):
            break
        kept.append((token, top))
    return kept


def logprobs(kind: Kind, pairs: list[Pair], offset: int = 0) -> dict[str, Any]:
    """OpenAI's logprobs object; `offset` is the place of the first token in the text."""
    if kind == "chat":
        return {"content": [_chat_logprob(token, top) for token, top in pairs], "refusal": None}
    offsets = []
    for token, _ in pairs:
        offsets.append(offset)
        offset += len(token["text"])
    return {
        "tokens": [token["text"] for token, _ in pairs],
        "token_logprobs": [token.get("logprob") for token, _ in pairs],
        "top_logprobs": [{t["text"]: t.get("logprob") for t in top} for _, top in pairs],
        "text_offset": offsets,
    }


def _chat_logprob(token: Mapping[str, Any], top: list[dict[str, Any]]) -> dict[str, Any]:
    return {**_alternative(token), "top_logprobs": [_alternative(other) for other in top]}


def _alternative(token: Mapping[str, Any]) -> dict[str, Any]:
    text = token["text"]
    return {"token": text, "logprob": token.get("logprob"), "bytes": list(text.encode())}
