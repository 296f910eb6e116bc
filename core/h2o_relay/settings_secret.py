"""Where a secret is kept when it is not written down: `env:NAME`, `file:PATH`."""

from __future__ import annotations

from collections.abc import Mapping

from .settings import SettingError, user_path

PLACES = ("env:", "file:")
PROXIES = ("http_proxy", "https_proxy")
NO_PROXY_URL = "not the URL of a proxy, like http://proxy.example:3128"


def kept(value: str, source: str, env: Mapping[str, str]) -> str:
    """A secret as it was written, or from the variable or the first line of the file it is in.

    `source` is what a message calls the setting. Raises SettingError, which names the place.
    """
    kind, _, rest = value.partition(":")
    if kind == "env":
        found = env.get(rest)
        if not found:
            raise SettingError(f"{source}: the environment variable {rest} is not set")
        return found
    if kind == "file":
        try:
            with user_path(rest).open(encoding="utf-8") as file:
                text = file.readline()
        except (OSError, UnicodeDecodeError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise SettingError(f"{source}: cannot read {rest}: {reason}") from None
        return checked(text, source, rest)
    return value


def checked(text: str, source: str, place: str) -> str:
    """The secret on a line that was read. Raises SettingError for an empty one."""
    if not text.strip():
        raise SettingError(f"{source}: {place} holds no key")
    return text.strip()


def is_proxy(text: str) -> bool:
    """Whether a text is the URL of a proxy, like `http://proxy.example:3128`."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        return bool(parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError:
        return False
