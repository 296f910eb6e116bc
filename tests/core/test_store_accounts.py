"""Accounts: names, passwords, and what a stranger can learn by trying."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import threading
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from h2o_relay.errors import InvalidRequest, NotFound, StoreError
from h2o_relay.store import Account, Accounts, Store, account_name, passwords

QUICK = 2**4
RFC_7914 = bytes.fromhex(
    "fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162"
    "2eaf30d92e22a3886ff109279d9830dac727afb94a83ee6d8360cbdfa2cc0640"
)  # section 12: "password", "NaCl", N = 1024, r = 8, p = 16


@pytest.fixture
def accounts(store: Store, monkeypatch: pytest.MonkeyPatch) -> Accounts:
    """Passwords that are quick to try."""
    monkeypatch.setattr(passwords, "N", QUICK)
    return Accounts(store)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What every use of scrypt asked for."""
    calls: list[dict[str, Any]] = []
    real: Callable[..., bytes] = hashlib.scrypt

    def scrypt(password: bytes, *, salt: bytes, **cost: int) -> bytes:
        calls.append({"salt": len(salt), **cost})
        assert threading.current_thread() is not threading.main_thread()
        return real(password, salt=salt, **cost)

    monkeypatch.setattr(hashlib, "scrypt", scrypt)
    return calls


async def test_signing_in(accounts: Accounts) -> None:
    made = await accounts.register("Ada", "lovelace")
    assert made.name == "Ada"
    assert made.created > 1.7e9
    assert await accounts.verify("Ada", "lovelace") == made
    for name, password in [
        ("Ada", "Lovelace"), ("Ada", ""), ("Ada", "lovelace "), ("ada", "lovelace"),
        ("Eve", "lovelace"), ("", "lovelace"), ("A" * 500, "x"), ("%", "lovelace"),
        ("Ada", "x" * 2000), ("Ada", "\ud800"), ("\ud800", "lovelace"), ("Ada\0", "lovelace"),
    ]:  # fmt: skip
        assert await accounts.verify(name, password) is None, (name, password)


async def test_nobody_is_let_in_where_there_is_nobody(accounts: Accounts) -> None:
    for name, password in [("", ""), ("admin", "admin"), ("guest", "")]:
        assert await accounts.verify(name, password) is None
    assert await accounts.all() == []


async def test_every_try_costs_the_same(accounts: Accounts, tries: list[dict[str, Any]]) -> None:
    await accounts.register("Ada", "lovelace")
    tries.clear()
    for name in ("Ada", "Eve", "", "A" * 101, "\0"):
        for password in ("lovelace", "wrong", "", "x" * 1025):
            await accounts.verify(name, password)
            assert len(tries) == 1, (name, password)
            assert tries[0] == {
                "salt": 16, "n": QUICK, "r": 8, "p": 1, "dklen": 32, "maxmem": tries[0]["maxmem"],
            }  # fmt: skip
            tries.clear()


async def test_what_is_stored(store: Store) -> None:
    accounts = Accounts(store)
    await asyncio.gather(*(accounts.register(name, "lovelace") for name in ("a", "b")))
    rows = await store.run(
        lambda s: list(s.execute(text("SELECT password FROM accounts")).scalars())
    )
    assert rows[0] != rows[1], "each has a salt of its own"
    for row in rows:
        kind, n, r, p, salt, key = row.split("$")
        assert (kind, n, r, p) == ("scrypt", "32768", "8", "1")
        bare = base64.b64decode(salt)
        assert len(bare) == 16
        derived = hashlib.scrypt(b"lovelace", salt=bare, n=2**15, r=8, p=1, maxmem=2**26, dklen=32)
        assert base64.b64decode(key) == derived
    assert await accounts.verify("a", "lovelace")
    assert await accounts.verify("a", "Lovelace") is None


def test_a_published_password() -> None:
    salt, key = (base64.b64encode(value).decode() for value in (b"NaCl", RFC_7914))
    stored = f"scrypt$1024$8$16${salt}${key}"
    assert passwords.fits(b"password", stored)
    assert not passwords.fits(b"passwore", stored)
    assert not passwords.fits(b"", passwords.nobodys())


