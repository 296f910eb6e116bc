"""The fields of the models tab's form, and the model lock's entry that they make."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any

from h2o_relay.prompts import catalog

AUTOMATIC = ("Automatic", "")
NEEDS_MORE = ("custom",)
"""Prompt types that need a prompt_dict, for which the form has no field."""
SEPARATORS = re.compile(r"(?<=[0-9])[ ,_](?=[0-9]{3}(?:[^0-9]|$))")
MASK = "***"
NEITHER = (
    "Say which server has the model, such as vllm_chat:192.168.1.46:8000, or which model this "
    "machine should run, such as hf:OWNER/REPOSITORY/FILE.gguf."
)
KEYS = ("base_model", "inference_server", "prompt_type", "max_seq_len", "h2ogpt_key",
        "display_name")  # fmt: skip


class FieldError(ValueError):
    """A field that cannot be read; its text is a line for its user."""


@dataclass(frozen=True, slots=True)
class Fields:
    """What the form holds, all of it text, in the order of `KEYS`."""

    base_model: str = ""
    server: str = ""
    prompt_type: str = ""
    context: str = ""
    key: str = ""
    display_name: str = ""

    @classmethod
    def of(cls, *values: Any) -> Fields:
        """From the form's components, an empty one of which may be None."""
        return cls(*("" if value is None else str(value).strip() for value in values))

    @property
    def masked(self) -> bool:
        """A secret in it is only what the relay shows of it."""
        return MASK in self.server or self.key == MASK

    def whole(self) -> dict[str, Any]:
        """Every key of an entry that has a field; None for an empty one. Raises FieldError."""
        if not self.server and not self.base_model:
            raise FieldError(NEITHER)
        values = dict(zip(KEYS, astuple(self), strict=True))
        values["max_seq_len"] = tokens(self.context)
        return {name: None if value == "" else value for name, value in values.items()}

    def entry(self) -> dict[str, Any]:
        """The same without those that are empty: an entry to be added."""
        return {name: value for name, value in self.whole().items() if value is not None}


def of_entry(entry: Mapping[str, Any]) -> Fields:
    """The form for an entry as it was written."""
    values = (entry.get(name) for name in KEYS)
    return Fields(*("" if value is None else str(value) for value in values))


def tokens(given: str) -> int | None:
    """A context length, exactly as it was typed; separators between thousands are read over.

    Raises FieldError.
    """
    if not given:
        return None
    digits = SEPARATORS.sub("", given)
    if not (digits.isascii() and digits.isdecimal()) or int(digits[:12]) < 1 or len(digits) > 12:
        raise FieldError(f"The context length is {given[:40]!r}, which is not a number of tokens.")
    return int(digits)


def prompt_types(present: str = "") -> list[tuple[str, str]]:
    """The dropdown's choices; `present` is among them whatever it is."""
    names = [name for name in catalog.names() if name not in NEEDS_MORE]
    if present and present not in names:
        names.insert(0, present)
    return [AUTOMATIC, *((name, name) for name in names)]
