"""One tree of errors; each class says its HTTP status, OpenAI's `type` and our `code`.

    RelayError                       500  server_error           internal_error
    ├─ PluginError                   500  server_error           plugin_error
    ├─ StoreError                    500  server_error           store_error
    ├─ InvalidRequest                400  invalid_request_error  invalid_value, or as given
    │  ├─ InvalidJSON                400                         invalid_json
    │  ├─ BadServerString            400                         invalid_server_string
    │  ├─ ContextTooLong             400                         context_length_exceeded
    │  ├─ Unauthorized               401                         missing_api_key, invalid_api_key
    │  ├─ ModelNotFound              404                         model_not_found
    │  ├─ NotFound                   404                         not_found
    │  ├─ UnknownURL                 404                         unknown_url
    │  ├─ MethodNotAllowed           405                         method_not_allowed
    │  ├─ RequestTimeout             408                         request_timeout
    │  ├─ RequestTooLarge            413                         request_too_large
    │  ├─ URITooLong                 414                         uri_too_long
    │  ├─ UnsupportedMediaType       415                         unsupported_media_type
    │  ├─ HeadersTooLarge            431                         headers_too_large
    │  └─ UpstreamRejected           the upstream's own 4xx, its type, param and code
    ├─ Forbidden                     403  permission_error       host_not_allowed, or as given
    ├─ RateLimited                   429  rate_limit_error       rate_limit_exceeded
    ├─ UpstreamError                 502  upstream_error         upstream_bad_response
    │  ├─ UpstreamUnreachable        502                         upstream_unreachable
    │  ├─ UpstreamDNSError           502                         upstream_dns_error
    │  ├─ UpstreamTLSError           502                         upstream_tls_error
    │  ├─ UpstreamDisconnected       502                         upstream_disconnected
    │  ├─ UpstreamIncomplete         502                         upstream_incomplete
    │  ├─ UpstreamBadResponse        502                         upstream_bad_response
    │  ├─ UpstreamResponseTooLarge   502                         upstream_response_too_large
    │  ├─ UpstreamUnidentified       502                         upstream_unidentified
    │  ├─ UpstreamRedirect           502                         upstream_redirect
    │  └─ UpstreamAuthError          502                         upstream_auth_error
    ├─ Overloaded                    503  overloaded_error       gateway_overloaded
    │  └─ UpstreamUnavailable        503                         upstream_unavailable
    └─ UpstreamTimeout               504  timeout_error          deadline_exceeded
       ├─ ConnectTimeout             504                         connect_timeout
       ├─ FirstByteTimeout           504                         first_byte_timeout
       └─ IdleTimeout                504                         idle_timeout

The body of an error is OpenAI's: `{"error": {"message", "type", "param", "code"}}` with all four
keys. An upstream's answer is classified by its status, then by the `code` or the `type` in its
body, never by searching its message.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import orjson

OWN_FIELDS = frozenset({"message", "type", "param", "code", "object"})
MESSAGE_LIMIT = 2000  # characters of an upstream's own message that are passed on
LLAMA_CPP_CONTEXT = "exceed_context_size_error"
"""llama.cpp's `type` for it (README of its HTTP server); its codes are statuses."""


