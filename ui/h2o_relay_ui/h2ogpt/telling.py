"""The dicts that h2oGPT's API answers with.

Their keys are those of h2oGPT at commit a0ad1920 (`gradio_runner.py`, `gen.py`). Whatever is in one
can be read again by `ast.literal_eval`. The caller's key is not repeated, unlike there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from h2o_relay.admin import DeploymentView
from h2o_relay.catalog import INSTANCE_FIELD
from h2o_relay.errors import RelayError
from h2o_relay.types import Deployment

from ..reply import Reply
from .order import Order

INVALID_KEY = "Invalid Access Key, request access key from whoever runs this relay."
"""A whole answer, a success by its form. Clients know it by how it begins."""


def partial(text: str) -> dict[str, Any]:
    """The answer so far."""
    return {
        "response": text, "error": "", "sources": [], "sources_str": "", "prompt_raw": "",
        "llm_answers": [], "audio": None, "save_dict": {},
    }  # fmt: skip


def final(order: Order, model: str, reply: Reply | None, seconds: float) -> dict[str, Any]:
    """The whole answer; `reply` is None where the model was not asked."""
    text = reply.text if reply else ""
    usage = (reply.usage if reply else None) or {}
    made = usage.get("completion_tokens")
    extra = {
        "num_prompt_tokens": usage.get("prompt_tokens"),
        "ntokens": made,
        "t_generate": seconds,
        "tokens_persecond": made / seconds if made is not None and seconds > 0 else None,
        "finish_reason": reply.finish_reason if reply else None,
        "reasoning": reply.reasoning if reply else "",
        "notes": list(reply.notes if reply else ()) + [f"{n} was ignored" for n in order.ignored],
        "instruction": order.instruction,
        **{name: value for name, value in order.params.items() if name != "messages"},
    }
    return {**partial(text), "save_dict": _saved(model, text, valid_key=True, extra=extra)}


def refused_key() -> dict[str, Any]:
    """The answer to a caller without the right key."""
    saved = _saved("", INVALID_KEY, valid_key=False, extra={})
    return {**partial(INVALID_KEY), "save_dict": saved}


def failure(error: RelayError) -> dict[str, Any]:
    """The last that is told before the call fails; it has no `response`."""
    return {
        "error": error.message, "error_ex": f"{type(error).__name__}: {error.message}",
        "sources": [], "sources_str": "", "prompt_raw": "", "llm_answers": [],
    }  # fmt: skip


def models(
    deployments: Sequence[Deployment], known: Mapping[str, DeploymentView], instance: str
) -> list[dict[str, Any]]:
    """The entries of /model_names. No entry names a server's address; what it can take is what
    this API passes on: texts.
    """
    views = [(model, known.get(model.name)) for model in deployments]
    return [
        {
            "display_name": model.name, "base_model": model.base_model or model.name,
            "prompt_type": (view.prompt_type if view else None) or "", "prompt_dict": None,
            "max_seq_len": model.max_context,
            "inference_server_type": (view.plugin if view else None) or "",
            "llm": True, "rag": False, "image": False, "actually_image": False, "video": False,
            "actually_video": False, "json": False,
            **({INSTANCE_FIELD: instance} if instance else {}),
        }
        for model, view in views
    ]  # fmt: skip


def _saved(model: str, text: str, *, valid_key: bool, extra: dict[str, Any]) -> dict[str, Any]:
    return {
        "base_model": model, "display_name": model, "prompt": "", "output": text,
        "where_from": "h2o_relay", "error": "", "sources": [], "valid_key": valid_key,
        "which_api": "str_api", "image_file_present": False, "text_context_list_present": False,
        "extra_dict": extra,
    }  # fmt: skip
