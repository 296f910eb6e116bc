"""What the kernel checks of every stream: each event's shape, errors in it, and that it ends.

A cut answer must not look complete: without a finish reason for every choice the stream is an
error, whatever the upstream's last words were.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from .chunks import END, PREFIX, Chunk
from .errors import RelayError, UpstreamBadResponse, UpstreamIncomplete, from_error_object
from .types import Kind


class Guard:
    """Watches one stream. `secret` is our own key, which no error may repeat; `finishes` False
    means that the server gives no finish reasons, so that any end will do.
    """

    __slots__ = ("_body", "_expected", "_finished", "_secret")

    def __init__(
        self, kind: Kind, params: Mapping[str, Any], secret: str | None, finishes: bool = True
    ) -> None:
        self._body = "delta" if kind == "chat" else "text"
        self._expected = expected_choices(kind, params) if finishes else 0
        self._finished: set[int] = set()
        self._secret = secret

    def check(self, chunk: Chunk) -> RelayError | None:
        """What is wrong with a chunk, if anything."""
        try:
            events = chunk.events()
        except orjson.JSONDecodeError:
            return UpstreamBadResponse("the upstream server sent an event that is not JSON")
        for event in events:
            error = self._look(event)
            if error is not None:
                return error
        return None

    def good_part(self, chunk: Chunk) -> Chunk | None:
        """The events of a faulty chunk before the one at fault."""
        good = []
        for payload in chunk.payloads():
            try:
                if self._look(orjson.loads(payload)) is not None:
                    break
            except orjson.JSONDecodeError:
                break
            good.append(PREFIX + payload + END)
        return Chunk(b"".join(good)) if good else None

    def end(self) -> RelayError | None:
        """What is wrong with a stream that ended here."""
        if len(self._finished) >= self._expected:
            return None
        return UpstreamIncomplete("the upstream server ended its answer without finishing it")

    @property
    def unfinished(self) -> list[int]:
        """Choices that have no finish reason yet."""
        return [index for index in range(self._expected) if index not in self._finished]

    @property
    def empty_piece(self) -> dict[str, Any]:
        """What a choice has in an event that adds nothing to it."""
        return {"delta": {}} if self._body == "delta" else {"text": ""}

    def _look(self, event: Any) -> RelayError | None:
        if type(event) is not dict:
            return UpstreamBadResponse("the upstream server sent an event that is not an object")
        error = event.get("error")
        if error:
            return from_error_object(
                error if isinstance(error, dict) else {"message": str(error)}, self._secret
            )
        choices = event.get("choices")
        if type(choices) is not list:
            if event.get("object") == "error":  # older vLLM
                return from_error_object(event, self._secret)
            return UpstreamBadResponse("the upstream server sent an event without choices")
        for choice in choices:
            if type(choice) is not dict or not self._shaped(choice):
                return UpstreamBadResponse("the upstream server sent a choice of a wrong shape")
            if choice.get("finish_reason"):
                self._finished.add(choice.get("index") or 0)
        return None

    def _shaped(self, choice: dict[str, Any]) -> bool:
        if type(choice.get("index", 0)) is not int and choice["index"] is not None:
            return False
        body = choice.get(self._body)
        if self._body == "text":
            return body is None or type(body) is str
        if type(body) is not dict:
            return body is None
        content = body.get("content")
        return content is None or type(content) is str or type(content) is list


def expected_choices(kind: Kind, params: Mapping[str, Any]) -> int:
    """How many choices an answer has: `n`, times the prompts where there are several."""
    n = params.get("n")
    count = n if isinstance(n, int) and n > 0 else 1
    prompt = params.get("prompt")
    if kind == "text" and isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        count *= len(prompt)
    return count
