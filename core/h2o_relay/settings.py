"""Every setting, once: name, default, meaning, unit and where it may come from.

`Settings` is a frozen value that is read once, at the edge, and handed on; it pickles. Command-line
options, `--help` and the documentation are made from its fields. A setting is taken from the first
of: the command line, its environment variables (`H2O_<NAME>`, `H2OGPT_<NAME>`, and the ones its
field names), the configuration file, its default. No other module reads the environment.
"""

from __future__ import annotations

import os
from collections.abc import Container, Mapping
from dataclasses import MISSING, Field, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints
from urllib.parse import quote

import platformdirs

from .settings_network import problem_of
from .settings_page import PageSettings

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
UNSET = frozenset({"none", ""})
SIZES = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}
NO_SHARE = (
    "there is no public link: Gradio's would load a program from the internet and send all that is "
    "said through somebody else's servers. Listen with --host behind a reverse proxy or a tunnel "
    "of your own, and let people sign in (--auth)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(PageSettings):
    """All settings of a relay. Durations are seconds, sizes bytes."""


class SettingError(ValueError):
    """A setting that cannot be read; its text is one line for a person."""


def about(name: str) -> Field[Any]:
    """The field of one setting."""
    return next(f for f in fields(Settings) if f.name == name)


def kind(name: str) -> type:
    """bool, int, float or str: what a setting holds when it is set."""
    hint = get_type_hints(Settings)[name]
    kinds = (hint, *get_args(hint))
    return next((t for t in (bool, int, float) if t in kinds), str)


def env_names(name: str) -> tuple[str, ...]:
    """The environment variables of a setting, the strongest first."""
    upper = name.upper()
    names = (f"H2O_{upper}", f"H2OGPT_{upper}", *about(name).metadata["env"])
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a setting's value is from; `name` is the flag or the variable, else empty."""

    kind: Literal["flag", "environment", "file", "default"]
    name: str = ""


def load(
    flags: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    file: Mapping[str, Any] | None = None,
) -> Settings:
    """Settings from command-line flags (None is unset), the environment, and the values that a
    configuration file holds (`Config.settings`, already in their types); the first one wins.

    Raises SettingError, naming the flag or the variable.
    """
    return Settings(**{name: value for name, (value, _) in found(flags, env, file).items()})


def found(
    flags: Mapping[str, Any],
    env: Mapping[str, str] | None = None,
    file: Mapping[str, Any] | None = None,
) -> dict[str, tuple[Any, Origin]]:
    """What `load` reads: every setting's value, and where it is from."""
    env = environment() if env is None else env
    unknown = {*flags, *(file or {})} - {f.name for f in fields(Settings)}
    if unknown:
        raise SettingError(f"unknown settings: {', '.join(sorted(unknown))}")
    return {item.name: _found(item.name, flags, env, file or {}) for item in fields(Settings)}


def reloaded(current: Settings, fixed: Container[str], file: Mapping[str, Any]) -> Settings:
    """The settings after their configuration file has changed: `fixed` are the names of those that
    flags and the environment overrule, which stay as they are.
    """
    values = {item.name: getattr(current, item.name) if item.name in fixed
              else file.get(item.name, item.default) for item in fields(Settings)}  # fmt: skip
    return Settings(**values)


def _found(
    name: str, flags: Mapping[str, Any], env: Mapping[str, str], file: Mapping[str, Any]
) -> tuple[Any, Origin]:
    if flags.get(name) is not None:
        flag = f"--{name.replace('_', '-')}"
        return read(name, flags[name], flag), Origin("flag", flag)
    for variable in env_names(name):
        text = env.get(variable)
        if text is not None and (text.strip().lower() not in UNSET or name == "load_plugins"):
            return read(name, text, variable), Origin("environment", variable)
    if file.get(name) is not None:
        return file[name], Origin("file")
    return default(name), Origin("default")


def read(name: str, value: Any, source: str) -> Any:
    """One value in its setting's type and range; `source` is what the message calls it."""
    item, wanted = about(name), kind(name)
    try:
        result = _convert(value, wanted, item.metadata["unit"])
    except (ValueError, OverflowError):
        expected = _expected(wanted, item.metadata["unit"])
        raise SettingError(f"{source}: {value!r} is not {expected}") from None
    low, high = item.metadata["low"], item.metadata["high"]
    if (low is not None and result < low) or (high is not None and result > high):
        bounds = f"at least {low:g}" if high is None else f"from {low:g} to {high:g}"
        raise SettingError(f"{source}: {value} is out of range, it must be {bounds}")
    if name == "api_key" and not (result.isascii() and result.isprintable() and result.strip()):
        raise SettingError(
            f"{source}: a key is a word of ASCII characters, for it goes in a header"
        )
    if problem := problem_of(name, result):
        raise SettingError(f"{source}: {problem}")
    if name == "share" and result:
        raise SettingError(f"{source}: {NO_SHARE}")
    choices = item.metadata["choices"]
    if choices and result not in choices:
        raise SettingError(f"{source}: {value!r} is not one of {', '.join(choices)}")
    return result


def _convert(value: Any, wanted: type, unit: str) -> Any:
    if wanted is bool:
        if isinstance(value, bool):
            return value
        word = str(value).strip().lower()
        if word not in TRUE | FALSE:
            raise ValueError(value)
        return word in TRUE
    if wanted is int and unit == "bytes" and isinstance(value, str):
        return _size(value)
    if wanted is float:
        number = float(value)
        if number != number or number in (float("inf"), float("-inf")):
            raise ValueError(value)
        return number
    return wanted(value)


def _size(text: str) -> int:
    """`16777216`, `64KB`, `16MB`, `1.5GB`: bytes, in powers of 1024."""
    word = text.strip().lower().replace("ib", "b")
    for suffix in ("kb", "mb", "gb", "b"):
        if word.endswith(suffix):
            return int(float(word[: -len(suffix)]) * SIZES[suffix])
    return int(word)


def _expected(wanted: type, unit: str) -> str:
    if unit == "bytes":
        return "a size such as 65536, 64KB, 16MB or 1.5GB"
    names = {bool: "true or false", int: "a whole number", float: "a number"}
    return names.get(wanted, "a text")


def default(name: str) -> Any:
    """A setting's default value."""
    value = about(name).default
    assert value is not MISSING
    return value


def environment() -> dict[str, str]:
    """The environment as it is now: the one place where it is read."""
    return dict(os.environ)


def user_path(text: str) -> Path:
    """A path, its `~` the user's home. That of an unknown user stays as it is, as in a shell."""
    return Path(os.path.expanduser(text))


def _folder(text: str, name: str) -> Path:
    """A folder that is made if need be. Raises SettingError for the home of an unknown user."""
    path = user_path(text)
    if str(path).startswith("~"):
        raise SettingError(f"{name}: {path.parts[0]} is nobody's home folder")
    return path


def cache_dir(env: Mapping[str, str] | None = None) -> Path:
    """Where downloaded models are kept: H2O_CACHE_DIR, else the user's cache directory. Raises
    SettingError.
    """
    chosen = (environment() if env is None else env).get("H2O_CACHE_DIR")
    if chosen:
        return _folder(chosen, "H2O_CACHE_DIR")
    return Path(platformdirs.user_cache_dir("h2o-relay", appauthor=False))


def store_url(settings: Settings) -> str:
    """The database that holds the relay's data, as a URL of SQLAlchemy. It may hold a password.
    Raises SettingError.
    """
    if settings.store:
        return settings.store
    return "sqlite:///" + quote(str(data_dir(settings) / "relay.db"), safe=" +/")


def data_dir(settings: Settings) -> Path:
    """The folder of the relay's data; it need not exist yet. Raises SettingError."""
    chosen = settings.save_dir or platformdirs.user_data_dir("h2o-relay", appauthor=False)
    return _folder(chosen, "--save-dir").absolute()