class RelayError(Exception):
    """Anything that the relay answers with an error body instead of a traceback."""

    status: int = 500
    type: ClassVar[str] = "server_error"
    code: str | None = "internal_error"
    """What programs tell errors apart by; None only where an upstream's own error has none."""
    upstream_status: int | None = None
    """The status of 400 or above that the upstream answered with, or gave as the error's code."""
    upstream_message = ""  # beside it; also that of a 5xx, for plugins that know what it means
    begun = False
    """The answer had begun when it happened: nobody asks again."""

    def __init__(
        self,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        """`param` is the JSON path of the field at fault; `retry_after` is in seconds."""
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after
        if code is not None:
            self.code = code

    def body(self) -> dict[str, Any]:
        """OpenAI's error object, all four keys present."""
        error = {
            "message": self.message,
            "type": self.type,
            "param": self.param,
            "code": self.code,
        }
        return {"error": error}

    def encoded(self) -> bytes:
        """The body as JSON; a lone surrogate in a message becomes a replacement character."""
        try:
            return orjson.dumps(self.body())
        except TypeError:
            self.message = self.message.encode("utf-8", "replace").decode()
            return orjson.dumps(self.body())


class PluginError(RelayError):
    """A plugin broke its contract, or raised something that is no RelayError."""

    code = "plugin_error"


class StoreError(RelayError):
    """The database with conversations, accounts and added models cannot be opened, read or
    written; the message says why.
    """

    code = "store_error"


class InvalidRequest(RelayError):
    """The caller's request is at fault."""

    status = 400
    type = "invalid_request_error"
    code: str | None = "invalid_value"


class InvalidJSON(InvalidRequest):
    """The body is not one JSON object, or says a key twice."""

    code = "invalid_json"


class ContextTooLong(InvalidRequest):
    """Prompt and answer do not fit into the context of the model."""

    code = "context_length_exceeded"


class BadServerString(InvalidRequest):
    """A server string that cannot be read.

    `shown` is the string with its secrets masked, `column` the 1-based place in it that is wrong
    and `example` a correct string of that kind.
    """

    code = "invalid_server_string"

    def __init__(self, reason: str, *, shown: str = "", column: int = 0, example: str = "") -> None:
        place = f" (column {column})" if column else ""
        hint = f" Example: {example}" if example else ""
        super().__init__(f"server string {shown!r}{place}: {reason}.{hint}")
        self.reason, self.shown, self.column, self.example = reason, shown, column, example


class Unauthorized(InvalidRequest):
    """The caller's own key is missing or wrong."""

    status = 401
    code = "invalid_api_key"


class ModelNotFound(InvalidRequest):
    """No model of this name is offered; the message names the nearest."""

    status = 404
    code = "model_not_found"


class NotFound(InvalidRequest):
    """What is to be shown or changed is not there, or is somebody else's."""

    status = 404
    code = "not_found"


class UnknownURL(InvalidRequest):
    """There is nothing at this path."""

    status = 404
    code = "unknown_url"


class MethodNotAllowed(InvalidRequest):
    """The path does not answer this method; `allow` is what it does answer."""

    status = 405
    code = "method_not_allowed"

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(InvalidRequest):
    """The request did not arrive in time."""

    status = 408
    code = "request_timeout"


class RequestTooLarge(InvalidRequest):
    """The body is over `max_body`."""

    status = 413
    code = "request_too_large"


class URITooLong(InvalidRequest):
    """The URL is over 16 KiB."""

    status = 414
    code = "uri_too_long"


class UnsupportedMediaType(InvalidRequest):
    """The body is not plain `application/json`."""

    status = 415
    code = "unsupported_media_type"


class HeadersTooLarge(InvalidRequest):
    """The headers are over 64 KiB, or more than 100."""

    status = 431
    code = "headers_too_large"


class UpstreamRejected(InvalidRequest):
    """The upstream refused this request with a 4xx of its own, which is passed on."""

    code: str | None = None

    def __init__(self, status: int, error: Mapping[str, Any]) -> None:
        super().__init__(_message(error), param=_text(error.get("param")))
        self.status = status
        code = error.get("code")
        self.code = None if code == status else _text(code)  # as vLLM and llama.cpp repeat it
        self.upstream_type = _text(error.get("type")) or self.type
        self.more = {name: value for name, value in error.items() if name not in OWN_FIELDS}
        """What else the upstream says: Azure's `innererror`, Groq's `failed_generation`."""

    def body(self) -> dict[str, Any]:
        own = super().body()["error"]
        return {"error": {**own, "type": self.upstream_type, **self.more}}


class Forbidden(RelayError):
    """The caller may not do this."""

    status = 403
    type = "permission_error"
    code = "host_not_allowed"


class RateLimited(RelayError):
    """The upstream, or the relay, limits the rate; `retry-after` says for how long."""

    status = 429
    type = "rate_limit_error"
    code = "rate_limit_exceeded"


class UpstreamError(RelayError):
    """The server behind the relay failed."""

    status = 502
    type = "upstream_error"
    code = "upstream_bad_response"


class UpstreamUnreachable(UpstreamError):
    """No connection to the upstream could be made."""

    code = "upstream_unreachable"


class UpstreamDNSError(UpstreamError):
    """The upstream's host name could not be resolved."""

    code = "upstream_dns_error"


class UpstreamTLSError(UpstreamError):
    """The upstream offers no secure connection, or no trusted certificate."""

    code = "upstream_tls_error"


class UpstreamDisconnected(UpstreamError):
    """The upstream broke off the connection."""

    code = "upstream_disconnected"


class UpstreamIncomplete(UpstreamError):
    """The stream ended without a finish reason: the answer was cut."""

    code = "upstream_incomplete"


class UpstreamBadResponse(UpstreamError):
    """The upstream answered 5xx, or what it answered makes no sense."""

    code = "upstream_bad_response"


class UpstreamResponseTooLarge(UpstreamError):
    """An answer, or one event of a stream, is over `max_event`."""

    code = "upstream_response_too_large"


class UpstreamUnidentified(UpstreamError):
    """The server behind a bare URL answers, but it is nobody's or more than one's."""

    code = "upstream_unidentified"


class UpstreamRedirect(UpstreamError):
    """The upstream redirects to `location`, as it wrote it, which is never followed."""

    code = "upstream_redirect"

    def __init__(self, message: str, *, location: str = "") -> None:
        super().__init__(message)
        self.location = location


class UpstreamAuthError(UpstreamError):
    """The upstream refused the operator's key; the caller's own key is fine."""

    code = "upstream_auth_error"


class Overloaded(RelayError):
    """The relay cannot take more, or is shutting down."""

    status = 503
    type = "overloaded_error"
    code = "gateway_overloaded"


class UpstreamUnavailable(Overloaded):
    """The upstream is overloaded or starting, or no model is available yet."""

    code = "upstream_unavailable"


class UpstreamTimeout(RelayError):
    """The upstream took longer than `answer_timeout` or `max_time`, or timed out itself."""

    status = 504
    type = "timeout_error"
    code = "deadline_exceeded"


class ConnectTimeout(UpstreamTimeout):
    """The upstream did not accept a connection within `connect_timeout`."""

    code = "connect_timeout"


class FirstByteTimeout(UpstreamTimeout):
    """Nothing came within `first_byte_timeout`."""

    code = "first_byte_timeout"


class IdleTimeout(UpstreamTimeout):
    """Nothing more came for `idle_timeout`."""

    code = "idle_timeout"


def error_tree() -> list[type[RelayError]]:
    """Every class of the tree, parents first."""
    found: list[type[RelayError]] = []
    waiting: list[type[RelayError]] = [RelayError]
    while waiting:
        cls = waiting.pop(0)
        found.append(cls)
        waiting.extend(cls.__subclasses__())
    return found


def from_response(
    status: int, body: bytes, *, retry_after: float | None = None, secret: str | None = None
) -> RelayError:
    """The error for an upstream's status (400 and above) and body (at most 64 KiB of it).

    `secret` is the key that we sent; it is cut out of whatever the upstream repeats.
    """
    found = _classified(status, error := redact(error_object(body), secret), retry_after)
    found.upstream_status, found.upstream_message = status, _said(error)
    return found


def _classified(status: int, error: dict[str, Any], retry_after: float | None) -> RelayError:
    if status in (401, 403):
        return UpstreamAuthError(f"the upstream server refused the relay's credentials ({status})")
    if status == 429:
        return RateLimited(_message(error), retry_after=retry_after)
    if status == 408:
        return UpstreamTimeout("the upstream server gave up waiting (408)")
    if 400 <= status < 500:
        if error.get("code") == ContextTooLong.code or error.get("type") == LLAMA_CPP_CONTEXT:
            return ContextTooLong(_message(error), param=_text(error.get("param")))
        return UpstreamRejected(status, error)
    return _failure(status, retry_after=retry_after)


def from_error_object(error: Mapping[str, Any], secret: str | None = None) -> RelayError:
    """The error for an error object that came with status 200 or in mid-stream.

    A numeric `code` (vLLM, llama.cpp) is the status that the upstream would have sent.
    """
    error = redact(error, secret)
    status = error.get("code", error.get("status"))
    if isinstance(status, int) and 500 <= status < 600:
        failure = _failure(status, _said(error))
        failure.upstream_status = status
        return failure
    if isinstance(status, int) and 400 <= status < 500:
        return from_response(status, orjson.dumps({"error": error}))
    if error.get("code") == ContextTooLong.code:
        return ContextTooLong(_message(error), param=_text(error.get("param")))
    if error.get("type") == RateLimited.type or error.get("code") == RateLimited.code:
        return RateLimited(_message(error))
    return UpstreamBadResponse(f"the upstream server reported an error: {_message(error)}")


def _failure(status: int, said: str = "", *, retry_after: float | None = None) -> RelayError:
    """The error for a 5xx. `said` is what a server that had begun to answer says of it; bodies of
    5xx are not passed on, for it is often something before the server that wrote them.
    """
    more = f": {said}" if said else ""
    if status in (503, 529):
        return UpstreamUnavailable(
            f"the upstream server is overloaded or starting ({status}){more}",
            retry_after=retry_after,
        )
    if status == 504:
        return UpstreamTimeout(f"the upstream server timed out (504){more}")
    return UpstreamBadResponse(f"the upstream server answered {status}{more}")


def error_object(body: bytes) -> dict[str, Any]:
    """The error object of an upstream's body, in the shapes that servers are known to send:
    OpenAI's `{"error": {...}}`, `{"error": "text"}` (TGI, Ollama), `{"detail": ...}` (FastAPI) and
    `{"object": "error", ...}` (older vLLM). Never raises; the message may be empty.
    """
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    if not isinstance(data, dict):
        return {}
    error = data.get("error")
    if isinstance(error, dict):
        return error
    if isinstance(error, str):
        return {"message": error, "type": data.get("error_type"), "code": data.get("code")}
    if data.get("object") == "error":
        return data
    detail = data.get("detail", data.get("message"))
    if detail is None:
        return {}
    return {"message": detail if isinstance(detail, str) else orjson.dumps(detail).decode()}


def redact(error: Mapping[str, Any], secret: str | None) -> dict[str, Any]:
    """The error object with our own key cut out of its texts, however deep they lie."""
    if not secret or len(secret) < 4:
        return dict(error)
    return {name: _without(secret, value) for name, value in error.items()}


def _without(secret: str, value: Any) -> Any:
    if isinstance(value, str):
        return value.replace(secret, "***")
    if isinstance(value, list):
        return [_without(secret, item) for item in value]
    return redact(value, secret) if isinstance(value, dict) else value


def _message(error: Mapping[str, Any]) -> str:
    return _said(error) or "the upstream server refused the request without saying why"


def _said(error: Mapping[str, Any]) -> str:
    """What the upstream says itself, or ''."""
    message = error.get("message")
    return message[:MESSAGE_LIMIT] if isinstance(message, str) else ""


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None if value is None else str(value)
