"""What a name and a password have to pass. Pure.

The table is h2oGPT's (commit a0ad1920, `gradio_runner.auth_func`), but that a password is checked
wherever there is one, the first time too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from h2o_relay.auth_settings import Auth

Check = Literal["refuse", "guest", "pair", "account", "both", "register"]
"""Nobody gets in; anybody; who has the operator's password; the account's; both; and whoever makes
the account by coming.
"""


@dataclass(frozen=True, slots=True)
class Who:
    name: str
    """The name whose password counts."""
    guest: bool = False
    """Nothing of theirs is kept under it."""
    new: bool = False
    """The account was made just now."""


def who(auth: Auth, name: str) -> Who:
    """Whom a name stands for. Where access is closed all guests have the password of one name."""
    guest = bool(auth.guest) and name.startswith(auth.guest)
    return Who(auth.guest if guest and not auth.open else name, guest)


def decide(auth: Auth, person: Who, known: bool) -> Check:
    """`known`: there is an account, or an entry of the state file, of that name."""
    if not person.name:
        return "refuse"
    if person.guest and auth.open:
        return "guest"
    if person.name in auth.pairs:
        return "both" if known else "pair"
    if known:
        return "account"
    return "register" if auth.open and not auth.frozen else "refuse"
