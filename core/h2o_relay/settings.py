"""Every setting, once: name, default, meaning, unit and where it may come from.

`Settings` is a frozen value that is read once, at the edge, and handed on; it pickles. Command-line
options, `--help` and the documentation are made from its fields. A setting is taken from the first
of: the command line, its environment variables (`H2O_<NAME>`, `H2OGPT_<NAME>`, and the ones its
field names), its default. No other module reads the environment.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

import platformdirs

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off"})
UNSET = frozenset({"none", ""})
SIZES = {"b": 1, "kb": 2**10, "mb": 2**20, "gb": 2**30}
LEVELS = ("debug", "info", "warning", "error")


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a relay. Durations are seconds, sizes bytes."""

    inference_server: str | None = setting(
        None, "A server string, as h2oGPT writes them; the same as naming it as SERVER.",
        secret=True,
    )  # fmt: skip
    base_model: str | None = setting(
        None, "The public name for the model of the one server that is given."
    )
    model_lock: str | None = setting(
        None, "The models that are served, as h2oGPT's list of entries: a Python literal or JSON, "
        "or @FILE for one of these or YAML.", env=("model_lock",), secret=True,
    )  # fmt: skip
    visible_models: str | None = setting(
        None, "The models that are listed, by name or number, as a list; the others can be asked "
        "for all the same.",
    )  # fmt: skip
    prompt_type: str | None = setting(
        None, "How a conversation becomes a text for servers that only complete texts: the name "
        "of one of h2oGPT's prompt types (h2o prompt list).",
    )  # fmt: skip
    prompt_dict: str | None = setting(
        None, "The markers of the prompt type custom, as a Python literal or JSON."
    )
    chat_template: str | None = setting(
        None, "The same by a Jinja chat template: a file, or its text."
    )
    system_prompt: str | None = setting(None, "System prompt of conversations that bring none.")
    max_seq_len: int | None = setting(
        None, "Context of the model, in place of what its server says.", unit="tokens", low=1
    )
    max_new_tokens: int | None = setting(
        None, "Length of an answer whose request names none.", unit="tokens", low=1
    )
    max_max_new_tokens: int | None = setting(
        None, "Length that no answer exceeds, whatever its request names.", unit="tokens", low=1
    )
    concurrency_count: int | None = setting(
        None, "Requests that each server works on at the same time; others wait.",
        env=("CONCURRENCY_COUNT",), low=1,
    )  # fmt: skip
    default_server: str = setting(
        "llama_cpp", "What is served when no server is given: the embedded model.", secret=True
    )
    discover: bool = setting(
        True, "Where no server is given, look on this machine for servers that already run, and "
        "serve their models beside the embedded one.",
    )  # fmt: skip
    discover_ports: str = setting(
        "11434,8000,8080,3000,1234", "Ports of this machine that are looked at, with commas "
        "between: those of Ollama, vLLM, TGI, llama.cpp and LM Studio.",
    )  # fmt: skip
    host: str = setting("127.0.0.1", "Address to listen on, for the API and the chat UI.")
    port: int = setting(
        7860, "Port of the chat UI.", env=("GRADIO_SERVER_PORT",), low=0, high=65535
    )
    openai_port: int = setting(
        5001 if sys.platform == "darwin" else 5000,
        "Port of the OpenAI-compatible API.", env=("H2OGPT_OPENAI_PORT",), low=0, high=65535,
    )  # fmt: skip
    ui: bool = setting(True, "Serve the chat UI.")
    allowed_hosts: str = setting(
        "", "Host names, with commas between, under which a relay without a key may be asked, "
        "beside loopback's own; * for any.",
    )  # fmt: skip
    allow_open: bool = setting(False, "Listen beyond loopback although no key is set.")
    api_key: str | None = setting(
        None, "The key that callers must present.", env=("H2OGPT_OPENAI_API_KEY",), secret=True
    )
    log_level: str = setting("info", "How much is logged.", choices=LEVELS)

    connect_timeout: float = setting(5.0, "To connect to a server.", unit="seconds", low=0.01)
    first_byte_timeout: float = setting(
        300.0, "Until the first piece of a streamed answer.", unit="seconds", low=0.01
    )
    idle_timeout: float = setting(
        120.0, "Without a byte in the middle of an answer.", unit="seconds", low=0.01
    )
    request_timeout: float = setting(
        60.0, "For a look at a server: what it is, which models it offers.",
        env=("REQUEST_TIMEOUT",), unit="seconds", low=0.01,
    )  # fmt: skip
    answer_timeout: float = setting(
        1800.0, "For a whole answer that is not streamed.", unit="seconds", low=0.01
    )
    write_timeout: float = setting(
        60.0, "Until a client that has stopped reading is dropped.", unit="seconds", low=0.01
    )
    drain_timeout: float = setting(
        30.0, "For running answers to end when the relay is stopped.", unit="seconds", low=0
    )
    read_timeout: float = setting(
        10.0,
        "For a client to send the head of its request.",
        unit="seconds",
        low=0.01,
    )
    max_body: int = setting(16 * 2**20, "Largest request.", unit="bytes", low=1024)
    max_event: int = setting(
        4 * 2**20, "Largest event of a stream, or answer that is not streamed.",
        unit="bytes", low=1024,
    )  # fmt: skip
    refresh: float = setting(
        60.0, "Between looks at which models a server offers.", unit="seconds", low=0.1
    )
    http_proxy: str | None = setting(
        None, "Proxy for http:// servers; never used for loopback.",
        env=("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), secret=True,
    )  # fmt: skip
    https_proxy: str | None = setting(
        None, "Proxy for https:// servers.",
        env=("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"), secret=True,
    )  # fmt: skip
    no_proxy: str = setting("", "Hosts reached without a proxy.", env=("NO_PROXY", "no_proxy"))
    ca_file: str | None = setting(
        None, "Certificates to trust instead of the system's.",
        env=("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"),
    )  # fmt: skip
    load_plugins: str | None = setting(
        None, "Only these plugins, by name with commas between; empty for none."
    )


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


def load(flags: Mapping[str, Any], env: Mapping[str, str] | None = None) -> Settings:
    """Settings from command-line flags (None is unset) and the environment.

    Raises SettingError, naming the flag or the variable.
    """
    env = environment() if env is None else env
    values: dict[str, Any] = {}
    for item in fields(Settings):
        flag = flags.get(item.name)
        if flag is not None:
            values[item.name] = read(item.name, flag, f"--{item.name.replace('_', '-')}")
            continue
        for variable in env_names(item.name):
            text = env.get(variable)
            if text is not None and (
                text.strip().lower() not in UNSET or item.name == "load_plugins"
            ):
                values[item.name] = read(item.name, text, variable)
                break
    unknown = set(flags) - {f.name for f in fields(Settings)}
    if unknown:
        raise SettingError(f"unknown settings: {', '.join(sorted(unknown))}")
    return Settings(**values)


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


def cache_dir(env: Mapping[str, str] | None = None) -> Path:
    """Where downloaded models are kept: H2O_CACHE_DIR, else the user's cache directory."""
    chosen = (environment() if env is None else env).get("H2O_CACHE_DIR")
    if chosen:
        return Path(chosen).expanduser()
    return Path(platformdirs.user_cache_dir("h2o-relay", appauthor=False))
