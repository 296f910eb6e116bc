"""`Tuning` from what an operator wrote: on the command line, or in a lock's entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import InvalidRequest
from ..settings import Settings, user_path
from ..types import Tuning
from . import sampling
from .errors import LockError, shown
from .source import UNREAD, literal

COUNTS = {
    "max_seq_len": "max_seq_len",
    "max_new_tokens": "max_new_tokens",
    "max_max_new_tokens": "max_max_new_tokens",
    "max_output_seq_len": "max_max_new_tokens",
    "concurrency_count": "concurrency",
}
"""Keys whose values are whole numbers from 1 on, and their fields of `Tuning`."""
RENDERING = ("prompt_type", "prompt_dict", "chat_template")
KEYS = frozenset({*COUNTS, *RENDERING, "system_prompt", *sampling.KEYS})
DEFAULT_SYSTEM = ("auto", "None")
"""h2oGPT's words for a prompt type's own system prompt."""


def of_settings(settings: Settings) -> Tuning:
    """What the flags say for every server. Raises LockError."""
    given = {key: getattr(settings, key) for key in (*RENDERING, "system_prompt", *COUNTS)
             if getattr(settings, key, None) is not None}  # fmt: skip
    return of_entry(given, Tuning(), lambda key: f"--{key.replace('_', '-')}")


def of_entry(entry: Mapping[str, Any], default: Tuning, place: Any) -> Tuning:
    """An entry's keys over those of the flags; `place(key)` is what a message calls a key.

    What says how to render is one choice: an entry that makes it has nothing of the flags'.
    Raises LockError.
    """
    fields: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for key, value in entry.items():
        if key not in KEYS or value is None:
            continue
        if key in COUNTS:
            fields[COUNTS[key]] = _count(value, place(key))
        elif key in sampling.KEYS:
            overrides |= sampling.override(key, value, place(key))
        elif value != "" or key == "system_prompt":
            fields |= {key: _field(key, value, place(key))}
    if set(fields) & set(RENDERING):
        fields = dict.fromkeys(RENDERING) | fields
        if fields["prompt_type"] is None and fields["prompt_dict"] is not None:
            fields["prompt_type"] = "custom"  # the one type that reads a prompt_dict
        _check_type(fields, place)
    names = Tuning.__dataclass_fields__
    merged = {name: fields.get(name, getattr(default, name)) for name in names}
    merged["overrides"] = {**default.overrides, **overrides}
    return Tuning(**merged)


def _count(value: Any, place: str) -> int:
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise LockError(f"{place}: {shown(value)} is not a whole number from 1 on")
    return value


def _field(key: str, value: Any, place: str) -> Any:
    if key == "prompt_type":
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise LockError(f"{place}: {shown(value)} is not the name of a prompt type")
        return value
    if key == "prompt_dict":
        found = literal(value) if isinstance(value, str) else value
        if found is UNREAD or not isinstance(found, Mapping):
            raise LockError(f"{place}: {shown(value)} is not a mapping, as Python or JSON has it")
        return dict(found)
    if not isinstance(value, str):
        raise LockError(f"{place}: {shown(value)} is not a text")
    if key == "system_prompt":
        return None if value in DEFAULT_SYSTEM else value
    return template(value, place)


def template(value: str, place: str) -> str:
    """A chat template: its text (or the base64 of it, as in h2oGPT), or the file it is in.

    Raises LockError for a file that cannot be read.
    """
    from ..prompts.templates import template_text

    text = template_text(value)
    if "{" in text:
        return text
    try:
        return user_path(value.removeprefix("@")).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise LockError(
            f"{place}: {shown(value)} is no Jinja template, and cannot be read as a file: {reason}"
        ) from None


def _check_type(fields: Mapping[str, Any], place: Any) -> None:
    """Refuse a prompt type that there is not, and `custom` without its `prompt_dict`."""
    from ..prompts import catalog

    if fields["prompt_type"] is None:
        return
    try:
        catalog.get(fields["prompt_type"], fields["prompt_dict"])
    except InvalidRequest as error:
        raise LockError(f"{place('prompt_type')}: {error.message}") from None
