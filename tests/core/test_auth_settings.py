"""`--auth` and its like, as h2oGPT's users write them."""

from __future__ import annotations

from typing import Any

import pytest

from h2o_relay.auth_settings import read_auth
from h2o_relay.settings import SettingError
from h2o_relay.testing.settings import quick

ANN = {"ann": "p w"}


@pytest.mark.parametrize("text", [None, "None", "none", "False"])
def test_nobody_signs_in(text: str | None) -> None:
    auth = read_auth(quick(auth=text))
    assert not auth.wanted
    assert (auth.pairs, auth.filename) == ({}, None)


@pytest.mark.parametrize("text", ["", " ", "True", "[]", "()"])
def test_accounts_alone(text: str) -> None:
    auth = read_auth(quick(auth=text))
    assert auth.wanted
    assert (auth.pairs, auth.filename) == ({}, None)


@pytest.mark.parametrize(
    "text",
    ["[('ann', 'p w')]", '[["ann", "p w"]]', "('ann', 'p w')", "(('ann','p w'),)",
     "[('ann ', 'p w')]"],
)  # fmt: skip
def test_pairs(text: str) -> None:
    auth = read_auth(quick(auth=text))
    assert auth.wanted
    assert auth.pairs == ANN


@pytest.mark.parametrize(
    "text",
    ["[(ann,pw-canary)]", "[('ann', 'pw-canary'", "[('ann', 1)]", "[('ann',)]", "['ann']",
     "[('', 'pw-canary')]", "[('ann', '')]", "[('a', 'b', 'c')]", "({'ann': 'pw-canary'})",
     "[__import__('os').system('x')]"],
)  # fmt: skip
def test_what_is_no_list_of_pairs_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(SettingError, match="not a list of pairs") as caught:
        read_auth(quick(auth=text))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [{"auth": "auth.json"}, {"auth_filename": "auth.json"},
     {"auth": "auth.json", "auth_filename": "auth.json"},
     {"auth": "", "auth_filename": "auth.json"}],
)  # fmt: skip
def test_a_file_of_users(given: dict[str, Any]) -> None:
    auth = read_auth(quick(**given))
    assert auth.wanted
    assert auth.filename == "auth.json"


def test_pairs_and_a_file() -> None:
    auth = read_auth(quick(auth="[('ann', 'p w')]", auth_filename="auth.db"))
    assert (auth.pairs, auth.filename) == (ANN, "auth.db")


@pytest.mark.parametrize("word", ["closed", "open"])
def test_the_slip_of_h2ogpts_document_is_answered(word: str) -> None:
    with pytest.raises(SettingError, match=f"--auth_access={word}"):
        read_auth(quick(auth=word))
    assert read_auth(quick(auth=f"./{word}")).filename == f"./{word}"


def test_two_files_are_one_too_many() -> None:
    with pytest.raises(SettingError, match="two files"):
        read_auth(quick(auth="a.json", auth_filename="b.json"))


@pytest.mark.parametrize(
    ("given", "guest"),
    [
        ({}, "guest"),
        ({"auth_access": "closed"}, ""),
        ({"guest_name": "visitor"}, "visitor"),
        ({"guest_name": ""}, ""),
        ({"guest_name": "g", "auth_access": "closed"}, "g"),
    ],
)
def test_guests_as_in_h2ogpt(given: dict[str, Any], guest: str) -> None:
    auth = read_auth(quick(auth="", **given))
    assert auth.guest == guest
    assert auth.open is (given.get("auth_access") != "closed")


def test_closed_access_asks_who_comes() -> None:
    assert read_auth(quick(auth_access="closed")).wanted


def test_no_password_in_the_repr() -> None:
    assert "p w" not in repr(read_auth(quick(auth="[('ann', 'p w')]")))
