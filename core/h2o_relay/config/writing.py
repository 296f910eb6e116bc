"""A configuration file written, so that reading it gives the same again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml  # type: ignore[import-untyped]

from .. import settings as table
from ..accounting.prices import NO_PRICES, Prices
from ..pools import PoolSpec
from ..settings_secret import PLACES
from .document import scalar
from .references import escaped
from .setting_values import ELSEWHERE, is_secret, names

PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./+@ -]*(?<! )|[A-Za-z0-9_/][A-Za-z0-9_./+@:-]*(?<!:)")
"""Texts that mean themselves in YAML without quotes, whatever reads them."""
CHANGED = frozenset(["yes", "no", "on", "off", "y", "n"])
"""Texts that YAML's older readers take for something else."""


def entries_yaml(
    entries: Sequence[Mapping[str, Any]],
    pools: Sequence[PoolSpec] = (),
    settings: Mapping[str, Any] | None = None,
    prices: Prices = NO_PRICES,
) -> str:
    """The text of a file that `parse_config` reads as these entries, pools, settings and prices.

    Values are written as they are: what is secret in them is secret in the text. Settings that are
    None are left out. Raises ValueError for what a file cannot hold: another setting than those of
    a file, a secret that looks like `env:NAME` or `file:PATH`, a value that is no YAML.
    """
    data: dict[str, Any] = {}
    chosen = {name: value for name, value in (settings or {}).items() if value is not None}
    if chosen:
        data["settings"] = {name: _setting(name, value) for name, value in chosen.items()}
    if entries:
        data["models"] = [_prepared(entry) for entry in entries]
    if pools:
        data["pools"] = {pool.name: _prepared(pool.written()) for pool in pools}
    if prices:
        data["prices"] = _prepared(prices.written())
    if not data:
        return "{}\n"
    try:
        text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6,
                         default_flow_style=False)  # fmt: skip
    except yaml.YAMLError as error:
        raise ValueError(f"a configuration file cannot hold this: {error}") from None
    return str(text)


def _setting(name: str, value: Any) -> Any:
    if name in ELSEWHERE or name not in names():
        raise ValueError(f"{name} is no setting of a file")
    if isinstance(value, str) and is_secret(name) and (value.startswith(PLACES) or value == "-"):
        raise ValueError(f"{name} cannot be written: its value looks like the place of a secret")
    if isinstance(value, str) and value.strip().lower() == "none":
        raise ValueError(f"{name} cannot be written: {value!r} means that it is not set")
    return _prepared(table.read(name, value, name))


def _prepared(value: Any) -> Any:
    """Plain data, with `${` in texts kept from being read as a reference."""
    if isinstance(value, Mapping):
        return {key: _prepared(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_prepared(item) for item in value]
    return escaped(value) if isinstance(value, str) else value


class _Dumper(yaml.SafeDumper):  # type: ignore[misc]
    """Quotes every text that could be read as anything else, and uses no aliases."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> Any:
        return super().increase_indent(flow, False)


def _text(dumper: Any, text: str) -> Any:
    plain = PLAIN.fullmatch(text) and text.lower() not in CHANGED and _is_text(text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


def _is_text(text: str) -> bool:
    """Whether no reader takes it for a number: nothing that begins with a digit is left plain
    unless a letter other than those of numbers is in it.
    """
    try:
        return isinstance(scalar(text), str)
    except ValueError:
        return False


_Dumper.add_representer(str, _text)
