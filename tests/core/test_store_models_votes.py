"""Added models and votes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from h2o_relay.errors import InvalidRequest, StoreError
from h2o_relay.store import AddedModels, Store, Vote, Votes

ENTRY: dict[str, Any] = {
    "base_model": "Größe", "inference_server": "vllm_chat:https://h:None:/v1:sk-1",
    "max_seq_len": 5, "visible": True, "prompt_dict": {"humanstr": "\n"},
}  # fmt: skip


async def test_added_models(url: str) -> None:
    async with Store(url) as store:
        models = AddedModels(store)
        assert await models.all() == []
        for id in ("z", "a", "m"):
            await models.put(id, {**ENTRY, "id": id})
    async with Store(url) as store:
        models = AddedModels(store)
        assert [id for id, _ in await models.all()] == ["z", "a", "m"]
        await models.put("a", ENTRY)
        assert await models.all() == [
            ("z", {**ENTRY, "id": "z"}), ("a", ENTRY), ("m", {**ENTRY, "id": "m"}),
        ]  # fmt: skip
        await models.delete("z")
        await models.delete("z")
        assert [id for id, _ in await models.all()] == ["a", "m"]
        await models.put("z", ENTRY)
        assert [id for id, _ in await models.all()] == ["a", "m", "z"]


async def test_an_entry_that_cannot_be_stored(store: Store) -> None:
    models = AddedModels(store)
    await models.put("a", ENTRY)
    with pytest.raises(StoreError):
        await models.put("a", {"x": object()})
    assert await models.all() == [("a", ENTRY)]


async def test_votes(url: str) -> None:
    given = [
        Vote(("a", "b"), "b", "Why?", "c1", 3.5),
        Vote(("a", "b", "c"), "", "Tie\0", None, 2.5),
        Vote(("a", "b"), None, "None", "c1", 1.5),
        Vote(("a", "a"), "a", "", None, 0.0),
    ]
    async with Store(url) as store:
        for owner, vote in zip(("me", "you", "me", "me"), given, strict=True):
            await Votes(store).add(owner, vote)
    async with Store(url) as store:
        found = await Votes(store).all()
    given[1] = Vote(("a", "b", "c"), "", "Tie\ufffd", None, 2.5)
    assert found == given


async def test_a_winner_took_part(store: Store) -> None:
    votes = Votes(store)
    with pytest.raises(InvalidRequest, match="'x' is none of these models") as caught:
        await votes.add("me", Vote(("a", "b"), "x", "p", None, 1.0))
    assert caught.value.param == "winner"
    assert await votes.all() == []


async def test_many_votes_at_once(store: Store) -> None:
    votes = Votes(store)
    await asyncio.gather(*(votes.add("o", Vote(("a",), "a", str(n), None, n)) for n in range(50)))
    assert sorted(int(vote.prompt) for vote in await votes.all()) == list(range(50))
