"""The Responses API by the official OpenAI client: translated, or by the server's own."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from .kit import (
    ABOUT,
    CALLS_TOOLS,
    DIALECTS,
    EMBEDDED,
    LONG,
    OPENAI,
    PARAMETERS,
    TEXT,
    TUNED,
    UPSTREAM_NAMES,
    VLLM,
    Capital,
    Place,
    at,
    idle,
    is_weather,
)

pytestmark = pytest.mark.e2e
QUESTION = "What is the capital of France?"
ANSWER = "The capital of France is Paris."
TOOLS: list[Any] = [
    {
        "type": "function", "name": "weather", "description": ABOUT, "parameters": PARAMETERS,
        "strict": True,
    }
]  # fmt: skip
NAMED: Any = {"type": "function", "name": "weather"}


def request(place: Place, **more: Any) -> dict[str, Any]:
    asked = {"model": place.model, "input": QUESTION, "temperature": 0, "max_output_tokens": 24}
    return {**asked, **more}


def streamed(client: openai.OpenAI, place: Place) -> str:
    """The text of a stream."""
    events = client.responses.create(**request(place), stream=True)
    return "".join(e.delta for e in events if e.type == "response.output_text.delta")


class TestAnswers:
    @at(*DIALECTS)
    def test_whole(self, client: openai.OpenAI, place: Place) -> None:
        made = client.responses.create(**request(place))
        assert (made.object, made.model) == ("response", place.model)
        assert made.id
        assert made.error is None
        assert made.status in ("completed", "incomplete")
        (item,) = made.output
        assert (item.type, item.role) == ("message", "assistant")
        assert [part.type for part in item.content] == ["output_text"]
        assert made.output_text == item.content[0].text
        usage = made.usage
        assert usage is not None
        assert usage.total_tokens == usage.input_tokens + usage.output_tokens
        if place.model != TEXT:  # whose prompt is another one
            assert (made.output_text, made.status) == (ANSWER, "completed")
            assert (usage.input_tokens, usage.output_tokens) == (27, 8)

    @at(*DIALECTS)
    def test_events(self, client: openai.OpenAI, place: Place) -> None:
        """Their grammar, as OpenAI's guide to streaming has it, and the same text."""
        whole = client.responses.create(**request(place))
        events = list(client.responses.create(**request(place), stream=True))
        kinds = [event.type.removeprefix("response.") for event in events]
        deltas = [e for e in events if e.type == "response.output_text.delta"]
        assert kinds[:2] == ["created", "in_progress"]
        assert kinds[2:4] == ["output_item.added", "content_part.added"]
        assert kinds[-4:-1] == ["output_text.done", "content_part.done", "output_item.done"]
        assert kinds[-1] == whole.status
        assert len(deltas) > 3
        assert "".join(event.delta for event in deltas) == whole.output_text
        numbers = [event.sequence_number for event in events]
        assert numbers == list(range(numbers[0], numbers[0] + len(events)))
        last: Any = events[-1]
        assert last.response.output_text == whole.output_text
        assert last.response.usage.output_tokens == whole.usage.output_tokens

    @at(TUNED)
    def test_stream_helper(self, client: openai.OpenAI, place: Place) -> None:
        whole = client.responses.create(**request(place))
        with client.responses.stream(**request(place)) as stream:
            text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
            final = stream.get_final_response()
        assert text == final.output_text == whole.output_text

    @at(EMBEDDED, TUNED)
    def test_limit(self, client: openai.OpenAI, place: Place) -> None:
        made = client.responses.create(**request(place, max_output_tokens=16, input=LONG))
        assert made.status == "incomplete"
        assert made.incomplete_details is not None
        assert made.incomplete_details.reason == "max_output_tokens"
        assert made.usage is not None
        assert made.usage.output_tokens == 16

    @at(EMBEDDED, TUNED)
    def test_instructions_and_items(self, client: openai.OpenAI, place: Place) -> None:
        """Instructions take the place of the model's own: the prompt has other tokens."""
        items: Any = [{"role": "user", "content": [{"type": "input_text", "text": QUESTION}]}]
        asked = request(place, input=items, max_output_tokens=16)
        plain = client.responses.create(**asked)
        told = client.responses.create(**asked, instructions="You are a pirate.")
        assert plain.usage.input_tokens == 27  # type: ignore[union-attr]
        assert told.usage.input_tokens < 27  # type: ignore[union-attr]

    @at(EMBEDDED)
    async def test_async(self, place: Place) -> None:
        async with openai.AsyncOpenAI(base_url=place.base, api_key=place.key) as asking:
            whole = await asking.responses.create(**request(place))
            async with asking.responses.stream(**request(place)) as stream:
                final = await stream.get_final_response()
        assert whole.output_text == final.output_text == ANSWER

    @at(EMBEDDED, TUNED)
    def test_parse(self, client: openai.OpenAI, place: Place) -> None:
        made = client.responses.parse(**request(place, max_output_tokens=60), text_format=Capital)
        assert isinstance(made.output_parsed, Capital)

    @at(EMBEDDED, TEXT)
    def test_a_stream_that_is_left(self, client: openai.OpenAI, place: Place) -> None:
        endless = request(place, max_output_tokens=1500, extra_body={"ignore_eos": True})
        with client.responses.create(**endless, stream=True) as stream:
            for _, event in zip(range(6), stream, strict=False):
                assert event.type
        idle(place)


