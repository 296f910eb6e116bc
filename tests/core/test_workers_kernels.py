"""Kernels that follow another: they serve what it does, and all know what each has seen."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from h2o_relay import views
from h2o_relay.applying import Wanted
from h2o_relay.errors import Overloaded, RelayError, UpstreamUnavailable
from h2o_relay.http import HttpClient
from h2o_relay.testing.scripts import hang, play
from h2o_relay.testing.upstream import ScriptedUpstream, until
from h2o_relay.types import Endpoint, Server
from h2o_relay.workers.followed_link import FollowedLink

from .pools_kit import ASK, SOON, WIRE, Backend, pool, refusing, spec
from .workers_kit import Team, team

pytestmark = pytest.mark.usefixtures("leaves_nothing")


async def asked(kernel: Any, model: str | None = None) -> str:
    return str((await kernel.generate("chat", {**ASK, "model": model})).text)


async def test_they_serve_what_it_serves() -> None:
    async with team(Backend("a"), Backend("b")) as made:
        names = [one.name for one in made.leader.models()]
        assert names == ["a", "b"]
        for kernel in made.workers:
            assert [one.name for one in kernel.models()] == names
            assert [entry.id for entry in kernel.entries] == [e.id for e in made.leader.entries]
            assert await asked(kernel, "b") == "b"
            assert kernel.instance == made.leader.instance


async def test_they_follow_every_change() -> None:
    async with ScriptedUpstream(Backend("c")) as upstream, team(Backend("a")) as made:
        had = [Wanted(spec=entry.spec) for entry in made.leader.entries if entry.spec]
        new = Wanted(spec=spec(upstream.url, "c").parsed(made.leader.plugins.parse), id="x")
        made.leader.apply([*had, new], [pool("both", "a", "c")])
        await made.leader.settled(SOON)
        await made.told()
        for kernel in made.workers:
            assert [one.name for one in kernel.models()] == ["a", "c", "both"]
            assert await asked(kernel, "c") == "c"
            assert kernel.entries[1].added
        made.leader.apply(had, [])
        await made.told()
        for kernel in made.workers:
            assert [one.name for one in kernel.models()] == ["a"]


async def test_only_it_looks_at_servers() -> None:
    backend = Backend("a")
    async with team(backend, count=3) as made:
        for kernel in made.workers:
            await asked(kernel)
        assert backend.looks == 1


async def test_a_server_that_goes_is_away_for_all() -> None:
    backend = Backend("a")
    async with team(backend, refresh=0.1) as made:
        backend.listing = refusing(500)
        for kernel in made.workers:
            await until(lambda k=kernel: k.entries[0].state()[0] == "offline", within=SOON)
        backend.listing = None
        for kernel in made.workers:
            await until(lambda k=kernel: k.entries[0].state()[0] == "healthy", within=SOON)


async def test_what_fails_for_one_is_left_alone_by_all() -> None:
    backend = Backend("a", reply=refusing(500))
    async with team(backend, count=3, retries=0) as made:
        for number in range(5):
            with pytest.raises(RelayError):
                await asked(made.workers[number % 3])
            await asyncio.sleep(0.02)
        for kernel in [*made.workers, made.leader]:
            with pytest.raises(UpstreamUnavailable, match="fails request after request"):
                await asked(kernel)
        assert backend.asked == 5
        backend.reply = None
        for kernel in made.workers:
            kernel.entries[0].health.breaker.answered(0.0)  # as if the pause were over
        assert await asked(made.workers[0]) == "a"
        for kernel in [*made.workers, made.leader]:
            await until(lambda k=kernel: not k.entries[0].health.troubled, within=SOON)


async def test_one_that_comes_later_knows_what_has_failed() -> None:
    backend = Backend("a", reply=refusing(500))
    async with team(backend, count=1, retries=0) as made:
        for _ in range(5):
            with pytest.raises(RelayError):
                await asked(made.workers[0])
        await until(lambda: made.leader.entries[0].health.breaker.is_open, within=SOON)
        from .workers_kit import worker_of

        async with worker_of(made, "late", made.leader.plugins) as late:
            assert late.entries[0].health.breaker.is_open
            assert late.entries[0].health.last_error == made.leader.entries[0].health.last_error


async def test_it_has_all_counters() -> None:
    async with team(Backend("a")) as made:
        for number, kernel in enumerate(made.workers):
            for _ in range(number + 1):
                await asked(kernel)
        view = views.deployments(made.leader)[0]
        await until(lambda: views.deployments(made.leader)[0].requests == 3, within=SOON)
        view = views.deployments(made.leader)[0]
        (series,) = views.series(made.leader)
        assert (view.running, view.failures) == (0, 0)
        assert (sum(series.requests), sum(series.tokens)) == (3, view.tokens)
        assert view.tokens == sum(views.deployments(k)[0].tokens for k in made.workers) > 0


@contextlib.asynccontextmanager
async def busy(made: Team, place: int) -> AsyncIterator[asyncio.Task[Any]]:
    """A request that a worker has running inside the block."""
    task = asyncio.create_task(asked(made.workers[place]))
    entry = made.leader.entries[0]
    before = entry.link.others if entry.link else 0
    await until(lambda: entry.link is not None and entry.link.others > before, within=SOON)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_each_knows_what_runs_at_the_others() -> None:
    async with team(Backend("a", reply=play(hang)), count=3) as made:
        async with busy(made, 0), busy(made, 1):
            routes = [kernel.snapshot.find("a") for kernel in [made.leader, *made.workers]]
            await until(lambda: [route.in_flight for route in routes] == [2, 2, 2, 2], within=SOON)
            assert [route.meter.running for route in routes] == [2, 1, 1, 0]
        await until(lambda: [route.in_flight for route in routes] == [0, 0, 0, 0], within=SOON)


async def test_what_one_leaves_behind_is_counted_no_more() -> None:
    async with team(Backend("a", reply=play(hang)), limit=1) as made, busy(made, 0):
        entry = made.leader.entries[0]
        made.leader.forget("0")
        assert entry.link is not None
        assert (entry.link.others, entry.meter("a").running) == (0, 0)
        gate = entry.link.gate(1)
        assert gate is not None
        assert not gate.locked()
        made.channels[0].close()


async def test_a_limit_of_a_server_is_for_all_together() -> None:
    release = asyncio.Event()
    now = most = 0

    async def watched(request: Any, answer: Any) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await release.wait()
        now -= 1
        await WIRE.reply(request, ["a"])(request, answer)

    async with team(Backend("a", reply=watched), limit=2, max_queue=3) as made:
        tasks = [asyncio.create_task(asked(made.workers[n % 2])) for n in range(5)]
        await until(lambda: now == 2, within=SOON)
        await asyncio.sleep(0.1)
        for kernel in made.workers:
            with pytest.raises(Overloaded, match="3 requests wait"):
                await asked(kernel)
        tasks[4].cancel()  # one that waits
        await asyncio.sleep(0.1)
        release.set()
        assert await asyncio.gather(*tasks[:4]) == ["a"] * 4
        assert most == 2


async def test_a_conversation_stays_where_it_is_for_all() -> None:
    backends = [Backend(name) for name in "abcd"]
    sticky = pool("p", *"abcd", strategy="sticky")
    async with team(*backends, pools=(sticky,)) as made:
        for number in range(20):
            params = {"model": "p", "messages": [{"role": "user", "content": f"talk {number}"}]}
            first = (await made.workers[0].generate("chat", params)).text
            pools = [kernel.snapshot.pools["p"] for kernel in made.workers]
            places = pools[1]._router._strategy._places  # type: ignore[attr-defined]
            await until(lambda n=number, p=places: len(p) == n + 1, within=SOON)
            assert (await made.workers[1].generate("chat", params)).text == first


class Engine:
    """What a plugin's `connect` has started: something with an address, or a client."""

    def __init__(self, gives_endpoint: bool) -> None:
        self.gives_endpoint = gives_endpoint
        self.entered = self.left = 0


