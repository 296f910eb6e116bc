"""Fields of a request that would steer the relay or a server behind it: where the request goes,
with which key, or by which template it is rendered. They are refused, not passed on.

Other gateways take the first kind (CVE-2024-6587: a caller had the operator's key sent to a host of
his own), and a server behind this one may be such a gateway; vLLM takes the second (CVE-2025-62426
and its option `--trust-request-chat-template`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest

PLACES = frozenset(
    {
        "api_base", "api_host", "api_key", "api_type", "azure_ad_token", "base_url",
        "aws_access_key_id", "aws_secret_access_key", "aws_session_token", "custom_llm_provider",
        "deployment_id", "extra_headers", "inference_server", "litellm_params", "model_list",
        "vertex_credentials",
    }
)  # fmt: skip
"""Where it goes and with which key, as LiteLLM and h2oGPT call it."""
TEMPLATES = frozenset({"chat_template"})
ARGUMENTS = "chat_template_kwargs"
RENDERING = frozenset(
    {
        "add_generation_prompt", "chat_template", "continue_final_message", "conversation",
        "documents", "max_length", "messages", "padding", "return_assistant_tokens_mask",
        "return_dict", "return_tensors", "template", "tokenize", "tokenizer_kwargs", "tools",
        "truncation",
    }
)  # fmt: skip
"""Arguments of Hugging Face's `apply_chat_template`, which a template's own would take the place
of. What a template itself asks for, such as `enable_thinking`, is the caller's to say."""
STEERING = PLACES | TEMPLATES


def refuse(params: Mapping[str, Any]) -> None:
    """Raises InvalidRequest, naming the field."""
    if not STEERING.isdisjoint(params):
        given = [name for name in STEERING.intersection(params) if params[name] is not None]
        if given:
            raise _refused(min(given))
    arguments = params.get(ARGUMENTS)
    if type(arguments) is dict and not RENDERING.isdisjoint(arguments):
        raise _refused(f"{ARGUMENTS}.{min(RENDERING.intersection(arguments))}")


def _refused(name: str) -> InvalidRequest:
    what = "which template renders it" if "template" in name else "where it goes and by which key"
    return InvalidRequest(
        f"'{name}' is not a field here: the relay's operator says {what}.", param=name,
        code="unsupported_parameter",
    )  # fmt: skip
