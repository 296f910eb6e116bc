"""What a parsed server string still lacks: keys, addresses and options from the environment, and
what depends on the model.

Kept apart from parsing so that parsing stays pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .errors import BadServerString
from .types import Server


def resolve(server: Server, base_model: str | None, env: Mapping[str, str]) -> Server:
    """The server as it is to be opened.

    The string's own key and URL win over the environment's. `H2O_<PLUGIN>_<OPTION>` variables are
    added to the plugin's options, lower-case, as texts. `chat_only` models are promoted to chat.
    Raises BadServerString if something that the server needs is nowhere to be found.
    """
    changes: dict[str, object] = {}
    if server.key is None:
        changes["key"] = _first(server.key_env, env)
    if server.url is None:
        changes["url"] = _first(server.url_env, env)
    options = {
        **_by_model(server, base_model), **_from_vendor(server, env),
        **plugin_options(server.plugin, env),
    }  # fmt: skip
    if options:
        changes["options"] = {**options, **server.options}
    if server.api == "text" and base_model is not None and _chats_only(server, base_model):
        changes["api"] = "chat"
    resolved: Server = replace(server, **changes) if changes else server  # type: ignore[arg-type]
    _complete(resolved)
    return resolved


def _complete(server: Server) -> None:
    for what, names in (("key", server.key_env), ("url", server.url_env)):
        if what in server.needs and getattr(server, what) is None:
            where = f", or set {' or '.join(names)}" if names else ""
            raise BadServerString(
                f"its {what} is missing: write it in the string{where}", shown=server.shown,
                example=f"{names[0]}=... h2o run {server.shown}" if names else "",
            )  # fmt: skip


def plugin_options(plugin: str | None, env: Mapping[str, str]) -> dict[str, str]:
    """A plugin's own slice of the environment."""
    if plugin is None:
        return {}
    start = f"H2O_{plugin.upper()}_"
    return {k[len(start) :].lower(): v for k, v in env.items() if k.startswith(start)}


def _from_vendor(server: Server, env: Mapping[str, str]) -> dict[str, str]:
    found = {option: _first(names, env) for option, names in server.option_env.items()}
    return {option: value for option, value in found.items() if value is not None}


def _by_model(server: Server, base_model: str | None) -> Mapping[str, Any]:
    for pattern, options in server.by_model:
        if re.search(pattern, base_model or "", re.IGNORECASE):
            return options
    return {}


def _first(names: tuple[str, ...], env: Mapping[str, str]) -> str | None:
    return next((env[name] for name in names if env.get(name)), None)


def _chats_only(server: Server, base_model: str) -> bool:
    return base_model.startswith(server.chat_only) and "-instruct" not in base_model