def hooks(engine: Engine) -> dict[str, Any]:
    from .plain import target

    def relative(server: Server, call: Any) -> Any:
        found = target(server, call)
        assert found is not None
        path = found.url.removeprefix(str(server.url))
        return type(found)(method=found.method, url=path, headers={}, body=found.body)

    @contextlib.asynccontextmanager
    async def connect(server: Server, http: HttpClient) -> AsyncIterator[Any]:
        engine.entered += 1
        try:
            yield Endpoint(url=str(server.url)) if engine.gives_endpoint else http
        finally:
            engine.left += 1

    return {"connect": connect, "target": relative if engine.gives_endpoint else target}


async def test_an_engine_is_started_once() -> None:
    engine = Engine(True)
    async with team(Backend("a"), count=3, hooks=hooks(engine)) as made:
        for kernel in made.workers:
            assert await asked(kernel) == "a"
        assert engine.entered == 1
        assert not engine.left
    assert engine.left == 1


async def test_what_has_no_address_is_opened_by_each() -> None:
    engine = Engine(False)
    async with team(Backend("a"), count=2, hooks=hooks(engine)) as made:
        for kernel in made.workers:
            assert await asked(kernel) == "a"
            assert isinstance(kernel.entries[0].link, FollowedLink)
        assert engine.entered == 3
    assert engine.left == 3


async def test_an_engine_is_kept_until_its_last_request_has_ended() -> None:
    engine, release = Engine(True), asyncio.Event()

    async def slowly(request: Any, answer: Any) -> None:
        await release.wait()
        await WIRE.reply(request, ["a"])(request, answer)

    backend = Backend("a", reply=slowly)
    async with team(backend, hooks=hooks(engine)) as made, busy(made, 1) as task:
        made.leader.apply([], [])
        await made.told()
        assert not made.workers[0].entries
        await asyncio.sleep(0.2)
        assert not engine.left
        release.set()
        assert await task == "a"
        await until(lambda: engine.left == 1, within=SOON)


async def test_an_engine_that_does_not_start_is_told_of() -> None:
    @contextlib.asynccontextmanager
    async def connect(server: Server, http: HttpClient) -> AsyncIterator[Any]:
        raise UpstreamUnavailable("there is no such file")
        yield

    async with team(Backend("a"), hooks={"connect": connect}) as made:
        for kernel in made.workers:
            with pytest.raises(UpstreamUnavailable, match="no such file"):
                await asked(kernel)
