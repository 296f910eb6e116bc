"""How a setting is described: a field of a dataclass with what help and documentation say of it."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(
    default: Any, help: str, *, env: tuple[str, ...] = (), unit: str = "", low: float | None = None,
    high: float | None = None, secret: bool = False, choices: tuple[str, ...] = (),
) -> Any:  # fmt: skip
    """A field of `Settings`; `low` and `high` are the allowed range, ends included. What may hold
    a key is `secret`: it is in no repr.
    """
    about = {"help": help, "env": env, "unit": unit, "low": low, "high": high}
    about |= {"choices": choices}
    return field(default=default, repr=not secret, metadata=about)
