"""h2oGPT's file of users, in both its forms: read, and its passwords taken out."""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from h2o_relay_ui.signin.state_file import (
    StateFile,
    Unreadable,
    is_shut,
    password_of,
    state_file,
)

ANN = {"password": "pw-ann", "userid": "u-1", "selection_docs_state": {"langchain_modes": ["LLM"]},
       "chat_state": {"hi": [[["q", "ä"]]]}}  # fmt: skip
BOB = {"password": "pw-bob", "userid": "u-2"}
USERS = {"ann": ANN, "bob": BOB}
Write = Callable[[Path, dict[str, Any]], None]


def as_json(path: Path, users: dict[str, Any]) -> None:
    path.write_text(json.dumps(users, indent=2))


def as_database(path: Path, users: dict[str, Any]) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(
            "CREATE TABLE IF NOT EXISTS Users (username VARCHAR(255) PRIMARY KEY, data TEXT)"
        )
        database.execute("DELETE FROM Users")
        rows = [(name, json.dumps(entry)) for name, entry in users.items()]
        database.executemany("INSERT INTO Users VALUES (?, ?)", rows)
    database.close()


@pytest.fixture(params=[("auth.json", as_json), ("auth.db", as_database)], ids=["json", "db"])
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Write]:
    name, write = request.param
    path = tmp_path / name
    write(path, USERS)
    return path, write


@pytest.fixture
def file(written: tuple[Path, Write]) -> StateFile:
    return state_file(str(written[0]))


def test_the_users_are_read(file: StateFile) -> None:
    assert file.read() == USERS
    assert {name: password_of(entry) for name, entry in file.read().items()} == {
        "ann": "pw-ann", "bob": "pw-bob"
    }  # fmt: skip


def test_passwords_are_taken_out_and_nothing_else(file: StateFile) -> None:
    file.take_out({"ann": "pw-ann"})
    users = file.read()
    assert users["bob"] == BOB
    note = "the password is kept hashed in the relay's store"
    assert users["ann"] == {**ANN, "password": None, "h2o_relay": note}
    assert password_of(users["ann"]) is None
    assert not is_shut(users["ann"])
    file.take_out({"ann": "pw-ann", "bob": "pw-bob", "eve": "x"})
    assert set(file.read()) == {"ann", "bob"}
    assert b"pw-" not in file.path.read_bytes()
    assert all(entry["password"] is None for entry in file.read().values())


def test_a_password_that_was_changed_meanwhile_stays(
    written: tuple[Path, Write], file: StateFile
) -> None:
    path, write = written
    write(path, {**USERS, "ann": {**ANN, "password": "newer"}})
    file.take_out({"ann": "pw-ann", "bob": "pw-bob"})
    users = file.read()
    assert users["ann"]["password"] == "newer"
    assert users["bob"]["password"] is None


def test_a_change_is_seen(written: tuple[Path, Write], file: StateFile) -> None:
    path, write = written
    before = file.stamp()
    assert before == file.stamp()
    write(path, {**USERS, "eve": {"password": "x" * 5000}})
    os.utime(path, (1, 1))
    assert file.stamp() != before


def test_a_file_that_is_not_there_has_no_users(file: StateFile) -> None:
    file.path.unlink()
    assert file.stamp() is None
    assert file.read() == {}
    assert not file.path.exists()


def test_an_empty_file_has_none_either(file: StateFile) -> None:
    file.path.write_bytes(b"")
    assert file.read() == {}


@pytest.mark.parametrize("data", [b"[", b"[]", b'{"ann": "pw"}', b"\xff\xfe{}", b"3"])
def test_what_is_no_such_file(file: StateFile, data: bytes) -> None:
    file.path.write_bytes(data)
    with pytest.raises(Unreadable):
        file.read()
    with pytest.raises(Unreadable):
        file.take_out({"ann": "pw-ann"})
    assert file.path.read_bytes() == data


def test_a_database_without_the_table(tmp_path: Path) -> None:
    path = tmp_path / "auth.db"
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE Other (x)")
    database.close()
    with pytest.raises(Unreadable, match="no such table"):
        state_file(str(path)).read()


@pytest.mark.parametrize(
    ("entry", "password", "shut"),
    [
        ({"password": "x"}, "x", False),
        ({"password": None}, None, False),
        ({"password": ""}, None, True),
        ({"password": False}, None, True),
        ({"password": 5}, None, True),
        ({}, None, True),
    ],
)
def test_what_an_entry_says(entry: dict[str, Any], password: str | None, shut: bool) -> None:
    assert password_of(entry) == password
    assert is_shut(entry) is shut


@pytest.mark.skipif(sys.platform == "win32", reason="links and modes are POSIX's")
def test_a_link_and_the_mode_stay(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    as_json(real, USERS)
    real.chmod(0o640)
    link = tmp_path / "auth.json"
    link.symlink_to(real)
    state_file(str(link)).take_out({"ann": "pw-ann", "bob": "pw-bob"})
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "pw-" not in real.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"real.json", "auth.json"}
