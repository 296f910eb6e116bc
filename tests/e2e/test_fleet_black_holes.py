"""Twenty servers, and ten of them are black holes: nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.testing.bench import Bench, mute, unaccepting
from h2o_relay.testing.upstream import until

from .fleet_kit import Relay, entry, get, intact, needs_linux, serving

pytestmark = [pytest.mark.e2e, needs_linux, pytest.mark.timeout(120)]
EACH = 5  # of the servers that accept nobody, and of those that say nothing; twice that are well
STARTS = 5.0  # seconds
FIRST = 0.2
TRIES = 3  # starts, one of which must be that quick: this machine may have a bad moment
ASKED = 6  # requests after which nobody goes on asking
BACK = 5.0
HASTY = ("--connect-timeout=1", "--request-timeout=1", "--first-byte-timeout=1")
PROBED = 15.0  # within which a server that is back has been looked at


class Hole:
    """A port that swallows all, until a server is there."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self._stack = contextlib.AsyncExitStack()
        self.url = ""
        self._port = 0

    async def __aenter__(self) -> Hole:
        made = self._kind()
        peer = (
            await self._stack.enter_async_context(made)
            if hasattr(made, "__aenter__")
            else self._stack.enter_context(made)
        )
        self.url, self._port = peer.url, peer.port
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def revive(self) -> Bench:
        """From now on a server that is well has the port."""
        await self._stack.aclose()
        return await self._stack.enter_async_context(Bench(port=self._port))


class Fleet:
    """`holes` accept nobody (the first half) or say nothing."""

    def __init__(self, running: Relay, holes: list[Hole]) -> None:
        self.running, self.holes = running, holes


@contextlib.asynccontextmanager
async def fleet(folder: Path, *arguments: str) -> AsyncIterator[Fleet]:
    """Servers `well-0` to `well-9` and `hole-0` to `hole-9`, and a pool `half` of four of them. The
    last hole of each kind is a bare URL.
    """
    async with contextlib.AsyncExitStack() as stack:
        benches = [await stack.enter_async_context(Bench()) for _ in range(2 * EACH)]
        kinds = [unaccepting] * EACH + [mute] * EACH
        holes = [await stack.enter_async_context(Hole(kind)) for kind in kinds]
        models = [entry(f"hole-{n}", hole.url, "ok") for n, hole in enumerate(holes)]
        for place in (EACH - 1, 2 * EACH - 1):
            models[place]["inference_server"] = holes[place].url
        models += [entry(f"well-{n}", bench.url, "ok") for n, bench in enumerate(benches)]
        pool = {"members": ["hole-0", "well-0", f"hole-{EACH}", "well-1"]}
        config = {"models": models, "pools": {"half": pool}}
        yield Fleet(await stack.enter_async_context(serving(folder, config, *arguments)), holes)


async def timed(running: Relay, model: str, streamed: bool) -> float:
    start = time.monotonic()
    reply = await running.ask(model, streamed)
    took = time.monotonic() - start
    intact(reply, streamed)
    return took


async def listed(running: Relay) -> float:
    start = time.monotonic()
    reply = await running.send(get("/v1/models"))
    took = time.monotonic() - start
    names = {entry["id"] for entry in reply.json()["data"]}
    assert len(names) == 4 * EACH + 1, names
    return took


async def test_nobody_waits_for_a_black_hole(tmp_path: Path) -> None:
    """The list, the first answer of one server and the first of a pool are there at once."""
    seen = []
    for turn in range(TRIES):
        folder = tmp_path / str(turn)
        folder.mkdir()
        async with fleet(folder) as found:
            running = found.running
            firsts = [
                await listed(running),
                *[await timed(running, name, True) for name in ("well-3", "half")],
                *[await timed(running, name, False) for name in ("well-4", "half")],
            ]
            seen.append((running.started, *firsts))
            print(f"start {running.started:.2f} s, then", [f"{took:.3f}" for took in firsts])
            if running.started < STARTS and max(firsts) < FIRST:
                return
    pytest.fail(f"start, list, streams and whole answers took {seen} s")


async def test_a_revived_server_is_used(tmp_path: Path) -> None:
    """One of each kind alone, and both that are in the pool; all were given up before."""
    async with fleet(tmp_path, *HASTY) as found:
        running = found.running
        alone = [1, EACH + 1]
        await given_up(running, [f"hole-{place}" for place in alone])
        await timed(running, "half", True)
        took = await asyncio.gather(
            *(back(running, found.holes[place], f"hole-{place}") for place in alone),
            *(back(running, found.holes[place], "half") for place in (0, EACH)),
        )
        print("in use after its probe:", [f"{seconds:.2f}" for seconds in took])
        assert max(took) < BACK
        for place in alone:
            assert await timed(running, f"hole-{place}", False) < BACK


async def given_up(running: Relay, asked: list[str]) -> None:
    """Have all holes looked at in vain, and some asked until they are asked no more."""
    asking = [running.ask(name) for name in asked for _ in range(ASKED)]
    replies = await asyncio.gather(*asking)
    assert {reply.status for reply in replies} <= {502, 503, 504}, replies
    deadline = time.monotonic() + PROBED
    while True:
        data = (await running.send(get("/v1/models"))).json()["data"]
        states = {one["id"]: one["h2o"]["state"] for one in data if one["id"].startswith("hole-")}
        if set(states.values()) == {"offline"}:
            return
        assert time.monotonic() < deadline, states
        await asyncio.sleep(0.1)


async def back(running: Relay, hole: Hole, model: str) -> float:
    """Seconds between the first probe that a revived server answers and its first request."""
    bench = await hole.revive()
    loop = asyncio.get_running_loop()
    start = loop.time()
    await until(lambda: any(r.method == "GET" for r in bench.requests), within=PROBED)
    probed = loop.time()
    while not (asked := [r for r in bench.requests if r.method == "POST"]):
        assert loop.time() - probed < 2 * BACK, f"{model} is not used"
        await running.ask(model)
        await asyncio.sleep(0.02)
    print(f"{model}: probed {probed - start:.2f} s after its return")
    return asked[0].at - probed
