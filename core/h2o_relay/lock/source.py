"""The text of a lock, read: a Python literal, JSON, or a file of either or of YAML."""

from __future__ import annotations

import ast
import json
import warnings
from collections.abc import Mapping
from typing import Any

from ..settings import user_path
from .errors import LockError

FLAG = "--model-lock"
SIZE_LIMIT = 2**20  # characters
EXAMPLE = "\"[{'inference_server':'vllm_chat:host:8000','base_model':'name'}]\""
UNREAD = object()


def read(text: str) -> list[dict[str, Any]]:
    """The entries of a lock, their keys and values unchecked. Raises LockError."""
    if text.lstrip().startswith("@"):
        return _file(text.strip()[1:])
    value = literal(text)
    if value is UNREAD:
        raise LockError(f"{FLAG} is neither a Python literal nor JSON", _hint(text))
    return entries(value, FLAG)


def literal(text: str) -> Any:
    """A Python literal's or a JSON document's value; UNREAD if it is neither."""
    if len(text) > SIZE_LIMIT:
        raise LockError(f"{FLAG} is longer than {SIZE_LIMIT} characters")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an odd escape in a text is the writer's business
            return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        pass
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return UNREAD


def entries(value: Any, place: str) -> list[dict[str, Any]]:
    """A lock's entries from what its text held. Raises LockError."""
    if isinstance(value, Mapping) and set(value) == {"model_lock"}:
        value = value["model_lock"]
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise LockError(f"{place}: a lock is a list of entries", f"example: {FLAG}={EXAMPLE}")
    for number, entry in enumerate(value):
        if not isinstance(entry, Mapping) or not all(isinstance(key, str) for key in entry):
            raise LockError(
                f"{place}: entry {number} is not a mapping of names to values",
                f"example: {FLAG}={EXAMPLE}",
            )
    return [dict(entry) for entry in value]


def _file(name: str) -> list[dict[str, Any]]:
    path = user_path(name.strip())
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise LockError(f"{FLAG}: cannot read {name}: {reason}") from None
    value = literal(text)
    if value is UNREAD:
        value = _yaml(text, name)
    return entries(value, name)


def _yaml(text: str, name: str) -> Any:
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be read"
        raise LockError(f"{name}{line}: not YAML, JSON or a Python literal: {problem}") from None


def _hint(text: str) -> str:
    if "{" not in text and text.strip().endswith((".yaml", ".yml", ".json", ".txt", ".py")):
        return f"a file is written {FLAG}=@{text.strip()}"
    return f"in quotes for the shell, for example: {FLAG}={EXAMPLE}"
