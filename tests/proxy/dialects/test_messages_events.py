"""Streams of /messages: their grammar, the SDK's reading of them, and that whole answers agree."""

from __future__ import annotations

import pytest

from h2o_relay.errors import Overloaded, UpstreamBadResponse, UpstreamIncomplete
from h2o_relay_proxy.dialects.messages import DIALECT

from .messages_kit import (
    PROMPTED,
    accumulated,
    check_grammar,
    chunks,
    event,
    events_of,
    grown,
    read,
    streamed,
)

TEXT = [
    event({"role": "assistant", "content": ""}),
    event({"content": "Hel"}),
    event({"content": "lo."}),
    event({}, "stop"),
    event(usage=PROMPTED),
]
DESCRIBED = {"name": "look", "input_schema": {"type": "object"}}


def types_of(stream: bytes) -> list[str]:
    return [one["type"] for one in events_of(stream)]


def test_a_text() -> None:
    stream = streamed(chunks(TEXT))
    assert types_of(stream) == [
        "message_start", "ping", "content_block_start", "content_block_delta",
        "content_block_delta", "content_block_stop", "message_delta", "message_stop",
    ]  # fmt: skip
    check_grammar(stream)
    message = accumulated(stream)
    assert message.content[0].to_dict() == {"type": "text", "text": "Hello."}
    assert (message.stop_reason, message.model) == ("end_turn", "m")
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 5)


def test_each_piece_is_passed_on_as_it_comes() -> None:
    exchanged = read(stream=True)
    first, second, third, *_ = [exchanged.chunk(chunk) for chunk in chunks(TEXT)]
    assert types_of(first) == ["message_start", "ping"]
    assert [e["delta"]["text"] for e in events_of(second) if "delta" in e] == ["Hel"]
    assert [e["delta"]["text"] for e in events_of(third) if "delta" in e] == ["lo."]


def test_what_is_known_at_the_start_is_told_there() -> None:
    counted = [event({"content": "a"}, usage=PROMPTED), event({}, "stop", PROMPTED)]
    start = events_of(streamed(chunks(counted), model=None))[0]["message"]
    assert (start["model"], start["usage"]["input_tokens"]) == ("served", 7)


def test_a_stream_without_a_word() -> None:
    message = accumulated(streamed([]))
    assert (message.content, message.stop_reason) == ([], "end_turn")


def test_kinds_that_take_turns() -> None:
    stream = streamed(
        chunks(
            [
                event({"reasoning_content": "H"}),
                event({"reasoning": "m."}),
                event({"content": "Yes."}),
                event({"reasoning_content": "Or?"}),
                event({"content": "No."}),
                event({"refusal": "Never."}, "stop"),
            ]
        )
    )
    assert [block["type"] for block in check_grammar(stream)] == [
        "thinking", "text", "thinking", "text",
    ]  # fmt: skip
    message = accumulated(stream)
    assert message.content[0].to_dict()["thinking"] == "Hm."
    assert message.content[3].to_dict()["text"] == "No.Never."
    assert message.stop_reason == "refusal"


def test_calls_one_after_the_other_are_not_held_back() -> None:
    exchanged = read(stream=True)
    given_events = [
        event(grown(0, id="a", name="look")),
        event(grown(0, '{"n":')),
        event(grown(0, "1}")),
        event(grown(1, '{"n', id="b", name="look")),
        event(grown(1, '":2}')),
    ]
    *_, fourth, fifth = [exchanged.chunk(chunk) for chunk in chunks(given_events)]
    assert types_of(fourth) == ["content_block_stop", "content_block_start", "content_block_delta"]
    assert [e["delta"]["partial_json"] for e in events_of(fifth)] == ['":2}']


def test_calls_that_grow_side_by_side() -> None:
    stream = streamed(
        chunks(
            [
                event(grown(0, id="a", name="one")),
                event(grown(1, '{"x":', id="b", name="two")),
                event(grown(0, '{"y":')),
                event(grown(1, "1}")),
                event({"content": "So."}),
                event(grown(0, "2}")),
                event({}, "tool_calls"),
            ]
        )
    )
    check_grammar(stream)
    message = accumulated(stream)
    assert [block.to_dict() for block in message.content] == [
        {"type": "tool_use", "id": "a", "name": "one", "input": {"y": 2}},
        {"type": "tool_use", "id": "b", "name": "two", "input": {"x": 1}},
        {"type": "text", "text": "So."},
    ]
    assert message.stop_reason == "tool_use"


def test_calls_without_arguments() -> None:
    stream = streamed(
        chunks([event(grown(0, id="a", name="one")), event(grown(1, id="b", name="two"), "stop")])
    )
    check_grammar(stream)
    message = accumulated(stream)
    assert [block.to_dict()["input"] for block in message.content] == [{}, {}]
    assert message.stop_reason == "tool_use"


def test_calls_that_all_have_one_number() -> None:
    whole_calls = [event(grown(0, f'{{"n":{n}}}', id=f"c{n}", name="look")) for n in range(3)]
    message = accumulated(streamed(chunks(whole_calls)))
    assert [(b.to_dict()["id"], b.to_dict()["input"]) for b in message.content] == [
        (f"c{n}", {"n": n}) for n in range(3)
    ]


def test_a_name_that_comes_late() -> None:
    pieces = [grown(0, '{"n":', id="a"), grown(0, name="look"), grown(0, "1}")]
    stream = streamed(chunks([event(piece) for piece in pieces]))
    assert check_grammar(stream)[0] == {"type": "tool_use", "id": "a", "name": "look", "input": {}}
    assert accumulated(stream).content[0].to_dict()["input"] == {"n": 1}


def test_arguments_that_break_off_are_passed_on_as_they_are() -> None:
    cut = [event(grown(0, '{"n": "ab', id="a", name="look")), event({}, "length")]
    stream = streamed(chunks(cut))
    said = [e["delta"]["partial_json"] for e in events_of(stream) if "partial_json" in str(e)]
    assert said == ['{"n": "ab']
    assert accumulated(stream).stop_reason == "max_tokens"


def test_a_call_that_was_finished_cannot_go_on() -> None:
    exchanged = read(stream=True)
    for chunk in chunks(
        [
            event(grown(0, "{}", id="a", name="one")),
            event(grown(1, "{}", id="b", name="two")),
            event(grown(0, "\n")),
        ]
    ):
        exchanged.chunk(chunk)
    with pytest.raises(UpstreamBadResponse):
        exchanged.chunk(*chunks([event(grown(0, ',"x":1}'))]))


def test_which_stop_sequence_it_was() -> None:
    ended = [event({"content": "a"}), event({}, "stop", stop_reason="END"), event(usage=PROMPTED)]
    message = accumulated(streamed(chunks(ended), stop_sequences=["STOP", "END"]))
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")


def test_other_choices_are_not_mixed_in() -> None:
    other = event({"content": "b"})
    other["choices"][0]["index"] = 1
    message = accumulated(streamed(chunks([event({"content": "a"}), other])))
    assert message.content[0].to_dict()["text"] == "a"


def test_a_failure() -> None:
    exchanged = read(stream=True)
    exchanged.chunk(chunks(TEXT)[0])
    assert events_of(exchanged.failed(UpstreamIncomplete("It broke off."))) == [
        {"type": "error", "error": {"type": "api_error", "message": "It broke off."}}
    ]
    assert DIALECT.broken(Overloaded("Busy.")) == exchanged.failed(Overloaded("Busy."))
