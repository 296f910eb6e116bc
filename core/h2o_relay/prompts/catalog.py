"""The prompt types of h2oGPT by name, number and model (`types.toml`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import fields
from functools import lru_cache
from importlib import resources
from types import MappingProxyType
from typing import Any, Final

from .prompt_dict import TEXTS, custom, markers
from .prompt_type import PromptType, invalid, nearest, shown

PARAM: Final = "prompt_type"
UNSET: Final = ("", "None")
NO_TYPE: Final = ("unknown", "template")
"""The types of models that are not known: a chat template is looked for."""
HUGGING_FACE: Final = re.compile(r"huggingface\.co/([^/]+/[^/]+)/(?:resolve|blob)/", re.IGNORECASE)
DICT_KEYS: Final = (*TEXTS, "terminate_response", "generates_leading_space")
OWN_KEYS: Final = frozenset(
    {
        "number",
        "system",
        "system_default",
        "system_always",
        "system_place",
        "first",
        "later",
        "history_space",
        "clock",
        "endings",
    }
)


def names() -> tuple[str, ...]:
    """Every prompt type's name, in the order of their numbers."""
    return tuple(_types())


def models() -> Mapping[str, str]:
    """Lower-case names of known models, and the names of their prompt types."""
    return _models()


def get(name: str | int, prompt_dict: Mapping[str, Any] | str | None = None) -> PromptType:
    """The prompt type of a name, a number or a number as a text (`"llama2"`, `29`, `"29"`).

    `prompt_dict` is read for `custom` only, which needs it. Raises InvalidRequest, which names the
    nearest.
    """
    found = by_name_or_number(name)
    return custom(prompt_dict) if found.name == "custom" else found


def by_name_or_number(name: str | int) -> PromptType:
    """The same without a `prompt_dict`, so that `custom` has no markers."""
    types = _types()
    word = str(name).strip() if not isinstance(name, bool) else ""
    found = types.get(word) or types.get(word.lower())
    if found is None and re.fullmatch(r"-?[0-9]{1,6}", word):
        found = next((t for t in types.values() if t.number == int(word)), None)
    if found is None:
        raise invalid(f"There is no prompt type {shown(name)}.{nearest(word, types)}", PARAM)
    return found


def for_model(base_model: str, model_path: str | None = None) -> str:
    """The name of the prompt type that a model wants; `unknown` for models that are not listed.

    As in h2oGPT only whole names count, stripped and in lower case. The repository or the file
    name of `model_path` (a file or its URL) is looked up before `base_model`.
    """
    candidates = [base_model]
    if model_path:
        repository = HUGGING_FACE.search(model_path)
        candidates = [*([repository[1]] if repository else []), _basename(model_path), base_model]
    known = _models()
    for candidate in candidates:
        found = known.get(candidate.strip().lower())
        if found is not None:
            return found
    return "unknown"


def resolve(
    base_model: str,
    *,
    asked: str | int | None = None,
    configured: str | int | None = None,
    prompt_dict: Mapping[str, Any] | str | None = None,
    has_template: bool = False,
    model_path: str | None = None,
) -> PromptType:
    """The type to render with for a server that only completes text.

    The request's own choice (`asked`) beats the deployment's (`configured`), which beats the
    model's name. Where none of them says anything and there is no chat template either, h2oGPT
    writes a dialogue of Human and AI (`openai`); so do we. Raises InvalidRequest.
    """
    for choice in (asked, configured):
        if choice is not None and choice not in UNSET:
            return get(choice, prompt_dict)
    name = for_model(base_model, model_path)
    if name in NO_TYPE and not has_template:
        name = "openai"
    return get(name, prompt_dict)


def _basename(path: str) -> str:
    return re.split(r"[/\\]", path.partition("?")[0].rstrip("/\\"))[-1]


@lru_cache(maxsize=1)
def _data() -> dict[str, dict[str, Any]]:
    text = resources.files(__package__).joinpath("types.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


@lru_cache(maxsize=1)
def _types() -> Mapping[str, PromptType]:
    return MappingProxyType({name: _built(name) for name in _data()})


@lru_cache(maxsize=1)
def _models() -> Mapping[str, str]:
    table: dict[str, str] = {}
    for name, entry in _data().items():
        table.update((model.strip().lower(), name) for model in entry.get("models", ()))
    return MappingProxyType(table)


def _built(name: str) -> PromptType:
    entry = _merged(name)
    values = markers(entry)
    values |= {key: entry[key] for key in OWN_KEYS if key in entry}
    values["endings"] = tuple(entry.get("endings", ()))
    values.setdefault("human", values.get("pre_instruct"))
    values.setdefault("bot", values.get("pre_response"))
    unknown = set(entry) - OWN_KEYS - {"models", "like"} - set(DICT_KEYS)
    if unknown or not set(values) <= {f.name for f in fields(PromptType)}:
        raise ValueError(f"types.toml: {name} has keys that mean nothing: {sorted(unknown)}")
    return PromptType(name=name, **values)


def _merged(name: str) -> dict[str, Any]:
    entry = _data()[name]
    like = entry.get("like")
    return {**(_merged(like) if like else {}), **entry}
