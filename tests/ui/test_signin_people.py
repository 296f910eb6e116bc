"""Names and passwords against the operator's pairs, h2oGPT's file and the store's accounts."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.auth_settings import Auth
from h2o_relay.errors import InvalidRequest, StoreError
from h2o_relay.store import Accounts, Conversations, Store, passwords
from h2o_relay_ui.conversation import text_of
from h2o_relay_ui.signin import roll as roll_module
from h2o_relay_ui.signin.old_chats import chats, keeper
from h2o_relay_ui.signin.people import People
from h2o_relay_ui.signin.roll import Roll
from h2o_relay_ui.signin.state_file import state_file

PW = "pw-canary-ann"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "N", 2**4)
    monkeypatch.setattr(roll_module, "LOOK_AGAIN", 0.0)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(f"sqlite:///{tmp_path / 'relay.db'}") as opened:
        yield opened


@pytest.fixture
def accounts(store: Store) -> Accounts:
    return Accounts(store)


class File:
    """A state file whose every version looks different."""

    def __init__(self, path: Path, users: dict[str, Any]) -> None:
        self.path = path
        self.stamp = 1_700_000_000
        self.put(users)

    def put(self, users: Any) -> None:
        self.path.write_text(users if isinstance(users, str) else json.dumps(users))
        self.stamp += 1
        os.utime(self.path, (self.stamp, self.stamp))

    def users(self) -> Any:
        return json.loads(self.path.read_text())


def people(accounts: Accounts, roll: Roll | None = None, **changes: Any) -> People:
    given = {"wanted": True, "pairs": {}, "filename": None, "open": True, "frozen": False,
             "guest": "guest", **changes}  # fmt: skip
    return People(Auth(**given), accounts, roll)


async def names(people: People, *tries: tuple[str, str]) -> list[str]:
    return [found.name if (found := await people.admit(*one)) else "" for one in tries]


async def test_a_first_visit_makes_an_account_and_later_ones_need_its_password(
    accounts: Accounts,
) -> None:
    desk = people(accounts)
    first = await desk.admit(" ann ", PW)
    assert first is not None
    assert (first.name, first.new, first.guest) == ("ann", True, False)
    again = await desk.admit("ann", PW)
    assert again is not None
    assert not again.new
    assert await names(desk, ("ann", "other"), ("ann", ""), ("Ann", "x")) == ["", "", "Ann"]
    assert PW not in str(await accounts.all())


async def test_a_pair_is_checked_the_first_time(accounts: Accounts) -> None:
    desk = people(accounts, pairs={"boss": PW}, open=False, guest="")
    assert await names(desk, ("boss", "anything"), ("boss", ""), ("boss", PW)) == ["", "", "boss"]
    assert await accounts.all() == [], "the operator's word is not copied"


async def test_a_pair_and_an_account_of_one_name_both_count(accounts: Accounts) -> None:
    await accounts.register("boss", "mine")
    desk = people(accounts, pairs={"boss": PW})
    assert await names(desk, ("boss", "mine"), ("boss", PW)) == ["", ""]
    await accounts.set_password("boss", PW)
    assert await names(desk, ("boss", PW)) == ["boss"]


async def test_strangers_of_a_closed_or_frozen_page_stay_out(accounts: Accounts) -> None:
    await accounts.register("ann", PW)
    for changes in ({"open": False, "guest": ""}, {"frozen": True}):
        desk = people(accounts, **changes)
        assert await names(desk, ("eve", "x"), ("ann", PW), ("", "x"), ("\x00", "x")) == [
            "", "ann", "", ""
        ]  # fmt: skip
    assert [account.name for account in await accounts.all()] == ["ann"]


async def test_guests(accounts: Accounts) -> None:
    found = await people(accounts).admit("guest-7", "whatever")
    assert found is not None
    assert found.guest
    closed = people(accounts, open=False, guest="visitor", pairs={"visitor": PW})
    assert await closed.admit("visitor-3", "wrong") is None
    shared = await closed.admit("visitor-3", PW)
    assert shared is not None
    assert shared.guest
    assert await accounts.all() == []


async def test_a_password_that_cannot_be_one_is_told(accounts: Accounts) -> None:
    with pytest.raises(InvalidRequest, match="1 to 1024 bytes"):
        await people(accounts).admit("ann", "x" * 2000)


async def test_every_way_hashes_once(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time it takes tells nothing of a name."""
    await accounts.register("ann", PW)
    count = 0
    derived = passwords._derived

    def counted(*given: Any) -> bytes:
        nonlocal count
        count += 1
        return derived(*given)

    monkeypatch.setattr(passwords, "_derived", counted)
    desk = people(accounts, pairs={"boss": PW, "ann": PW})
    closed = people(accounts, pairs={"boss": PW}, open=False, guest="")
    for one, name in ((desk, "boss"), (desk, "ann"), (desk, "new"), (closed, "eve"),
                      (closed, "ann"), (closed, ""), (closed, "boss")):  # fmt: skip
        count = 0
        await one.admit(name, "wrong")
        assert count == 1, name


