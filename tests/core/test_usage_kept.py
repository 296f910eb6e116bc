"""`KeptUsage`: a relay's usage from the first request to the next start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.accounting import usage_kept as module
from h2o_relay.accounting.prices import Price, Prices
from h2o_relay.accounting.usage_kept import KeptUsage
from h2o_relay.accounting.usage_query import UsageQuery
from h2o_relay.errors import StoreError
from h2o_relay.store import Keys, Store
from h2o_relay.testing.settings import quick

from .usage_kit import DAY, record

PRICES = Prices({"m": Price(input=1, output=1)}, "EUR")
ALL = UsageQuery(by=())


def kept(folder: Path, **changes: Any) -> KeptUsage:
    return KeptUsage(quick(save_dir=str(folder), **changes), lambda: PRICES)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_what_is_noted_is_told_at_once_and_after_the_next_start(tmp_path: Path) -> None:
    now = time.time()
    async with kept(tmp_path) as usage:
        for number in range(5):
            usage.note(record(f"{number}", at=now, cost=0.5))
        report = await usage.report(ALL)
        assert (report.rows[0].requests, report.currency, report.trouble) == (5, "EUR", "")
        assert usage.counts == {"stored": 5, "waiting": 0, "dropped": 0}
        usage.note(record("last", at=now, cost=0.5))
        assert await usage.spent("day") == {"k": 3.0}
        usage.note(record("closing", at=now, cost=0.5))
    async with kept(tmp_path) as usage:
        assert (await usage.report(ALL)).rows[0].requests == 7
        assert await usage.spent("total") == {"k": 3.5}


async def test_a_report_that_comes_while_the_relay_stops_opens_nothing(tmp_path: Path) -> None:
    usage = kept(tmp_path)
    async with usage:
        usage.note(record())
        await usage.report(ALL)
    with pytest.raises(StoreError, match="stops"):
        await usage.report(ALL)


async def test_a_store_that_cannot_be_opened_holds_up_nothing(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.write_text("in the way")
    async with kept(tmp_path, store=f"sqlite:///{place}/relay.db") as usage:
        usage.note(record(cost=1.0))
        with pytest.raises(StoreError, match="cannot be opened"):
            await usage.report(ALL)
        assert "cannot be opened" in usage.trouble
        place.unlink()
        await until(lambda: not usage.trouble)
        assert (await usage.report(ALL)).rows[0].requests == 1


async def test_two_relays_of_one_folder_do_not_take_each_others_file(tmp_path: Path) -> None:
    place = tmp_path / "in the way"
    place.write_text("")
    stores = [f"sqlite:///{place}/relay.db", f"sqlite:///{tmp_path}/good.db"]
    async with kept(tmp_path, store=stores[0]) as usage:
        usage.note(record())
    async with kept(tmp_path, store=stores[1]) as usage:
        assert (await usage.report(ALL)).rows[0].requests == 0
    place.unlink()
    async with kept(tmp_path, store=stores[0]) as usage:
        await until(lambda: usage.counts["stored"] == 1)


async def test_keys_have_names_and_can_be_asked_for_by_them(tmp_path: Path) -> None:
    async with Store(f"sqlite:///{tmp_path}/relay.db") as store:
        info, _ = await Keys(store).create({"name": "team a"})
    async with kept(tmp_path) as usage:
        usage.note(record(key=info.id))
        usage.note(record(key="env"))
        report = await usage.report(UsageQuery(by=("key",)))
        assert report.names == {info.id: "team a"}
        assert {row.group["key"] for row in report.rows} == {info.id, "env"}
        for word in ("team a", info.id):
            found = await usage.report(UsageQuery(by=("key",), only={"key": (word,)}))
            assert [row.group["key"] for row in found.rows] == [info.id]


async def test_memory_is_a_store_too() -> None:
    async with KeptUsage(quick(store="sqlite://"), lambda: PRICES) as usage:
        usage.note(record())
        assert (await usage.report(ALL)).rows[0].requests == 1


@pytest.mark.parametrize(("days", "left"), [(10, 3), (0, 5)])
async def test_what_is_too_old_is_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, days: int, left: int
) -> None:
    now = time.time()
    async with kept(tmp_path, usage_days=0) as usage:
        for age in (0, 1, 9, 11, 400):
            usage.note(record(at=now - age * DAY, cost=1.0))
    monkeypatch.setattr(module, "FIRST", 0.0)
    async with kept(tmp_path, usage_days=days) as usage:
        async with asyncio.timeout(30):
            while (await usage.report(ALL)).rows[0].requests != left:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await usage.spent("total") == {"k": 5.0}


async def test_no_driver_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> Any:
        raise ModuleNotFoundError("no", name="sqlalchemy")

    monkeypatch.setattr(module, "import_module", absent)
    async with kept(tmp_path) as usage:
        usage.note(record())
        with pytest.raises(StoreError, match="needs sqlalchemy"):
            await usage.report(ALL)
