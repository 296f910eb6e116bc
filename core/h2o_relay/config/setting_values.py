"""The file's `settings:`: each value in the type that its setting has.

A number is a number and a text a text, so that an editor can tell (`schema`): what a command line
could only say in one word may be a list here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .. import settings as table
from ..lock.errors import nearest, shown
from ..settings import UNSET, SettingError, Settings
from ..settings_secret import NO_PROXY_URL, PROXIES, is_proxy, kept
from .problems import Path, Problems, dotted
from .references import WHOLE, BadReference, fill, filled

ELSEWHERE = {
    "inference_server": "write it as an entry of `models`: - inference_server: ...",
    "base_model": "write it as an entry of `models`: - base_model: ...",
    "model_lock": "write its entries below `models`",
    "config": "a file names no other file",
}
"""Settings that a file does not have, and what it has in their place."""
SWITCHES = ("on", "off", "yes", "no")
"""Texts that YAML's older readers take for true and false, and so do we."""
SIZE = r"^([0-9]+|[0-9]+(\.[0-9]+)?([kKmMgG][iI]?)?[bB])$"
LITERALS: Mapping[str, type] = {
    "auth": list,
    "h2ogpt_api_keys": list,
    "visible_models": list,
    "prompt_dict": dict,
}
"""Settings whose text is JSON of a list or a mapping, which may be written as YAML."""
COMMAS = frozenset({"discover_ports", "allowed_hosts", "cors_origins", "no_proxy", "load_plugins"})
"""Settings whose text is a list with commas between, which may be written as YAML."""


def names() -> list[str]:
    """The settings that a file may have."""
    return [item.name for item in fields(Settings) if item.name not in ELSEWHERE]


def is_secret(name: str) -> bool:
    """Whether a setting may hold a key."""
    return not table.about(name).repr


def read_settings(written: Any, env: Mapping[str, str], problems: Problems) -> dict[str, Any]:
    """The values of a file's settings, in their types and ranges; those that are unset left out."""
    if written is None:
        return {}
    if not isinstance(written, dict):
        problems.add(("settings",), "settings are `name: value`, one on a line")
        return {}
    found: dict[str, Any] = {}
    for name, value in written.items():
        path: Path = ("settings", name)
        if problems.are_in(path):
            continue
        if name not in names():
            hint = nearest(name.replace("-", "_"), names())
            reason = ELSEWHERE.get(name) or f"there is no such setting{hint}"
            problems.add(path, reason)
            continue
        try:
            one = _value(name, value, env, path, problems)
        except (SettingError, BadReference) as error:
            problems.add(path, str(error).removeprefix(f"{dotted(path)}: "))
            continue
        if one is not None:
            found[name] = one
    _look_inside(found, problems)
    return found


def _value(name: str, written: Any, env: Mapping[str, str], path: Path, problems: Problems) -> Any:
    """None where a setting is unset. Raises SettingError, BadReference."""
    source = dotted(path)
    if isinstance(written, str):
        value: Any = fill(written, env)
        whole = WHOLE.fullmatch(written) is not None
        if whole and value.strip().lower() in UNSET and name != "load_plugins":
            return None
        if value.strip().lower() == "none":
            return None
        value = _text(name, value, whole)
    else:
        value = _plain(name, filled(written, path, env, lambda _: False, problems))
    if value is None or problems.are_in(path):
        return None
    if is_secret(name) and isinstance(value, str):
        if value == "-":
            raise SettingError("a file cannot read from the terminal; use file:PATH or env:NAME")
        value = kept(value, source, env)
    if name in PROXIES and not is_proxy(value):
        raise SettingError(NO_PROXY_URL)
    return table.read(name, value, source)


def _text(name: str, value: str, whole: bool) -> Any:
    """A text, as it is read by the setting's own reader; numbers are no texts, unless they came
    from a variable.
    """
    wanted = table.kind(name)
    if whole or wanted is str:
        return value
    if wanted is bool and value in SWITCHES:
        return value
    if table.about(name).metadata["unit"] == "bytes" and re.match(SIZE, value):
        return value
    raise SettingError(f"{shown(value)} is not {_wanted(name)}")


def _plain(name: str, value: Any) -> Any:
    """What is no text in the file, as the setting's own reader takes it."""
    wanted = table.kind(name)
    if value is None:
        return None
    if isinstance(value, LITERALS.get(name, ())):
        return json.dumps(value, ensure_ascii=False)
    if name in COMMAS and isinstance(value, list):
        if all(isinstance(one, str | int) and not isinstance(one, bool) for one in value):
            return ",".join(map(str, value))
        raise SettingError("a list of words is wanted")
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if wanted is bool and isinstance(value, bool):
        return value
    if wanted is float and number:
        return value
    if wanted is int and number and value == value and int_like(value):
        return int(value)
    told = "the value" if is_secret(name) else shown(value)
    raise SettingError(f"{told} is not {_wanted(name)}")


def int_like(number: float) -> bool:
    """Whether a number is whole: JSON Schema takes 5.0 for an integer as well."""
    return isinstance(number, int) or number.is_integer()


def _wanted(name: str) -> str:
    wanted = table.kind(name)
    if wanted is str:
        return "a text; put it in quotes"
    if table.about(name).metadata["unit"] == "bytes":
        return "a size such as 65536, 64KB, 16MB or 1.5GB"
    if wanted is bool:
        return "true or false"
    return "a whole number" if wanted is int else "a number"


def _look_inside(values: dict[str, Any], problems: Problems) -> None:
    """What the settings hold that are read again later: lists, prompt types, templates."""
    from ..auth_settings import read_auth
    from ..lock import LockError, tuning, visible
    from ..types import UNTUNED

    given = {key: values[key] for key in tuning.RENDERING if key in values}
    try:
        tuning.of_entry(given, UNTUNED, lambda key: key)
    except LockError as error:
        key, _, reason = str(error).partition(": ")
        problems.add(("settings", key if key in given else next(iter(given))), reason)
    looks: dict[str, Any] = {
        "visible_models": visible.read,
        "auth": lambda text: read_auth(Settings(auth=text)),
    }
    for name, look in looks.items():
        try:
            if name in values:
                look(values[name])
        except SettingError as error:
            flag = f"--{name.replace('_', '-')}"
            reason = str(error).removeprefix(flag).lstrip("=: ").split(", for example: ")[0]
            problems.add(("settings", name), reason)
