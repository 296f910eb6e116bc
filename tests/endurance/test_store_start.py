"""What is confirmed while the store is not what it should be, and a start without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from ..e2e.fleet_kit import Relay, needs_linux
from ..proxy.kit import get
from . import trouble
from .callers import Watched
from .mix import BENCH
from .relays import KEY, add, configured, listed, make_key, names, serving
from .stored import HEALED, TOLD, TROUBLE, ask, decided, is_troubled, started

pytestmark = [pytest.mark.e2e, needs_linux, pytest.mark.timeout(240)]


@pytest.mark.parametrize("how", ["full", "gone"])
async def test_what_cannot_be_kept_is_not_confirmed(tmp_path: Path, how: str) -> None:
    trouble.movable(tmp_path / "data")
    async with Watched(list(BENCH.values())) as bench:
        async with started(tmp_path, bench.url) as stored:
            running = stored.relay
            await running.says("are kept in", TOLD)
            pid, folder = running.process.pid, tmp_path / "data"
            with trouble.no_bytes_more(pid) if how == "full" else trouble.replaced(folder):
                for reply in (await add(running, bench, "never"), await make_key(running)):
                    assert reply.status >= 500, (reply.status, reply.body)
                    assert "store" in reply.error["message"], reply.body
            assert (await add(running, bench, "later")).status == 201
            made = await make_key(running)
            assert made.status == 201
            assert "Traceback" not in running.output
        async with serving(tmp_path, configured(tmp_path, bench.url)) as running:
            await listed(running, ["later"])
            assert "never" not in await names(running)
            assert (await ask(running, made.json()["key"])).status == 200


@pytest.mark.parametrize(
    ("how", "keyed"),
    [
        pytest.param("locked", True, id="locked"),
        pytest.param("gone", True, id="gone", marks=pytest.mark.slow),
        pytest.param("gone", False, id="gone, no key set"),
        pytest.param("postgresql", True, id="postgresql"),
        pytest.param("locked", False, id="locked, no key set", marks=pytest.mark.slow),
        pytest.param("postgresql", False, id="postgresql, no key set", marks=pytest.mark.slow),
    ],
)
async def test_a_start_without_its_store(
    tmp_path: Path, how: str, keyed: bool, request: pytest.FixtureRequest
) -> None:
    """A key that cannot be decided is answered 503; it is never a pass."""
    trouble.movable(tmp_path / "data")
    store = None
    if how == "postgresql":
        server = request.getfixturevalue("own_postgres")
        store = server.url
    async with Watched(list(BENCH.values())) as bench:
        async with started(tmp_path, bench.url, store) as stored:
            key = stored.key
        config = configured(tmp_path, bench.url, **({"store": store} if store else {}))
        if not keyed:
            del config["settings"]["api_key"]
        bad: dict[str, Callable[[], Any]] = {
            "locked": lambda: trouble.locked(tmp_path / "data" / "relay.db", whole=True),
            "gone": lambda: trouble.beside(trouble.replaced(tmp_path / "data")),
            "postgresql": lambda: trouble.beside(trouble.stopped(server)),
        }
        async with AsyncExitStack() as stack:
            async with bad[how]():
                running = await stack.enter_async_context(serving(tmp_path, config))
                await undecided(running, key, keyed)
            await decided(running, key)
            await running.says("is stored again|can be read again", HEALED)
            assert "Traceback" not in running.output


async def test_models_that_are_added_are_kept_once_the_store_is_there(tmp_path: Path) -> None:
    """Those that are added before it is as well; and those of earlier runs are served."""
    trouble.movable(tmp_path / "data")
    async with Watched(list(BENCH.values())) as bench:
        async with started(tmp_path, bench.url) as stored:
            assert (await add(stored.relay, bench, "early")).status == 201
        config = configured(tmp_path, bench.url)
        async with AsyncExitStack() as stack:
            async with trouble.beside(trouble.replaced(tmp_path / "data")):
                running = await stack.enter_async_context(serving(tmp_path, config))
                await running.says("models that are added", TOLD)
                assert (await add(running, bench, "meanwhile")).status == 201
                assert await is_troubled(running)
            await decided(running, stored.key)
            await listed(running, ["early", "meanwhile"])
            assert (await add(running, bench, "late")).status == 201
            await running.says("could be opened is in it now", HEALED)
            assert "Traceback" not in running.output
        async with serving(tmp_path, config) as running:
            await listed(running, ["early", "meanwhile", "late"])


async def undecided(running: Relay, key: str, keyed: bool) -> None:
    """Nobody can tell whether a key is good, but for the one that was set."""
    for number in range(8):
        for presented in (key, "sk-wrong-canary-3e0d"):
            reply = await ask(running, presented)
            assert (reply.status, reply.error["code"]) == (503, "auth_unavailable"), reply.body
            assert int(reply.headers["retry-after"]) > 0
        missing = await ask(running, None)
        expected = [(401, "missing_api_key")] if keyed else [(503, "auth_unavailable")]
        assert (missing.status, missing.error["code"]) in expected, missing.body
        if keyed:
            assert (await ask(running, KEY)).status == 200
        await asyncio.sleep(0.1 if number else 2.5)
    assert (await running.send(get("/health"))).status == 200
    await running.says(TROUBLE, TOLD)
