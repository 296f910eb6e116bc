"""Anthropic's official client against `h2o run`: its Messages over servers that speak OpenAI's API,
one that only completes texts among them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest

from .kit import (
    ABOUT,
    CALLS_TOOLS,
    EMBEDDED,
    EVERYWHERE,
    FRANCE,
    PARAMETERS,
    TEXT,
    TUNED,
    Capital,
    Place,
    a_message,
    at,
    idle,
    is_weather,
    tokens_read,
)

pytestmark = pytest.mark.e2e
ANSWER = "The capital of France is Paris."
TOOLS: list[Any] = [{"name": "weather", "description": ABOUT, "input_schema": PARAMETERS}]
NAMED: Any = {"type": "tool", "name": "weather"}


class TestMessages:
    @at(*EVERYWHERE)
    def test_whole(self, claude: anthropic.Anthropic, place: Place) -> None:
        message = claude.messages.create(**a_message(place))
        assert (message.type, message.role) == ("message", "assistant")
        assert (message.model, bool(message.id)) == (place.model, True)
        (block,) = message.content
        assert block.type == "text"
        assert message.stop_reason in ("end_turn", "max_tokens")
        assert message.stop_sequence is None
        assert 0 < message.usage.output_tokens <= 16
        if place.model != TEXT:  # whose prompt is another one
            assert (block.text, message.stop_reason) == (ANSWER, "end_turn")
            assert (tokens_read(message.usage), message.usage.output_tokens) == (27, 8)

    @at(*EVERYWHERE)
    def test_stream_of_the_same_text(self, claude: anthropic.Anthropic, place: Place) -> None:
        """By the helper, which adds events up and fails where their order is wrong."""
        whole = claude.messages.create(**a_message(place))
        with claude.messages.stream(**a_message(place)) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        assert [block.text for block in final.content] == [text]
        assert text == whole.content[0].text
        assert (final.stop_reason, final.role) == (whole.stop_reason, "assistant")
        assert tokens_read(final.usage) == tokens_read(whole.usage)
        assert final.usage.output_tokens == whole.usage.output_tokens

    @at(EMBEDDED, TEXT)
    def test_events(self, claude: anthropic.Anthropic, place: Place) -> None:
        """Their grammar, as Anthropic's guide to streaming has it."""
        events = list(claude.messages.create(**a_message(place), stream=True))
        kinds = [event.type for event in events if event.type != "ping"]
        assert kinds[:2] == ["message_start", "content_block_start"]
        assert set(kinds[2:-3]) == {"content_block_delta"}
        assert len(kinds[2:-3]) > 3
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        start: Any = events[0]
        assert start.message.content == []
        assert start.message.stop_reason is None

    @at(EMBEDDED, TUNED)
    def test_limit(self, claude: anthropic.Anthropic, place: Place) -> None:
        message = claude.messages.create(**a_message(place, max_tokens=3))
        assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)

    @at(EMBEDDED, TUNED)
    def test_stop_sequences(self, claude: anthropic.Anthropic, place: Place) -> None:
        message = claude.messages.create(**a_message(place, stop_sequences=[" France", "London"]))
        assert [block.text for block in message.content] == ["The capital of"]
        assert message.stop_reason in ("end_turn", "stop_sequence")

    @at(EMBEDDED, TUNED)
    @pytest.mark.parametrize(
        "system", ["You are a pirate.", [{"type": "text", "text": "You are a pirate."}]],
        ids=["text", "blocks"],
    )  # fmt: skip
    def test_system(self, claude: anthropic.Anthropic, place: Place, system: Any) -> None:
        """It takes the place of the model's own: the prompt has other tokens."""
        asked = a_message(place, max_tokens=3)
        plain, told = (
            claude.messages.create(**one) for one in (asked, {**asked, "system": system})
        )
        assert tokens_read(told.usage) < tokens_read(plain.usage)

    @at(EMBEDDED, TUNED)
    def test_an_answer_that_is_begun(self, claude: anthropic.Anthropic, place: Place) -> None:
        begun = {"role": "assistant", "content": "The capital of France is"}
        asked = a_message(place, messages=[*FRANCE, begun])
        with claude.messages.stream(**asked) as stream:
            text = "".join(stream.text_stream)
        assert text.startswith(" Paris")
        if place.model == EMBEDDED:  # a whole answer of llama.cpp's own repeats the beginning
            assert claude.messages.create(**asked).content[0].text == text

    @at(EMBEDDED, TEXT)
    async def test_async(self, claude: anthropic.Anthropic, place: Place) -> None:
        whole = claude.messages.create(**a_message(place)).content[0].text
        async with anthropic.AsyncAnthropic(
            base_url=place.url, auth_token=place.key, max_retries=0
        ) as asking:  # its key is in `Authorization` now

            async def streamed() -> str:
                async with asking.messages.stream(**a_message(place)) as stream:
                    return "".join([text async for text in stream.text_stream])

            message, *texts = await asyncio.gather(
                asking.messages.create(**a_message(place)), streamed(), streamed()
            )
        assert {message.content[0].text, *texts} == {whole}

    @at(EMBEDDED, TUNED)
    def test_parse(self, claude: anthropic.Anthropic, place: Place) -> None:
        message = claude.messages.parse(**a_message(place, max_tokens=60), output_format=Capital)
        assert isinstance(message.parsed_output, Capital)

    @at(EMBEDDED, TEXT)
    def test_a_stream_that_is_left(self, claude: anthropic.Anthropic, place: Place) -> None:
        endless = a_message(place, max_tokens=1500, extra={"ignore_eos": True})
        with claude.messages.stream(**endless) as stream:
            for _, text in zip(range(3), stream.text_stream, strict=False):
                assert text
        idle(place)


