"""What a name and a password have to pass: h2oGPT's table, but for its gap."""

from __future__ import annotations

import pytest

from h2o_relay.auth_settings import Auth
from h2o_relay_ui.signin.decision import Check, decide, who

PAIRS = {"boss": "pw", "guestbook": "pw"}
OPEN = Auth(True, PAIRS, None, True, False, "guest")
CLOSED = Auth(True, PAIRS, None, False, False, "")

# access, frozen, guests' prefix, name, known before -> what has to be passed, guest
TABLE: list[tuple[bool, bool, str, str, bool, Check, bool]] = [
    # Guests, where access is open: anybody. A pair or an account of such a name changes nothing.
    (True, False, "guest", "guest", False, "guest", True),
    (True, False, "guest", "guest42", True, "guest", True),
    (True, False, "guest", "guestbook", False, "guest", True),
    (True, True, "guest", "guest", False, "guest", True),
    # No guests.
    (True, False, "", "guest", False, "register", False),
    (False, False, "", "guest", False, "refuse", False),
    # Guests where access is closed: with the password of the one name.
    (False, False, "guest", "guest7", False, "refuse", True),
    (False, False, "guest", "guest7", True, "account", True),
    (False, False, "boss", "boss-x", False, "pair", True),
    # The operator's pairs: the password is checked, the first time too.
    (True, False, "guest", "boss", False, "pair", False),
    (False, False, "", "boss", False, "pair", False),
    (True, False, "guest", "boss", True, "both", False),
    (False, True, "", "boss", True, "both", False),
    # Accounts and the file's users.
    (True, False, "guest", "ann", True, "account", False),
    (False, False, "", "ann", True, "account", False),
    (False, True, "", "ann", True, "account", False),
    # Strangers.
    (True, False, "guest", "ann", False, "register", False),
    (True, True, "guest", "ann", False, "refuse", False),
    (False, False, "", "ann", False, "refuse", False),
    # No name is nobody's.
    (True, False, "guest", "", False, "refuse", False),
    (True, False, "", "", True, "refuse", False),
    (False, False, "", "", False, "refuse", False),
]


@pytest.mark.parametrize(("is_open", "frozen", "prefix", "name", "known", "check", "guest"), TABLE)
def test_the_table(
    is_open: bool, frozen: bool, prefix: str, name: str, known: bool, check: Check, guest: bool
) -> None:
    auth = Auth(True, PAIRS, None, is_open, frozen, prefix)
    person = who(auth, name)
    assert decide(auth, person, known) == check
    assert person.guest is guest


def test_guests_of_a_closed_page_share_a_name_and_nothing_else() -> None:
    closed = Auth(True, PAIRS, None, False, False, "visitor")
    assert who(closed, "visitor-17").name == "visitor"
    assert who(OPEN, "guest-17").name == "guest-17"
    assert not who(CLOSED, "guest-17").guest


@pytest.mark.parametrize("is_open", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_no_pair_is_ever_let_in_unchecked(is_open: bool, frozen: bool, known: bool) -> None:
    auth = Auth(True, PAIRS, None, is_open, frozen, "")
    assert decide(auth, who(auth, "boss"), known) in ("pair", "both")
