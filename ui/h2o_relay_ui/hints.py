"""What a person can try when an answer failed, by the error's code (docs/errors.md)."""

from __future__ import annotations

AGAIN = "Retry, or choose another model."
WAIT = "Wait a little and retry, or choose another model."
AWAY = "Check that the server is running and retry, or choose another model."
SLOW = "Retry. A shorter question, or another model, may be answered in time."
KEY = "Whoever runs the relay has to correct its key for this server. Choose another model."
CHANGE = "Change the message or the options, then retry."
HINTS = {
    "upstream_unreachable": AWAY,
    "upstream_dns_error": AWAY,
    "upstream_tls_error": AWAY,
    "connect_timeout": AWAY,
    "upstream_unidentified": AWAY,
    "upstream_unavailable": WAIT,
    "gateway_overloaded": WAIT,
    "rate_limit_exceeded": "Wait a little, then retry.",
    "concurrency_exceeded": "Stop one of your other answers or let it end, then retry.",
    "insufficient_quota": "The budget is used up. Choose another model.",
    "first_byte_timeout": SLOW,
    "idle_timeout": SLOW,
    "deadline_exceeded": SLOW,
    "upstream_auth_error": KEY,
    "context_length_exceeded": "Shorten the message, start a new chat, or allow fewer tokens for "
    "the answer.",
    "request_too_large": "Send fewer or smaller images, or start a new chat.",
    "model_not_found": "Choose another model.",
    "invalid_api_key": "The relay does not accept this page's key. Restart the relay.",
    "missing_api_key": "The relay does not accept this page's key. Restart the relay.",
    "internal_error": "Retry. The relay's log says what went wrong.",
}


def hint(code: str | None, status: int | None) -> str:
    """One or two sentences."""
    found = HINTS.get(code or "")
    if found is None and status is not None and 400 <= status < 500:
        return CHANGE
    return found or AGAIN
