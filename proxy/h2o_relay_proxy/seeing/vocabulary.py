"""The few words that metrics, log and traces use for what comes from outside.

An upstream's own error code can be anything, a secret as well, so what is not known is "other".
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from h2o_relay.errors import RelayError

OTHER: Final = "other"
PRECISE: Final = frozenset({
    "above_max_value", "array_too_long", "auth_unavailable", "below_min_value", "budget_exceeded",
    "budget_unknown", "concurrency_exceeded", "draining", "empty_array", "gateway_shutdown",
    "identity_refused", "invalid_config", "invalid_encoding", "invalid_form", "invalid_header",
    "invalid_http", "invalid_prompt", "invalid_type", "invalid_url", "invalid_value",
    "missing_api_key", "missing_required_parameter", "model_not_allowed", "name_taken",
    "nesting_too_deep", "not_added", "origin_not_allowed", "previous_response_not_found",
    "server_error", "string_too_long", "unknown_parameter", "unsupported_parameter",
    "usage_not_kept",
})  # fmt: skip
"""Codes of ours that no class has as its own (docs/errors.md)."""
UPSTREAMS: Final = frozenset({
    "content_filter", "content_policy_violation", "insufficient_quota", "invalid_base64",
    "invalid_image", "invalid_image_format", "model_not_supported", "unsupported_value",
})  # fmt: skip
"""Those of OpenAI and Azure that a 4xx of theirs is passed on with."""
OPERATIONS: Final = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "text_completion",
    "/v1/embeddings": "embeddings",
    "/v1/messages": "chat",
    "/v1/responses": "chat",
}
"""`gen_ai.operation.name` of a route."""
PROVIDERS: Final = {"azure": "azure.ai.openai", "openai": "openai", "sagemaker": "aws.sagemaker"}
"""`gen_ai.provider.name` of a plugin, where it is not the plugin's own name."""
STATUSES: Final = {status.value: str(status.value) for status in HTTPStatus} | {499: "499"}


def error_codes() -> frozenset[str]:
    """Every code that an error may have, but for what upstreams make up themselves."""
    found, classes = {*PRECISE, *UPSTREAMS}, [RelayError]
    while classes:
        each = classes.pop()
        classes += each.__subclasses__()
        if isinstance(each.code, str):
            found.add(each.code)
    return frozenset(found)


def status_word(status: int) -> str:
    """`404`; `4xx` for one that no document knows."""
    return STATUSES.get(status) or f"{status // 100}xx"


def provider(plugin: str) -> str:
    """What the GenAI conventions call a plugin's servers; "" where nobody was asked."""
    return PROVIDERS.get(plugin, plugin)
