"""What AWS and the containers report, as the relay's errors.

Codes are those of the SageMaker Runtime API and of AWS's "Common Errors". A refusal names its code
in the header x-amzn-errortype or in the body; the code decides before the status does. What a
container itself refuses comes as ModelError (424) with OriginalStatusCode and OriginalMessage.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any

import orjson

from h2o_relay.errors import (
    RateLimited,
    RelayError,
    UpstreamAuthError,
    UpstreamBadResponse,
    UpstreamDisconnected,
    UpstreamTimeout,
    UpstreamUnavailable,
    error_object,
    from_response,
)
from h2o_relay.openai_shape import seconds_to_wait

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
AUTH = EXPIRED | {
    "AccessDenied",
    "AccessDeniedException",
    "IncompleteSignature",
    "IncompleteSignatureException",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "MissingAuthenticationTokenException",
    "NotAuthorized",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
THROTTLED = frozenset(
    {
        "Throttling",
        "ThrottlingException",
        "ThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
    }
)
AWAY = frozenset({"ServiceUnavailable", "ServiceUnavailableException", "ModelNotReadyException"})
ACCOUNT = re.compile(r"\b\d{12}\b")  # AWS account numbers, which are the operator's own
FAILED_DEPENDENCY = 424  # TGI's and LMI's status for a generation that failed
MESSAGE_LIMIT = 2000  # characters
log = logging.getLogger(__name__)


def refusal(status: int, headers: Mapping[str, str], body: bytes, endpoint: str) -> RelayError:
    """The error for an answer of status 300 and above."""
    data = _object(body)
    code = _code(headers, data)
    message = _masked(data)
    retry_after = seconds_to_wait(headers.get("retry-after"))
    if code == "ModelError":
        return _model_error(data, message, endpoint, retry_after)
    if code in AUTH:
        log.warning("SageMaker endpoint %s: %s: %s", endpoint, code, message)
        what = "have expired" if code in EXPIRED else "were refused"
        return UpstreamAuthError(f"the relay's AWS credentials {what} ({code})")
    if code in THROTTLED:
        return RateLimited(message or f"AWS limits the rate ({code})", retry_after=retry_after)
    if code in AWAY:
        return UpstreamUnavailable(
            f"SageMaker endpoint {endpoint} is not available now ({code})", retry_after=retry_after
        )
    error = {"message": message, "code": code or None, "type": "invalid_request_error"}
    return from_response(status, orjson.dumps({"error": error}), retry_after=retry_after)


def _model_error(
    data: Mapping[str, Any], message: str, endpoint: str, retry_after: float | None
) -> RelayError:
    """The container said no: its own status and words."""
    status = data.get("OriginalStatusCode")
    original = data.get("OriginalMessage")
    text = original if isinstance(original, str) and original else message
    return container_error(status if isinstance(status, int) else 0, text, endpoint, retry_after)


def container_error(
    status: int, text: str, endpoint: str, retry_after: float | None = None
) -> RelayError:
    """The error for a container's status and body; status 0 where it gave none."""
    error = error_object(text.encode("utf-8", "replace"))
    if not error.get("message"):
        error = {"message": text}
    mapped = 400 <= status < 500 or status in (503, 504, 529)
    if mapped and status != FAILED_DEPENDENCY:
        whole = orjson.dumps({"error": error})
        return from_response(status, whole, retry_after=retry_after)
    said = f": {error['message']}"[:MESSAGE_LIMIT] if error["message"] else ""
    with_status = f" with {status}" if status else ""
    return UpstreamBadResponse(
        f"the container of SageMaker endpoint {endpoint} failed{with_status}{said}"
    )


def stream_error(headers: Mapping[str, Any], payload: bytes, endpoint: str) -> RelayError:
    """The error for an exception or error message within an event stream."""
    data = _object(payload)
    kind = headers.get(":exception-type") or headers.get(":error-code") or "unknown"
    message = _masked(data) or str(headers.get(":error-message") or "")
    reason = data.get("ErrorCode")
    where = f"SageMaker endpoint {endpoint}"
    if reason == "ModelInvocationTimeExceeded":
        return UpstreamTimeout(f"{where} took longer than SageMaker allows: {message}")
    if reason == "StreamBroken":
        return UpstreamDisconnected(f"{where}: the connection to its container broke: {message}")
    detail = f"{kind}, {reason}" if isinstance(reason, str) and reason else kind
    return UpstreamBadResponse(f"{where} broke off its stream ({detail}): {message}")


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}


def _code(headers: Mapping[str, str], data: Mapping[str, Any]) -> str:
    """The bare code: `ModelError` of `ModelError:http://...` and of `prefix#ModelError`."""
    given = headers.get("x-amzn-errortype") or data.get("__type") or data.get("code")
    return str(given or "").partition(":")[0].rpartition("#")[2].strip()


def _masked(data: Mapping[str, Any]) -> str:
    message = data.get("Message") or data.get("message")
    return ACCOUNT.sub("***", message)[:MESSAGE_LIMIT] if isinstance(message, str) else ""
