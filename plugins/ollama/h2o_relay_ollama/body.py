"""A request in OpenAI's terms as the body of Ollama's `/api/chat` or `/api/generate`.

Fields by `ChatRequest`, `GenerateRequest` and `ModelOptions` of Ollama's docs/openapi.yaml;
`truncate` and `shift` by api/types.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Request, Server

from .messages import has_images, translate

SAME_OPTIONS = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "typical_p",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "repeat_penalty",
    "repeat_last_n",
)
SAME_FIELDS = ("truncate", "shift")
FIELDS = frozenset(
    {
        *SAME_OPTIONS,
        *SAME_FIELDS,
        "format",
        "keep_alive",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "prompt",
        "raw",
        "reasoning_effort",
        "repetition_penalty",
        "response_format",
        "stop",
        "stream",
        "stream_options",
        "suffix",
        "think",
        "tool_choice",
        "tools",
        "top_logprobs",
    }
)
TRUE = ("1", "true", "yes", "on")


def order(server: Server, request: Request, stream: bool) -> tuple[str, bytes]:
    """Route and JSON body. Raises InvalidRequest for what Ollama cannot do."""
    body = _common(server, request)
    if request.kind == "chat" and request.prompt is None:
        route, own = "/api/chat", _chat(request.params)
    else:
        route, own = "/api/generate", _generate(request)
    return route, orjson.dumps({"model": request.deployment.model, "stream": stream, **own, **body})


def _chat(params: Mapping[str, Any]) -> dict[str, Any]:
    own: dict[str, Any] = {"messages": translate(params.get("messages"))}
    choice = params.get("tool_choice")
    if choice not in (None, "auto", "none"):
        raise InvalidRequest(
            "Ollama decides by itself whether it calls a tool: only 'auto' and 'none' can be asked",
            param="tool_choice",
        )
    if params.get("tools") and choice != "none":
        own["tools"] = params["tools"]
    return own


def _generate(request: Request) -> dict[str, Any]:
    """A text to continue: as it stands, or through the model's template if there is a suffix."""
    params = request.params
    if request.prompt is not None:
        if has_images(params.get("messages")):
            raise InvalidRequest(
                "Images need the model's own template, and this model has a prompt type",
                param="messages",
            )
        return {"prompt": request.prompt, "raw": True}
    suffix = params.get("suffix")
    raw = params.get("raw")
    own = {
        "prompt": _prompt(params.get("prompt")),
        "raw": raw if isinstance(raw, bool) else not suffix,
    }
    return {**own, "suffix": suffix} if suffix else own


def _prompt(given: Any) -> str:
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(given, str):
        raise InvalidRequest("Ollama completes one text at a time", param="prompt")
    if not given:  # Ollama takes that for the order to load the model
        raise InvalidRequest("'prompt' must not be empty", param="prompt")
    return given


def _common(server: Server, request: Request) -> dict[str, Any]:
    params = request.params
    # Ollama's default is to leave out what does not fit, and to tell nobody.
    body: dict[str, Any] = dict.fromkeys(SAME_FIELDS, False)
    if str(server.options.get("truncate", "")).lower() in TRUE:
        body = {}
    body |= {name: params[name] for name in SAME_FIELDS if params.get(name) is not None}
    options = _options(request)
    if options:
        body["options"] = options
    keep_alive = params.get("keep_alive")
    keep_alive = server.options.get("keep_alive") if keep_alive is None else keep_alive
    wanted = {
        "keep_alive": _duration(keep_alive),
        "think": _think(params),
        "format": _format(params),
    }
    body |= {name: value for name, value in wanted.items() if value is not None}
    return body | _logprobs(request)


def _options(request: Request) -> dict[str, Any]:
    params = request.params
    options = {name: params[name] for name in SAME_OPTIONS if params.get(name) is not None}
    if "repeat_penalty" not in options and params.get("repetition_penalty") is not None:
        options["repeat_penalty"] = params["repetition_penalty"]
    for name in ("max_completion_tokens", "max_tokens"):
        if params.get(name) is not None:
            options["num_predict"] = params[name]
            break
    stops = _stops(request)
    if stops:
        options["stop"] = stops
    context = request.deployment.tuning.max_seq_len
    if context is not None:
        options["num_ctx"] = context
    return options


def _stops(request: Request) -> list[str]:
    own = request.params.get("stop")
    own = [own] if isinstance(own, str) else own or []
    if not isinstance(own, list) or not all(isinstance(one, str) for one in own):
        raise InvalidRequest("'stop' must be a string or a list of strings", param="stop")
    return list(dict.fromkeys(one for one in (*own, *request.stops) if one))


def _think(params: Mapping[str, Any]) -> Any:
    """Ollama's own `think` if it is there, else OpenAI's effort, whose `none` is false there."""
    if params.get("think") is not None:
        return params["think"]
    effort = params.get("reasoning_effort")
    return False if effort == "none" else effort


def _format(params: Mapping[str, Any]) -> Any:
    """`json`, a JSON schema, or None."""
    wanted = params.get("response_format")
    if wanted is None:
        return params.get("format")
    kind = wanted.get("type") if isinstance(wanted, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return "json"
    holder = wanted.get("json_schema") if kind == "json_schema" else None
    schema = holder.get("schema") if isinstance(holder, Mapping) else None
    if not isinstance(schema, Mapping):
        raise InvalidRequest(
            "'response_format' must be of type text, json_object, or json_schema with its schema",
            param="response_format",
        )
    return schema


def _logprobs(request: Request) -> dict[str, Any]:
    """Chat asks with a truth value and a count, text completion with the count alone."""
    wanted, count = request.params.get("logprobs"), request.params.get("top_logprobs")
    if request.kind == "text" and type(wanted) is int:
        wanted, count = True, wanted
    if not wanted:
        return {}
    return {"logprobs": True, "top_logprobs": count} if count else {"logprobs": True}


def _duration(given: Any) -> Any:
    """Seconds as a number, or a duration such as `10m`: a number that came as text is a number."""
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given
