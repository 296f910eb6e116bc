"""Forwarded calls that a plugin translates: their bodies, what is not honoured, and the answers.

/tokenize and /detokenize are those of vLLM's tokenize API (its `TokenizeRequest`,
`TokenizeResponse` and `DetokenizeResponse`), whichever server answers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

import orjson

from .errors import InvalidJSON, InvalidRequest, RequestTooLarge
from .strict import unsupported
from .types import Call, Reply

JSON = {"content-type": "application/json"}


async def params_of(call: Call, limit: int) -> Mapping[str, Any]:
    """The call's body, decoded. Raises InvalidJSON, RequestTooLarge for more than `limit` bytes."""
    if call.params is not None:
        return call.params
    body = call.body
    if not isinstance(body, bytes):
        pieces, size = [], 0
        async for piece in body:
            pieces.append(piece)
            size += len(piece)
            if size > limit:
                raise RequestTooLarge(f"the request is larger than {limit} bytes")
        body = b"".join(pieces)
    try:
        params = orjson.loads(body)
    except orjson.JSONDecodeError:
        params = None
    if not isinstance(params, dict):
        raise InvalidJSON("the request's body must be a JSON object")
    return params


def left_out(call: Call, params: Mapping[str, Any], honoured: Collection[str]) -> tuple[str, ...]:
    """The fields that are not honoured, for `Reply.dropped`; one that is null asks for nothing.

    Raises InvalidRequest for the first of them if the call is strict.
    """
    names = tuple(n for n, value in params.items() if value is not None and n not in honoured)
    if names and call.strict:
        raise unsupported(names[0])
    return names


def answer(document: Mapping[str, Any], dropped: tuple[str, ...] = ()) -> Reply:
    """A whole answer of our own making."""
    body = orjson.dumps(document)
    headers = {**JSON, "content-length": str(len(body))}
    return Reply(status=200, headers=headers, chunks=whole(body), dropped=dropped)


def no_such_path(reason: str) -> Reply:
    """For a server that does not have the path after all: the caller is told so, and of whom."""
    body = orjson.dumps({"error": {"message": reason}})
    return Reply(status=501, headers=JSON, chunks=whole(body))


def tokenized(
    tokens: Sequence[int], max_context: int | None, texts: Sequence[str] | None,
    dropped: tuple[str, ...] = (),
) -> Reply:  # fmt: skip
    """The answer to /tokenize; `max_context` is null where the server does not say it, and `texts`
    where they were not asked for.
    """
    return answer(
        {
            "count": len(tokens),
            "max_model_len": max_context,
            "tokens": tokens,
            "token_strs": texts,
        },
        dropped,
    )


def to_tokenize(params: Mapping[str, Any]) -> tuple[str | None, list[Any] | None]:
    """The text to tokenize, or the messages. Raises InvalidRequest unless it is one of them."""
    prompt, messages = params.get("prompt"), params.get("messages")
    if prompt is None and messages is None:
        raise InvalidRequest(
            "Missing required parameter: 'prompt'.", param="prompt",
            code="missing_required_parameter",
        )  # fmt: skip
    if prompt is not None and messages is not None:
        raise InvalidRequest("'prompt' and 'messages' exclude each other.", param="messages")
    if prompt is not None and not isinstance(prompt, str):
        raise InvalidRequest("'prompt' must be a string.", param="prompt", code="invalid_type")
    if messages is not None and not isinstance(messages, list):
        raise InvalidRequest("'messages' must be an array.", param="messages", code="invalid_type")
    return prompt, messages


async def whole(body: bytes) -> AsyncIterator[bytes]:
    """A body that is there already, as a reply's chunks."""
    yield body
