"""A response: the object, and the stream of its events.

Both are those of OpenAI's API reference ("The response object", "Streaming events"). A whole answer
goes through the same steps as a stream, so that the two cannot differ.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from h2o_relay.chunks import Chunk, Completion
from h2o_relay.errors import InvalidRequest, RateLimited, RelayError, UpstreamBadResponse

from .fields import NAMES
from .output import Output, as_list
from .request import Asked

CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of an answer that is incomplete, and what is said of it."""
Keep = Callable[[str, bytes, list[dict[str, Any]]], bool]
"""Keeps a response: its id, its body, its output. False if it cannot be kept."""


def event(kind: str, number: int, fields: Mapping[str, Any]) -> bytes:
    data = orjson.dumps({"type": kind, "sequence_number": number, **fields})
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)


def error_event(error: RelayError, number: int) -> bytes:
    """The fields are those of the reference; what OpenAI's servers send in their place, and what
    its SDKs know an error by, is the object `error`.
    """
    inside = error.body()["error"]
    flat = {name: inside.get(name) for name in ("code", "message", "param")}
    return event("error", number, {**flat, "error": inside})


class Answering:
    """The `Exchanged` of this dialect."""

    names = NAMES

    def __init__(self, asked: Asked, keep: Keep | None) -> None:
        self.params, self.dropped = asked.params, asked.dropped
        self._keep = keep if asked.shown["store"] else None
        serial = secrets.token_hex(16)
        self._id, self._made = f"resp_{serial}", 0
        self._serial = serial
        model = asked.params.get("model")
        self._model = model if type(model) is str else ""
        self._shown = {**asked.shown, "store": self._keep is not None}
        self._created = int(time.time())
        self._output = Output(
            self._say, self._new_id, logprobs=asked.logprobs, summary=asked.summary
        )
        self._written: list[bytes] = []
        self._quiet = False  # nobody reads the events
        self._number = 0
        self._begun = False
        self._finish: str | None = None
        self._usage: dict[str, Any] | None = None

    def whole(self, completion: Completion) -> bytes:
        """Raises UpstreamBadResponse for what is no answer."""
        data = completion.data
        choices = data.get("choices") if isinstance(data, dict) else None
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict) or not isinstance(choice.get("message"), dict):
            raise UpstreamBadResponse("the upstream server's answer has no message")
        self._quiet = True
        self._read({**data, "choices": [{**choice, "index": 0, "delta": choice["message"]}]})
        return self._finished()[1]

    def begin(self) -> bytes:
        """Nothing: the first chunk tells the model's name, which the first event has."""
        return b""

    def chunk(self, chunk: Chunk) -> bytes:
        for data in chunk.events():
            self._read(data)
        return self._taken()

    def end(self) -> bytes:
        self._start()
        status, body = self._finished()
        self._say(f"response.{status}", {"response": orjson.Fragment(body)})
        return self._taken()

    def failed(self, error: RelayError) -> bytes:
        """The event `error`, then `response.failed`, as OpenAI's servers send them."""
        self._start()
        self._written.append(error_event(error, self._number))
        self._number += 1
        self._output.settle()
        response = self._response("failed", error=_error(error))
        self._say("response.failed", {"response": orjson.Fragment(self._kept(response))})
        return self._taken()

    def _read(self, data: dict[str, Any]) -> None:
        """An event of the chat's stream."""
        if data.get("model") and isinstance(data["model"], str) and not self._begun:
            self._model = data["model"]
        if isinstance(data.get("service_tier"), str):
            self._shown["service_tier"] = data["service_tier"]
        self._start()
        self._usage = _usage(data.get("usage")) or self._usage
        for choice in as_list(data.get("choices")):
            if choice.get("index"):
                continue  # several answers are never asked for
            self._output.grow(choice.get("delta") or {}, choice.get("logprobs"))
            if isinstance(choice.get("finish_reason"), str):
                self._finish = choice["finish_reason"]

    def _start(self) -> None:
        if self._begun:
            return
        self._begun = True
        for kind in ("response.created", "response.in_progress"):
            self._say(kind, {"response": self._response("in_progress")})

    def _finished(self) -> tuple[str, bytes]:
        """The status, and the response."""
        self._output.end(self._finish)
        why = CUT.get(self._finish or "")
        status = "completed" if why is None else "incomplete"
        return status, self._kept(self._response(status, incomplete=why))

    def _response(
        self, status: str, error: dict[str, Any] | None = None, incomplete: str | None = None
    ) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "completed_at": int(time.time()) if status == "completed" else None,
            "error": error,
            "incomplete_details": None if incomplete is None else {"reason": incomplete},
            "model": self._model,
            "output": self._output.items,
            "usage": self._usage,
            **self._shown,
        }

    def _kept(self, response: dict[str, Any]) -> bytes:
        """The response as bytes, which are kept if they are to be."""
        body = orjson.dumps(response)
        if self._keep is None or self._keep(self._id, body, self._output.items):
            return body
        return orjson.dumps({**response, "store": False})

    def _new_id(self, prefix: str) -> str:
        self._made += 1
        return f"{prefix}{self._serial}{self._made:08x}"

    def _say(self, kind: str, fields: dict[str, Any]) -> None:
        if self._quiet:
            return
        self._written.append(event(kind, self._number, fields))
        self._number += 1

    def _taken(self) -> bytes:
        written, self._written = b"".join(self._written), []
        return written


def _usage(usage: Any) -> dict[str, Any] | None:
    """A chat's usage by this API's names; `estimated` beside it is ours."""
    if not isinstance(usage, dict):
        return None
    given, said = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(given) is not int or type(said) is not int:
        return None
    total = usage.get("total_tokens")
    before = _detail(usage, "prompt_tokens_details")
    after = _detail(usage, "completion_tokens_details")
    return {
        "input_tokens": given,
        "input_tokens_details": {
            name: _count(before, name) for name in ("cached_tokens", "cache_write_tokens")
        },
        "output_tokens": said,
        "output_tokens_details": {"reasoning_tokens": _count(after, "reasoning_tokens")},
        "total_tokens": total if type(total) is int else given + said,
        **({"estimated": True} if usage.get("estimated") else {}),
    }


def _detail(usage: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = usage.get(name)
    return found if isinstance(found, dict) else {}


def _count(details: Mapping[str, Any], name: str) -> int:
    count = details.get(name)
    return count if type(count) is int else 0


def _error(error: RelayError) -> dict[str, Any]:
    """An error as a response has it: the reference knows a few codes alone."""
    code = "server_error"
    if isinstance(error, RateLimited):
        code = "rate_limit_exceeded"
    elif isinstance(error, InvalidRequest):
        code = "invalid_prompt"
    inside = error.body()["error"]
    return {"code": code, **{name: inside.get(name) for name in ("message", "type", "param")}}
