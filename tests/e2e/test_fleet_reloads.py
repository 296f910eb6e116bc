"""Reload after reload while requests run all the time: none of them notices.

The file is another one each time, and the relay hears of it in all three ways: an administrator, a
signal, and its own look at the file. The name of the model `turn-N` shows which file is in force.
"""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from h2o_relay.testing.bench import Bench
from h2o_relay.testing.upstream import until

from ..proxy.faults_views import Http
from .fleet_kit import (
    ADMIN,
    LATE,
    SOON,
    Relay,
    entry,
    grown,
    hang_up,
    intact,
    needs_linux,
    post,
    serving,
    write,
)

pytestmark = [pytest.mark.e2e, needs_linux]
STREAM = "ok@tokens=20~delay=25"
WHOLE = "ok@tokens=5"
MODELS = {"same": STREAM, "moved": STREAM, "limited": WHOLE, "hidden": WHOLE, "pool": WHOLE}
"""Those that every file has, and what they are at their servers."""
TOKENS = {STREAM: 20, WHOLE: 5}
WATCHED = 25  # of so many reloads one is left to the relay's own look at the file
BAD = 20  # after so many reloads there is a file that is wrong
WRONG = "h2o.yaml is wrong, the old configuration goes on: line 1: models[0].base_modle"
WORKERS = 2  # at each model, streamed and whole
BREATH = 0.02  # seconds between a worker's requests: they are to be many, not all that there can be
SIZES = [
    pytest.param(100, marks=pytest.mark.timeout(180)),
    pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
]


def configured(benches: list[Bench], turn: int) -> dict[str, Any]:
    """`moved` changes its server, `limited` and `hidden` what is said of them, the pool its members
    and strategy, and two servers out of five come and go.
    """
    one, two, three = benches
    odd = turn % 2
    models = [
        entry("same", one.url, STREAM),
        entry("moved", (two if odd else three).url, STREAM),
        entry("limited", two.url, WHOLE, concurrency_count=1 + turn % 3),
        entry("hidden", three.url, WHOLE, visible=bool(odd)),
        entry("member-0", one.url, WHOLE),
        entry("member-1", two.url, WHOLE),
        entry(f"turn-{turn}", one.url, WHOLE),
    ]
    if odd:
        models += [entry("member-2", three.url, WHOLE), entry("guest", one.url, WHOLE)]
    members = ["member-0", "member-2"] if odd else ["member-1", "member-0"]
    strategy = ("least-load", "priority", "sticky")[turn % 3]
    return {"models": models, "pools": {"pool": {"members": members, "strategy": strategy}}}


@dataclass
class Load:
    """Requests without end; the first that is not well ends the test."""

    running: Relay
    done: Counter[str] = field(default_factory=Counter)
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def __aenter__(self) -> Load:
        for name, streamed, _ in itertools.product(MODELS, (True, False), range(WORKERS)):
            self.tasks.append(asyncio.create_task(self._work(name, streamed)))
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    def check(self) -> None:
        for task in self.tasks:
            if task.done():
                task.result()

    async def _work(self, name: str, streamed: bool) -> None:
        while True:
            reply = await self.running.ask(name, streamed)
            intact(reply, streamed, TOKENS[MODELS[name]])
            self.done[name] += 1
            await asyncio.sleep(BREATH)


async def reload(running: Relay, turn: int) -> None:
    """Have the file read, in one way or another, and wait until it is in force."""
    if turn % WATCHED == 0:
        pass
    elif turn % 2:
        running.process.send_signal(signal.SIGHUP)
    else:
        reply = await administer(running)
        assert reply.status == 200, reply.body
    deadline = time.monotonic() + 20
    while f"turn-{turn}" not in await running.models():
        assert time.monotonic() < deadline, f"turn {turn} is not in force"
        await asyncio.sleep(0.01)


async def administer(running: Relay) -> Any:
    headers = {"Authorization": f"Bearer {ADMIN}"}
    return await running.send(post({}, "/admin/config/reload", headers))


async def spoil(running: Relay, path: Path, turn: int) -> None:
    """A file that is wrong: it is refused with the reason, and what there was goes on."""
    before = await running.models()
    write(path, {"models": [{"inference_server": "vllm_chat:", "base_modle": "x"}]})
    Http(400, "invalid_config", "invalid_request_error").check(await administer(running), False)
    told = running.output.count(WRONG)
    running.process.send_signal(signal.SIGHUP)
    await until(lambda: running.output.count(WRONG) > told, within=SOON)
    assert await running.models() == before


@pytest.mark.parametrize("count", SIZES)
async def test_no_request_notices(count: int, tmp_path: Path) -> None:
    names = {STREAM, WHOLE}
    async with (
        Bench(also=names) as one,
        Bench(also=names) as two,
        Bench(also=names) as three,
        serving(tmp_path, configured([one, two, three], 0)) as running,
    ):
        benches, path = [one, two, three], tmp_path / "h2o.yaml"
        await turns(running, benches, path, range(1, 11))  # what stays from then on is known
        before = await at_rest(running, benches)
        async with Load(running) as load:
            await turns(running, benches, path, range(11, 11 + count), load)
            done = load.done
        # As many servers as before, so that as much is held.
        last = 11 + count + (11 + count) % 2
        await turns(running, benches, path, range(last, last + 1))
        after = await at_rest(running, benches)
        late = time.monotonic() + LATE
        while grown(before, after) and time.monotonic() < late:
            after = await at_rest(running, benches)  # what is leaking stays
        print(f"{count} reloads, {done.total()} requests: {dict(done)}")
        print(f"before {before}, after {after}")
        assert set(done) == set(MODELS)
        assert not grown(before, after), (before, after)
    assert "Traceback" not in running.output


async def turns(
    running: Relay, benches: list[Bench], path: Path, which: range, load: Load | None = None
) -> None:
    for turn in which:
        if turn % BAD == 0:
            await spoil(running, path, turn)
        write(path, configured(benches, turn))
        await reload(running, turn)
        if load is not None:
            load.check()


async def at_rest(running: Relay, benches: list[Bench]) -> dict[str, int]:
    await running.says("are kept in", within=60)  # the store has its files
    await hang_up(benches)
    await asyncio.sleep(1)  # for what is closed
    return await running.holds()


@pytest.mark.timeout(60)
async def test_a_changed_limit_holds_from_then_on(tmp_path: Path) -> None:
    """For what comes later; what runs already is counted, and who waits goes on waiting."""
    slow = "ok@first=1000"
    async with Bench(also=[slow]) as bench:

        def limited(count: int) -> dict[str, Any]:
            models = [entry("limited", bench.url, slow, concurrency_count=count)]
            return {"models": [*models, entry(f"turn-{count}", bench.url, slow)]}

        async with serving(tmp_path, limited(1)) as running:
            path, count = tmp_path / "h2o.yaml", bench.count(slow)
            first = [asyncio.create_task(running.ask("limited")) for _ in range(5)]
            await until(lambda: count.open == 1, within=SOON)
            await asyncio.sleep(0.3)
            assert count.open == 1
            write(path, limited(3))
            assert (await administer(running)).status == 200
            await until(lambda: count.open == 3, within=SOON)
            await asyncio.gather(*first)
            write(path, limited(2))
            assert (await administer(running)).status == 200
            later = [asyncio.create_task(running.ask("limited", False)) for _ in range(5)]
            await until(lambda: count.open == 2, within=SOON)
            await asyncio.sleep(0.3)
            assert count.open == 2
            for reply in await asyncio.gather(*later):
                intact(reply, False)
