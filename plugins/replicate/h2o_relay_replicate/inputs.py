"""A request as the inputs of one model, by the names that its schema has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from h2o_relay.errors import InvalidRequest
from h2o_relay.types import Request

from .conversation import as_prompt
from .schema import Schema

AS_IT_IS = "{prompt}"
"""The prompt template that adds nothing. An empty one stands for the model's own template (source:
cog-vllm's `predict.py`, which most language models on Replicate are built with)."""
LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "max_length",
)
STOPS = ("stop_sequences", "stop", "stop_words")
NAMES: Mapping[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "min_p": ("min_p",),
    "seed": ("seed", "random_seed"),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "repetition_penalty": ("repetition_penalty", "repeat_penalty"),
    "length_penalty": ("length_penalty",),
    "min_tokens": ("min_tokens", "min_new_tokens"),
    "reasoning_effort": ("reasoning_effort",),
    "verbosity": ("verbosity",),
}
"""A request's field: what models call it."""
RAISED = frozenset({"temperature", "top_p"})
"""Raised to the model's minimum: 0 asks for the most likely token, and models that have a minimum
take it for that."""
JUST_ABOVE = 0.01  # what is added to a minimum that is itself excluded
HANDLED = frozenset(
    {"model", "messages", "prompt", "stream", "stream_options", "max_tokens",
     "max_completion_tokens"}
)  # fmt: skip
FIELDS = HANDLED | frozenset(NAMES)
"""What can be honoured, where the model's schema has it. Without `stop`: the kernel cuts, because
few models can say what they stopped at."""


def build(request: Request, schema: Schema) -> tuple[dict[str, Any], list[str]]:
    """The inputs, and the request's fields that this model has no input for.

    Raises InvalidRequest for a prompt or messages that the model cannot be given.
    """
    inputs, params = prompt_inputs(request, schema), request.params
    ignored: list[str] = []
    limit = next((params[n] for n in LIMITS[1::-1] if params.get(n) is not None), None)
    values = {name: params[name] for name in NAMES if params.get(name) is not None}
    for name, value in values.items():
        own = schema.first(NAMES[name])
        if own is None:
            ignored.append(name)
        else:
            inputs[own] = _raised(value, schema.inputs[own]) if name in RAISED else value
    if limit is not None:
        own = schema.first(LIMITS)
        if own is None:
            ignored += [name for name in LIMITS[:2] if params.get(name) is not None]
        else:
            inputs[own] = limit
    inputs.update(_stops(request, schema))
    return inputs, ignored


def token_limit(inputs: Mapping[str, Any]) -> int | None:
    """The limit on the answer's tokens among inputs made by `build`."""
    found = next((inputs[name] for name in LIMITS if name in inputs), None)
    return found if isinstance(found, int) else None


def prompt_inputs(request: Request, schema: Schema) -> dict[str, Any]:
    """What is to be answered: messages, a prompt with its system text, or a text as it is."""
    if request.prompt is not None:
        return _text(request.prompt, schema)
    if request.kind == "text":
        return _text(_one(request.params.get("prompt")), schema)
    messages: Sequence[Mapping[str, Any]] = request.params["messages"]
    if "messages" in schema.inputs:
        as_text = schema.inputs["messages"].get("type") == "string"
        return {"messages": orjson.dumps(messages).decode() if as_text else messages}
    _check_prompt(schema)
    prompt, system = as_prompt(messages, takes_system="system_prompt" in schema.inputs)
    return {"prompt": prompt} if system is None else {"prompt": prompt, "system_prompt": system}


def _text(prompt: str, schema: Schema) -> dict[str, Any]:
    """A text to be completed: whatever the model would add to it is emptied."""
    _check_prompt(schema)
    inputs = {"prompt": prompt}
    if "prompt_template" in schema.inputs:
        inputs["prompt_template"] = AS_IT_IS
    if "system_prompt" in schema.inputs:
        inputs["system_prompt"] = ""
    return inputs


def _check_prompt(schema: Schema) -> None:
    if schema.inputs and "prompt" not in schema.inputs:
        takes = ", ".join(sorted(schema.inputs)[:10])
        raise InvalidRequest(
            f"This model on Replicate takes no text prompt; its inputs are {takes}.", param="model"
        )


def _one(prompt: Any) -> str:
    """The text of a completion request. Raises InvalidRequest for tokens and for several."""
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise InvalidRequest("Replicate completes one text at a time.", param="prompt")
    return prompt


def _raised(value: Any, about: Mapping[str, Any]) -> Any:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return value
    low, excluded = about.get("minimum"), about.get("exclusiveMinimum")
    if isinstance(excluded, int | float) and not isinstance(excluded, bool):
        low = excluded + JUST_ABOVE
    return low if isinstance(low, int | float) and value < low else value


def _stops(request: Request, schema: Schema) -> dict[str, Any]:
    """Stop strings, where the model takes them, so that it does not run on for nothing. Where they
    are one text with commas between, those that have a comma are left to the kernel."""
    asked = request.params.get("stop") or []
    stops = [*([asked] if isinstance(asked, str) else asked), *request.stops]
    own = schema.first(STOPS)
    if own is None or not stops:
        return {}
    if schema.inputs[own].get("type") == "array":
        return {own: stops}
    plain = [stop for stop in stops if "," not in stop]
    return {own: ",".join(plain)} if plain else {}
