"""`KeyRing`: who presents what, what happens while the store cannot be read, and who is told of a
key that is revoked.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import pytest
from sqlalchemy import text

from h2o_relay.accounting import ring as module
from h2o_relay.accounting.caller import OPEN, PAGE
from h2o_relay.accounting.keys import Snapshot
from h2o_relay.accounting.proof import Proof
from h2o_relay.accounting.ring import ADMIN, KeyRing
from h2o_relay.errors import Overloaded, StoreError, Unauthorized
from h2o_relay.store import Keys, Store
from h2o_relay.store.lasting import LastingStore
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import until

INTERNAL, MASTER = "internal-canary-1", "master-canary-2"
OWN, ONE, TWO = "sk-own-canary-3", "sk-one-of-a-list-canary-4", "sk-two-canary-5"
LIST = f"['{ONE}', '{TWO}']"


class Clock:
    now = 1_900_000_000.0

    def __call__(self) -> float:
        return self.now


class Broken:
    """A source that fails until it is mended."""

    def __init__(self, source: Keys | None = None) -> None:
        self.source = source
        self.broken = True
        self.error: Exception = StoreError("the store is gone")

    async def snapshot(self, seen: int | None) -> Snapshot | None:
        if self.broken or self.source is None:
            raise self.error
        return await self.source.snapshot(seen)

    async def note_used(self, times: Mapping[str, float]) -> None:
        if self.broken or self.source is None:
            raise self.error
        await self.source.note_used(times)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store(f"sqlite:///{tmp_path}/relay.db") as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(store: Store, clock: Clock) -> Keys:
    return Keys(store, clock)


def bearer(*presented: str) -> list[tuple[bytes, bytes]]:
    return [(b"host", b"x"), *((b"authorization", b"Bearer " + p.encode()) for p in presented)]


CONNECTIONS: WeakKeyDictionary[KeyRing, dict[tuple[str, ...], Proof]] = WeakKeyDictionary()


def who(ring: KeyRing, *presented: str) -> str:
    """The caller's id, or the code of the refusal: the same on a connection that has presented
    this before, and on one whose last words were others.
    """
    found = asked(lambda: ring.find(bearer(*presented)).id)
    connections = CONNECTIONS.setdefault(ring, {})

    def again(last: Proof | None) -> str:
        connections[presented] = proof = ring.find_again(bearer(*presented), last)
        return proof.caller.id

    for last in [connections.get(presented), *connections.values(), None]:
        assert asked(lambda last=last: again(last)) == found  # type: ignore[misc]
    return found


def asked(find: Callable[[], str]) -> str:
    try:
        return find()
    except (Unauthorized, Overloaded) as error:
        return str(error.code)


def administers(ring: KeyRing, *presented: str) -> str:
    try:
        return ring.find_admin(bearer(*presented)).id
    except (Unauthorized, Overloaded) as error:
        return str(error.code)


async def read(settings: dict[str, Any], source: Any, clock: Clock) -> KeyRing:
    ring = KeyRing(quick(**settings), source, internal=INTERNAL, clock=clock)
    await ring.refresh()
    return ring


# The settings' keys: h2oGPT's rules.


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, {"": "open", "EMPTY": "open", "anything": "open", INTERNAL: "page"}),
        ({"api_key": OWN}, {OWN: "env", "": "missing_api_key", "EMPTY": "invalid_api_key",
                            ONE: "invalid_api_key", INTERNAL: "page"}),
        ({"h2ogpt_api_keys": LIST}, {ONE: "list-", TWO: "list-", OWN: "invalid_api_key",
                                     "": "missing_api_key"}),
        ({"h2ogpt_api_keys": LIST, "api_key": OWN}, {ONE: "list-", OWN: "env",
                                                     "x": "invalid_api_key"}),
        ({"h2ogpt_api_keys": LIST, "enforce_h2ogpt_api_key": True}, {ONE: "list-",
                                                                     "": "missing_api_key"}),
        ({"h2ogpt_api_keys": LIST, "enforce_h2ogpt_api_key": False}, {ONE: "list-", "": "open",
                                                                      "x": "open"}),
        ({"h2ogpt_api_keys": LIST, "api_key": OWN, "enforce_h2ogpt_api_key": False},
         {"": "missing_api_key", "x": "invalid_api_key", ONE: "list-"}),
        ({"h2ogpt_api_keys": f"['{OWN}']", "api_key": OWN}, {OWN: "env"}),
        ({"auth_access": "closed"}, {"": "missing_api_key", "EMPTY": "invalid_api_key",
                                     INTERNAL: "page"}),
        ({"auth_access": "closed", "api_key": OWN}, {"": "missing_api_key", OWN: "env"}),
        ({"auth_access": "closed", "h2ogpt_api_keys": LIST, "enforce_h2ogpt_api_key": False},
         {"": "missing_api_key", ONE: "list-"}),
        ({"api_key": "EMPTY"}, {"EMPTY": "env", "": "missing_api_key", "x": "invalid_api_key"}),
        ({"admin_pass": MASTER}, {MASTER: "open"}),
        ({"admin_pass": MASTER, "api_key": OWN}, {MASTER: "invalid_api_key"}),
    ],
)  # fmt: skip
def test_the_settings_keys(settings: dict[str, Any], expected: dict[str, str]) -> None:
    ring = KeyRing(quick(**settings), internal=INTERNAL)
    for key, caller in expected.items():
        assert who(ring, *([key] if key else [])).startswith(caller), key


def test_without_an_internal_key_nobody_is_the_page() -> None:
    ring = KeyRing(quick(api_key=OWN, admin_pass=""))
    for key in ("", " ", "None"):
        assert who(ring, key) in ("missing_api_key", "invalid_api_key")
        assert administers(ring, key) == "invalid_api_key"


def test_whoever_presents_a_key_of_the_list_keeps_an_id_that_tells_nothing() -> None:
    ring = KeyRing(quick(h2ogpt_api_keys=LIST))
    one, two = ring.find(bearer(ONE)), ring.find(bearer(TWO))
    assert one.id != two.id
    assert one is ring.find(bearer(ONE))
    assert (one.name, two.name) == ("…ry-4", ""), "a short key shows nothing of itself"
    assert not one.admin
    other = KeyRing(quick(h2ogpt_api_keys=LIST))
    assert other.find(bearer(ONE)).id != one.id, "it cannot be computed from the key"


def test_what_is_presented_again_is_looked_up_once() -> None:
    ring = KeyRing(quick(h2ogpt_api_keys=LIST))
    first = ring.find_again(bearer(ONE), None)
    assert ring.find_again(bearer(ONE), first) is first
    assert ring.find_again(bearer(TWO), first) is not first
    assert ring.find_again(bearer(ONE, ONE), first) is not first
    ring._keys.use(b"another secret")  # the list was read again, or the store for the first time
    assert ring.find_again(bearer(ONE), first).caller.id != first.caller.id


# The store's keys.


async def test_keys_of_the_store(keys: Keys, clock: Clock) -> None:
    ring = await read({}, keys, clock)
    assert (who(ring), ring.needed) == ("open", False)
    info, key = await keys.create({"name": "ci", "models": ["a*"], "concurrent": 2})
    await ring.refresh()
    assert ring.needed
    assert (who(ring), who(ring, "EMPTY")) == ("missing_api_key", "invalid_api_key")
    caller = ring.find(bearer(key))
    assert (caller.id, caller.name, caller.admin) == (info.id, "ci", False)
    assert caller.allowance == info.wanted.allowance
    for wrong in (key[:-1], key + "x", key.swapcase(), info.id, "ci", key[-4:]):
        assert who(ring, wrong) == "invalid_api_key"
    assert who(ring, INTERNAL) == "page"


async def test_keys_of_the_store_beside_those_of_the_settings(keys: Keys, clock: Clock) -> None:
    info, key = await keys.create({"name": "ci"})
    ring = await read({"api_key": OWN, "h2ogpt_api_keys": LIST}, keys, clock)
    assert [who(ring, one) for one in (key, OWN)] == [info.id, "env"]
    assert who(ring, ONE).startswith("list-")
    lax = await read({"enforce_h2ogpt_api_key": False}, keys, clock)
    assert [who(lax, key), who(lax, "x"), who(lax)] == [info.id, "open", "open"]


async def test_ids_of_the_list_last_as_long_as_the_store(keys: Keys, clock: Clock) -> None:
    first, second = [await read({"h2ogpt_api_keys": LIST}, keys, clock) for _ in range(2)]
    assert who(first, ONE) == who(second, ONE) != who(second, TWO)


async def test_every_key_that_is_presented_must_be_good(keys: Keys, clock: Clock) -> None:
    one, first = await keys.create({"name": "one"})
    two, second = await keys.create({"name": "two"})
    ring = await read({}, keys, clock)
    assert who(ring, first, second) == one.id
    assert who(ring, second, first) == two.id
    for bad in ("x", ""):
        assert who(ring, first, bad) == who(ring, bad, first) == "invalid_api_key"
    mixed = [(b"x-api-key", first.encode()), (b"api-key", b"x")]
    with pytest.raises(Unauthorized):
        ring.find(mixed)
    assert ring.find([(b"api-key", first.encode()), (b"x-api-key", first.encode())]).id == one.id


async def test_expired_and_revoked_keys_are_as_wrong_as_any(keys: Keys, clock: Clock) -> None:
    info, expiring = await keys.create({"name": "short", "expires": "1h"})
    _, revoked = await keys.create({"name": "gone"})
    await keys.revoke("gone")
    ring = await read({}, keys, clock)
    assert who(ring, expiring) == info.id
    clock.now += 3599.9
    assert who(ring, expiring) == info.id
    clock.now += 0.1
    said = set()
    for key in (expiring, revoked, "sk-h2o-never-there"):
        with pytest.raises(Unauthorized) as caught:
            ring.find(bearer(key))
        said.add((caught.value.message, caught.value.code, caught.value.status))
    assert len(said) == 1
    await keys.change("short", {"expires": None})
    await ring.refresh()
    assert who(ring, expiring) == info.id


async def test_the_old_key_is_good_for_the_grace_time(keys: Keys, clock: Clock) -> None:
    info, first = await keys.create({"name": "ci", "expires": "2h"})
    _, second = await keys.rotate("ci", 3600)
    ring = await read({}, keys, clock)
    assert [who(ring, first), who(ring, second)] == [info.id, info.id]
    clock.now += 3600
    assert [who(ring, first), who(ring, second)] == ["invalid_api_key", info.id]
    _, third = await keys.rotate("ci", 36000)
    await ring.refresh()
    clock.now += 3600
    assert who(ring, second) == who(ring, third) == "invalid_api_key", "grace does not outlive it"


async def test_the_last_key_that_goes_does_not_open_the_relay(keys: Keys, clock: Clock) -> None:
    info, _ = await keys.create({"name": "ci"})
    ring = await read({}, keys, clock)
    await keys.revoke(info.id)
    await ring.refresh()
    assert (who(ring), who(ring, "x")) == ("missing_api_key", "invalid_api_key")
    again = await read({}, keys, clock)
    assert who(again) == "missing_api_key"


async def test_a_store_that_was_emptied_does_not_open_the_relay(
    keys: Keys, store: Store, clock: Clock
) -> None:
    await keys.create({"name": "ci"})
    ring = await read({}, keys, clock)

    def empty(session: Any) -> None:
        session.execute(text("DELETE FROM keys"))
        session.execute(text("UPDATE key_state SET revision = 0"))

    await store.run(empty)
    await ring.refresh()
    assert (who(ring), ring.trouble) == ("missing_api_key", None)


async def test_who_administers(keys: Keys, clock: Clock) -> None:
    info, admin = await keys.create({"name": "root", "admin": True})
    _, plain = await keys.create({"name": "ci"})
    settings = {"admin_pass": MASTER, "api_key": OWN, "h2ogpt_api_keys": LIST}
    ring = await read(settings, keys, clock)
    assert ring.find_admin(bearer(MASTER)) is ADMIN
    assert ring.find_admin(bearer(INTERNAL)) is PAGE
    assert administers(ring, admin) == info.id
    for key in (plain, OWN, ONE, "x", "", MASTER + "x"):
        assert administers(ring, key) == "invalid_api_key"
    assert administers(ring) == "invalid_api_key"
    assert administers(ring, admin, "x") == administers(ring, "x", MASTER) == "invalid_api_key"
    assert who(ring, admin) == info.id, "it is a key as well"
    await keys.change("root", {"admin": False})
    await ring.refresh()
    assert administers(ring, admin) == "invalid_api_key"


# A store that cannot be read.


async def test_while_the_store_was_never_read_nothing_passes_that_it_would_decide(
    keys: Keys, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    info, key = await keys.create({"name": "ci", "admin": True})
    source = Broken(keys)
    ring = KeyRing(quick(admin_pass=MASTER), source, internal=INTERNAL, clock=clock)
    for _ in range(2):
        assert ring.unread
        assert [who(ring), who(ring, key), who(ring, "x")] == ["auth_unavailable"] * 3
        assert [who(ring, INTERNAL), administers(ring, MASTER)] == ["page", "admin"]
        assert [administers(ring, key), administers(ring)] == [
            "auth_unavailable", "invalid_api_key"
        ]  # fmt: skip
        await ring.refresh()
    with pytest.raises(Overloaded) as caught:
        ring.find(bearer(key))
    assert (caught.value.status, caught.value.retry_after) == (503, module.REFRESH)
    assert ring.trouble == "the store is gone"
    await ring.refresh()
    assert len([r for r in caplog.records if r.levelno == logging.ERROR]) == 1, "once"
    source.broken = False
    await ring.refresh()
    assert (ring.trouble, ring.unread, who(ring, key)) == (None, False, info.id)


async def test_keys_of_the_settings_need_no_store(clock: Clock) -> None:
    ring = await read({"api_key": OWN, "h2ogpt_api_keys": LIST}, Broken(), clock)
    assert who(ring, OWN) == "env"
    assert who(ring, ONE).startswith("list-")
    assert (who(ring, "x"), who(ring)) == ("auth_unavailable", "missing_api_key")
    assert who(ring, OWN, "x") == "auth_unavailable"


async def test_where_keys_are_not_enforced_there_is_nothing_to_decide(clock: Clock) -> None:
    ring = await read({"enforce_h2ogpt_api_key": False}, Broken(), clock)
    assert ring.find(bearer("x")) is OPEN


async def test_a_store_that_fails_later_leaves_the_keys_as_they_were(
    keys: Keys, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    info, key = await keys.create({"name": "ci"})
    _, expiring = await keys.create({"name": "short", "expires": "1h"})
    source = Broken(keys)
    source.broken = False
    ring = await read({}, source, clock)
    source.broken = True
    source.error = ValueError("no database is like that")
    clock.now += 7200
    for _ in range(3):
        await ring.refresh()
    assert [who(ring, key), who(ring, "x"), who(ring, expiring)] == [
        info.id, "invalid_api_key", "invalid_api_key",
    ]  # fmt: skip
    assert ring.trouble == "ValueError: no database is like that"
    source.broken = False
    await keys.revoke(info.id)
    await ring.refresh()
    assert (who(ring, key), ring.trouble) == ("invalid_api_key", None)
    told = [r.getMessage() for r in caplog.records if r.name == module.__name__]
    assert len([line for line in told if "cannot be read" in line]) == 1
    assert key not in caplog.text


def moved(file: Path) -> Path:
    """A copy of a database whose own files are removed."""
    copy = file.with_name("backup.db")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    return copy


def put_back(copy: Path, file: Path) -> None:
    for path in file.parent.glob(f"{file.name}*"):
        path.unlink()
    copy.rename(file)


async def test_a_store_that_was_lost_revokes_nobody(clock: Clock, tmp_path: Path) -> None:
    gone: list[str] = []
    file = tmp_path / "relay.db"
    async with LastingStore(f"sqlite:///{file}") as store:
        keys = Keys(store, clock)
        info, key = await keys.create({"name": "ci"})
        ring = await read({}, keys, clock)
        ring.on_revoked(gone.append)
        backup = moved(file)
        for _ in range(2):
            await ring.refresh()
            assert (who(ring, key), who(ring), gone) == (info.id, "missing_api_key", [])
            assert ring.trouble == module.REPLACED
        put_back(backup, file)
        await ring.refresh()
        assert (who(ring, key), ring.trouble) == (info.id, None)
        await keys.revoke("ci")
        await ring.refresh()
        assert (who(ring, key), gone) == ("invalid_api_key", [info.id])


async def test_a_store_that_cannot_be_opened_yet(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("h2o_relay.store.lasting.AGAIN", 0.0)
    url = f"sqlite:///{tmp_path}/data/relay.db"
    async with LastingStore(url) as other:
        info, key = await Keys(other, clock).create({"name": "ci"})
    (tmp_path / "data").rename(tmp_path / "away")
    (tmp_path / "data").write_text("a file")
    async with LastingStore(url) as store:
        ring = await read({}, Keys(store, clock), clock)
        assert (who(ring, key), who(ring)) == ("auth_unavailable", "auth_unavailable")
        assert ring.trouble is not None
        (tmp_path / "data").unlink()
        (tmp_path / "away").rename(tmp_path / "data")
        await ring.refresh()
        assert (who(ring, key), ring.trouble) == (info.id, None)


# In the background.


async def test_changes_are_seen_by_themselves(
    keys: Keys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH", 0.02)
    gone: list[str] = []
    async with KeyRing(quick(), keys, clock=clock) as ring:
        ring.on_revoked(gone.append)
        await ring.settled(5)
        assert not ring.unread
        info, key = await keys.create({"name": "ci"})
        await until(lambda: who(ring, key) == info.id, within=5)
        await keys.rotate("ci", 60)
        await keys.revoke("ci")
        await until(lambda: gone == [info.id], within=5)
        assert who(ring, key) == "invalid_api_key"
        await asyncio.sleep(0.1)
    assert gone == [info.id], "once"


async def test_a_callback_that_fails_is_no_matter(
    keys: Keys, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    info, key = await keys.create({"name": "ci"})
    ring, gone = await read({}, keys, clock), list[str]()

    def broken(id: str) -> None:
        raise ValueError(id)

    ring.on_revoked(broken)
    ring.on_revoked(gone.append)
    await keys.revoke("ci")
    await ring.refresh()
    assert (gone, who(ring, key)) == ([info.id], "invalid_api_key")
    assert "could not be ended" in caplog.text


async def test_a_key_that_leaves_h2ogpts_file_is_revoked(
    keys: Keys, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("h2o_relay.api_keys.LOOK_AGAIN", 0.0)
    file = tmp_path / "keys.json"
    file.write_text(json.dumps([ONE, TWO]))
    ring, gone = KeyRing(quick(h2ogpt_api_keys=str(file)), keys, clock=clock), list[str]()
    ring.on_revoked(gone.append)
    await ring.refresh()
    one = who(ring, ONE)
    file.write_text(json.dumps([TWO]))
    os.utime(file, (1, 1))
    await ring.refresh()
    assert (gone, who(ring, ONE)) == ([one], "invalid_api_key")


async def test_when_keys_were_presented_is_noted(
    keys: Keys, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFRESH", 0.02)
    monkeypatch.setattr(module, "FLUSH", 0.02)
    _, key = await keys.create({"name": "ci"})
    _, other = await keys.create({"name": "other"})
    async with KeyRing(quick(), keys, clock=clock) as ring:
        await ring.settled(5)
        assert who(ring, key) != who(ring, "wrong")
        async with asyncio.timeout(10):
            while (await keys.get("ci")).used != clock.now:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
        clock.now += 5
        monkeypatch.setattr(module, "FLUSH", 1000)
        who(ring, other)
    used = [(await keys.get(name)).used for name in ("ci", "other")]
    assert used == [clock.now - 5, clock.now], "also at the end"


async def test_what_could_not_be_noted_is_noted_later(keys: Keys, clock: Clock) -> None:
    info, key = await keys.create({"name": "ci"})
    source = Broken(keys)
    source.broken = False
    ring = await read({}, source, clock)
    who(ring, key)
    source.broken = True
    await ring.flush()
    source.broken = False
    await ring.flush()
    assert (await keys.get(info.id)).used == clock.now


async def test_requests_can_wait_for_a_store_that_is_being_opened(keys: Keys, clock: Clock) -> None:
    opening = asyncio.Event()

    class Late(Broken):
        async def snapshot(self, seen: int | None) -> Snapshot | None:
            await opening.wait()
            return await keys.snapshot(seen)

    async with KeyRing(quick(), Late(), clock=clock) as ring:
        await ring.settled(0.05)
        assert (ring.unread, who(ring)) == (True, "auth_unavailable")
        waiting = asyncio.create_task(ring.settled(20))
        opening.set()
        await waiting
        assert (ring.unread, who(ring)) == (False, "open")


async def test_a_lookup_takes_microseconds(keys: Keys, clock: Clock) -> None:
    _, key = await keys.create({"name": "ci"})
    ring = await read({"api_key": OWN, "h2ogpt_api_keys": LIST}, keys, clock)
    headers = bearer(key)
    loop = asyncio.get_running_loop()
    best = 1.0
    for _ in range(20):
        start = loop.time()
        for _ in range(100):
            ring.find(headers)
        best = min(best, (loop.time() - start) / 100)
    assert best < 200e-6
