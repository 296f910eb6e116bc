"""Signing in with a key of the relay's store; such keys close the page for everybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from h2o_relay.accounting.ring import KeyRing
from h2o_relay.errors import Overloaded
from h2o_relay.store import Keys, Store
from h2o_relay.testing.settings import quick
from h2o_relay_ui.signin.stored import FRESH, StoredKeys

from .fakes import FakeRelay, view
from .fakes import context as context_of
from .test_signin_gate import Site, signed_in, site, whose

DOWN = Overloaded("nobody knows", code="auth_unavailable")


class Held:
    """A relay whose store has keys to come, and a clock that can be put forward."""

    def __init__(self, ring: KeyRing, keys: Keys) -> None:
        self.relay, self.ring, self.keys = FakeRelay(view("parrot")), ring, keys
        self.relay.ring = ring
        self.later = 0.0

    async def key(self, **wanted: Any) -> tuple[str, str]:
        made, secret = await self.keys.create({"name": "team", **wanted})
        await self.ring.refresh()
        return made.id, secret

    async def revoke(self, id: str) -> None:
        await self.keys.revoke(id)
        await self.ring.refresh()

    def wait(self, at: Site) -> None:
        """Let what sign-in was told grow old."""
        stored: StoredKeys = at.sign_in.stored
        before, self.later = stored._clock, self.later + FRESH
        stored._clock = lambda: before() + FRESH


@pytest_asyncio.fixture
async def held(tmp_path: Path) -> AsyncIterator[Held]:
    async with (
        Store(f"sqlite:///{tmp_path}/keys.db") as store,
        KeyRing(quick(), Keys(store)) as ring,
    ):
        await ring.settled(5)
        yield Held(ring, Keys(store))


async def test_a_page_that_others_reach_asks_for_one(tmp_path: Path, held: Held) -> None:
    id, secret = await held.key()
    async with site(tmp_path, local=False, relay=held.relay) as at, at.browser() as client:
        assert "API key as the password" in (await client.get("/")).text
        assert at.inside.paths == []
        assert await whose(client) == 401
        for name, password in (("ann", "x"), ("ann", ""), ("", secret), ("ann", id)):
            response = await client.post("/login", data={"username": name, "password": password})
            assert response.status_code == 401
        told = await signed_in(client, "ann", secret)
        assert (told["owner"], told["name"]) == (f"held:{id}", "ann")
        assert secret not in str(dict(client.cookies))
        await held.revoke(id)
        held.wait(at)
        assert await whose(client) == 401
        assert at.sign_in.mode == "key", "revoking the last one opens nothing"


async def test_a_key_tells_whose_chats_they_are_and_a_name_does_not(
    tmp_path: Path, held: Held
) -> None:
    _, one = await held.key()
    _, other = await held.key(name="other")
    async with site(tmp_path, local=False, relay=held.relay) as at:
        owners = []
        for key, name in ((one, "ann"), (one, "bob"), (other, "ann")):
            async with at.browser() as client:
                owners.append((await signed_in(client, name, key))["owner"])
    assert owners[0] == owners[1] != owners[2]


async def test_the_first_key_closes_a_page_that_was_open(tmp_path: Path, held: Held) -> None:
    async with site(tmp_path, local=False, relay=held.relay) as at, at.browser() as client:
        await client.get("/")
        assert (await whose(client))["owner"].startswith("browser:")
        _, secret = await held.key()
        held.wait(at)
        assert await whose(client) == 401
        assert (await signed_in(client, "ann", secret))["owner"].startswith("held:")
    async with site(tmp_path, relay=held.relay) as at, at.browser() as client:
        assert (await whose(client))["owner"] == "local", "this machine's own page asks nobody"


async def test_while_the_relay_does_not_tell_nobody_gets_in_and_nobody_is_put_out(
    tmp_path: Path, held: Held
) -> None:
    _, secret = await held.key()
    held.relay.failing["caller"] = DOWN
    async with site(tmp_path, local=False, relay=held.relay) as at, at.browser() as client:
        assert await whose(client) == 401
        form = {"username": "ann", "password": secret}
        assert (await client.post("/login", data=form)).status_code == 503
        del held.relay.failing["caller"]
        held.wait(at)
        assert (await signed_in(client, "ann", secret))["owner"].startswith("held:")
        held.relay.failing["caller"] = DOWN
        held.wait(at)
        assert (await whose(client))["owner"].startswith("held:")


async def test_a_key_for_the_page_may_be_one_of_the_store(tmp_path: Path, held: Held) -> None:
    id, secret = await held.key()
    given = {"enforce_h2ogpt_ui_key": True, "relay": held.relay}
    async with site(tmp_path, **given) as at, at.browser() as client:
        assert "asks for an access key" in (await client.get("/")).text
        assert (await client.post("/login", data={"key": "wrong"})).status_code == 401
        assert (await client.post("/login", data={"key": secret})).status_code == 303
        assert (await whose(client, "/"))["chat"] is True
        await held.revoke(id)
        held.wait(at)
        assert "asks for an access key" in (await client.get("/")).text


@pytest.mark.parametrize("given", [{"h2ogpt_api_keys": "['listed-key-1']"}, {"api_key": "own-1"}])
async def test_keys_of_the_settings_go_on_being_good(
    tmp_path: Path, held: Held, given: dict[str, Any]
) -> None:
    _, secret = await held.key()
    async with site(tmp_path, local=False, relay=held.relay, **given) as at:
        for key in ("listed-key-1" if "h2ogpt_api_keys" in given else "own-1", secret):
            async with at.browser() as client:
                assert (await signed_in(client, "ann", key))["name"] == "ann"


async def test_lists_are_of_the_models_that_the_key_is_for(tmp_path: Path, held: Held) -> None:
    _, secret = await held.key(models=["g*"])
    held.relay.views = [view("parrot"), view("gull"), view("gannet")]
    async with site(tmp_path, local=False, relay=held.relay) as at, at.browser() as client:
        owner = (await signed_in(client, "ann", secret))["owner"]
        context = context_of(held.relay, models_of=at.sign_in.models_of)
        assert [each.name for each in context.offered(owner)] == ["gull", "gannet"]
        assert [each.name for each in context.offered("user:ann")] == ["parrot", "gull", "gannet"]
