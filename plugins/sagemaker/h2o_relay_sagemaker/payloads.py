"""What a container is sent: SageMaker passes the body on as it is, so the container decides.

- `openai`: the request as it came. TGI, LMI and vLLM take it at /invocations and tell chat from
  text by the body's fields.
- `tgi`: `{"inputs": TEXT, "parameters": {...}, "stream": BOOL}` of TGI's and LMI's schema.
- `llama2`: `{"inputs": [[MESSAGES]], "parameters": {...}}` of JumpStart's Llama 2 chat models.

Sources: docs/openapi.json of text-generation-inference, the LMI user guide's "LMI handlers
Inference API Schema", and JumpStart's notebook "Run Llama 2 Models in SageMaker JumpStart".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson

from h2o_relay.as_text import text_params
from h2o_relay.errors import BadServerString, InvalidRequest
from h2o_relay.types import ALL, Capabilities, Request, Server

from .dialog import dialog

PAYLOADS = ("openai", "tgi", "llama2")
LLAMA2 = re.compile(r"llama[-_ ]?2(?![\d.])", re.IGNORECASE)
BY_MODEL = (
    (r"llama[-_ ]?2(?![\d.]).*(chat|-f$)", {"payload": "llama2"}),
    ("", {"payload": "openai"}),
)
"""What the base model says of a chat endpoint's payload, for `Server.by_model`."""
TEXT_BY_MODEL = (("", {"payload": "tgi"}),)
EULA = "accept_eula=true"
COLDEST = 0.01  # JumpStart's Llama 2 wants a positive temperature; h2oGPT sends this for 0
MOST_STOPS = 4  # TGI refuses more by default (--max-stop-sequences)

BY_FIELDS = frozenset({"/embeddings", "/rerank", "/score"})
"""What vLLM's /invocations answers beside chat and text, told by the fields: `input`, `query` and
`documents`, `text_1` and `text_2` (its `get_pooling_invocation_types`)."""
COMMON = frozenset({"model", "messages", "prompt", "stream", "stream_options"})
LIMITS = frozenset({"max_tokens", "max_completion_tokens"})
SAME = ("seed", "repetition_penalty", "frequency_penalty", "typical_p", "truncate", "watermark")
LLAMA2_FIELDS = COMMON | LIMITS | {"temperature", "top_p"}
# Not `stop`: TGI leaves the stop string in its answer, so the kernel has to cut in any case; it is
# sent all the same, so that the server ends early.
TGI_FIELDS = LLAMA2_FIELDS | {"top_k", *SAME}


def payload_of(server: Server) -> str:
    """`openai`, `tgi` or `llama2`: what the string, H2O_SAGEMAKER_PAYLOAD or the base model says,
    else by prefix. Raises BadServerString for a payload that there is not.
    """
    given = server.options.get("payload")
    if given:
        if given not in PAYLOADS:
            raise BadServerString(
                f"H2O_SAGEMAKER_PAYLOAD is not one of {', '.join(PAYLOADS)}", shown=server.shown,
                example=f"{server.shown}:us-east-2:tgi",
            )  # fmt: skip
        return str(given)
    return "tgi" if server.api == "text" else "openai"


def capabilities(server: Server) -> Capabilities:
    """What the payload can express."""
    payload = payload_of(server)
    paths = frozenset({"/chat/completions", "/completions"})
    if payload == "tgi":
        return Capabilities(kinds=frozenset({"text"}), fields=TGI_FIELDS, paths=paths)
    if payload == "llama2":
        return Capabilities(kinds=frozenset({"chat"}), fields=LLAMA2_FIELDS, paths=paths)
    return Capabilities(fields=ALL, paths=paths | BY_FIELDS)


