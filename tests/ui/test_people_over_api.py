"""Who the page asks its relay for: people with an account, and callers with keys of their own."""

from __future__ import annotations

import ast
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from h2o_relay.accounting.ring import KeyRing
from h2o_relay.behalf import HOLDER, KEY, USER
from h2o_relay.errors import Overloaded, RelayError, UpstreamRejected
from h2o_relay.remote import RemoteKernel
from h2o_relay.store import Keys, Store
from h2o_relay.testing.settings import quick
from h2o_relay_ui.h2ogpt.service import Service

from .fakes import FakeRelay, Script, view
from .kit import INTERNAL, api, lines, talk

HI = "{'instruction_nochat': 'hi', 'h2ogpt_key': %r}"


@pytest.mark.parametrize(
    ("owner", "told"),
    [("user:ann", {USER: "ann"}), ("user:a:b", {USER: "a%3Ab"}), ("held:key_1", {HOLDER: "key_1"}),
     *((owner, {}) for owner in ("guest:ann", "key:ann", "local", "browser:user:ann"))],
)  # fmt: skip
async def test_accounts_and_keys_are_told_and_nobody_else(owner: str, told: dict[str, str]) -> None:
    relay = FakeRelay(view("parrot"))
    async with talk(relay, owner) as one:
        await one.ask("hi", "parrot")
    [asked] = relay.asked
    assert asked.behalf == told


async def test_whoever_is_over_reads_it_in_the_thread_and_retries() -> None:
    async with (
        api(user_requests_per_minute=1) as (url, _),
        RemoteKernel(url, INTERNAL, quick()) as relay,
        talk(relay, "user:ann") as ann,
        talk(relay, "user:bob") as bob,
    ):
        await relay.settled(10)
        for one in (ann, bob):
            assert (await one.ask("hi"))[-1]["state"] == "done", "each has a limit of their own"
        messages = await ann.ask("and now?")
        assert messages[-1]["error"]["code"] == "rate_limit_exceeded"
        assert messages[-1]["error"]["status"] == 429
        line = lines(messages)[-2]
        assert line.startswith(
            "**⚠ No answer.** Rate limit reached: 1 requests a minute are allowed. Try again in "
        )
        assert "retry" in line.rpartition(".")[0].lower()


# Calls of h2oGPT.


@pytest_asyncio.fixture
async def keyed(tmp_path: Path) -> AsyncIterator[tuple[Service, FakeRelay, Keys]]:
    """The calls over a relay whose store has keys to come."""
    relay = FakeRelay(view("parrot"))
    async with (
        Store(f"sqlite:///{tmp_path}/relay.db") as store,
        KeyRing(quick(), Keys(store)) as ring,
    ):
        await ring.settled(5)
        relay.ring = ring
        yield Service(relay), relay, Keys(store)  # type: ignore[arg-type]


async def told(service: Service, key: Any, owner: str = "") -> str:
    last: dict[str, Any] = {}
    async for one in service.answers(HI % key, owner):
        last = one
    assert ast.literal_eval(repr(last)) == last
    return str(last["response"])


async def test_keys_of_the_store_are_good_for_calls(
    keyed: tuple[Service, FakeRelay, Keys],
) -> None:
    service, relay, keys = keyed
    assert relay.ring is not None
    assert await told(service, "any") == "Hello there."
    assert await told(service, "", "user:ann") == "Hello there."
    assert [dict(asked.behalf) for asked in relay.asked] == [{}, {USER: "ann"}]
    made, secret = await keys.create({"name": "team"})
    await relay.ring.refresh()
    assert await told(service, secret, "user:ann") == "Hello there."
    assert relay.asked[-1].behalf == {USER: "ann", KEY: secret}
    service._known.clear()  # what was good is so for two seconds
    for wrong in ("any", "", None, 7, ["x"], "\ud800"):
        assert (await told(service, wrong)).startswith("Invalid Access Key")
    assert len(relay.asked) == 3
    await keys.revoke(made.id)
    await relay.ring.refresh()
    service._known.clear()
    assert (await told(service, secret)).startswith("Invalid Access Key")


async def test_who_signed_in_with_a_key_of_the_store_needs_no_other(
    keyed: tuple[Service, FakeRelay, Keys],
) -> None:
    service, relay, keys = keyed
    assert relay.ring is not None
    made, _ = await keys.create({"name": "team"})
    await relay.ring.refresh()
    assert await told(service, "", f"held:{made.id}") == "Hello there."
    assert relay.asked[-1].behalf == {HOLDER: made.id}
    assert (await told(service, "", "user:ann")).startswith("Invalid Access Key")
    assert (await told(service, "wrong", f"held:{made.id}")).startswith("Invalid Access Key")
    await keys.revoke(made.id)
    await relay.ring.refresh()
    with pytest.raises(RelayError, match="Invalid Access Key"):
        await told(service, "", f"held:{made.id}")


async def test_models_are_those_that_a_key_may_use(
    keyed: tuple[Service, FakeRelay, Keys],
) -> None:
    service, relay, keys = keyed
    relay.views = [view("parrot"), view("gull"), view("gannet")]
    assert relay.ring is not None
    made, secret = await keys.create({"name": "team", "models": ["g*"]})
    await relay.ring.refresh()
    owner = f"held:{made.id}"
    assert [one["base_model"] for one in await service.models_for(owner)] == ["gull", "gannet"]
    assert [one["base_model"] for one in await service.models_for("user:ann")] == [
        "parrot", "gull", "gannet",
    ]  # fmt: skip
    for key, who in ((secret, ""), ("", owner)):
        await told(service, key, who)
        assert relay.asked[-1].params["model"] == "gull", "the first that it may use"
    wish = repr({"instruction_nochat": "hi", "h2ogpt_key": secret, "visible_models": "parrot"})
    with pytest.raises(RelayError, match="The models are: gull, gannet"):
        [_ async for _ in service.answers(wish)]


async def test_a_key_that_was_revoked_a_moment_ago(keyed: tuple[Service, FakeRelay, Keys]) -> None:
    service, relay, keys = keyed
    assert relay.ring is not None
    _, secret = await keys.create({"name": "team"})
    await relay.ring.refresh()
    refused = {"message": "The API key is not correct.", "code": "invalid_api_key"}
    relay.scripts["parrot"] = Script(pieces=(), error=UpstreamRejected(401, refused))
    assert (await told(service, secret)).startswith("Invalid Access Key")


async def test_a_key_that_nobody_can_decide_about_is_an_error(
    keyed: tuple[Service, FakeRelay, Keys],
) -> None:
    service, relay, _ = keyed
    relay.failing["caller"] = Overloaded("nobody knows", code="auth_unavailable")
    with pytest.raises(RelayError, match="nobody knows"):
        await told(service, "any")
    assert relay.asked == []
