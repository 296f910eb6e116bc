"""Pools in a running kernel: who is a member, what is listed, and how servers are looked after."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from h2o_relay import catalog
from h2o_relay.applying import Wanted
from h2o_relay.errors import ModelNotFound, UpstreamUnavailable
from h2o_relay.kernel import Kernel
from h2o_relay.testing.scripts import hang, play, redirect
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream, until
from h2o_relay.types import Load

from . import plain
from .pools_kit import SOON, WIRE, Backend, fails, pool, pooled, read, refusing, spec, state

pytestmark = pytest.mark.usefixtures("leaves_nothing")


def names(kernel: Kernel) -> list[str]:
    return [deployment.name for deployment in kernel.models()]


class TestMembers:
    async def test_by_name_and_by_place(self) -> None:
        a, b = Backend("a"), Backend("b")
        async with pooled(a, b, pools=(pool("p", 1, "a", "b"),)) as kernel:
            found = kernel.snapshot.pools["p"]
            assert [member.name for member in found.members] == ["b", "a"], "each once"
            assert found.missing == ()
            assert names(kernel) == ["a", "b", "p"]

    async def test_a_pool_of_the_name_of_its_members(self) -> None:
        """Two servers of one model: `m` and `m_1` are one `m` to clients."""
        a, b = Backend("m"), Backend("m")
        async with pooled(a, b, pools=(pool("m", "m", "m_1"),)) as kernel:
            assert names(kernel) == ["m_1", "m"]
            await asyncio.gather(*(read(kernel, "m") for _ in range(4)))
            assert (a.asked > 0, b.asked > 0, a.asked + b.asked) == (True, True, 4)
            assert await read(kernel, "m_1") == "m"
            assert await read(kernel, "0") == "m"

    async def test_one_that_is_not_there_yet(self) -> None:
        a = Backend("a")
        async with pooled(a, pools=(pool("p", "a", "later"), pool("q", "later"))) as kernel:
            assert kernel.snapshot.pools["p"].missing == ("later",)
            assert names(kernel) == ["a", "p"], "a pool without members is not listed"
            error = await fails(kernel, "q")
            assert isinstance(error, UpstreamUnavailable)
            assert "`q`" in error.message
            async with ScriptedUpstream(Backend("later")) as upstream:
                old = [entry.spec for entry in kernel.entries if entry.spec is not None]
                wanted = [Wanted(spec=one) for one in (*old, spec(upstream.url, None))]
                kernel.apply(wanted)
                assert await read(kernel, "q") == "later"
                assert names(kernel) == ["a", "later", "p", "q"]
                kernel.apply([Wanted(spec=one) for one in old])
                await until(lambda: not kernel._leaving, within=SOON)

    async def test_the_first_request_waits_for_members_to_turn_up(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A server without a base model has none of its models before its first look."""
        monkeypatch.setattr("h2o_relay.kernel.PATIENCE", 20.0)
        release = asyncio.Event()

        async def slow(request: Received, answer: Answer) -> None:
            await release.wait()
            await WIRE.listing(["a"])(request, answer)

        async with ScriptedUpstream(Backend("a", listing=slow)) as upstream:
            specs = [spec(upstream.url, None)]
            async with Kernel(quick(), specs, plain.plugins(), [pool("p", "a")]) as kernel:
                task = asyncio.create_task(read(kernel, "p"))
                await asyncio.sleep(0.1)
                assert not task.done()
                release.set()
                assert await task == "a"

    async def test_a_member_that_nobody_has_delays_nothing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Once all servers were looked at, it is known that it is not there."""
        monkeypatch.setattr("h2o_relay.kernel.PATIENCE", 20.0)
        async with pooled(Backend("a"), pools=(pool("q", "nobody"),)) as kernel:
            start = asyncio.get_running_loop().time()
            await fails(kernel, "q")
            assert asyncio.get_running_loop().time() - start < 10

    async def test_a_server_that_is_silent_does_not_hold_up_a_pool_that_is_known(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("h2o_relay.kernel.PATIENCE", 20.0)
        a, silent = Backend("a", listing=redirect("/x")), Backend("b", listing=play(hang))
        async with (
            ScriptedUpstream(a) as one,
            ScriptedUpstream(silent) as two,
            Kernel(
                quick(request_timeout=20),
                [spec(one.url, "a"), spec(two.url, "b")],
                plain.plugins(),
                [pool("p", "a")],
            ) as kernel,  # fmt: skip
        ):
            await until(lambda: state(kernel, 0) == "offline", within=SOON)
            assert kernel.snapshot.pending
            start = asyncio.get_running_loop().time()
            await fails(kernel, "p")
            assert asyncio.get_running_loop().time() - start < 10

    async def test_members_that_are_hidden(self) -> None:
        async with pooled(Backend("a"), pools=(pool("p", "a"),)) as kernel:
            kernel.entries[0].visible = False
            kernel.rebuild()
            assert names(kernel) == ["p"]
            assert await read(kernel, "p") == "a"

    async def test_a_name_that_is_nearly_a_pools(self) -> None:
        async with pooled(Backend("a"), pools=(pool("everything", "a"),)) as kernel:
            error = await fails(kernel, "everythin")
            assert isinstance(error, ModelNotFound)
            assert "everything?" in error.message

    async def test_names_that_are_not_ascii(self) -> None:
        async with (
            pooled(Backend("模型"), pools=(pool("groß", "模型"),)) as kernel,
            kernel.stream("chat", {"messages": [], "model": "groß"}) as answer,
        ):
            assert answer.tries.server == "模型"


class TestLooks:
    async def test_a_server_that_fails_is_looked_at_soon_and_not_in_a_storm(self) -> None:
        a = Backend("a")
        async with pooled(a, retries=0) as kernel:
            before = a.looks
            a.reply = refusing(500)
            start = asyncio.get_running_loop().time()
            for _ in range(40):
                await fails(kernel, "a")
                await asyncio.sleep(0.02)
            await until(lambda: a.looks > before, within=SOON)
            seconds = asyncio.get_running_loop().time() - start
            assert a.looks - before <= 1 + seconds / (catalog.FIRST_WAIT * 0.8)

    async def test_one_that_fails_requests_alone_stays_left_alone(self) -> None:
        """It lists its models well, which must not let a request through at each look."""
        a = Backend("a", refusing(500))
        async with pooled(a, retries=0) as kernel:
            for _ in range(5):
                await fails(kernel, "a")
            before = a.looks
            await until(lambda: a.looks > before, within=SOON)
            await fails(kernel, "a")
            assert a.asked == 5

    async def test_a_rate_limit_on_a_look_is_no_death(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
        a = Backend("a")
        async with pooled(a, pools=(pool("p", "a"),), refresh=0.1) as kernel:
            a.listing = refusing(429, retry_after="30")
            await until(lambda: state(kernel, 0) == "rate-limited", within=SOON)
            looks = a.looks
            assert await read(kernel, "p") == "a"
            await asyncio.sleep(0.5)
            assert a.looks == looks, "it has asked for a pause"

    async def test_a_key_that_works_again(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(catalog, "FIRST_WAIT", 0.05)
        a = Backend("a")
        async with pooled(a, pools=(pool("p", "a"),), refresh=0.1) as kernel:
            a.listing = a.reply = refusing(401)
            await until(lambda: state(kernel, 0) == "auth-error", within=SOON)
            a.listing = a.reply = None
            await until(lambda: state(kernel, 0) == "healthy", within=SOON)
            assert await read(kernel, "p") == "a"

    async def test_a_key_that_only_requests_need(self) -> None:
        a = Backend("a", refusing(401))
        async with pooled(a, refresh=0.1, retries=0) as kernel:
            await fails(kernel, "a")
            assert state(kernel, 0) == "auth-error"
            await until(lambda: state(kernel, 0) == "unknown", within=SOON)
            a.reply = None
            assert await read(kernel, "a") == "a"
            assert state(kernel, 0) == "healthy"

    async def test_changes_by_requests_are_told(self) -> None:
        a = Backend("a", refusing(401))
        async with pooled(a, retries=0) as kernel:
            task = asyncio.create_task(kernel.changed(SOON))
            await asyncio.sleep(0)
            await fails(kernel, "a")
            start = asyncio.get_running_loop().time()
            await task
            assert asyncio.get_running_loop().time() - start < SOON / 2


class TestLoad:
    async def serve(
        self, load: Callable[[], Awaitable[Load]], pools: Any, seconds: float
    ) -> tuple[int, Any]:
        """How often a server was asked while it was in use, and its state."""
        asked = 0

        async def hook(server: Any, client: Any) -> Load:
            nonlocal asked
            asked += 1
            return await load()

        a = Backend("a")
        async with ScriptedUpstream(a) as upstream:
            specs = [spec(upstream.url, "a")]
            async with Kernel(quick(), specs, plain.plugins(load=hook), pools) as kernel:
                await kernel.settled(SOON)
                await read(kernel, "a")
                await asyncio.sleep(seconds)
                return asked, (kernel.entries[0].health.load, state(kernel, 0))

    async def test_a_member_in_use_is_asked(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(catalog, "LOAD_EVERY", 0.05)

        async def load() -> Load:
            return Load(running=2, waiting=1)

        asked, (told, found) = await self.serve(load, [pool("p", "a")], 3.0)
        assert 2 < asked < 90
        assert (told, found) == (Load(running=2, waiting=1), "busy")

    async def test_one_that_nobody_uses_is_left_alone(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(catalog, "LOAD_EVERY", 0.05)
        monkeypatch.setattr(catalog, "IN_USE", 0.0)

        async def load() -> Load:
            return Load(running=0)

        asked, _ = await self.serve(load, [pool("p", "a")], 0.3)
        assert asked == 1, "with the first look"

    @pytest.mark.parametrize("how", ["raises", "hangs", "refuses"])
    async def test_one_that_cannot_tell_is_well(self, how: str, monkeypatch: Any) -> None:
        monkeypatch.setattr(catalog, "LOAD_EVERY", 0.05)
        monkeypatch.setattr(catalog, "LOAD_WAIT", 0.05)

        async def load() -> Load:
            if how == "raises":
                raise ValueError("no")
            if how == "refuses":
                raise UpstreamUnavailable("no")
            await asyncio.Event().wait()
            raise AssertionError

        asked, (told, found) = await self.serve(load, [pool("p", "a")], 0.4)
        assert (asked > 1, told, found) == (True, None, "healthy")


async def test_a_giant_crowd_for_a_small_pool() -> None:
    a, b = Backend("a"), Backend("b")
    async with pooled(a, b, pools=(pool("p", "a", "b"),), limits={"a": 1, "b": 2}) as kernel:
        texts = await asyncio.gather(*(read(kernel, "p") for _ in range(60)))
        assert len(texts) == a.asked + b.asked == 60
        assert {*texts} == {"a", "b"}
