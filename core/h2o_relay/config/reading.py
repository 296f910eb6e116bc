"""`Config`: what a configuration file says, read and checked as a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..accounting.prices import NO_PRICES, Prices
from ..lock.errors import nearest
from ..pools import PoolSpec
from ..watching import Mark, mark_of
from . import document, setting_values
from .prices import is_price, read_prices
from .problems import Problems, dotted
from .references import filled
from .sections import Parse, is_typed, read_entries, read_pools

SECTIONS = {
    "settings": "Any setting by its name; the command line and the environment overrule it.",
    "models": "The models that are served: entries with the keys of a model lock.",
    "pools": "Several models under one name.",
    "prices": "What a million tokens of each model costs.",
}
NAME = "h2o.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A configuration file without a mistake. Its repr holds no secret."""

    path: str = NAME
    """The file as it was named."""
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Values by the names of their settings, in their types and ranges; only what is set."""
    entries: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    """The models as written, variables put in: a lock's keys, and `visible`."""
    pools: tuple[PoolSpec, ...] = ()
    prices: Prices = NO_PRICES
    lines: Mapping[str, int] = field(default_factory=dict, repr=False)
    """Lines from 1 on of `settings.NAME`, `models[0]` and what is in it, `pools.NAME`."""
    notes: tuple[str, ...] = ()
    """A line for each key that means nothing here."""
    mark: Mark | None = field(default=None, compare=False, repr=False)
    """The state of the file that was read (`watching.watch`)."""

    def origin(self, place: str) -> str:
        """`h2o.yaml:3`: where something stands."""
        line = self.lines.get(place)
        return f"{self.path}:{line}" if line else self.path


def read_config(path: str | Path, env: Mapping[str, str], *, parse: Parse | None = None) -> Config:
    """The configuration in a file, which is at most 1 MiB: that takes a second to read at worst, so
    that an event loop leaves it to a thread.

    `env` is what `${env.NAME}` refers to; `parse` reads server strings, to have them checked too.
    Raises ConfigError with all mistakes, also where the file cannot be read.
    """
    problems = Problems()
    data, mark = b"", None
    try:
        with Path(path).expanduser().open("rb") as file:
            mark = mark_of(os.fstat(file.fileno()))
            data = file.read(document.SIZE_LIMIT + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name is no file name"
        problems.add((), f"cannot read it: {reason}")
    text = document.decoded(data, problems)
    problems.refuse(str(path))
    return replace(parse_config(text, env, str(path), parse=parse), mark=mark)


def parse_config(
    text: str, env: Mapping[str, str], path: str = NAME, *, parse: Parse | None = None
) -> Config:
    """The configuration in a text: YAML, of which JSON is a part. See `read_config`."""
    problems = Problems()
    data = document.load(text, problems)
    if data is not None and not isinstance(data, dict):
        hint = "; begin it with `models:`" if isinstance(data, list) else ""
        problems.add((), f"it is no mapping with {', '.join(SECTIONS)}{hint}", 1)
        data = None
    data = data or {}
    for name in data:
        if name not in SECTIONS:
            problems.add((name,), _unknown(name))
    rest = {name: filled(data.get(name), (name,), env, is_typed, problems)
            for name in ("models", "pools")}  # fmt: skip
    costs = filled(data.get("prices"), ("prices",), env, is_price, problems)
    settings = setting_values.read_settings(data.get("settings"), env, problems)
    entries, notes = read_entries(rest["models"], problems, parse)
    pools = read_pools(rest["pools"], problems)
    prices = read_prices(costs, problems)
    problems.refuse(path)
    lines = {dotted(place): line for place, line in problems.lines.items()}
    return Config(path=path, settings=settings, entries=entries, pools=pools,
                  prices=prices, lines=lines, notes=notes)  # fmt: skip


def _unknown(name: str) -> str:
    if name in setting_values.names():
        return "settings stand below `settings:`, two spaces in"
    if name in ("model_lock", "model_list"):
        return "models stand below `models:`"
    hint = nearest(name, SECTIONS) or f"; there are {', '.join(SECTIONS)}"
    return f"there is no such section{hint}"
