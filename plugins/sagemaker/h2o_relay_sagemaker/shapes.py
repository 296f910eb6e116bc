"""What containers answer, as OpenAI's chunks and completions.

TGI's and LMI's stream: `{"token": {"text", "special"}, "generated_text", "details"}`, the last two
in the last event; LMI's static batching: `{"outputs": [TEXT]}`. Whole answers:
`generated_text` (TGI in a list, LMI bare) and JumpStart's `generation`, a text or a chat message.
Sources as in `payloads`; LMI's `djl_python/output_formatter.py`.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from h2o_relay.as_text import ChatEvents, chat_completion
from h2o_relay.chunks import END, PREFIX, Chunk, Completion
from h2o_relay.errors import RelayError, UpstreamBadResponse, error_object
from h2o_relay.openai_shape import checked_answer
from h2o_relay.types import Request, Server

from .failures import container_error

REASONS = {"length": "length", "eos_token": "stop", "stop_sequence": "stop"}


class Shape:
    """Makes the events and answers of one request."""

    def __init__(self, request: Request, endpoint: str) -> None:
        begin = "chatcmpl-" if request.kind == "chat" else "cmpl-"
        name = request.params.get("model") or request.deployment.name
        self._about: dict[str, Any] = {
            "id": begin + secrets.token_hex(12),
            "model": name,
            "kind": request.kind,
        }
        self._endpoint = endpoint
        self._usage_asked = bool((request.params.get("stream_options") or {}).get("include_usage"))
        self._unreasoned = False

    def chunk(self, text: str | None, finish: str | None = None) -> Chunk:
        return Chunk.of(text, finish_reason=finish, **self._about)

    def usage(self, usage: Mapping[str, int] | None) -> Iterator[Chunk]:
        """The event that ends a stream, if the caller wants it and the container counted."""
        if self._usage_asked and usage is not None:
            yield Chunk.of(None, usage=usage, **self._about)

    def completion(self, text: str, finish: str, usage: Mapping[str, int] | None) -> Completion:
        return Completion.of([text], finish_reasons=[finish], usage=usage, **self._about)

    def cannot_stream(self) -> RelayError:
        return UpstreamBadResponse(
            f"the container of SageMaker endpoint {self._endpoint} cannot stream: it answered "
            "whole; ask without 'stream'"
        )

    def failed(self, what: str) -> RelayError:
        return UpstreamBadResponse(
            f"the container of SageMaker endpoint {self._endpoint} reported an error: {what}"
        )

    def _fault(self, raw: bytes) -> RelayError:
        """What an event or answer without a text is: an error, or nonsense."""
        error = error_object(raw)
        if error.get("message"):
            code = error.get("code")
            return container_error(code if type(code) is int else 0, raw.decode(), self._endpoint)
        return UpstreamBadResponse(
            f"the container of SageMaker endpoint {self._endpoint} answered without a text"
        )


class Generated(Shape):
    """TGI's, LMI's and JumpStart's shapes."""

    def event(self, raw: bytes, event: Any, lone: bool) -> Iterator[Chunk]:
        """The chunks of one event of a stream; `lone` marks the first where the container's
        media type is that of a whole answer.
        """
        if isinstance(event, dict) and "token" in event:
            yield from self._token(event)
        elif isinstance(event, dict) and isinstance(event.get("outputs"), list):
            self._unreasoned = True
            yield self.chunk("".join(map(str, event["outputs"][:1])))
        elif _text_of(event) is not None:
            raise self.cannot_stream()
        else:
            raise self._fault(raw)

    def end(self) -> Iterator[Chunk]:
        """`outputs` has no finish reasons; AWS itself says when a stream broke."""
        if self._unreasoned:
            yield self.chunk(None, "stop")

    def whole(self, body: bytes, server: Server) -> Completion:
        """The answer of a container that was not asked for a stream."""
        data = _decoded(body)
        text = _text_of(data)
        if text is None:
            raise self._fault(body)
        first = data[0] if isinstance(data, list) else data
        details = first.get("details") or {}
        return self.completion(text, self._reason(details), _counted(details))

    def _token(self, event: Mapping[str, Any]) -> Iterator[Chunk]:
        token, details = event["token"] or {}, event.get("details") or {}
        hidden = token.get("special") or token.get("special_token")
        text = "" if hidden else token.get("text") or ""
        last = event.get("generated_text") is not None or bool(details.get("finish_reason"))
        if last:
            yield self.chunk(text, self._reason(details))
            yield from self.usage(_counted(details))
        elif text:
            yield self.chunk(text)

    def _reason(self, details: Mapping[str, Any]) -> str:
        """OpenAI's finish reason. A container that was asked for details and gives none has
        still finished.
        """
        reason = details.get("finish_reason")
        if reason == "error":
            raise self.failed("the generation failed")
        return REASONS.get(str(reason), "stop")


