"""What is wrong with a relay itself: since when, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from h2o_relay.testing.scripts import json
from h2o_relay.testing.upstream import until
from h2o_relay_proxy.seeing.troubles import ADVICE, Troubles

from .desk_kit import MASTER, bearing, desked
from .kit import assert_error, completion, get

pytestmark = [pytest.mark.asyncio, pytest.mark.usefixtures("leaves_nothing")]


class Part:
    problem: str | None = None

    def __call__(self) -> str | None:
        return self.problem


async def test_each_is_told_from_its_beginning_to_its_end() -> None:
    now, limits, usage = [100.0], Part(), Part()
    troubles = Troubles(lambda: now[0], limits=limits, usage=usage)
    assert troubles.now() == []
    limits.problem = "no Redis"
    [told] = troubles.now()
    assert (told.part, told.problem, told.since) == ("limits", "no Redis", 100.0)
    now[0], limits.problem, usage.problem = 160.0, "still no Redis", "full"
    assert [(one.problem, one.since) for one in troubles.now()] == [
        ("still no Redis", 100.0), ("full", 160.0),
    ]  # fmt: skip
    limits.problem = ""
    assert [one.part for one in troubles.now()] == ["usage"]
    now[0], limits.problem = 200.0, "again"
    assert [one.since for one in troubles.now()] == [200.0, 160.0]


async def test_it_is_noticed_while_nobody_looks() -> None:
    now, part = [100.0], Part()
    troubles = Troubles(lambda: now[0], usage=part)
    async with troubles.watching():
        part.problem = "full"
        await until(lambda: bool(troubles._since), within=10)
        now[0] = 500.0
        assert [one.since for one in troubles.now()] == [100.0]


async def test_the_operator_alone_is_told_what_it_is(tmp_path: Path) -> None:
    async with desked(tmp_path, json(completion())) as relay:
        assert (await relay.ask(get("/admin/trouble", **bearing(MASTER)))).json()["data"] == []
        relay.stored.trouble = "the disk is full: canary"
        relay.ring.trouble = "the store is gone"
        told = (await relay.ask(get("/admin/trouble", **bearing(MASTER)))).json()["data"]
        assert [(one["part"], one["problem"], one["advice"]) for one in told] == [
            ("keys", "the store is gone", ADVICE["keys"]),
            ("usage", "the disk is full: canary", ADVICE["usage"]),
        ]
        health = await relay.ask(get("/health"))
        assert health.json()["trouble"] == "see the log"
        assert b"canary" not in health.body
        assert_error(await relay.ask(get("/admin/trouble")), 401, "invalid_api_key")
