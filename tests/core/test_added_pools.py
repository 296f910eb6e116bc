"""Pools that are made through the admin API of a running relay."""

from __future__ import annotations

import pytest

from h2o_relay.administration import Administration
from h2o_relay.errors import Forbidden, RelayError
from h2o_relay.kernel import Kernel
from h2o_relay.notes import in_words
from h2o_relay.plugins import Plugins
from h2o_relay.pools import PoolSpec
from h2o_relay.remote import RemoteKernel
from h2o_relay.testing import echo
from h2o_relay.testing.settings import quick

from .test_remote_kernel import Kept, names, remote, until

pytestmark = pytest.mark.usefixtures("leaves_nothing")
SERVERS = [("echo", "a"), ("echo", "b")]
POOL = {"name": "both/of them", "members": ["a", "b"], "strategy": "weighted", "weights": {"b": 2}}


async def refused(there: RemoteKernel, name: str) -> RelayError:
    with pytest.raises(RelayError) as caught:
        await there.remove_pool(name)
    return caught.value


async def test_a_pool_is_made_asked_changed_and_removed() -> None:
    async with remote(*SERVERS, kept=Kept()) as (there, kernel):
        assert await there.put_pool(POOL) == POOL["name"]
        await until(lambda: POOL["name"] in names(there))
        asked = {"model": POOL["name"], "messages": [{"role": "user", "content": "hi"}]}
        async with there.stream("chat", asked) as answer:
            assert "".join([chunk.text async for chunk in answer]) == "hi"
            assert in_words(answer.notes) in (["answered by a"], ["answered by b"])
        async with there.stream("chat", {**asked, "model": "a"}) as answer:
            assert in_words(answer.notes) == []
        [view] = [view for view in there.deployments() if view.members]
        assert (view.name, view.members, view.strategy) == (POOL["name"], ("a", "b"), "weighted")
        await there.put_pool({**POOL, "strategy": "sticky", "weights": {}})
        assert kernel.snapshot.pools[POOL["name"]].spec.strategy == "sticky"
        await there.remove_pool(POOL["name"])
        await until(lambda: POOL["name"] not in names(there))
        assert (await refused(there, POOL["name"])).status == 404


async def test_it_outlives_the_relay() -> None:
    kept = Kept()
    async with remote(*SERVERS, kept=kept) as (there, _):
        await there.put_pool(POOL)
        await there.add({"inference_server": "echo", "base_model": "c"})
    async with remote(*SERVERS, kept=kept) as (there, kernel):
        assert sorted(names(there)) == ["a", "b", POOL["name"], "c"]
        spec = kernel.snapshot.pools[POOL["name"]].spec
        assert (spec.members, dict(spec.weights)) == (("a", "b"), {"b": 2})
        await there.remove_pool(POOL["name"])
    assert [entry.get("base_model") for entry in kept.entries.values()] == ["c"]


async def test_what_cannot_be_read_changes_nothing() -> None:
    kept = Kept()
    async with remote(*SERVERS, kept=kept) as (there, kernel):
        for wrong, why in (
            ({"members": ["a"]}, "'name' must be the pool's name"),
            ({"name": "p", "members": []}, "members"),
            ({"name": "p", "members": ["a"], "strategy": "lest-load"}, "least-load"),
            ({"name": "p", "member": ["a"]}, "members"),
        ):
            with pytest.raises(RelayError, match=why):
                await there.put_pool(wrong)
        assert (kept.entries, dict(kernel.snapshot.pools)) == ({}, {})
        assert (await refused(there, "nobody")).status == 404


async def test_a_pool_of_the_command_line_is_changed_there() -> None:
    given = PoolSpec(name="p", members=("a",))
    async with Kernel(quick(), ["echo:a"], Plugins.of(echo=echo), [given]) as kernel:
        admin = Administration(kernel)
        with pytest.raises(Forbidden, match="given when the relay was started"):
            await admin.put_pool({"name": "p", "members": ["b"]})
        with pytest.raises(Forbidden):
            await admin.remove_pool("p")
        assert kernel.snapshot.pools["p"].spec == given