class TestForwarded:
    @at(VLLM, OPENAI)
    def test_what_the_server_says_without_a_relay(
        self, client: openai.OpenAI, place: Place, direct: openai.OpenAI
    ) -> None:
        upstream = Place("", "", UPSTREAM_NAMES[place.model])
        said = [
            (c.responses.create(**request(p)).output_text, streamed(c, p))
            for c, p in ((client, place), (direct, upstream))
        ]
        assert said[0] == said[1] == (ANSWER, ANSWER)


class TestTools:
    @at(EMBEDDED)
    @pytest.mark.parametrize("choice", [NAMED, "required"], ids=["named", "required"])
    def test_whole(self, client: openai.OpenAI, place: Place, choice: Any) -> None:
        made = client.responses.create(
            **request(place, max_output_tokens=60), tools=TOOLS, tool_choice=choice
        )
        (call,) = made.output
        assert (call.type, call.name, call.status) == ("function_call", "weather", "completed")
        assert call.call_id
        assert is_weather(call.arguments)
        assert made.status == "completed"

    @at(*CALLS_TOOLS)
    def test_arguments_come_in_pieces(self, client: openai.OpenAI, place: Place) -> None:
        events = list(
            client.responses.create(
                **request(place, max_output_tokens=60), tools=TOOLS, tool_choice=NAMED, stream=True
            )
        )
        deltas = [e for e in events if e.type == "response.function_call_arguments.delta"]
        (done,) = (e for e in events if e.type == "response.function_call_arguments.done")
        assert len(deltas) > 3
        assert "".join(event.delta for event in deltas) == done.arguments
        assert is_weather(done.arguments)

    @at(EMBEDDED, TUNED, TEXT)
    def test_results_are_read(self, client: openai.OpenAI, place: Place) -> None:
        talk: Any = [
            {"role": "user", "content": QUESTION},
            {"type": "function_call", "call_id": "call_1", "name": "weather",
             "arguments": json.dumps({"city": "Paris", "unit": "celsius"})},
            {"type": "function_call_output", "call_id": "call_1", "output": "12 degrees"},
        ]  # fmt: skip
        asked = request(place, max_output_tokens=16, tools=TOOLS)
        plain = client.responses.create(**asked)
        made = client.responses.create(**{**asked, "input": talk})
        assert made.output_text
        assert made.usage.input_tokens > plain.usage.input_tokens + 10  # type: ignore[union-attr]


class TestKept:
    @at(*DIALECTS)
    def test_a_response_is_gone_on_from(self, client: openai.OpenAI, place: Place) -> None:
        first = client.responses.create(**request(place))
        asked = request(place, input="Say it again.", max_output_tokens=16)
        plain = client.responses.create(**asked)
        more = client.responses.create(**asked, previous_response_id=first.id)
        assert more.previous_response_id == first.id
        assert more.usage.input_tokens > plain.usage.input_tokens + 8  # type: ignore[union-attr]

    @at(EMBEDDED, TUNED)
    def test_it_is_read_and_deleted(self, client: openai.OpenAI, place: Place) -> None:
        made = client.responses.create(**request(place))
        again = client.responses.retrieve(made.id)
        assert (again.id, again.output_text) == (made.id, made.output_text)
        (item,) = client.responses.input_items.list(made.id)
        assert item.content[0].text == QUESTION
        client.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)

    @at(EMBEDDED, TUNED)
    def test_one_that_is_not_there(self, client: openai.OpenAI, place: Place) -> None:
        with pytest.raises((openai.NotFoundError, openai.BadRequestError)) as caught:
            client.responses.create(**request(place), previous_response_id="resp_nobody")
        assert caught.value.param == "previous_response_id"

    @at(EMBEDDED)
    def test_one_that_is_not_stored(self, client: openai.OpenAI, place: Place) -> None:
        made = client.responses.create(**request(place, store=False))
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(made.id)


class TestErrors:
    @at(EMBEDDED, TUNED)
    @pytest.mark.parametrize(
        ("wrong", "param"),
        [
            ({"temperature": "hot"}, "temperature"),
            ({"max_output_tokens": -1}, "max_output_tokens"),
            ({"input": 5}, "input"),
            ({"input": [{"role": "root", "content": "a"}]}, "input[0].role"),
            ({"tools": [5]}, "tools[0]"),
        ],
    )
    def test_a_wrong_field(
        self, client: openai.OpenAI, place: Place, wrong: dict[str, Any], param: str
    ) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(**request(place, **wrong))
        assert caught.value.param == param
        assert caught.value.body.keys() == {"message", "type", "param", "code"}

    @at(EMBEDDED, TUNED)
    @pytest.mark.parametrize("stream", [False, True])
    def test_what_does_not_fit(self, client: openai.OpenAI, place: Place, stream: bool) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.responses.create(**request(place, input="word " * 9000, stream=stream))
        assert caught.value.code == "context_length_exceeded"

    @at(EMBEDDED, TUNED)
    def test_a_model_that_is_not_there(self, client: openai.OpenAI, place: Place) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.responses.create(**{**request(place), "model": "nobody"})
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
