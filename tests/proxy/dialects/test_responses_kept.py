"""Responses that are kept: going on from them, reading them, and what bounds them."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import orjson
import pytest
from openai.types.responses import Response, ResponseItem
from pydantic import TypeAdapter

from h2o_relay.errors import InvalidRequest, NotFound, UpstreamDisconnected
from h2o_relay_proxy.dialects.responses import DIALECT, Kept

from .responses_kit import (
    ME,
    USAGE,
    Keeping,
    answered,
    call,
    called,
    chunk,
    event,
    events_of,
    result,
    streamed,
    thought,
    user,
)

ITEM: TypeAdapter[Any] = TypeAdapter(ResponseItem)


@pytest.fixture
def keeping() -> Keeping:
    return Keeping()


class TestGoingOn:
    def test_what_was_said_comes_before_what_is_new(self, keeping: Keeping) -> None:
        first = keeping.answer("Hello.", input="hi", instructions="Be brief.")
        second = keeping.answer("Fine.", input="How are you?", previous_response_id=first.id)
        third = keeping.ask(input="Good.", previous_response_id=second.id, instructions="Be long.")
        assert third.params["messages"] == [
            {"role": "system", "content": "Be long."},
            user("hi"),
            {"role": "assistant", "content": "Hello."},
            user("How are you?"),
            {"role": "assistant", "content": "Fine."},
            user("Good."),
        ]
        assert second.previous_response_id == first.id

    def test_a_result_finds_its_call(self, keeping: Keeping) -> None:
        message = {"reasoning": "Hm.", "tool_calls": [call("{}", "a")]}
        body = keeping.ask().whole(answered(message, "tool_calls"))
        id = orjson.loads(body)["id"]
        asked = keeping.ask(input=[result("a")], previous_response_id=id)
        _, turn, tool = asked.params["messages"]
        assert turn["tool_calls"][0]["id"] == "a"
        assert turn["reasoning_content"] == "Hm."
        assert tool == {"role": "tool", "tool_call_id": "a", "content": "done"}
        with pytest.raises(InvalidRequest, match="call_id b"):
            keeping.ask(input=[result("b")], previous_response_id=id)

    def test_without_anything_new(self, keeping: Keeping) -> None:
        first = keeping.answer("Hello.")
        asked = keeping.dialect.read_for({"previous_response_id": first.id}, ME)
        assert [m["role"] for m in asked.params["messages"]] == ["user", "assistant"]

    def test_one_response_has_several_after_it(self, keeping: Keeping) -> None:
        first = keeping.answer("Hello.")
        for text in ("a", "b"):
            keeping.answer(text, previous_response_id=first.id)
        assert len(keeping.ask(previous_response_id=first.id).params["messages"]) == 3

    @pytest.mark.parametrize("how", ["stored", "foreign", "unknown", "deleted"])
    def test_what_is_not_there(self, keeping: Keeping, how: str) -> None:
        first = keeping.answer(store=how != "stored", owner="you" if how == "foreign" else ME)
        if how == "deleted":
            keeping.dialect.delete(first.id, ME)
        id = "resp_0" if how == "unknown" else first.id
        with pytest.raises(InvalidRequest) as caught:
            keeping.ask(previous_response_id=id)
        assert (caught.value.status, caught.value.param, caught.value.code) == (
            400, "previous_response_id", "previous_response_not_found",
        )  # fmt: skip

    def test_an_item_is_found_by_its_id(self, keeping: Keeping) -> None:
        given = {**user("remember"), "id": "msg_mine"}
        first = keeping.answer("Hello.", input=[given])
        references = [
            {"type": "item_reference", "id": "msg_mine"}, {"id": first.output[0].id}, user("So?"),
        ]  # fmt: skip
        assert keeping.ask(input=references).params["messages"] == [
            user("remember"), {"role": "assistant", "content": "Hello."}, user("So?"),
        ]  # fmt: skip
        with pytest.raises(NotFound):
            keeping.ask("you", input=references)

    def test_an_item_outlives_the_response_that_it_came_with(self, keeping: Keeping) -> None:
        first = keeping.answer("Hello.")
        keeping.answer("Fine.", previous_response_id=first.id)
        keeping.dialect.delete(first.id, ME)
        asked = keeping.ask(input=[{"id": first.output[0].id}, user("So?")])
        assert asked.params["messages"][0] == {"role": "assistant", "content": "Hello."}

    def test_an_answer_that_failed_can_be_gone_on_from(self, keeping: Keeping) -> None:
        exchanged = keeping.ask(stream=True)
        sent = exchanged.begin() + exchanged.chunk(chunk(event({"content": "Hel"})))
        *_, last = events_of(sent + exchanged.failed(UpstreamDisconnected("gone")))
        said = keeping.ask(previous_response_id=last.response.id).params["messages"]
        assert said[1] == {"role": "assistant", "content": "Hel"}

    def test_whether_a_request_must_be_answered_here(self, keeping: Keeping) -> None:
        first, refers = keeping.answer(), keeping.dialect.refers
        item = {"type": "item_reference", "id": first.output[0].id}
        assert refers({"previous_response_id": first.id}, ME)
        assert refers({"input": [item]}, ME)
        assert not refers({"previous_response_id": first.id}, "you")
        assert not refers({"previous_response_id": "resp_0", "input": "a"}, ME)
        assert not refers({"previous_response_id": 5, "input": [5, {"id": 5}, user()]}, ME)
        assert not DIALECT.refers({"previous_response_id": first.id}, ME)


class TestReading:
    def test_a_whole_answer_as_it_was(self, keeping: Keeping) -> None:
        body = keeping.ask().whole(answered({"content": "Hello."}))
        response = Response.model_validate_json(body)
        assert keeping.dialect.retrieve(response.id, ME, b"include[]=x&stream=false") == body
        assert orjson.loads(body)["store"] is True

    def test_a_stream_as_it_ended(self, keeping: Keeping) -> None:
        events = [event({"content": "Hello."}, "stop"), event(usage=USAGE)]
        last = events_of(streamed(keeping.ask(stream=True), events))[-1].response
        found = Response.model_validate_json(keeping.dialect.retrieve(last.id, ME))
        assert found == last

    def test_a_stream_is_not_played_again(self, keeping: Keeping) -> None:
        with pytest.raises(InvalidRequest) as caught:
            keeping.dialect.retrieve(keeping.answer().id, ME, b"stream=true")
        assert (caught.value.param, caught.value.code) == ("stream", "unsupported_parameter")

    def test_deleting(self, keeping: Keeping) -> None:
        id = keeping.answer().id
        told = orjson.loads(keeping.dialect.delete(id, ME))
        assert told == {"id": id, "object": "response", "deleted": True}
        assert (len(keeping.kept), keeping.kept.bytes) == (0, 0)
        assert not keeping.kept._items

    def test_cancelling(self, keeping: Keeping) -> None:
        with pytest.raises(InvalidRequest, match="synchronous") as caught:
            keeping.dialect.cancel(keeping.answer().id, ME)
        assert caught.value.status == 400

    @pytest.mark.parametrize("name", ["retrieve", "delete", "cancel", "input_items"])
    def test_what_is_not_there(self, keeping: Keeping, name: str) -> None:
        unstored = keeping.answer(store=False).id
        for id, owner in ((keeping.answer().id, "you"), (unstored, ME), ("resp_0", ME)):
            for dialect in (keeping.dialect, DIALECT):
                with pytest.raises(NotFound) as caught:
                    getattr(dialect, name)(id, owner)
                assert caught.value.status == 404
        assert len(keeping.kept) == 1


IMAGE = {"type": "input_image", "image_url": "data:x"}
GIVEN = [
    {"type": "message", "role": "developer", "content": "Be good."},
    user([{"type": "input_text", "text": "a"}, IMAGE]),
    {"role": "assistant", "content": "b"},
    thought("Hm."),
    called("a"),
    result("a", [IMAGE]),
    user("c"),
]


class TestInputItems:
    def listed(self, keeping: Keeping, id: str, query: bytes = b"") -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(keeping.dialect.input_items(id, ME, query))
        for item in found["data"]:
            ITEM.validate_python(item)
        ids = [item["id"] for item in found["data"]]
        ends = [ids[0], ids[-1]] if ids else [None, None]
        assert [found["first_id"], found["last_id"]] == ends
        assert found["object"] == "list"
        return found

    def test_every_kind_of_item_has_all_that_the_sdk_wants(self, keeping: Keeping) -> None:
        id = keeping.answer(input=GIVEN).id
        found = self.listed(keeping, id, b"order=asc")
        kinds = ["message"] * 3 + ["reasoning", "function_call", "function_call_output", "message"]
        assert [item["type"] for item in found["data"]] == kinds
        assert len({item["id"] for item in found["data"]}) == 7
        assert found["has_more"] is False
        assert found["data"][-1]["content"] == [{"type": "input_text", "text": "c"}]

    def test_what_came_before_is_among_them(self, keeping: Keeping) -> None:
        first = keeping.answer("Hello.", input="hi")
        second = keeping.answer("Fine.", input="So?", previous_response_id=first.id)
        found = self.listed(keeping, second.id)
        assert [item["content"][0]["text"] for item in found["data"]] == ["So?", "Hello.", "hi"]
        assert found["data"][1]["id"] == first.output[0].id

    @pytest.mark.parametrize("order", ["asc", "desc"])
    def test_pages(self, keeping: Keeping, order: str) -> None:
        id = keeping.answer(input=[user(str(n)) for n in range(5)]).id
        seen: list[str] = []
        query = f"limit=2&order={order}"
        while True:
            page = self.listed(keeping, id, query.encode())
            seen += [item["content"][0]["text"] for item in page["data"]]
            if not page["has_more"]:
                break
            query = f"limit=2&order={order}&after={page['last_id']}"
        assert seen == (list("01234") if order == "asc" else list("43210"))

    def test_twenty_are_a_page(self, keeping: Keeping) -> None:
        id = keeping.answer(input=[user(str(n)) for n in range(21)]).id
        page = self.listed(keeping, id)
        assert (len(page["data"]), page["has_more"]) == (20, True)
        last = self.listed(keeping, id, f"after={page['last_id']}".encode())
        assert (len(last["data"]), last["has_more"]) == (1, False)

    @pytest.mark.parametrize(
        ("query", "param", "code"),
        [
            (b"limit=0", "limit", "below_min_value"),
            (b"limit=101", "limit", "above_max_value"),
            (b"limit=99999999999999999999", "limit", "above_max_value"),
            (b"limit=-1", "limit", "invalid_type"),
            (b"limit=two", "limit", "invalid_type"),
            ("limit=٢".encode(), "limit", "invalid_type"),
            (b"order=up", "order", "invalid_value"),
            (b"after=msg_0", "after", "invalid_value"),
            (b"a=b&" * 100, None, "invalid_value"),
        ],
    )
    def test_a_query_that_is_wrong(
        self, keeping: Keeping, query: bytes, param: str | None, code: str
    ) -> None:
        with pytest.raises(InvalidRequest) as caught:
            keeping.dialect.input_items(keeping.answer().id, ME, query)
        assert (caught.value.param, caught.value.code) == (param, code)


class TestBounds:
    def test_the_oldest_goes_first(self) -> None:
        keeping = Keeping(Kept(most=2))
        first, second, third = (keeping.answer(str(n)).id for n in range(3))
        has = [keeping.dialect.has(id, ME) for id in (first, second, third)]
        assert has == [False, True, True]
        assert len(keeping.kept._items) == 4

    def test_bytes(self) -> None:
        keeping = Keeping(Kept(most_bytes=20_000))
        ids = [keeping.answer("x" * 3000).id for _ in range(9)]
        assert 8_000 < keeping.kept.bytes <= 20_000
        has = [keeping.dialect.has(id, ME) for id in ids]
        assert has == sorted(has)
        assert True in has

    @pytest.mark.parametrize("text", ["Hello.", "x" * 5000])
    def test_what_is_counted_is_what_is_held(self, text: str) -> None:
        keeping, count = Keeping(), 200

        def answer() -> None:
            whole = keeping.ask(input="hi").whole(answered({"content": text}))
            del whole

        for _ in range(5):
            answer()
        before = keeping.kept.bytes
        tracemalloc.start()
        try:
            for _ in range(count):
                answer()
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        counted = keeping.kept.bytes - before
        assert 0.6 * counted < held < 1.1 * counted, (held / count, counted / count)

    def test_one_that_is_too_large_is_not_kept_and_pushes_nobody_out(self) -> None:
        keeping = Keeping(Kept(most_bytes=20_000))
        first = keeping.answer()
        large = keeping.ask().whole(answered({"content": "x" * 30_000}))
        assert orjson.loads(large)["store"] is False
        assert not keeping.dialect.has(orjson.loads(large)["id"], ME)
        assert keeping.dialect.has(first.id, ME)

    def test_a_long_conversation_goes_on_when_its_beginning_is_gone(self) -> None:
        keeping = Keeping(Kept(most=2))
        id = keeping.answer("0").id
        for n in range(1, 10):
            id = keeping.answer(str(n), input="more", previous_response_id=id).id
        said = keeping.ask(previous_response_id=id).params["messages"]
        assert [m["content"] for m in said if m["role"] == "assistant"] == list("0123456789")
        assert len(keeping.kept) == 2
