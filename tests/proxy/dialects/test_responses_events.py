"""Streams of /responses: the grammar of their events, read by the SDK's own types."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseErrorEvent

from h2o_relay.assemble import assemble
from h2o_relay.errors import InvalidRequest, RateLimited, RelayError, UpstreamDisconnected
from h2o_relay_proxy.dialects.responses import DIALECT

from .responses_kit import (
    USAGE,
    anonymous,
    chunk,
    event,
    events_of,
    plain,
    read,
    stream,
    streamed,
    told,
)

END = [event({}, "stop"), event(usage=USAGE)]


def kinds(events: list[Any]) -> list[str]:
    return [one.type.removeprefix("response.") for one in events]


def piece(arguments: str, index: int = 0, **more: Any) -> dict[str, Any]:
    """A part of a call. `name` begins one."""
    function = {k: v for k, v in {"name": more.pop("name", None)}.items() if v}
    call = {"index": index, "function": {**function, "arguments": arguments}, **more}
    return event({"tool_calls": [call]})


def test_a_text() -> None:
    events = stream([event({"role": "assistant", "content": ""}), event({"content": "Hel"}),
                     event({"content": "lo"}), *END])  # fmt: skip
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
        "output_text.delta", "output_text.done", "content_part.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    created, _, added, part, first, second, text, whole, done, last = events
    assert (created.response.status, created.response.output) == ("in_progress", [])
    assert created.response.model == "served"
    assert (added.item.status, added.item.content, added.output_index) == ("in_progress", [], 0)
    assert part.part.text == ""
    assert (first.delta, second.delta, text.text, whole.part.text) == (
        "Hel",
        "lo",
        "Hello",
        "Hello",
    )
    assert {e.item_id for e in (part, first, second, text, whole)} == {added.item.id}
    assert (done.item.id, done.item.status) == (added.item.id, "completed")
    assert last.response.id == created.response.id
    assert last.response.output == [done.item]
    assert last.response.usage.total_tokens == 12


def test_reasoning_text_and_a_call() -> None:
    call = [piece("", id="a", name="look"), piece('{"x":'), piece("1}")]
    events = stream([event({"reasoning": "Hm."}), event({"content": "I look."}), *call, *END])
    assert kinds(events)[2:-1] == [
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done",
        "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
    ]  # fmt: skip
    done = events[-2].item
    assert (done.call_id, done.name, done.arguments) == ("a", "look", '{"x":1}')


def test_a_summary() -> None:
    events = stream(
        [event({"reasoning": "H"}), event({"reasoning": "m."}), *END], reasoning={"summary": "auto"}
    )
    assert kinds(events)[2:-1] == [
        "output_item.added", "reasoning_summary_part.added", "reasoning_summary_text.delta",
        "reasoning_summary_text.delta", "reasoning_summary_text.done",
        "reasoning_summary_part.done", "output_item.done",
    ]  # fmt: skip
    assert events[-2].item.summary[0].text == "Hm."


def test_a_refusal_after_a_text() -> None:
    events = stream([event({"content": "Well."}), event({"refusal": "No"}), *END])
    assert kinds(events)[3:-2] == [
        "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "content_part.added", "refusal.delta", "refusal.done", "content_part.done",
    ]  # fmt: skip
    assert [e.content_index for e in events[3:-2]] == [0] * 4 + [1] * 4


def test_calls_whose_arguments_come_in_turn() -> None:
    events = stream([piece("", 0, id="a", name="look"), piece("", 1, id="b", name="see"),
                     piece("{", 1), piece("{", 0), piece("}", 1), piece(' "x": 1}', 0),
                     event({}, "tool_calls")])  # fmt: skip
    added = [e for e in events if e.type == "response.output_item.added"]
    assert [(e.output_index, e.item.call_id) for e in added] == [(0, "a"), (1, "b")]
    deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
    assert [(e.output_index, e.delta) for e in deltas] == [
        (1, "{"), (0, "{"), (1, "}"), (0, ' "x": 1}'),
    ]  # fmt: skip
    assert [item.arguments for item in events[-1].response.output] == ['{ "x": 1}', "{}"]


@pytest.mark.parametrize("index", [0, None])
def test_whole_calls_under_one_index(index: int | None) -> None:
    calls = [piece("{}", index, id=id, name="look") for id in ("a", "b")]  # type: ignore[arg-type]
    output = stream([*calls, *END])[-1].response.output
    assert [(item.call_id, item.arguments) for item in output] == [("a", "{}"), ("b", "{}")]


def test_an_id_that_is_said_again_is_the_same_call() -> None:
    pieces = [piece(p, id="a", name="look") for p in ("{", "}")]
    (item,) = stream([*pieces, *END])[-1].response.output
    assert item.arguments == "{}"


def test_a_name_that_comes_late() -> None:
    events = stream([piece("{", id="a"), piece("", name="look"), piece("}"), *END])
    assert events[2].item.name == "look"
    assert [e.delta for e in events if e.type.endswith("arguments.delta")] == ["{", "}"]


def test_text_after_a_call_is_another_message() -> None:
    events = stream([event({"content": "One."}), piece("{}", id="a", name="look"),
                     event({"content": "Two."}), *END])  # fmt: skip
    assert [item.type for item in events[-1].response.output] == [
        "message", "function_call", "message",
    ]  # fmt: skip
    assert events[-1].response.output_text == "One.Two."


def test_logprobs() -> None:
    token = {"token": "a", "logprob": -1.0, "bytes": [97], "top_logprobs": []}
    said = {"logprobs": {"content": [token]}}
    events = stream(
        [event({"content": "a"}, **said), event({"content": ""}, **said),
         event({"content": "b"}, **said), event({}, "stop", **said)],
        include=["message.output_text.logprobs"],
    )  # fmt: skip
    deltas = [e for e in events if e.type == "response.output_text.delta"]
    assert [len(e.logprobs) for e in deltas] == [1, 2]
    (done,) = (e for e in events if e.type == "response.output_text.done")
    assert len(done.logprobs) == 4
    assert len(events[-1].response.output[0].content[0].logprobs) == 4


def test_a_citation() -> None:
    cited = {"start_index": 0, "end_index": 1, "title": "t", "url": "https://a"}
    note = {"type": "url_citation", "url_citation": cited}
    events = stream([event({"content": "a"}), event({"annotations": [note]}), *END])
    assert plain(events[5].annotation) == {"type": "url_citation", **cited}
    assert len(events[-1].response.output[0].content[0].annotations) == 1


def test_a_stream_that_is_cut_is_incomplete() -> None:
    events = stream([event({"content": "a"}, "length"), event(usage=USAGE)])
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.incomplete_details.reason == "max_output_tokens"
    assert events[-2].item.status == "incomplete"


def test_a_stream_that_says_nothing() -> None:
    events = stream(END)
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip


def test_several_events_in_a_chunk() -> None:
    exchanged = read(stream=True)
    sent = exchanged.begin() + exchanged.chunk(chunk(event({"content": "a"}), *END))
    assert events_of(sent + exchanged.end())[-1].response.output_text == "a"


FAILURES = [
    (UpstreamDisconnected("gone"), "server_error"),
    (RateLimited("slow down"), "rate_limit_exceeded"),
    (InvalidRequest("no", param="input"), "invalid_prompt"),
]


@pytest.mark.parametrize(("error", "code"), FAILURES)
def test_a_stream_that_fails(error: RelayError, code: str) -> None:
    exchanged = read(stream=True)
    sent = exchanged.begin() + exchanged.chunk(chunk(event({"content": "Hel"})))
    sent += exchanged.chunk(chunk(piece('{"x', id="a", name="look")))
    *_, told_of, last = events_of(sent + exchanged.failed(error))
    assert (told_of.code, told_of.message, told_of.param) == (
        error.code,
        error.message,
        error.param,
    )
    assert plain(told_of)["error"] == error.body()["error"]
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert (last.response.error.code, last.response.error.message) == (code, error.message)
    message, call = last.response.output
    assert (message.content[0].text, call.arguments) == ("Hel", '{"x')
    assert [message.status, call.status] == ["completed", "incomplete"]
    assert b"response.completed" not in sent


def test_a_stream_that_fails_before_its_first_piece_has_begun_all_the_same() -> None:
    exchanged = read(stream=True)
    events = events_of(exchanged.begin() + exchanged.failed(UpstreamDisconnected("gone")))
    assert kinds(events) == ["created", "in_progress", "error", "failed"]


def test_a_forwarded_stream_that_breaks_off() -> None:
    name, data = DIALECT.broken(UpstreamDisconnected("gone")).strip().split(b"\n")
    told_of = ResponseErrorEvent.model_validate_json(data.removeprefix(b"data: "))
    assert (name, told_of.code) == (b"event: error", "upstream_disconnected")


# What a model may say, in the order in which servers say it.

TEXTS = st.lists(st.text(min_size=1, max_size=4), max_size=3)
CALLS = st.lists(TEXTS, max_size=3)
FINISH = st.sampled_from(["stop", "length", "tool_calls", "content_filter"])


@given(TEXTS, TEXTS, TEXTS, CALLS, FINISH, st.booleans(), st.booleans())
async def test_streamed_and_whole_are_the_same(
    thoughts: list[str], texts: list[str], refusals: list[str], calls: list[list[str]],
    finish: str, usage: bool, summary: bool,
) -> None:  # fmt: skip
    events = [event({"role": "assistant"})]
    events += [event({"reasoning_content": text}) for text in thoughts]
    events += [event({"content": text}) for text in texts]
    events += [event({"refusal": text}) for text in refusals]
    for number, arguments in enumerate(calls):
        events.append(piece("", number, id=f"call_{number}", name="look"))
        events += [piece(text, number) for text in arguments]
    events += [event({}, finish), *([event(usage=USAGE)] if usage else [])]

    async def chunks() -> Any:
        for one in events:
            yield chunk(one)

    fields = {"reasoning": {"summary": "auto"}} if summary else {}
    whole = told(await assemble(chunks(), "chat"), **fields)
    sent = stream(events, **fields)
    last = sent[-1].response
    assert anonymous(last.output) == anonymous(whole.output)
    moving = {"id", "output", "created_at", "completed_at", "usage"}
    rest = ({k: v for k, v in plain(one).items() if k not in moving} for one in (last, whole))
    assert next(rest) == next(rest)
    assert (last.usage is None) == (not usage)
    grammar(sent, last)


def grammar(events: list[Any], response: Response) -> None:
    """Items and parts begin before they grow and end once, as what they have grown to."""
    items: dict[int, Any] = {}
    grown: dict[tuple[int, int | None], str] = {}
    closed: set[int] = set()
    for one in events[2:-1]:
        number = one.output_index
        assert number not in closed
        if one.type == "response.output_item.added":
            assert number == len(items)
            items[number] = one.item
        elif one.type == "response.output_item.done":
            closed.add(number)
            assert one.item == response.output[number]
        else:
            assert one.item_id == items[number].id
            index = getattr(one, "content_index", getattr(one, "summary_index", None))
            said = grown.setdefault((number, index), "")
            if one.type.endswith(".delta"):
                grown[number, index] = said + one.delta
            elif one.type.endswith((".text.done", "_text.done", "refusal.done", "arguments.done")):
                found = plain(one)
                assert said == found.get("text", found.get("refusal", found.get("arguments")))
    assert closed == {*items} == {*range(len(response.output))}


def test_the_raw_bytes_are_events_of_two_lines() -> None:
    for block in streamed(read(stream=True), [event({"content": "a\n\nb"}), *END]).split(b"\n\n"):
        if block:
            name, data = block.split(b"\n")
            assert name.startswith(b"event: ")
            orjson.loads(data.removeprefix(b"data: "))
