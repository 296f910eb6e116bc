"""From what is served to what is to be served: what is kept, adjusted, opened and closed."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from h2o_relay import applying
from h2o_relay.applying import Change, Wanted
from h2o_relay.entry import Entry, entry_of
from h2o_relay.kernel import Kernel
from h2o_relay.pooling import Pool
from h2o_relay.spec import ServerSpec
from h2o_relay.testing.scripts import head, play
from h2o_relay.testing.settings import quick
from h2o_relay.testing.upstream import Answer, Received, ScriptedUpstream, until
from h2o_relay.types import Tuning

from . import plain
from .pools_kit import ASK, SOON, Backend, pool, pooled, read, refusing, spec

PLUGINS = plain.plugins()


def parsed(name: str | None = "m", host: str = "a", **more: Any) -> ServerSpec:
    made = ServerSpec(server=f"plain:{host}:80", base_model=name, **more)
    return made.parsed(PLUGINS.parse)


def entries(*specs: ServerSpec) -> list[Entry]:
    return [entry_of(PLUGINS, one) for one in specs]


def wanted(*specs: ServerSpec) -> list[Wanted]:
    return [Wanted(spec=one) for one in specs]


class TestPlan:
    def test_nothing_to_do(self) -> None:
        old = entries(parsed("a"), parsed("b"))
        plan = applying.plan(PLUGINS, old, wanted(parsed("a"), parsed("b")))
        assert (plan.entries, plan.kept, plan.opened, plan.closed) == (old, 2, [], [])
        assert not plan.change
        assert plan.change.line == "2 kept"
        assert Change().line == "nothing to do"
        assert Change(pools=("p",)).line == "1 pool changed"
        assert Change(pools=("p", "q")).line == "2 pools changed"

    def test_the_order_is_that_of_what_is_wanted(self) -> None:
        a, b = entries(parsed("a"), parsed("b"))
        plan = applying.plan(PLUGINS, [a, b], wanted(parsed("b"), parsed("c"), parsed("a")))
        assert [plan.entries[0], plan.entries[2]] == [b, a]
        assert plan.change.added == ("plain:a:80",)

    def test_twice_the_same(self) -> None:
        one, two = entries(parsed(), parsed())
        plan = applying.plan(PLUGINS, [one, two], wanted(parsed()))
        assert (plan.entries, plan.closed) == ([one], [two])
        plan = applying.plan(PLUGINS, [one], wanted(parsed(), parsed()))
        assert plan.entries[0] is one
        assert plan.entries[1] is not one
        assert (plan.kept, len(plan.opened)) == (1, 1)

    def test_one_that_is_the_same_is_not_taken_for_one_that_is_near(self) -> None:
        one, two = entries(parsed(), parsed(tuning=Tuning(concurrency=2)))
        changed = parsed(tuning=Tuning(concurrency=3))
        plan = applying.plan(
            PLUGINS, [one, two], wanted(changed, parsed(tuning=Tuning(concurrency=2)))
        )
        assert plan.entries == [one, two]
        assert plan.adjusted == [(one, changed)]
        assert plan.kept == 1

    def test_what_our_side_sees_to_needs_no_new_connection(self) -> None:
        old = entries(parsed())
        for changed in (
            parsed(tuning=Tuning(concurrency=3)), parsed(display_name="x"), parsed(visible=False)
        ):  # fmt: skip
            plan = applying.plan(PLUGINS, old, wanted(changed))
            assert (plan.entries, plan.opened, plan.closed) == (old, [], [])
            assert plan.change.adjusted == ("plain:a:80",)

    @pytest.mark.parametrize(
        "changed", [parsed(host="b"), parsed("other"), parsed(key="k"), parsed(upstream="u")]
    )
    def test_another_server(self, changed: ServerSpec) -> None:
        old = entries(parsed())
        plan = applying.plan(PLUGINS, old, wanted(changed))
        assert plan.closed == old
        assert len(plan.opened) == 1

    def test_what_was_added_is_told_apart_by_its_id(self) -> None:
        one = Wanted(spec=parsed(), id="x")
        plan = applying.plan(PLUGINS, entries(parsed()), [*wanted(parsed()), one])
        given, added = plan.entries
        assert (plan.kept, given.added, added.added, added.id) == (1, False, True, "x")
        moved = Wanted(spec=parsed(host="b"), id="x")
        plan = applying.plan(PLUGINS, [given, added], [*wanted(parsed()), moved])
        assert plan.change.reopened == ("plain:b:80",)
        assert (plan.change.added, plan.change.removed) == ((), ())
        assert plan.entries[1].id == "x"
        plan = applying.plan(PLUGINS, [given, added], [one])
        assert (plan.entries, plan.closed) == ([added], [given])

    def test_a_bad_one_changes_nothing(self) -> None:
        old = entries(parsed("a"))
        bad = ServerSpec(server="plain:")
        with pytest.raises(Exception, match="server string"):
            applying.plan(PLUGINS, old, wanted(parsed("b"), bad))


class TestPools:
    def test_who_stays_keeps_its_queue(self) -> None:
        before = [Pool(pool("p", "a")), Pool(pool("q", "a"))]
        after, differ = applying.pools(before, [pool("q", "a"), pool("p", "b"), pool("r", "a")])
        assert after[:2] == [before[1], before[0]]
        assert after[1].spec.members == ("b",)
        assert differ == ("p", "r")
        after, differ = applying.pools(after, [])
        assert (after, set(differ)) == ([], {"p", "q", "r"})

    def test_of_two_that_share_a_name_the_first_counts(self) -> None:
        """The command line's go before the file's, at each reload again."""
        specs = [pool("p", "a"), pool("p", "b")]
        first, differ = applying.pools([], specs)
        assert ([p.spec.members for p in first], differ) == ([("a",)], ("p",))
        second, differ = applying.pools(first, specs)
        assert (second, differ) == (first, ())

    def test_at_the_start_too(self) -> None:
        kernel = Kernel(quick(), [], PLUGINS, [pool("p", "a"), pool("p", "b")])
        assert [p.spec.members for p in kernel._pools] == [("a",)]


def specs_of(kernel: Kernel) -> list[ServerSpec]:
    return [entry.spec for entry in kernel.entries if entry.spec is not None]


def apply(kernel: Kernel, *specs: ServerSpec, **more: Any) -> Change:
    return kernel.apply(wanted(*specs), **more)


@pytest.mark.usefixtures("leaves_nothing")
class TestOfAKernel:
    async def test_what_runs_on_a_closed_entry_ends_by_itself(self) -> None:
        a = Backend("a")
        done = asyncio.Event()

        async def slow(request: Received, answer: Answer) -> None:
            event = b'data: {"choices": [{"index": 0, "delta": {"content": "%b"}%b}]}\n\n'
            await answer.send(head(200, {"content-type": "text/event-stream"}))
            await answer.send(event % (b"x", b""))
            await done.wait()
            await answer.send(event % (b"y", b', "finish_reason": "stop"') + b"data: [DONE]\n\n")
            await answer.end()

        async with pooled(a) as kernel:
            a.reply = slow
            entry = kernel.entries[0]
            async with kernel.stream("chat", {**ASK, "model": "a"}) as answer:
                assert (await answer.__anext__()).text == "x"
                assert apply(kernel).removed
                await until(lambda: state_of(entry) == "draining", within=SOON)
                assert kernel.snapshot.routes == {}
                done.set()
                assert "".join([chunk.text async for chunk in answer]) == "y"
            await until(lambda: not kernel._leaving, within=SOON)
            assert entry.link is not None
            assert (entry.link.leases, entry.task and entry.task.done()) == (0, True)

    async def test_names_follow_the_order(self) -> None:
        a, b = Backend("m"), Backend("m")
        async with pooled(a, b) as kernel:
            first, second = specs_of(kernel)
            assert await read(kernel, "m_1") == "m"
            assert b.asked == 1
            apply(kernel, second, first)
            assert await read(kernel, "m") == "m"
            assert (a.asked, b.asked) == (0, 2)
            apply(kernel, first)
            assert list(kernel.snapshot.routes) == ["m"]

    async def test_nothing_is_kept_of_what_is_gone(self) -> None:
        a = Backend("a")
        async with pooled(a, pools=(pool("p", "a"),)) as kernel:
            specs = specs_of(kernel)
            kept = kernel.entries[0]
            tasks = len(asyncio.all_tasks())
            for number in range(5):
                assert apply(kernel, *specs, pools=[pool("p", "a", queue=number)])
                moved = replace(specs[0], base_model=f"b{number}")
                apply(kernel, *specs, moved, pools=[pool("q", "a", f"b{number}")])
                assert {p.name for p in kept.pools} == {"q"}
                apply(kernel, *specs, pools=[])
                assert kept.pools == set()
            await until(lambda: not kernel._leaving, within=SOON)
            await until(lambda: len(asyncio.all_tasks()) <= tasks, within=SOON)

    async def test_what_waits_for_a_pool_outlives_a_reload_that_opens_its_server_anew(self) -> None:
        a = Backend("a")
        hold = asyncio.Event()

        async def held(request: Received, answer: Answer) -> None:
            await hold.wait()
            await Backend("a")(request, answer)

        async with pooled(a, pools=(pool("p", "a"),), limits={"a": 1}) as kernel:
            (old,) = specs_of(kernel)
            a.reply = held
            first = asyncio.create_task(read(kernel, "p"))
            await until(lambda: a.asked == 1, within=SOON)
            second = asyncio.create_task(read(kernel, "p"))
            await until(lambda: kernel.snapshot.pools["p"].waiting == 1, within=SOON)
            a.reply = None
            anew = replace(old, server=replace(old.server, key="k"))  # type: ignore[type-var]
            assert apply(kernel, anew).removed
            assert await asyncio.wait_for(second, SOON) == "a"
            hold.set()
            assert await first == "a"

    async def test_a_retry_goes_to_what_is_served_now(self) -> None:
        a = Backend("a", play())

        async def moving(request: Received, answer: Answer) -> None:
            a.reply = None
            (old,) = specs_of(kernel)
            apply(kernel, replace(old, server=replace(old.server, key="k")))  # type: ignore[type-var]
            await refusing(503)(request, answer)

        async with pooled(a) as kernel:
            a.reply = moving
            old = kernel.entries[0]
            async with kernel.stream("chat", {**ASK, "model": "a"}) as answer:
                assert answer.tries.count == 2
                assert kernel.entries[0] is not old
                assert kernel.entries[0].link is not None
                assert kernel.entries[0].link.leases == 1

    async def test_a_limit_is_changed_while_requests_wait(self) -> None:
        a = Backend("a")
        async with pooled(a, pools=(pool("p", "a"),), limits={"a": 1}) as kernel:
            (old,) = specs_of(kernel)
            hold = asyncio.Event()

            async def held(request: Received, answer: Answer) -> None:
                await hold.wait()
                await Backend("a")(request, answer)

            a.reply = held
            tasks = [asyncio.create_task(read(kernel, "p")) for _ in range(3)]
            await until(lambda: a.asked == 1, within=SOON)
            assert apply(kernel, replace(old, tuning=Tuning(concurrency=3))).adjusted
            await until(lambda: a.asked == 3, within=SOON)
            hold.set()
            assert await asyncio.gather(*tasks) == ["a"] * 3

    async def test_many_reloads_under_load(self) -> None:
        """Each opens one of two servers anew; no request fails."""
        a, b = Backend("a"), Backend("b")
        async with pooled(a, b, pools=(pool("p", "a", "b"),)) as kernel:
            specs = specs_of(kernel)
            over = False

            async def client() -> int:
                count = 0
                while not over:
                    assert await read(kernel, "p") in "ab"
                    assert await read(kernel, "a") == "a"
                    count += 2
                return count

            clients = [asyncio.create_task(client()) for _ in range(4)]
            for number in range(30):
                key = f"k{number}"
                specs[0] = replace(
                    specs[0],
                    server=replace(specs[0].server, key=key),  # type: ignore[type-var]
                )
                apply(kernel, *specs)
                await asyncio.sleep(0.01)
            over = True
            assert sum(await asyncio.gather(*clients)) > 8


def state_of(entry: Entry) -> str:
    return entry.state()[0]


@pytest.mark.usefixtures("leaves_nothing")
async def test_a_kernel_that_closes_tells_those_who_wait() -> None:
    a = Backend("a", play(lambda answer: answer.hang()))
    async with ScriptedUpstream(a) as upstream:
        kernel = Kernel(
            quick(drain_timeout=0.2, queue_timeout=60),
            [spec(upstream.url, "a", limit=1)],
            plain.plugins(),
            [pool("p", "a")],
        )
        async with kernel:
            await kernel.settled(SOON)
            first = asyncio.create_task(read(kernel, "p"))
            await until(lambda: a.asked == 1, within=SOON)
            second = asyncio.create_task(read(kernel, "p"))
            await until(lambda: kernel.snapshot.pools["p"].waiting == 1, within=SOON)
        with pytest.raises(Exception, match="No server of the model"):
            await asyncio.wait_for(second, SOON)
        first.cancel()
        await asyncio.wait([first])
