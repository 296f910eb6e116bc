"""Conversations: what is kept of them, who sees them, how they are found."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from sqlalchemy import text

from h2o_relay.errors import InvalidRequest, NotFound, StoreError
from h2o_relay.store import Conversation, Conversations, Store, Summary
from h2o_relay.store.text import QUERY, SEARCHED, clean, decode, encode, fold, searchable

MESSAGES: list[dict[str, Any]] = [
    {"id": "a1", "role": "user", "content": [
        {"type": "text", "text": "What is in the PICTURE?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,UNSEEN"}},
    ]},
    {"id": "a2", "role": "assistant", "content": "A straße, «ÉTÉ» 100%_off\\", "model": "m",
     "figures": {"first_token": 0.25, "seconds": 1.0, "tokens": None}, "error": None},
]  # fmt: skip


@pytest.fixture
def conversations(store: Store) -> Conversations:
    return Conversations(store)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time; a test sets it."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


async def titles(conversations: Conversations, owner: str = "me", **how: Any) -> list[str]:
    return [found.title for found in await conversations.list(owner, **how)]


async def test_what_is_created_can_be_got(conversations: Conversations, clock: list[float]) -> None:
    given = {"temperature": 0.5, "stop": ["a"]}
    made = await conversations.create(
        "me", kind="compare", title="Größe", settings=given, messages=MESSAGES
    )
    assert made == Conversation(made.id, "me", "Größe", "compare", 1000, 1000, given, MESSAGES)
    assert await conversations.get("me", made.id) == made
    assert await conversations.list("me") == [Summary(made.id, "Größe", "compare", 1000, 1000)]
    made.settings["temperature"] = 1
    made.messages[0]["role"] = "x"
    assert given["temperature"] == 0.5
    assert MESSAGES[0]["role"] == "user"


async def test_an_empty_one(conversations: Conversations) -> None:
    made = await conversations.create("me")
    assert (made.title, made.kind, made.settings, made.messages) == ("", "chat", {}, [])
    assert len(made.id) == 32
    assert made.id != (await conversations.create("me")).id


async def test_only_what_is_given_is_saved(
    conversations: Conversations, clock: list[float]
) -> None:
    made = await conversations.create("me", title="t", settings={"a": 1}, messages=MESSAGES)
    expected = made
    for now, change in enumerate(
        [{"title": "new"}, {"settings": {"b": 2}}, {"messages": []}, {}, {"title": ""}], 1001
    ):
        clock[0] = now
        await conversations.save("me", made.id, **change)
        for name, value in change.items():
            setattr(expected, name, value)
        expected.updated = now
        assert await conversations.get("me", made.id) == expected
    assert expected.created == 1000


async def test_what_is_saved_is_as_it_was_at_the_call(conversations: Conversations) -> None:
    made = await conversations.create("me")
    growing = [{"role": "assistant", "content": "one"}]
    saving = asyncio.create_task(conversations.save("me", made.id, messages=growing))
    await asyncio.sleep(0)
    growing[0]["content"] = "two"
    await saving
    assert (await conversations.get("me", made.id)).messages[0]["content"] == "one"


async def test_saves_of_one_conversation_at_once(url: str, conversations: Conversations) -> None:
    """From two stores, as of two processes: the last of each kind counts, none is mixed."""
    made = await conversations.create("me")
    async with Store(url) as other:
        both = [conversations, Conversations(other)]
        saves: list[Any] = []
        for n in range(20):
            message = {"role": "user", "content": f"word{n}"}
            saves.append(both[n % 2].save("me", made.id, messages=[message] * 50))
            saves.append(both[n % 2].save("me", made.id, title=f"title{n}", settings={"n": n}))
        await asyncio.gather(*saves)
    found = await conversations.get("me", made.id)
    assert found.title == f"title{found.settings['n']}"
    said = {message["content"] for message in found.messages}
    assert len(said) == 1
    assert len(found.messages) == 50
    assert await titles(conversations, search=f"{said.pop()} {found.title}") == [found.title]
    assert found.settings["n"] in (18, 19)


# Owners.


async def test_another_owners_are_as_if_there_were_none(conversations: Conversations) -> None:
    mine = await conversations.create("me", title="mine", messages=MESSAGES)
    for owner in ("you", "ME", "me ", "", "%", "m_"):
        assert await conversations.list(owner) == []
        assert await conversations.list(owner, search="picture") == []
        with pytest.raises(NotFound) as other:
            await conversations.get(owner, mine.id)
        with pytest.raises(NotFound) as none:
            await conversations.get(owner, "nothing")
        assert str(other.value) == str(none.value)
        assert other.value.status == 404
        with pytest.raises(NotFound):
            await conversations.save(owner, mine.id, title="stolen")
        await conversations.delete(owner, mine.id)
        assert await conversations.delete_all(owner) == 0
    assert await conversations.get("me", mine.id) == mine


async def test_owners_may_have_the_same_id(conversations: Conversations) -> None:
    for owner in ("me", "you"):
        await conversations.create(owner, id="one", title=owner)
    await conversations.save("me", "one", title="mine")
    await conversations.delete("me", "one")
    assert (await conversations.get("you", "one")).title == "you"


@pytest.mark.parametrize("id", ["", "' OR 1=1 --", "%", "\0", "\ud800", "x" * 10_000])
async def test_an_id_that_nobody_has(conversations: Conversations, id: str) -> None:
    await conversations.create("me")
    with pytest.raises(NotFound):
        await conversations.get("me", id)
    with pytest.raises(NotFound):
        await conversations.save("me", id, title="x")
    await conversations.delete("me", id)
    assert await conversations.delete_all("me") == 1


async def test_deleting(conversations: Conversations) -> None:
    one, two, three = [await conversations.create("me", title=t) for t in ("1", "2", "3")]
    await conversations.delete("me", two.id)
    await conversations.delete("me", two.id)
    with pytest.raises(NotFound):
        await conversations.get("me", two.id)
    with pytest.raises(NotFound):
        await conversations.save("me", two.id, title="back")
    assert {found.id for found in await conversations.list("me")} == {one.id, three.id}
    assert await conversations.delete_all("me") == 2
    assert await conversations.list("me") == []


@pytest.mark.parametrize(
    ("how", "param"),
    [({"kind": "Chat"}, "kind"), ({"id": ""}, "id"), ({"id": "a b"}, "id"),
     ({"id": "x" * 65}, "id"), ({"id": "../x"}, "id")],
)  # fmt: skip
async def test_what_is_not_created(
    conversations: Conversations, how: dict[str, Any], param: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await conversations.create("me", **how)
    assert caught.value.param == param
    assert await conversations.list("me") == []


async def test_an_id_is_given_once(conversations: Conversations) -> None:
    await conversations.create("me", id="one", title="first")
    with pytest.raises(InvalidRequest, match="with this id already"):
        await conversations.create("me", id="one", title="second")
    assert await titles(conversations) == ["first"]


# Lists and searches.


async def test_the_newest_is_first(conversations: Conversations, clock: list[float]) -> None:
    made = []
    for n in range(5):
        clock[0] = 1000 + n
        made.append(await conversations.create("me", title=str(n)))
    assert await titles(conversations) == ["4", "3", "2", "1", "0"]
    clock[0] = 2000
    await conversations.save("me", made[1].id, messages=MESSAGES)
    assert await titles(conversations) == ["1", "4", "3", "2", "0"]
    assert await titles(conversations, limit=2) == ["1", "4"]
    assert await titles(conversations, limit=0) == []
    assert await titles(conversations, limit=-1) == []


async def test_kinds(conversations: Conversations) -> None:
    for kind in ("chat", "compare", "grid", "chat"):
        await conversations.create("me", kind=kind, title=kind)
    assert await titles(conversations, kind="chat") == ["chat", "chat"]
    assert await titles(conversations, kind="grid") == ["grid"]
    assert len(await titles(conversations)) == 4


@pytest.mark.parametrize(
    "search",
    [
        "", "  ", "picture", "PICTURE", "pict", "STRASSE", "straße", "été",
        "E\u0301te\u0301", "100%", "%_OFF", "_", "\\", "off\\", "überschrift", "ÜBER",
        "picture über", "über   picture\twhat", "\uff50icture",
    ],
)  # fmt: skip
async def test_found(conversations: Conversations, search: str) -> None:
    await conversations.create("me", title="Überschrift", messages=MESSAGES)
    assert await titles(conversations, search=search) == ["Überschrift"]


@pytest.mark.parametrize(
    "search",
    ["UNSEEN", "image_url", "assistant", "pic%ure", "pict_re", "1%0", "über nothing", "'", '"',
     "a1", "[^x]", "*", "x" * 100_000, "\0", "\ud800"],
)  # fmt: skip
async def test_not_found(conversations: Conversations, search: str) -> None:
    await conversations.create("me", title="Überschrift", messages=MESSAGES)
    assert await titles(conversations, search=search) == []


async def test_a_search_sees_what_was_saved_last(conversations: Conversations) -> None:
    made = await conversations.create("me", title="old", messages=MESSAGES)
    await conversations.save("me", made.id, messages=[{"role": "user", "content": "Fresh"}])
    assert await titles(conversations, search="picture") == []
    assert await titles(conversations, search="fresh old") == ["old"]
    await conversations.save("me", made.id, title="new")
    assert await titles(conversations, search="old") == []
    assert await titles(conversations, search="fresh new") == ["new"]


async def test_a_search_has_its_limits(conversations: Conversations) -> None:
    long = ["x" * (SEARCHED - 10), "inside", "outside"]
    messages = [{"role": "user", "content": part} for part in long]
    await conversations.create("me", title="t", messages=messages)
    assert await titles(conversations, search="inside") == ["t"]
    assert await titles(conversations, search="outside") == []
    assert await titles(conversations, search="inside" + " " * QUERY + "outside") == ["t"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)  # the other counts its rows first
async def test_lists_use_the_index(store: Store, conversations: Conversations) -> None:
    """Listing reads as many rows as it shows, however many there are."""
    query = "SELECT id FROM conversations WHERE owner = 'me' ORDER BY updated DESC, id LIMIT 9"
    plan = await store.run(
        lambda s: [row.detail for row in s.execute(text(f"EXPLAIN QUERY PLAN {query}"))]
    )
    assert "INDEX ix_conversations_owner_updated (owner=?)" in plan[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in plan


# Values.


@pytest.mark.parametrize(
    "message",
    [
        {"role": "user", "content": "\ud800 half a pair"},
        {"role": "user", "content": "a\0b"},
        {"role": "user", "content": None},
        {"role": "user", "content": [{"type": "text"}, {"type": "text", "text": 5}, "x", None]},
        {"role": "user", "content": "", "big": 2**70, "ratio": 0.1},
        {"content": {"a": [1, {"b": None}]}},
        {},
    ],
)
async def test_odd_messages_come_back_as_they_were(
    conversations: Conversations, message: dict[str, Any]
) -> None:
    made = await conversations.create("me", messages=[message], settings=message)
    found = await conversations.get("me", made.id)
    assert found.messages == [message]
    assert found.settings == message


async def test_deep_messages(conversations: Conversations) -> None:
    deep: Any = "end"
    for _ in range(400):
        deep = [deep]
    made = await conversations.create("me", messages=[{"content": deep}])
    assert (await conversations.get("me", made.id)).messages == [{"content": deep}]


async def test_what_has_no_json_is_refused_before_anything_is_written(
    conversations: Conversations,
) -> None:
    made = await conversations.create("me", title="t")
    with pytest.raises(StoreError, match="this cannot be stored: Object of type set"):
        await conversations.save("me", made.id, title="new", messages=[{"content": {1}}])
    assert (await conversations.get("me", made.id)).title == "t"


async def test_a_title_that_is_no_text_for_databases(conversations: Conversations) -> None:
    made = await conversations.create("me", title="a\0b\ud800c")
    assert made.title == "a\ufffdb\ufffdc"
    assert await conversations.get("me", made.id) == made


async def test_a_damaged_row(store: Store, conversations: Conversations) -> None:
    made = await conversations.create("me", title="t")
    await store.run(lambda s: s.execute(text("UPDATE conversations SET messages = '[{'")).close())
    with pytest.raises(StoreError, match="damaged"):
        await conversations.get("me", made.id)
    assert await titles(conversations) == ["t"], "it can still be listed, and deleted"


def test_texts() -> None:
    assert clean("Größe 🙂 \ud83d\ude42 \udc00") == "Größe 🙂 🙂 \ufffd"
    assert fold("\uff21B Straße ﬁ") == "ab strasse fi"
    assert decode(encode({"a": [1, "é", None]})) == {"a": [1, "é", None]}
    assert searchable([{"content": "A"}, {"role": "x"}, {"content": [{"text": "B"}]}]) == "a\nb"
    with pytest.raises(StoreError):
        encode(object())
