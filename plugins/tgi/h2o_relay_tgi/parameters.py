"""A request in OpenAI's terms as the body of /generate: `{"inputs": ..., "parameters": ...}`.

Names and limits are those of GenerateParameters in TGI's OpenAPI document. What TGI would refuse
though it asks for nothing (a `top_p` of 1) is left out, and so is what makes it sample although the
temperature is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Request

from .grammar import grammar_of
from .stops import MOST_SENT, stops_of

COLDEST = 0.01  # the lowest temperature sent; h2oGPT's
NARROWEST = 0.01  # the lowest top_p sent; h2oGPT's
SEEDS = 2**63  # TGI takes no negative seed, OpenAI does
PASSED = (
    "repetition_penalty", "frequency_penalty", "best_of", "truncate", "watermark",
    "decoder_input_details", "adapter_id",
)  # fmt: skip


def prompts_of(request: Request) -> list[str]:
    """The texts to complete. Raises InvalidRequest for token ids, which TGI does not take."""
    if request.prompt is not None:
        return [request.prompt]
    prompt = request.params.get("prompt")
    texts = [prompt] if isinstance(prompt, str) else prompt
    if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
        return texts
    raise InvalidRequest(
        "'prompt' must be a string or a list of strings: this model's server takes no token ids",
        param="prompt",
    )


def generate_body(request: Request, prompt: str) -> bytes:
    """The JSON for one prompt."""
    return orjson.dumps({"inputs": prompt, "parameters": parameters_of(request)})


def parameters_of(request: Request) -> dict[str, Any]:
    """GenerateParameters for a request. Raises InvalidRequest."""
    params = request.params
    found: dict[str, Any] = {"details": True, "return_full_text": False, **_sampling(params)}
    limit = token_limit(params)
    if limit is not None:
        found["max_new_tokens"] = limit
    elif request.kind == "chat":
        # As OpenAI's chat: as many as fit. Left out it would be 20 or 100, by TGI's version.
        found["max_new_tokens"] = None
    seed = params.get("seed")
    if seed is not None:
        found["seed"] = _number(params, "seed", int) % SEEDS
    stops = stops_of(request)
    if stops:
        found["stop"] = list(stops[:MOST_SENT])
    found |= {name: params[name] for name in PASSED if params.get(name) is not None}
    grammar = grammar_of(params)
    if grammar is not None:
        found["grammar"] = grammar
    alternatives = top_tokens(request)
    if alternatives:
        found["top_n_tokens"] = alternatives
    return found


def token_limit(params: Mapping[str, Any]) -> int | None:
    """`max_completion_tokens`, else `max_tokens`, its older name."""
    for name in ("max_completion_tokens", "max_tokens"):
        if params.get(name) is not None:
            return int(_number(params, name, int))
    return None


def wants_logprobs(request: Request) -> bool:
    """Chat says true or false, text the number of alternatives, which may be 0."""
    asked = request.params.get("logprobs")
    return asked is not None and asked is not False


def top_tokens(request: Request) -> int:
    """How many alternatives each token comes with."""
    params = request.params
    if params.get("top_n_tokens") is not None:
        return int(_number(params, "top_n_tokens", int))
    if not wants_logprobs(request):
        return 0
    name = "top_logprobs" if request.kind == "chat" else "logprobs"
    value = params.get(name)
    return 0 if value is None or value is True else int(_number(params, name, int))


def narrowed(top_p: float) -> float | None:
    """A `top_p` that TGI takes, which is between 0 and 1 and neither; None for no limit."""
    return None if top_p >= 1 else max(top_p, NARROWEST)


def _sampling(params: Mapping[str, Any]) -> dict[str, Any]:
    """OpenAI samples unless the temperature is 0; TGI samples if told to, or by any of these."""
    temperature = None
    if params.get("temperature") is not None:
        temperature = _number(params, "temperature", float)
    if params.get("do_sample") is False or temperature == 0:
        return {"do_sample": False}
    found: dict[str, Any] = {"do_sample": True}
    if temperature is not None:
        found["temperature"] = max(temperature, COLDEST) if temperature > 0 else temperature
    if params.get("top_p") is not None:
        top_p = narrowed(_number(params, "top_p", float))
        found |= {} if top_p is None else {"top_p": top_p}
    if params.get("typical_p") is not None and _number(params, "typical_p", float) < 1:
        found["typical_p"] = params["typical_p"]
    if params.get("top_k") is not None and _number(params, "top_k", int) > 0:
        found["top_k"] = params["top_k"]
    return found


def _number(params: Mapping[str, Any], name: str, kind: type) -> Any:
    value = params[name]
    allowed = (int, float) if kind is float else (int,)
    if isinstance(value, bool) or not isinstance(value, allowed):
        wanted = "a number" if kind is float else "an integer"
        raise InvalidRequest(f"'{name}' must be {wanted}", param=name, code="invalid_type")
    return value
