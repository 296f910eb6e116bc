"""Keys in the store: made, changed, rotated, revoked; what is kept of them, and what is refused."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from h2o_relay.accounting.caller import OPEN, Allowance
from h2o_relay.accounting.keys import KeyInfo, Wanted, view
from h2o_relay.accounting.ring import KeyRing
from h2o_relay.accounting.secret import PREFIX, digest
from h2o_relay.accounting.stored_keys import any_stored, none_stored
from h2o_relay.errors import InvalidRequest, NotFound, Overloaded, StoreError, Unauthorized
from h2o_relay.settings import store_url
from h2o_relay.store import Keys, Store
from h2o_relay.testing.settings import quick

DAY = 86400.0


class Clock:
    now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(store: Store, clock: Clock) -> Keys:
    return Keys(store, clock)


async def digests(keys: Keys) -> dict[str, bytes]:
    found = await keys.snapshot(None)
    assert found is not None
    return {key.info.id: key.digest for key in found.keys}


async def test_a_key_is_kept_with_what_it_may(keys: Keys, clock: Clock) -> None:
    info, key = await keys.create(
        {"name": " ci ", "models": ["a*", "b"], "requests_per_minute": 5, "tokens_per_minute": 6,
         "concurrent": 7, "budget": 8, "budget_period": "day", "expires": "30d", "admin": True}
    )  # fmt: skip
    assert info == await keys.get("ci") == await keys.get(info.id)
    assert re.fullmatch(r"key_[0-9a-f]{16}", info.id)
    assert (info.wanted.name, info.wanted.admin, info.last4) == ("ci", True, key[-4:])
    assert (info.created, info.wanted.expires) == (clock.now, clock.now + 30 * DAY)
    assert info.wanted.allowance == Allowance(
        models=("a*", "b"), requests_per_minute=5, tokens_per_minute=6, concurrent=7, budget=8.0,
        budget_period="day",
    )  # fmt: skip
    assert (info.revoked, info.used, info.old_until) == (None, None, None)
    found = await keys.snapshot(None)
    assert found is not None
    assert (await digests(keys))[info.id] == digest(found.secret, key.encode())


async def test_nobody_is_limited_who_need_not_be(keys: Keys) -> None:
    info, _ = await keys.create({"name": "free"})
    assert info.wanted.allowance == Allowance()
    assert (info.wanted.expires, info.wanted.admin) == (None, False)


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


async def test_the_key_is_not_in_the_database(tmp_path: Path) -> None:
    async with Store(f"sqlite:///{tmp_path}/relay.db") as store:
        keys = Keys(store)
        _, key = await keys.create({"name": "ci"})
        _, second = await keys.rotate("ci", 60)
        content = files(tmp_path)
    assert b"ci" in content
    for secret in (key, second):
        assert len(secret) == len(PREFIX) + 43
        for piece in (secret, secret[len(PREFIX) :], secret[-8:], secret[:16]):
            assert piece.encode() not in content


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("name", None, "missing_required_parameter"),
        ("name", 5, "invalid_type"),
        ("name", " ", "invalid_value"),
        ("name", "x" * 101, "invalid_value"),
        ("name", "a\nb", "invalid_value"),
        ("name", "key_1", "invalid_value"),
        ("models", "gpt", "invalid_type"),
        ("models", [1], "invalid_type"),
        ("models", [""], "invalid_value"),
        ("models", ["x"] * 101, "invalid_value"),
        ("requests_per_minute", 0, "invalid_value"),
        ("requests_per_minute", True, "invalid_type"),
        ("requests_per_minute", 1.5, "invalid_type"),
        ("tokens_per_minute", -1, "invalid_value"),
        ("concurrent", 2**60, "invalid_value"),
        ("concurrent", "3", "invalid_type"),
        ("budget", -0.1, "invalid_value"),
        ("budget", float("nan"), "invalid_value"),
        ("budget", "5", "invalid_type"),
        ("budget_period", "year", "invalid_value"),
        ("budget_period", None, "invalid_value"),
        ("budget_period", ["day"], "invalid_value"),
        ("expires", "soon", "invalid_value"),
        ("expires", "2001-01-01", "invalid_value"),
        ("expires", 5, "invalid_value"),
        ("expires", True, "invalid_type"),
        ("expires", float("inf"), "invalid_type"),
        ("admin", 1, "invalid_type"),
        ("rpm", 5, "unknown_parameter"),
        ("id", "key_mine", "unknown_parameter"),
        ("revoked", None, "unknown_parameter"),
    ],
)
async def test_what_a_key_cannot_be(keys: Keys, field: str, value: Any, code: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await keys.create({"name": "ci", field: value})
    assert (caught.value.param, caught.value.code) == (field, code)
    assert await keys.all() == []


async def test_names_are_one_keys_until_it_is_revoked(keys: Keys, clock: Clock) -> None:
    first, _ = await keys.create({"name": "ci"})
    clock.now += 1
    other, _ = await keys.create({"name": "other"})
    for attempt in (keys.create({"name": "ci"}), keys.change("other", {"name": "ci"})):
        with pytest.raises(InvalidRequest) as caught:
            await attempt
        assert caught.value.code == "name_taken"
    await keys.revoke("ci")
    with pytest.raises(NotFound):
        await keys.get("ci")
    clock.now += 1
    second, _ = await keys.create({"name": "ci"})
    assert (await keys.get("ci")).id == second.id != first.id
    assert [info.id for info in await keys.all()] == [first.id, other.id, second.id]


async def test_two_that_want_the_same_name_at_once(keys: Keys, store: Store, url: str) -> None:
    async with Store(url) as second, Store(url) as third:
        places = [keys, Keys(second), Keys(third)] * 3
        wanted = [place.create({"name": "ci"}) for place in places]
        done = await asyncio.gather(*wanted, return_exceptions=True)
    refused = [one for one in done if isinstance(one, InvalidRequest)]
    assert len(refused) == len(done) - 1, done
    assert len(await keys.all()) == 1


async def test_changes_name_what_changes(keys: Keys, clock: Clock) -> None:
    before, _ = await keys.create({"name": "ci", "budget": 5, "concurrent": 2, "models": ["a"]})
    after = await keys.change("ci", {"budget": None, "models": None, "expires": clock.now + 5})
    assert after.wanted.allowance == Allowance(concurrent=2)
    assert (after.wanted.expires, after.wanted.name) == (clock.now + 5, "ci")
    assert await digests(keys) == {before.id: (await digests(keys))[after.id]}
    assert (await keys.change("ci", {"expires": None})).wanted.expires is None
    assert (await keys.change("ci", {"name": "cd"})).wanted.name == "cd"
    await keys.revoke("cd")
    with pytest.raises(InvalidRequest, match="revoked"):
        await keys.change(before.id, {"concurrent": 1})


async def test_revoking_is_for_good(keys: Keys, clock: Clock) -> None:
    info, _ = await keys.create({"name": "ci"})
    await keys.rotate("ci", 3600)
    first = await keys.revoke("ci")
    assert (first.revoked, first.old_until) == (clock.now, None)
    clock.now += 5
    assert await keys.revoke(info.id) == first
    with pytest.raises(InvalidRequest, match="This key is revoked"):
        await keys.rotate(info.id)
    found = await keys.snapshot(None)
    assert found is not None
    assert [key.old for key in found.keys] == [None]


async def test_rotating_keeps_all_but_the_key(keys: Keys, clock: Clock) -> None:
    info, first = await keys.create({"name": "ci", "concurrent": 3, "expires": "1d"})
    old = (await digests(keys))[info.id]
    rotated, second = await keys.rotate("ci", 60)
    assert (rotated.id, rotated.wanted, rotated.created) == (info.id, info.wanted, info.created)
    assert (rotated.last4, rotated.old_until) == (second[-4:], clock.now + 60)
    assert first != second
    found = await keys.snapshot(None)
    assert found is not None
    assert found.keys[0].old == old
    at_once, _ = await keys.rotate("ci")
    found = await keys.snapshot(None)
    assert found is not None
    assert (found.keys[0].old, at_once.old_until) == (None, None)
    clock.now += 2 * DAY
    with pytest.raises(InvalidRequest, match="This key is expired"):
        await keys.rotate("ci")


async def test_a_snapshot_is_made_when_something_has_changed(keys: Keys) -> None:
    before = await keys.snapshot(None)
    assert before is not None
    assert await keys.snapshot(before.revision) is None
    info, _ = await keys.create({"name": "ci"})
    seen = before.revision
    for change in (
        lambda: keys.change("ci", {"budget": 1}), lambda: keys.rotate("ci"),
        lambda: keys.revoke("ci"),
    ):  # fmt: skip
        after = await keys.snapshot(seen)
        assert after is not None
        assert after.secret == before.secret
        assert await keys.snapshot(after.revision) is None
        seen = after.revision
        await change()
    await keys.note_used({info.id: 5.0})
    last = await keys.snapshot(seen)
    assert last is not None
    await keys.note_used({info.id: 6.0})
    assert await keys.snapshot(last.revision) is None, "use is no change"


async def test_when_a_key_was_used(keys: Keys) -> None:
    one, _ = await keys.create({"name": "one"})
    two, _ = await keys.create({"name": "two"})
    await keys.note_used({one.id: 5.0, "key_none": 6.0})
    await keys.note_used({one.id: 4.0, two.id: 7.0})
    await keys.note_used({})
    assert ((await keys.get("one")).used, (await keys.get("two")).used) == (5.0, 7.0)


@pytest.mark.parametrize("ref", ["nobody", "key_0", "", "' OR 1=1 --", "%", "x" * 5000, "a\0b"])
async def test_keys_that_are_not_there(keys: Keys, ref: str) -> None:
    await keys.create({"name": "ci"})
    for attempt in (keys.get(ref), keys.change(ref, {}), keys.revoke(ref), keys.rotate(ref)):
        with pytest.raises(NotFound):
            await attempt
    assert (await keys.get("ci")).revoked is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE keys SET digest = 'none'",
        "UPDATE keys SET old_digest = 'aabb'",
        "UPDATE keys SET allowance = '[1]'",
        "UPDATE keys SET allowance = '{\"of_a_later_relay\": 5}'",
        "UPDATE keys SET allowance = ''",
        "UPDATE key_state SET secret = ''",
        "DELETE FROM key_state",
    ],
)
async def test_damage_is_told_and_passes_nobody(keys: Keys, store: Store, statement: str) -> None:
    await keys.create({"name": "ci"})
    await store.run(lambda session: session.execute(text(statement.replace(":", "\\:"))))
    with pytest.raises(StoreError, match="damaged"):
        await keys.snapshot(None)


async def test_every_store_has_a_secret_of_its_own(keys: Keys, tmp_path: Path) -> None:
    async with Store(f"sqlite:///{tmp_path}/other.db") as other:
        theirs, ours = await Keys(other).snapshot(None), await keys.snapshot(None)
        assert theirs is not None
        assert ours is not None
        assert len(ours.secret) == 32
        assert ours.secret != theirs.secret
        query = text("SELECT count(*) FROM key_state")
        assert await other.run(lambda session: session.execute(query).scalar()) == 1


def test_a_key_as_programs_see_it() -> None:
    wanted_keys = {
        "object", "id", "name", "state", "last4", "created", "expires", "revoked", "used",
        "old_until", "admin", "models", "requests_per_minute", "tokens_per_minute", "concurrent",
        "budget", "budget_period",
    }  # fmt: skip
    info = KeyInfo(id="key_1", wanted=Wanted(name="n", expires=9.0), last4="abcd", created=1.0)
    shown = view(info, 5.0)
    assert set(shown) == wanted_keys
    assert (shown["state"], shown["models"], shown["budget"]) == ("good", [], None)
    assert view(info, 9.0)["state"] == "expired"


def test_a_relay_whose_store_has_keys_may_be_reached(tmp_path: Path) -> None:
    """And it makes no store to find that out."""
    settings = quick(save_dir=str(tmp_path), host="0.0.0.0")
    assert not any_stored(settings)
    assert list(tmp_path.iterdir()) == []

    async def make() -> str:
        async with Store(store_url(settings)) as store:
            info, _ = await Keys(store).create({"name": "team"})
            return info.id

    id = asyncio.run(make())
    assert any_stored(settings)

    async def revoke() -> None:
        async with Store(store_url(settings)) as store:
            await Keys(store).revoke(id)

    asyncio.run(revoke())
    assert any_stored(settings)  # a key is needed for good
    lax = replace(settings, enforce_h2ogpt_api_key=False)
    assert not any_stored(lax), "nobody is asked for it"


async def test_that_there_is_none_is_told_without_sqlalchemy(tmp_path: Path) -> None:
    file = tmp_path / "a folder" / "relay.db"
    url = f"sqlite:///{file}"
    assert none_stored(url), "it is made"
    file.parent.touch()
    assert not none_stored(url), "it cannot be made"
    file.parent.unlink()
    file.parent.mkdir()
    assert none_stored(url)
    async with Store(url) as store:
        keys = Keys(store)
        assert none_stored(url)
        await keys.create({"name": "ci"})
        assert not none_stored(url)
        await keys.revoke("ci")
        assert not none_stored(url), "it had one"
    older = tmp_path / "older.db"
    with closing(sqlite3.connect(older)) as database:
        database.execute("CREATE TABLE chats (id TEXT)")
        assert none_stored(f"sqlite:///{older}")
        database.execute("BEGIN EXCLUSIVE")
        assert not none_stored(f"sqlite:///{older}")
    (tmp_path / "none.db").write_bytes(b"no database" * 100)
    for other in (f"sqlite:///{tmp_path}/none.db", "sqlite://", "postgresql://h/d", f"{url}?x=1"):
        assert not none_stored(other), other


async def test_nobody_waits_for_a_store_that_is_told_to_have_none(tmp_path: Path) -> None:
    async with Store(f"sqlite:///{tmp_path}/relay.db") as store:
        keys = Keys(store)
        ring = KeyRing(quick(), keys)
        with pytest.raises(Overloaded):
            ring.find([])
        ring.begin_empty()
        assert not ring.unread
        assert ring.find([]) is OPEN
        await keys.create({"name": "ci"})
        await ring.refresh()
        with pytest.raises(Unauthorized):
            ring.find([])
