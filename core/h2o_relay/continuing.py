"""The request for the rest of an answer: which can be continued, and what the next server is asked.

Three ways, the most exact one first. The tokens themselves, where the server told their ids
(vLLM's `return_token_ids`; its /completions takes ids as a prompt). A text after a text, for
/completions and for conversations that the kernel rendered. And a conversation that ends with what
the assistant has said so far, in the words of vLLM and of transformers' chat templates:
`continue_final_message: true, add_generation_prompt: false`. llama.cpp knows them since May 2026;
before, it continues any last message of the assistant.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .errors import UpstreamIncomplete
from .tally import TOLD
from .types import Capabilities, Kind, Request

if TYPE_CHECKING:
    from .said import Said

BOUND = frozenset(
    {
        "tools", "functions", "logprobs", "top_logprobs", "prompt_logprobs", "logprob_token_ids",
        "use_beam_search", "echo", "suffix", "audio", "grammar", "json_schema",
        "structured_outputs", "truncate_prompt_tokens", "include_stop_str_in_output",
        "input_suffix", "return_token_ids", "return_tokens", "prompt_embeds",
    }
)  # fmt: skip
"""Fields that make an answer more than its text, or bind its text from its first token on."""
LIMITS = ("max_completion_tokens", "max_tokens", "n_predict", "max_new_tokens")
"""OpenAI's names, llama.cpp's and TGI's."""


def resumable(kind: Kind, params: Mapping[str, Any], request: Request, can: Capabilities) -> bool:
    """Whether an answer to this request could be continued by a server that can do that: one
    choice, one prompt, plain text. `request` is what is sent, `can` is the server's.
    """
    if any(_is_one(params.get(name)) is False for name in ("n", "best_of")):
        return False
    if any(params.get(name) not in (None, False, "", [], {}) for name in BOUND):
        return False
    if any(name.startswith("guided_") and params[name] is not None for name in params):
        return False
    if (params.get("response_format") or {"type": "text"}) != {"type": "text"}:
        return False
    if kind == "text":
        prompt = _single(params.get("prompt"))
        return isinstance(prompt, str) or (prompt is not None and _takes_ids(can))
    if request.prompt is not None:
        return True
    return can.continues_text and _open_ended(params)


def _is_one(value: Any) -> bool | None:
    return None if value is None else value == 1


def _single(prompt: Any) -> str | list[int] | None:
    """The only prompt, a text or ids of tokens; None for several, or for none."""
    if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str | list):
        prompt = prompt[0]
    if isinstance(prompt, str):
        return prompt
    ids = isinstance(prompt, list) and prompt and all(type(item) is int for item in prompt)
    return prompt if ids else None


def _takes_ids(can: Capabilities) -> bool:
    return "return_token_ids" in can.tells_tokens


def _open_ended(params: Mapping[str, Any]) -> bool:
    """The conversation does not end with the assistant; or it does and says that this is to be
    continued, for without a word servers differ.
    """
    last = (params.get("messages") or [{}])[-1]
    if last.get("role") != "assistant":
        return True
    return params.get("continue_final_message") is True and isinstance(last.get("content"), str)


def continued(
    kind: Kind, params: Mapping[str, Any], request: Request, said: Said, can: Capabilities
) -> tuple[Mapping[str, Any], dict[str, Any]]:
    """What to ask the server that takes over: its request's fields, and what else of the request
    changes (`prompt`, `continue_from`, `body`).

    `request` is the caller's request prepared for that server, `params` are its fields, `can` is
    what the server can do. `said` is told that this server speaks next, so ask once for each try.
    Raises UpstreamIncomplete where the rest cannot be asked for.
    """
    text, repeated = said.text, ""
    fields = dict(params)
    changes: dict[str, Any] = {"body": None}
    ids = said.token_ids if _same_tokens(said, request, can) else None
    if not text:
        pass  # from the beginning
    elif kind == "text":
        fields["prompt"] = _prompt(params, text, ids)
    elif request.prompt is not None:
        changes["prompt"] = request.prompt + text
    else:
        kept = text.rstrip() if can.trims_text else text
        repeated = text[len(kept) :]
        changes |= {"continue_from": kept} if kept else {}
    said.begin(request, can, repeated)
    _lower_limits(fields, said)
    return {**fields, **said.asks}, changes


def _same_tokens(said: Said, request: Request, can: Capabilities) -> bool:
    """Whether ids mean the same to this server: the same model, served by the same software."""
    return _takes_ids(can) and said.speaker == speaker(request)


def speaker(request: Request) -> tuple[str | None, ...]:
    """What decides how tokens are numbered."""
    deployment = request.deployment
    return deployment.server.plugin, deployment.model, deployment.base_model


def _prompt(params: Mapping[str, Any], text: str, ids: list[int] | None) -> str | list[int]:
    if ids is not None:
        return ids
    prompt = _single(params.get("prompt"))
    if isinstance(prompt, str):
        return prompt + text
    raise UpstreamIncomplete(
        "the upstream server broke off its answer, and a prompt of token ids can be continued "
        "only where the server tells the answer's"
    )


def _lower_limits(fields: dict[str, Any], said: Said) -> None:
    """The rest has as many tokens as are left. A limit below zero is none to llama.cpp."""
    for name in LIMITS:
        limit = fields.get(name)
        if type(limit) is int and limit > 0:
            fields[name] = limit - said.tokens
            if fields[name] <= 0:
                raise UpstreamIncomplete(
                    "the upstream server broke off its answer near the limit of its tokens"
                )
    least = fields.get("min_tokens")
    if type(least) is int:
        fields["min_tokens"] = max(0, least - said.tokens)


def limit_of(params: Mapping[str, Any]) -> int | None:
    """The most tokens that an answer may have; None for no limit."""
    limits = [params[name] for name in LIMITS if type(params.get(name)) is int]
    return min((limit for limit in limits if limit > 0), default=None)


def asks_of(params: Mapping[str, Any], can: Capabilities) -> dict[str, Any]:
    """The fields to add so that the server tells its tokens; the caller's own words win."""
    return {
        name: value
        for name, value in can.tells_tokens.items()
        if name in TOLD and name not in params
    }


def with_beginning(params: Mapping[str, Any], text: str) -> dict[str, Any]:
    """A chat's fields with `text` (`Request.continue_from`) as the beginning of its answer."""
    messages = list(params["messages"])
    if messages and messages[-1].get("role") == "assistant":
        last = messages.pop()
        message = {**last, "content": last["content"] + text}
    else:
        message = {"role": "assistant", "content": text}
    return {
        **params, "messages": [*messages, message],
        "continue_final_message": True, "add_generation_prompt": False,
    }  # fmt: skip
