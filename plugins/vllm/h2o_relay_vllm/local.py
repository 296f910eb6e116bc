"""Server strings for a vLLM that the relay starts itself: `vllm[_chat]:local:MODEL`.

MODEL is whatever `vllm serve` takes: a name on Hugging Face's hub or a folder. `Server.options` has
it as `local`; to it come the engine's options (see `engine.Options`).
"""

from __future__ import annotations

from typing import Any

from h2o_relay.errors import BadServerString
from h2o_relay.types import Kind, Server

WORD = "local"
OPTION = "local"
EXAMPLE = "vllm_chat:local:HuggingFaceTB/SmolLM2-135M-Instruct"


def parse(text: str, prefix: str, api: Kind) -> Server | None:
    """The server if the string names an engine; None for a host, BadServerString if wrong.

    `vllm:local:8000` is a host called local, as it always was.
    """
    fields = text.split(":", 2)
    if len(fields) < 2 or fields[1].strip() != WORD:
        return None
    rest = fields[2] if len(fields) > 2 else ""
    model = rest.strip()
    port = model.partition(":")[0].strip()
    if model and (port.isdigit() or port in ("", "None")):
        return None
    start = len(text) - len(rest.lstrip())
    if not model:
        raise _refusal(text, "the name or the folder of a model is missing", start)
    if model[0] == "-":
        raise _refusal(text, "a model's name cannot begin with -", start)
    if "://" in model:
        raise _refusal(text, f"a server's URL stands right after {prefix}:", start)
    name = public_name(model)
    if not name:
        raise _refusal(text, "that folder has no name", start)
    options: dict[str, Any] = {OPTION: model}
    return Server(plugin="vllm", api=api, model=name, options=options, shown=text.strip())


def is_folder(model: str) -> bool:
    """Whether a model is a path, and no name on the hub."""
    return model[0] in "/~."


def public_name(model: str) -> str:
    """A name on the hub as it is, of a folder its last part."""
    if not is_folder(model):
        return model
    return next((part for part in reversed(model.split("/")) if part.strip("~.")), "")


def _refusal(text: str, reason: str, at: int) -> BadServerString:
    """`at` counts from 0."""
    return BadServerString(reason, shown=text[:200], column=at + 1, example=EXAMPLE)