@pytest.mark.parametrize(
    "stored", ["", "plain", "md5$1$1$1$YQ==$YQ==", "scrypt$x$8$1$YQ==$YQ==", "scrypt$16$8$1$?$YQ=="]
)
async def test_a_damaged_password(store: Store, accounts: Accounts, stored: str) -> None:
    await accounts.register("Ada", "lovelace")
    await store.run(
        lambda s: s.execute(text("UPDATE accounts SET password = :p"), {"p": stored}).close()
    )
    with pytest.raises(StoreError, match="'Ada' is not stored as it should be"):
        await accounts.verify("Ada", "lovelace")
    await accounts.set_password("Ada", "new")
    assert await accounts.verify("Ada", "new")


async def test_two_at_a_time(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes 32 MiB, and anybody may ask for it."""
    lock, go = threading.Lock(), threading.Event()
    running, most = 0, 0

    def fits(password: bytes, stored: str) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            if most == 2:
                go.set()
        assert go.wait(40)
        with lock:
            running -= 1
        return False

    monkeypatch.setattr(passwords, "fits", fits)
    await asyncio.gather(*(accounts.verify("Eve", "x") for _ in range(10)))
    assert most == 2


# Names.


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("Ada", "Ada"), ("  Ada Lovelace\t", "Ada Lovelace"), ("\uff21da", "Ada"),
        ("E\u0301mile", "Émile"), ("ada@example.com", "ada@example.com"), ("用户", "用户"),
        ("x" * 100, "x" * 100), ("ﬁ", "fi"), ("\u3000a", "a"),
    ],
)  # fmt: skip
async def test_names(accounts: Accounts, given: str, name: str) -> None:
    assert account_name(given) == name
    assert (await accounts.register(given, "pw")).name == name
    for way in (given, name, f" {name} "):
        assert await accounts.exists(way)
        assert await accounts.verify(way, "pw") is not None
    with pytest.raises(InvalidRequest) as caught:
        await accounts.register(name, "other")
    assert (caught.value.code, caught.value.param) == ("name_taken", "name")
    assert await accounts.verify(name, "pw") is not None


@pytest.mark.parametrize(
    "name", ["", "  ", "x" * 101, "a\0b", "a\nb", "a\u202eb", "\ud800", "a\u200bb", "ﬀ" * 51]
)
async def test_names_that_are_none(accounts: Accounts, name: str) -> None:
    for refused in (
        accounts.register(name, "pw"), accounts.set_password(name, "pw"), accounts.delete(name)
    ):  # fmt: skip
        with pytest.raises(InvalidRequest, match="1 to 100 characters") as caught:
            await refused
        assert caught.value.param == "name"
    assert not await accounts.exists(name)


@pytest.mark.parametrize("password", ["", "x" * 1025, "é" * 513, "\ud800"])
async def test_passwords_that_are_none(accounts: Accounts, password: str) -> None:
    await accounts.register("Ada", "lovelace")
    for refused in (accounts.register("Eve", password), accounts.set_password("Ada", password)):
        with pytest.raises(InvalidRequest, match="1 to 1024 bytes") as caught:
            await refused
        assert caught.value.param == "password"
    assert await accounts.verify("Ada", "lovelace")
    assert not await accounts.exists("Eve")


@pytest.mark.parametrize("password", ["x" * 1024, "é" * 512, " ", "a\0b", "a b\n"])
async def test_any_other_password(accounts: Accounts, password: str) -> None:
    await accounts.register("Ada", password)
    assert await accounts.verify("Ada", password)
    assert await accounts.verify("Ada", password[:-1]) is None


async def test_one_of_many_gets_a_name(url: str, accounts: Accounts) -> None:
    async with Store(url) as other:
        both = [accounts, Accounts(other)]
        tries = [both[n % 2].register("Ada", f"password {n}") for n in range(8)]
        results = await asyncio.gather(*tries, return_exceptions=True)
    made = [result for result in results if isinstance(result, Account)]
    assert len(made) == 1
    assert {type(result) for result in results} == {Account, InvalidRequest}
    winner = results.index(made[0])
    assert await accounts.verify("Ada", f"password {winner}") == made[0]


async def test_changing_and_deleting(accounts: Accounts) -> None:
    for name in ("b", "C", "a"):
        await accounts.register(name, "old")
    assert [account.name for account in await accounts.all()] == ["C", "a", "b"]
    await accounts.set_password("a", "new")
    assert await accounts.verify("a", "old") is None
    assert await accounts.verify("a", "new")
    assert await accounts.verify("b", "old")
    await accounts.delete("a")
    assert await accounts.verify("a", "new") is None
    assert not await accounts.exists("a")
    for missing in (accounts.delete("a"), accounts.set_password("a", "x")):
        with pytest.raises(NotFound, match="no user of this name"):
            await missing
    assert not await accounts.exists("a")
