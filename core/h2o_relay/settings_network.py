"""The settings of the network: https, what stands in front of the relay, and whom it may ask."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .settings_field import setting
from .settings_seeing import SeeingSettings

ANY = "*"
ORIGIN = re.compile(r"https?://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?")
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+/?")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings(SeeingSettings):
    """Those of h2oGPT have its names."""

    ssl_certfile: str | None = setting(
        None, "A certificate in PEM, its chain after it: the API and the chat UI then speak https "
        "and nothing else.",
    )  # fmt: skip
    ssl_keyfile: str | None = setting(
        None, "The certificate's private key in PEM, where it is not in the same file."
    )
    ssl_keyfile_password: str | None = setting(
        None, "The password of the private key, if it has one.", secret=True
    )
    root_path: str | None = setting(
        None, "The prefix below which a reverse proxy serves the chat UI or the API, such as "
        "/relay; the proxy may take it away or leave it.",
    )  # fmt: skip
    cors_origins: str = setting(
        "", "Web sites, with commas between, whose pages may call the relay from a browser, such "
        "as https://app.example.com; * for any, which then cannot use anybody's sign-in.",
    )  # fmt: skip
    allow_private_servers: bool | None = setting(
        None, "Servers that are added while the relay runs may be in a private network or on this "
        "machine. If this is not set, they may where nobody else can reach the relay.",
    )  # fmt: skip


NAMES = frozenset(NetworkSettings.__annotations__)
"""Its own settings."""


def problem_of(name: str, value: object) -> str:
    """What is wrong with the value of one of these settings; "" for nothing."""
    if name == "root_path" and value and not PREFIX.fullmatch(str(value)):
        return f"{value!r} is not a path such as /relay"
    if name == "cors_origins":
        bad = next((one for one in origins(str(value)) if one != ANY and not _is_origin(one)), None)
        if bad is not None:
            return f"{bad!r} is not an origin such as https://app.example.com"
    return ""


def origins(text: str) -> list[str]:
    """The origins of `cors_origins`, as browsers write them."""
    words = (word.strip().lower().rstrip("/") for word in text.split(","))
    return [word for word in words if word]


def _is_origin(text: str) -> bool:
    """Scheme, host and port, and nothing else. `null` is any page that hides where it is from."""
    match = ORIGIN.fullmatch(text)
    return match is not None and (match[1] is None or 0 < int(match[1]) < 2**16)