class OpenAI(Shape):
    """OpenAI's own shape: bytes as they came, except where a text answer is wanted as chat."""

    def __init__(self, request: Request, endpoint: str) -> None:
        super().__init__(request, endpoint)
        rendered = request.prompt is not None and request.kind == "chat"
        self._as_chat = ChatEvents() if rendered else None

    def event(self, raw: bytes, event: Any, lone: bool) -> Iterator[Chunk]:
        """The chunks of one event of a stream; the kernel judges its shape."""
        choices = _choices(event)
        ended = [c for c in choices if "message" in c or (lone and c.get("finish_reason"))]
        if ended and not any("delta" in choice for choice in ended):
            raise self.cannot_stream()
        foreign = self._said_our_way(choices)
        chunk = Chunk(PREFIX + (orjson.dumps(event) if foreign else raw) + END, [event])
        if self._as_chat is None:
            yield chunk
            return
        if not choices and not (isinstance(event, dict) and event.get("usage")):
            raise self._fault(raw)
        converted, wrong = self._as_chat.chunk(chunk)
        if converted is not None:
            yield converted
        if wrong is not None:
            raise wrong

    def end(self) -> Iterator[Chunk]:
        return iter(())

    def whole(self, body: bytes, server: Server) -> Completion:
        """The answer of a container that was not asked for a stream."""
        data = checked_answer(body, server)
        foreign = self._said_our_way(data["choices"])
        completion = Completion(orjson.dumps(data) if foreign else body, data)
        return completion if self._as_chat is None else chat_completion(completion)

    def _said_our_way(self, choices: list[dict[str, Any]]) -> bool:
        """Put LMI's finish reasons in OpenAI's words; whether there were any."""
        foreign = False
        for choice in choices:
            reason = choice.get("finish_reason")
            if reason == "error":
                raise self.failed("the generation failed")
            if reason in ("eos_token", "stop_sequence"):
                choice["finish_reason"], foreign = REASONS[reason], True
        return foreign


def _choices(event: Any) -> list[dict[str, Any]]:
    choices = event.get("choices") if isinstance(event, dict) else None
    return [c for c in choices if isinstance(c, dict)] if isinstance(choices, list) else []


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise UpstreamBadResponse("the container's answer is not JSON") from None


def _text_of(data: Any) -> str | None:
    """The text of a whole answer; None if it has none."""
    if isinstance(data, list):
        data = data[0] if data else None
    if not isinstance(data, dict):
        return None
    found = data.get("generated_text", data.get("generation"))
    if isinstance(found, dict):
        found = found.get("content")
    return found if isinstance(found, str) else None


def _counted(details: Mapping[str, Any]) -> dict[str, int] | None:
    """Token counts; None where the container does not tell the prompt's (TGI before 2.3)."""
    made = details.get("generated_tokens")
    given = details.get("input_length", details.get("prompt_tokens"))
    if type(made) is not int or type(given) is not int:
        return None
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made}
