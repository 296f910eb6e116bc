"""Who signs in, as the settings have it: `--auth`, `--auth_filename`, `--auth_access`, guests.

Names and forms are h2oGPT's (commit a0ad1920, `gen.py`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .lock.source import SIZE_LIMIT, UNREAD, literal
from .settings import SettingError, Settings

FLAG = "--auth"
EXAMPLE = "--auth=\"[('name', 'password')]\""
GUEST = "guest"
OFF = frozenset({"none", "false"})
ON = frozenset({"true"})
ACCESS = frozenset({"open", "closed"})


@dataclass(frozen=True, slots=True)
class Auth:
    wanted: bool
    """People sign in."""
    pairs: dict[str, str] = field(default_factory=dict, repr=False)
    """Names and passwords as the operator gave them."""
    filename: str | None = None
    """h2oGPT's state file."""
    open: bool = True
    """Whoever comes may make an account."""
    frozen: bool = False
    """No new accounts, and the state file stays as it is."""
    guest: str = ""
    """How the names of guests begin; "" if there are none."""


def read_auth(settings: Settings) -> Auth:
    """Raises SettingError for what cannot be read."""
    pairs, filename = _pairs_or_file(settings.auth)
    if filename and settings.auth_filename and filename != settings.auth_filename:
        raise SettingError(f"{FLAG} and --auth_filename name two files; one holds the users")
    filename = filename or settings.auth_filename or None
    is_open = settings.auth_access == "open"
    guest = settings.guest_name
    if guest is None:
        guest = GUEST if is_open else ""
    wanted = pairs is not None or filename is not None or not is_open
    return Auth(wanted, pairs or {}, filename, is_open, settings.auth_freeze, guest.strip())


def _pairs_or_file(text: str | None) -> tuple[dict[str, str] | None, str | None]:
    """The pairs, {} where there are none, and the file; None twice where nobody signs in."""
    word = (text or "").strip()
    if text is None or word.lower() in OFF:
        return None, None
    if not word or word.lower() in ON:
        return {}, None
    if word.lower() in ACCESS:
        raise SettingError(
            f"{FLAG}={word} would name a file; who may come is said by --auth_access={word}"
        )
    if word[0] not in "[(":
        return {}, word
    value = literal(word) if len(word) <= SIZE_LIMIT else UNREAD
    if _is_pair(value):
        value = [value]
    if not isinstance(value, list | tuple) or not all(_is_pair(pair) for pair in value):
        raise SettingError(
            f"{FLAG} is not a list of pairs of name and password, for example: {EXAMPLE}"
        )
    return {name.strip(): password for name, password in value}, None


def _is_pair(value: Any) -> bool:
    """A name and a password, neither of them empty."""
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(part, str) and part.strip() for part in value)
    )