def custom_attributes(server: Server, request: Request) -> str | None:
    """The X-Amzn-SageMaker-Custom-Attributes header. Llama 2 answers only to who accepts its
    licence in each request, which h2oGPT does too.
    """
    given = server.options.get("custom_attributes")
    if given:
        return str(given)
    base_model = request.deployment.base_model
    is_llama2 = bool(base_model and LLAMA2.search(base_model))
    return EULA if is_llama2 or payload_of(server) == "llama2" else None


def body(server: Server, request: Request, payload: str, *, stream: bool) -> bytes:
    """The request's body. Raises InvalidRequest for what the payload cannot say."""
    if payload == "openai":
        return orjson.dumps(_openai(server, request, stream))
    text = request.prompt
    if text is None and request.kind == "text":
        text = one_prompt(request.params)
    if text is None and payload == "tgi":
        raise InvalidRequest("the tgi payload takes a text, and this model has no prompt type")
    inputs: Any = [dialog(request.params["messages"])] if text is None else text
    made = _llama2(request.params) if payload == "llama2" else _tgi(request)
    return orjson.dumps({"inputs": inputs, "parameters": made, "stream": stream})


def _openai(server: Server, request: Request, stream: bool) -> dict[str, Any]:
    """The request's own fields; those of a text completion where the kernel rendered a prompt."""
    params = request.params if request.prompt is None else text_params(request)
    sent = without_names(server, params)
    if not stream:
        sent.pop("stream_options", None)
    sent["stream"] = stream
    return sent


def without_names(server: Server, params: Mapping[str, Any]) -> dict[str, Any]:
    """`model` left out, for an endpoint has one model, and the name that callers know need not be
    the container's; H2O_SAGEMAKER_MODEL puts one in.
    """
    sent = {name: value for name, value in params.items() if name != "model"}
    if server.options.get("model"):
        sent["model"] = server.options["model"]
    return sent


def _tgi(request: Request) -> dict[str, Any]:
    params = request.params
    # `details` brings the finish reason and the count of tokens.
    made: dict[str, Any] = {"details": True, "return_full_text": False}
    _limit(params, made)
    temperature, top_p = _number(params, "temperature"), _number(params, "top_p")
    top_k = _number(params, "top_k")
    if temperature == 0 or top_p == 0:
        made["do_sample"] = False
    else:
        if temperature is not None:
            made["temperature"] = temperature
        if top_p is not None and top_p < 1:  # TGI refuses 1, which says nothing
            made["top_p"] = top_p
        if top_k is not None and top_k > 0:
            made["top_k"] = top_k
        if {"temperature", "top_p", "top_k"} & made.keys():
            made["do_sample"] = True  # LMI up to 0.31 does not sample without it
    made |= {name: params[name] for name in SAME if params.get(name) is not None}
    stops = [*_stops(params), *request.stops][:MOST_STOPS]
    if stops:
        made["stop"] = stops
    return made


def _llama2(params: Mapping[str, Any]) -> dict[str, Any]:
    made: dict[str, Any] = {"return_full_text": False}
    _limit(params, made)
    temperature, top_p = _number(params, "temperature"), _number(params, "top_p")
    if temperature is not None:
        made["temperature"] = max(temperature, COLDEST)
    if top_p is not None:
        made["top_p"] = top_p
    return made


def one_prompt(params: Mapping[str, Any]) -> str:
    """The text to complete. Raises InvalidRequest for several, and for token ids."""
    prompt = params.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise InvalidRequest("this server completes one text at a time", param="prompt")
    return prompt


def _limit(params: Mapping[str, Any], made: dict[str, Any]) -> None:
    for name in ("max_completion_tokens", "max_tokens"):
        if params.get(name) is not None:
            made["max_new_tokens"] = params[name]
            return


def _number(params: Mapping[str, Any], name: str) -> float | None:
    value = params.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise InvalidRequest(f"'{name}' must be a number", param=name, code="invalid_type")


def _stops(params: Mapping[str, Any]) -> list[str]:
    stop = params.get("stop")
    return [stop] if isinstance(stop, str) else [s for s in stop or () if isinstance(s, str)]
