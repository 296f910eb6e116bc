"""One entry of a lock: its keys by h2oGPT's names, and the `ServerSpec` that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..h2ogpt import flags
from ..resolve import plugin_options
from ..settings import default, environment
from ..spec import ServerSpec
from ..types import Tuning
from . import tuning
from .errors import LockError, nearest, shown

OWN = frozenset(
    {
        "base_model",
        "display_name",
        "inference_server",
        "visible_models",
        "h2ogpt_key",
        *tuning.KEYS,
    }
)
"""The keys that mean something here."""
ENGINE = "vllm"
ENGINE_PREFIX = f"{ENGINE}_chat:local"
"""Runs a model in vLLM with the model's own chat template."""
GGUF = ".gguf"
HUB = "hf:"


def known() -> frozenset[str]:
    """Every key that may stand in an entry."""
    return OWN | flags.lock_keys()


def spec(
    number: int, entry: Mapping[str, Any], default: Tuning, called: str = ""
) -> tuple[ServerSpec, list[str]]:
    """What an entry says, and the keys in it that mean nothing here.

    `called` is the entry's name in messages, where it is not one of a lock. Raises LockError.
    """
    called = called or f"--model-lock: entry {number}"

    def place(key: str) -> str:
        return f"{called}: {key}"

    names, idle = known(), []
    for key, value in entry.items():
        if key not in names:
            what = f"{called}: unknown key {shown(key)}"
            raise LockError(what + nearest(key, names), f"the keys are {', '.join(sorted(OWN))}")
        if key not in OWN and value not in (None, "", False, {}, []):
            idle.append(key)
    texts = {key: _text(entry.get(key), place(key)) for key in
             ("base_model", "display_name", "inference_server", "h2ogpt_key")}  # fmt: skip
    base_model, display_name = texts["base_model"], texts["display_name"]
    server = texts["inference_server"]
    if server is None:
        server, base_model = local(base_model, called), None
    elif display_name and not base_model:
        raise LockError(
            f"{place('display_name')} names one model, and the entry has no base_model",
            "say base_model too, or leave display_name out: the models keep their own names",
        )
    found = ServerSpec(
        server=server,
        base_model=base_model,
        display_name=display_name,
        upstream=_upstream(entry.get("visible_models"), place("visible_models")),
        key=texts["h2ogpt_key"],
        tuning=tuning.of_entry(entry, default, place),
    )
    return found, idle


def is_local(base_model: str | None) -> bool:
    """Whether llama.cpp can run the model on this machine: a GGUF file, here or on the hub."""
    return base_model is not None and (
        base_model.startswith(HUB) or base_model.lower().endswith(GGUF)
    )


def local(base_model: str | None, place: str) -> str:
    """The server string for a model without a server: llama.cpp runs a GGUF file, and any other
    model is run by the vLLM that the environment names.

    Raises LockError, which names what else can be done.
    """
    if base_model is None:
        raise LockError(
            f"{place} has neither inference_server nor base_model",
            "example: {'inference_server':'vllm_chat:host:8000','base_model':'name'}",
        )
    if is_local(base_model):
        return f"{default('default_server')}:{base_model}"
    if any(plugin_options(ENGINE, environment()).get(name) for name in ("command", "python")):
        return f"{ENGINE_PREFIX}:{base_model}"
    raise LockError(
        f"{place}: nothing here can run {shown(base_model)}: llama.cpp runs a .gguf file or "
        "hf:OWNER/REPOSITORY/FILE.gguf, and no vLLM engine is configured",
        "say which server has it (--inference-server=vllm_chat:host:8000), or set "
        "H2O_VLLM_COMMAND=/path/to/venv/bin/vllm",
    )


def _text(value: Any, place: str) -> str | None:
    """One line of text; a wrong one is not repeated, for it may be a key."""
    if value is None or value in ("", "None"):
        return None
    if not isinstance(value, str) or not value.isprintable() or not value.strip():
        raise LockError(f"{place} is not one line of text")
    return value.strip()


def _upstream(value: Any, place: str) -> str | None:
    """`visible_models` of an entry: which of its server's models is meant; the first counts."""
    first = next(iter(value), None) if isinstance(value, list | tuple) else value
    if isinstance(first, bool) or not isinstance(first, str | int | None):
        raise LockError(f"{place}: {shown(value)} is not the name of a model")
    return None if first in (None, "") else str(first)