class TestTools:
    @at(EMBEDDED)
    @pytest.mark.parametrize("choice", [NAMED, {"type": "any"}], ids=["named", "any"])
    def test_whole(self, claude: anthropic.Anthropic, place: Place, choice: Any) -> None:
        message = claude.messages.create(
            **a_message(place, max_tokens=60), tools=TOOLS, tool_choice=choice
        )
        (block,) = message.content
        assert (block.type, block.name) == ("tool_use", "weather")
        assert block.id
        assert is_weather(block.input)
        assert message.stop_reason == "tool_use"

    @at(*CALLS_TOOLS)
    def test_input_comes_in_pieces(self, claude: anthropic.Anthropic, place: Place) -> None:
        with claude.messages.stream(
            **a_message(place, max_tokens=60), tools=TOOLS, tool_choice=NAMED
        ) as stream:
            events = list(stream)
            final = stream.get_final_message()
        pieces = [event.partial_json for event in events if event.type == "input_json"]
        assert len(pieces) > 3
        (block,) = final.content
        assert block.type == "tool_use"
        assert is_weather(block.input)
        assert is_weather("".join(pieces))
        assert final.stop_reason == "tool_use"

    @at(EMBEDDED)
    @pytest.mark.parametrize("more", [{"thread": False}, {}], ids=["history", "thread"])
    def test_runner(self, claude: anthropic.Anthropic, place: Place, more: Any) -> None:
        """The client's own loop calls the function, and sends back what it gives. It would leave
        the conversation with the server (`thread`), and sends it whole where it is told to.
        """
        asked: list[dict[str, str]] = []

        def weather(city: str, unit: str) -> str:
            asked.append({"city": city, "unit": unit})
            return "12 degrees"

        tool = anthropic.beta_tool(weather, description=ABOUT, input_schema=PARAMETERS)
        runner = claude.beta.messages.tool_runner(
            **a_message(place, max_tokens=60), tools=[tool], tool_choice=NAMED, max_iterations=2,
            **more,
        )  # fmt: skip
        messages = list(runner)
        assert [message.stop_reason for message in messages] == ["tool_use"] * 2
        assert is_weather(asked[0])
        assert tokens_read(messages[1].usage) > tokens_read(messages[0].usage) + 10

    @at(EMBEDDED, TUNED, TEXT)
    def test_results_are_read(self, claude: anthropic.Anthropic, place: Place) -> None:
        use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}
        result = {
            "type": "tool_result", "tool_use_id": "toolu_1",
            "content": [{"type": "text", "text": "12 degrees"}],
        }  # fmt: skip
        talk = [
            *FRANCE,
            {"role": "assistant", "content": [{"type": "text", "text": "I look."}, use]},
            {"role": "user", "content": [result, {"type": "text", "text": "Well?"}]},
        ]
        asked = a_message(place, max_tokens=3, tools=TOOLS)
        plain, message = (
            claude.messages.create(**one) for one in (asked, {**asked, "messages": talk})
        )
        assert message.content[0].type == "text"
        assert tokens_read(message.usage) > tokens_read(plain.usage) + 20
