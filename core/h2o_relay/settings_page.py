"""The settings of the chat page, and of who may use it."""

from __future__ import annotations

from dataclasses import dataclass

from .settings_field import setting
from .settings_network import NetworkSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class PageSettings(NetworkSettings):
    """Most are h2oGPT's, by its names."""

    auth: str | None = setting(
        None, "Who may sign in to the chat page: a list of pairs of name and password, as a Python "
        "literal or JSON, or the path of h2oGPT's state file; empty for accounts alone.",
        secret=True,
    )  # fmt: skip
    auth_filename: str | None = setting(
        None, "h2oGPT's state file (.json or .db) whose users may sign in; their passwords are "
        "moved to the relay's store, hashed.",
    )  # fmt: skip
    auth_access: str = setting(
        "open", "Whether whoever comes may make an account (open) or not (closed).",
        choices=("open", "closed"),
    )  # fmt: skip
    auth_freeze: bool = setting(False, "Make no new accounts, and leave the state file as it is.")
    guest_name: str | None = setting(
        None, "Names that begin so are guests, who are forgotten when they leave; guest where "
        "access is open. Empty for no guests.",
    )  # fmt: skip
    h2ogpt_api_keys: str | None = setting(
        None, "Further keys that callers may present: a list as a Python literal or JSON, or the "
        "path of a JSON file, which is read again when it changes.", secret=True,
    )  # fmt: skip
    enforce_h2ogpt_api_key: bool | None = setting(
        None, "Whether callers need a key; if this is not set, they do where there is one."
    )
    enforce_h2ogpt_ui_key: bool | None = setting(
        None, "Whether people need a key for the chat page, beside signing in."
    )
    admin_pass: str | None = setting(
        None, "The password of those who administer the relay.", env=("ADMIN_PASS",), secret=True
    )
    user_requests_per_minute: int | None = setting(
        None, "How many answers a minute each person who is signed in may ask the chat page for; "
        "where nobody signs in, all together.", low=1,
    )  # fmt: skip
    user_tokens_per_minute: int | None = setting(
        None, "How many tokens a minute each person may use on the chat page, prompts and answers "
        "together.", unit="tokens", low=1,
    )  # fmt: skip
    user_concurrent: int | None = setting(
        None, "How many answers may run at the same time for each person on the chat page.", low=1
    )
    add_models: bool | None = setting(
        None, "Models may be added in the chat page; if this is not set, they may unless there is "
        "a model lock, or strangers can reach the page.",
    )  # fmt: skip
    model_lock_columns: int | None = setting(
        None, "Show all models in a grid of so many columns; -1 for one row.", low=-1
    )
    gradio_size: str | None = setting(
        None, "Size of the chat page's text and spaces.", choices=("small", "medium", "large")
    )
    height: int | None = setting(
        None, "Height of a conversation in the chat page; else the window's.", unit="pixels",
        low=100,
    )  # fmt: skip
    h2ocolors: bool = setting(False, "H2O's colours in the chat page.")
    share: bool = setting(
        False, "h2oGPT's public link through Gradio's servers; the relay makes none."
    )


NAMES = frozenset(PageSettings.__annotations__)
"""Its own settings."""