# h2oGPT's file.


USERS = {
    "ann": {"password": PW, "userid": "u1", "chat_state": {"First": [[["q", "a"]]]}},
    "bob": {"password": "pw-canary-bob", "userid": "u2"},
}


async def test_the_files_users_are_moved_and_sign_in(
    accounts: Accounts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = File(tmp_path / "auth.json", USERS)
    roll = Roll(state_file(str(file.path)), accounts)
    desk = people(accounts, roll, open=False, guest="")
    with caplog.at_level(logging.INFO):
        assert await names(desk, ("ann", PW), ("ann", "x")) == ["ann", ""]
        await roll.moved()
    assert await names(desk, ("ann", PW), ("bob", "pw-canary-bob"), ("bob", PW)) == [
        "ann", "bob", ""
    ]  # fmt: skip
    assert "canary" not in file.path.read_text()
    assert file.users()["ann"]["chat_state"] == USERS["ann"]["chat_state"]
    (line,) = [r.getMessage() for r in caplog.records if "moved" in r.getMessage()]
    assert line.endswith("2 passwords were moved to the relay's store, hashed")
    assert "ann" not in line.replace(str(tmp_path), "")
    await roll.close()


async def test_a_restart_moves_nobody_twice(accounts: Accounts, tmp_path: Path) -> None:
    file = File(tmp_path / "auth.json", USERS)
    for _ in range(2):
        roll = Roll(state_file(str(file.path)), accounts)
        await roll.look()
        await roll.moved()
        text = file.path.read_text()
        assert await names(people(accounts, roll), ("ann", PW), ("ann", "x")) == ["ann", ""]
        assert file.path.read_text() == text
        await roll.close()


async def test_what_is_written_into_the_file_later_counts_at_once(
    accounts: Accounts, tmp_path: Path
) -> None:
    changed: list[str] = []
    file = File(tmp_path / "auth.json", USERS)
    roll = Roll(state_file(str(file.path)), accounts, changed=changed.append)
    desk = people(accounts, roll, open=False, guest="")
    await roll.look()
    await roll.moved()
    users = file.users()
    users["ann"]["password"] = "pw-new"
    users["eve"] = {"password": "pw-eve"}
    file.put(users)
    assert await names(desk, ("ann", "pw-new"), ("ann", PW), ("eve", "pw-eve")) == [
        "ann", "", "eve"
    ]  # fmt: skip
    await roll.moved()
    assert changed == ["ann"]
    assert await names(desk, ("ann", "pw-new"), ("ann", PW)) == ["ann", ""]
    assert "pw-" not in file.path.read_text()
    await roll.close()


async def test_with_auth_freeze_the_file_is_read_and_never_written(
    accounts: Accounts, tmp_path: Path
) -> None:
    file = File(tmp_path / "auth.json", USERS)
    text = file.path.read_text()
    roll = Roll(state_file(str(file.path)), accounts, frozen=True)
    desk = people(accounts, roll, frozen=True)
    assert await names(desk, ("ann", PW), ("ann", "x"), ("eve", "x")) == ["ann", "", ""]
    await roll.moved()
    assert file.path.read_text() == text
    assert await accounts.all() == []


async def test_nobody_takes_the_name_of_a_user_in_the_file(
    accounts: Accounts, tmp_path: Path
) -> None:
    """Neither one whose password the store lost, nor one who was shut out."""
    users = {"ann": {"password": None}, "bob": {"password": False}, "eve": {"password": ""}}
    file = File(tmp_path / "auth.json", users)
    await accounts.register("bob", PW)
    roll = Roll(state_file(str(file.path)), accounts)
    desk = people(accounts, roll)
    tries = [(name, password) for name in users for password in ("x", "", PW)]
    assert await names(desk, *tries) == [""] * len(tries)
    assert [await desk.exists(name) for name in users] == [True, False, False]
    await roll.close()


@pytest.mark.parametrize("broken", ["[", "[]", '{"ann": 5}'])
async def test_a_broken_file_lets_nobody_make_an_account(
    accounts: Accounts, tmp_path: Path, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    await accounts.register("old", PW)
    file = File(tmp_path / "auth.json", {})
    file.put(broken)
    roll = Roll(state_file(str(file.path)), accounts)
    desk = people(accounts, roll)
    assert await names(desk, ("ann", "x"), ("old", PW)) == ["", "old"]
    assert file.path.read_text() == broken
    errors = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert len(errors) == 1, "it is told once"
    file.put(USERS)
    assert await names(desk, ("ann", "x"), ("ann", PW), ("eve", "x")) == ["", "ann", "eve"]
    await roll.moved()
    await roll.close()


async def test_a_file_that_breaks_keeps_its_users(accounts: Accounts, tmp_path: Path) -> None:
    file = File(tmp_path / "auth.json", USERS)
    roll = Roll(state_file(str(file.path)), accounts)
    desk = people(accounts, roll)
    await roll.look()
    await roll.moved()
    file.put("{")
    assert await names(desk, ("ann", PW), ("ann", "x"), ("eve", "x")) == ["ann", "", ""]
    await roll.close()


async def test_who_cannot_be_moved_stays_in_the_file(
    accounts: Accounts, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    long = "x" * 2000
    users = {**USERS, "long": {"password": long}, "\x00": {"password": "x"}}
    file = File(tmp_path / "auth.json", users)
    roll = Roll(state_file(str(file.path)), accounts)
    with caplog.at_level(logging.INFO):
        await roll.look()
        await roll.moved()
    assert file.users()["long"]["password"] == long
    assert file.users()["ann"]["password"] is None
    assert "2 passwords were moved" in caplog.text
    assert "1 could not be, and stay as they are" in caplog.text
    assert await names(people(accounts, roll), ("long", long)) == ["long"]
    await roll.close()


async def test_a_file_that_cannot_be_written_is_told_and_its_users_sign_in(
    accounts: Accounts, tmp_path: Path, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    file = File(tmp_path / "auth.json", USERS)
    found = state_file(str(file.path))

    def refused(path: Path, *_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("h2o_relay_ui.signin.state_file.write", refused)
    roll = Roll(found, accounts)
    await roll.look()
    await roll.moved()
    assert "stay in the file too: Permission denied" in caplog.text
    assert await names(people(accounts, roll), ("ann", PW), ("ann", "x")) == ["ann", ""]
    await roll.moved()
    assert caplog.text.count("stay in the file too") == 1
    await roll.close()


async def test_a_store_that_fails_leaves_the_file(
    accounts: Accounts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(accounts, "register", broken)
    file = File(tmp_path / "auth.json", USERS)
    text = file.path.read_text()
    roll = Roll(state_file(str(file.path)), accounts)
    await roll.look()
    await roll.moved()
    assert file.path.read_text() == text
    await roll.close()


async def test_what_users_said_is_copied_once(
    accounts: Accounts, store: Store, tmp_path: Path
) -> None:
    conversations = Conversations(store)
    file = File(tmp_path / "auth.json", USERS)
    keep = keeper(conversations)
    roll = Roll(state_file(str(file.path)), accounts, keep=keep)
    await roll.look()
    await roll.moved()
    await keep("ann", USERS["ann"])
    (summary,) = await conversations.list("user:ann")
    assert summary.title == "First"
    kept = await conversations.get("user:ann", summary.id)
    assert [(m["role"], text_of(m)) for m in kept.messages] == [("user", "q"), ("assistant", "a")]
    assert kept.messages[1]["state"] == "done"
    assert await conversations.list("user:bob") == []
    await roll.close()


def test_conversations_are_read_as_far_as_they_can_be() -> None:
    state = {
        "One": [[["q", None], ["r", "s"]], [], [["q", "other model"]]],
        "  ": [[["", "a"]]],
        "Bad": [[["only"], 5, ["q", ["x"]]], "text", None],
        "None": None,
    }
    found = list(chats("ann", {"chat_state": state}))
    told = [(title, [m["content"] for m in messages]) for _, title, messages in found]
    assert told == [
        ("One", ["q", "r", "s"]), ("One", ["q", "other model"]), ("Conversation", ["a"]),
        ("Bad", ["q"]),
    ]  # fmt: skip
    assert len({id for id, _, _ in found}) == 4
    assert list(chats("ann", {})) == list(chats("ann", {"chat_state": []})) == []
