"""h2oGPT's API: one argument, the text of a Python dict; one answer, the same.

Names and meaning are those of h2oGPT at commit a0ad1920 (version 0.2.1), `gradio_runner.py` and
`evaluate_params.py`; the answer's text is cumulative while it streams.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Mapping
from typing import Any

from h2o_relay.errors import InvalidRequest, UpstreamAuthError, UpstreamBadResponse
from h2o_relay.types import Model, Request, Server

from .messages import pairs, talk_of
from .session import reported
from .update import Update

FIELDS = frozenset(
    {
        "model", "messages", "prompt", "stream", "stream_options", "temperature", "top_p", "top_k",
        "max_tokens", "max_completion_tokens", "seed", "presence_penalty", "repetition_penalty",
        "max_time",
    }
)  # fmt: skip
SAME_NAME = ("temperature", "top_p", "top_k", "seed", "repetition_penalty", "max_time")
INVALID_KEY = "Invalid Access Key, request access key from "
"""How h2oGPT's whole answer begins if the key is wrong (`enums.py`); its status says success."""
PENALTIES = (0.01, 3.0)  # h2oGPT's bounds of repetition_penalty


def order(server: Server, request: Request) -> str:
    """The argument of /submit_nochat_api. Raises InvalidRequest for what h2oGPT cannot be told."""
    asked: dict[str, Any] = {**_conversation(request), **_sampling(request.params)}
    asked["stream_output"] = True  # only what streams can be cancelled
    if request.deployment.model:
        asked["visible_models"] = request.deployment.model
    if server.key:
        asked["h2ogpt_key"] = server.key
    return repr(asked)


def _conversation(request: Request) -> dict[str, Any]:
    """A prompt that is rendered already goes as it is; for messages the model's own prompt type
    is used, whatever that is.
    """
    prompt = request.prompt
    if prompt is None and request.kind == "text":
        prompt = request.params.get("prompt")
        if not isinstance(prompt, str):
            raise InvalidRequest("this server takes one prompt, a text", param="prompt")
    if prompt is not None:
        return {"instruction_nochat": prompt, "prompt_type": "plain", "system_prompt": "",
                "chat_conversation": [], "add_chat_history_to_context": False}  # fmt: skip
    talk = talk_of(request.params.get("messages"))
    asked: dict[str, Any] = {
        "instruction_nochat": talk.last, "prompt_type": "", "chat_conversation": pairs(talk.past),
    }  # fmt: skip
    if talk.system:
        asked["system_prompt"] = talk.system
    return asked


def _sampling(params: Mapping[str, Any]) -> dict[str, Any]:
    """What the caller set; what it left out stays the server's own."""
    found = {name: _number(params, name) for name in SAME_NAME if params.get(name) is not None}
    limit = token_limit(params)
    if limit is not None:
        found["max_new_tokens"] = limit
    if params.get("presence_penalty") is not None and "repetition_penalty" not in found:
        low, high = PENALTIES
        penalty = 1 + _number(params, "presence_penalty") / 2
        found["repetition_penalty"] = min(max(penalty, low), high)
    if found.keys() & {"temperature", "top_p", "top_k"}:
        found["do_sample"] = _samples(found)
    return found


def token_limit(params: Mapping[str, Any]) -> int | float | None:
    """How many tokens the answer may have, if the caller says so. Raises InvalidRequest."""
    for name in ("max_completion_tokens", "max_tokens"):
        if params.get(name) is not None:
            return _number(params, name)
    return None


def _number(params: Mapping[str, Any], name: str) -> int | float:
    value = params[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidRequest(f"'{name}' must be a number", param=name, code="invalid_type")
    return value


def _samples(found: Mapping[str, Any]) -> bool:
    """OpenAI's temperature 0 is h2oGPT's greedy decoding; so is a choice among one token."""
    return found.get("temperature") != 0 and found.get("top_k") != 1


def update(server: Server, value: Any, last: bool, limit: float | None) -> Update:
    """The answer so far. `limit` is the number of tokens that were asked for, if any.

    Raises what h2oGPT reports in an answer that calls itself a success.
    """
    answer = literal(value)
    if not isinstance(answer, dict):
        raise UpstreamBadResponse("the h2oGPT server's answer is not a dict")
    saved = _dict(answer.get("save_dict"))
    trouble = answer.get("error") or answer.get("error_ex") or saved.get("error")
    text = answer.get("response")
    if trouble or not isinstance(text, str):
        raise reported(server, str(trouble or "it gave no response and no reason"))
    if saved.get("valid_key") is False or text.startswith(INVALID_KEY):
        raise UpstreamAuthError("the h2oGPT server refused the relay's h2ogpt_key")
    if not last:
        return Update(text)
    extra = _dict(saved.get("extra_dict"))
    sent, made = _count(extra.get("num_prompt_tokens")), _count(extra.get("ntokens"))
    usage = None
    if sent is not None and made is not None:
        usage = {"prompt_tokens": sent, "completion_tokens": made, "total_tokens": sent + made}
    full = made is not None and limit is not None and made >= limit
    return Update(text, last=True, finish="length" if full else "stop", usage=usage)


def models(server: Server, value: Any) -> list[Model]:
    """The models of /model_names. Raises UpstreamBadResponse for what is no list of them."""
    entries = literal(value)
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise UpstreamBadResponse("the h2oGPT server's model list is not a list of dicts")
    found = []
    for entry in entries:
        name = entry.get("display_name") or entry.get("base_model")
        if isinstance(name, str) and name:
            context = _count(entry.get("max_seq_len")) or None
            found.append(Model(id=name, max_context=context, raw=entry))
    return found


def literal(value: Any) -> Any:
    """What the text of a Python literal means; a value that is no text is itself.

    Raises UpstreamBadResponse.
    """
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise UpstreamBadResponse("the h2oGPT server's answer is not a Python literal") from None


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None
