"""The models that were added: a store that does not open holds nobody up, and is tried again."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from h2o_relay import store
from h2o_relay.administration import Administration
from h2o_relay.errors import StoreError
from h2o_relay.kernel import Kernel
from h2o_relay.plugins import Plugins
from h2o_relay.settings import SettingError
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import until
from h2o_relay_proxy import stored as module
from h2o_relay_proxy.server import restored
from h2o_relay_proxy.stored import MOST, NOT_KEPT, WAITING, Stored, check_store, stored_models

ENTRY = {"inference_server": "echo"}
OTHER = {"inference_server": "echo", "base_model": "other"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN", 0.02)
    monkeypatch.setattr(store.lasting, "AGAIN", 0.0)


class Keeping:
    """A keeper that can be read and written while `well`, and that stops while `slow` is unset."""

    def __init__(self, **entries: Mapping[str, Any]) -> None:
        self.entries: dict[str, Mapping[str, Any]] = dict(entries)
        self.well = True
        self.slow = asyncio.Event()
        self.slow.set()

    async def all(self) -> Sequence[tuple[str, Mapping[str, Any]]]:
        self._check()
        return list(self.entries.items())

    async def put(self, id: str, entry: Mapping[str, Any]) -> None:
        self._check()
        await self.slow.wait()
        self.entries[id] = entry

    async def delete(self, id: str) -> None:
        self._check()
        self.entries.pop(id, None)

    def _check(self) -> None:
        if not self.well:
            raise StoreError("it is gone")


def blocked(folder: Path) -> Path:
    """A folder that no store can be made in: there is a file of its name."""
    place = folder / "data"
    place.write_text("")
    return place


async def test_what_was_put_is_there_in_the_next_run(tmp_path: Path) -> None:
    settings = quick(save_dir=str(tmp_path))
    async with stored_models(settings) as stored:
        await stored.put("one", ENTRY)
        await stored.put("two", ENTRY)
        await stored.delete("one")
    async with stored_models(settings) as stored:
        assert list(await stored.all()) == [("two", ENTRY)]


async def test_a_store_that_comes_later_has_what_was_put_before(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    place = blocked(tmp_path)
    settings = quick(save_dir=str(place))
    async with stored_models(settings) as stored, asyncio.timeout(20):
        await stored.put("one", ENTRY)
        await stored.put("two", ENTRY)
        await stored.put("two", OTHER)
        await stored.delete("one")
        reading = asyncio.create_task(stored.all())
        await asyncio.sleep(0.2)
        assert not reading.done()
        assert caplog.text.count(WAITING) == 1
        place.unlink()
        await until(lambda: "is in it now" in caplog.text, within=10)
        await stored.put("three", ENTRY)
        assert {id for id, _ in await reading} <= {"one", "two"}
        assert list(await stored.all()) == [("two", OTHER), ("three", ENTRY)]
    assert "Traceback" not in caplog.text


async def test_what_is_put_while_the_rest_is_on_its_way_comes_after_it() -> None:
    stored, keeper = Stored(), Keeping()
    keeper.well = False
    with pytest.raises(StoreError):
        await stored.settle(keeper)
    await stored.put("one", ENTRY)
    keeper.well = True
    keeper.slow.clear()
    settling = asyncio.create_task(stored.settle(keeper))
    await asyncio.sleep(0)
    await stored.put("one", OTHER)
    await stored.put("two", ENTRY)
    keeper.slow.set()
    await settling
    assert keeper.entries == {"one": OTHER, "two": ENTRY}
    keeper.well = False
    with pytest.raises(StoreError, match="it is gone"):
        await stored.put("three", ENTRY)


async def test_a_store_that_fails_half_way_gets_the_rest_later() -> None:
    stored, keeper = Stored(), Keeping()
    keeper.well = False
    with pytest.raises(StoreError):
        await stored.settle(keeper)
    await stored.put("one", ENTRY)
    await stored.put("two", ENTRY)

    async def full(id: str, entry: Mapping[str, Any]) -> None:
        if id == "two":
            raise StoreError("the disk is full")
        keeper.entries[id] = entry

    keeper.well, keeper.put = True, full  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="full"):
        await stored.settle(keeper)
    assert list(await stored.all()) == [("one", ENTRY)]
    await stored.put("three", ENTRY)  # waits with the others
    del keeper.put
    await stored.settle(keeper)
    assert list(keeper.entries) == ["one", "two", "three"]


async def test_only_so_much_waits(caplog: pytest.LogCaptureFixture) -> None:
    stored, keeper = Stored(), Keeping()
    keeper.well = False
    with pytest.raises(StoreError):
        await stored.settle(keeper)
    for number in range(MOST):
        await stored.put(str(number), ENTRY)
    with pytest.raises(StoreError, match=f"{MOST} changes wait"):
        await stored.put("more", ENTRY)
    await stored.put("0", OTHER)
    stored.tell()
    assert f"{MOST} models or pools" in caplog.text


@pytest.mark.parametrize("error", [ImportError("x"), RuntimeError("x")])
async def test_without_a_store_nothing_is_kept_and_the_log_says_so(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(store, "LastingStore", fail)
    async with stored_models(quick()) as stored, asyncio.timeout(10):
        await stored.put("one", ENTRY)
        assert list(await stored.all()) == []
    assert NOT_KEPT in caplog.text


async def test_a_store_of_a_newer_relay_is_named_and_left_as_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings = quick(save_dir=str(tmp_path))
    async with stored_models(settings) as stored:
        await stored.put("one", ENTRY)
    with closing(sqlite3.connect(tmp_path / "relay.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    async with stored_models(settings), asyncio.timeout(10):
        await until(lambda: "newer h2o relay" in caplog.text, within=5)
    assert f"{WAITING}: the store" in caplog.text


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("nonsense", "cannot be read"),
        ("nothing://here/there", "no database of the kind 'nothing'"),
        ("sqlite+aiosqlite:///x.db", "is a driver for asyncio|not installed"),
        ("mysql+pymysql://a:canary-9f@b/c", "'pymysql', which is not installed"),
    ],
)
def test_a_store_that_cannot_be_is_refused_at_the_start(url: str, why: str) -> None:
    with pytest.raises(SettingError, match=why) as caught:
        check_store(quick(store=url))
    assert "--store" in str(caught.value)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("url", [None, "", "sqlite://", "sqlite:////nowhere/at/all.db"])
def test_a_store_that_is_not_there_yet_is_no_reason_to_stop(url: str | None) -> None:
    check_store(quick(store=url))


async def test_what_was_added_before_is_served_once_the_store_is_there(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And a pool that was made meanwhile stays as it was made."""
    pool = {"pool": "both", "members": ["a"]}
    keeper = Keeping(x={**ENTRY, "base_model": "early"}, y=pool)
    keeper.well = False
    async with Kernel(quick(), [], Plugins.of(echo=echo)) as kernel:
        admin = Administration(kernel, keeper)
        serving = asyncio.create_task(restored(admin))
        await until(lambda: "it is gone" in caplog.text, within=5)
        keeper.well = True
        await admin.add({**ENTRY, "base_model": "a"})
        await admin.put_pool({"name": "both", "members": ["early"]})
        await asyncio.wait_for(serving, 5)
        assert kernel.snapshot.pools["both"].spec.members == ("early",)
        assert {model.name for model in kernel.models()} >= {"a", "early"}
        await admin.restore()
        assert [d.name for d in admin.deployments() if d.name.startswith("early")] == ["early"]
    assert "y" not in keeper.entries
    assert caplog.text.count("it is gone") == 1
