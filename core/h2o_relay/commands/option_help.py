"""How help shows a setting: its group, what stands for its value, its default and its variables."""

from __future__ import annotations

from typing import Any

from .. import settings as table
from ..settings_network import NAMES as FRONT
from ..settings_page import NAMES as PAGE

GROUPS = ("Servers", "Prompts", "Network", "Chat page", "Timeouts", "Limits", "Other")
SERVERS = frozenset(
    {
        "config",
        "inference_server",
        "base_model",
        "model_lock",
        "visible_models",
        "default_server",
        "load_plugins",
        "concurrency_count",
        "discover",
        "discover_ports",
    }
)
PROMPTS = frozenset(
    {
        "prompt_type",
        "prompt_dict",
        "chat_template",
        "system_prompt",
        "max_seq_len",
        "max_new_tokens",
        "max_max_new_tokens",
    }
)
NETWORK = frozenset(
    {
        "host", "ui", "openai_server", "allow_api", "api_key", "allow_open", "http_proxy",
        "https_proxy", "no_proxy", "ca_file", "allowed_hosts", *FRONT,
    }
)  # fmt: skip


def group_of(name: str) -> str:
    """The heading under which help shows a setting."""
    item = table.about(name)
    if name in SERVERS:
        return "Servers"
    if name in PROMPTS:
        return "Prompts"
    if name in NETWORK or name.endswith("port"):
        return "Network"
    if name in PAGE:
        return "Chat page"
    if item.metadata["unit"] == "seconds":
        return "Timeouts"
    return "Limits" if name.startswith("max_") else "Other"


def metavar_of(name: str) -> str:
    """What stands for a setting's value in help: its choices, its unit, or its kind."""
    item = table.about(name)
    if item.metadata["choices"]:
        return "|".join(item.metadata["choices"])
    if item.metadata["unit"]:
        return str(item.metadata["unit"]).upper()
    if name == "config":
        return "FILE"
    for ending in ("port", "file", "dir", "host", "key", "server"):
        if name.endswith(ending):
            return ending.upper()
    return "NUMBER" if table.kind(name) in (int, float) else "TEXT"


def note_of(name: str) -> str:
    """A setting's default and its environment variables, for help."""
    item = table.about(name)
    value = table.default(name)
    default = [] if value in (None, "") else [f"default: {shown(value, item.metadata['unit'])}"]
    variables = [table.env_names(name)[0], *item.metadata["env"]]
    env = ", ".join(variable for variable in variables if variable.isupper())
    return "; ".join([*default, f"env: {env}"])


def shown(value: Any, unit: str = "") -> str:
    """A value as help writes it: `on`, `5000`, `16MB`."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if unit == "bytes" and value % 2**20 == 0:
        return f"{value // 2**20}MB"
    return f"{value:g}" if isinstance(value, float) else str(value)
