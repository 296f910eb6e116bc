"""Structured outputs by the official OpenAI client, and several chats at once."""

from __future__ import annotations

import asyncio

import openai
import pytest

from .kit import (
    CHATS,
    EMBEDDED,
    ENDS,
    FRANCE,
    GREEDY,
    TEXT,
    Capital,
    Place,
    at,
    chat,
    joined,
)

pytestmark = pytest.mark.e2e


class TestStructure:
    @at(*CHATS)
    def test_a_pydantic_model(self, client: openai.OpenAI, place: Place) -> None:
        answer = client.chat.completions.parse(
            model=place.model, messages=FRANCE, response_format=Capital, max_tokens=60, **GREEDY
        )
        assert isinstance(answer.choices[0].message.parsed, Capital)
        assert answer.choices[0].finish_reason == "stop"

    @at(*CHATS)
    def test_a_pydantic_model_by_the_stream_helper(
        self, client: openai.OpenAI, place: Place
    ) -> None:
        with client.chat.completions.stream(
            model=place.model, messages=FRANCE, response_format=Capital, max_tokens=60, **GREEDY
        ) as stream:
            events = list(stream)
        assert any(e.type == "content.delta" and isinstance(e.parsed, dict) for e in events)
        (done,) = (event for event in events if event.type == "content.done")
        assert isinstance(done.parsed, Capital)

    @at(*CHATS)
    def test_any_object(self, client: openai.OpenAI, place: Place) -> None:
        """What there is of it when the tokens end is the beginning of an object."""
        asked = {"response_format": {"type": "json_object"}, "max_tokens": 24}
        text = chat(client, place, **asked).choices[0].message.content
        assert text.startswith("{")
        assert joined(list(chat(client, place, stream=True, **asked))).strip() == text.strip()

    @at(EMBEDDED)
    def test_an_answer_that_was_cut_is_not_parsed(
        self, client: openai.OpenAI, place: Place
    ) -> None:
        with pytest.raises(openai.LengthFinishReasonError):
            client.chat.completions.parse(
                model=place.model, messages=FRANCE, response_format=Capital, max_tokens=3, **GREEDY
            )


class TestAsync:
    @at(EMBEDDED, TEXT)
    async def test_several_at_once(self, client: openai.OpenAI, place: Place) -> None:
        async with openai.AsyncOpenAI(
            base_url=place.base, api_key=place.key, max_retries=0
        ) as asking:

            async def streamed() -> str:
                stream = await asking.chat.completions.create(
                    model=place.model, messages=FRANCE, stop=ENDS, stream=True, **GREEDY
                )
                return joined([chunk async for chunk in stream])

            async def helped() -> str | None:
                async with asking.chat.completions.stream(
                    model=place.model, messages=FRANCE, stop=ENDS, **GREEDY
                ) as stream:
                    return (await stream.get_final_completion()).choices[0].message.content

            texts = await asyncio.gather(streamed(), helped(), streamed())
            whole = await asking.chat.completions.create(
                model=place.model, messages=FRANCE, stop=ENDS, **GREEDY
            )
            assert set(texts) == {whole.choices[0].message.content}

    @at(EMBEDDED)
    async def test_parse(self, place: Place) -> None:
        async with openai.AsyncOpenAI(base_url=place.base, api_key=place.key) as asking:
            answer = await asking.chat.completions.parse(
                model=place.model, messages=FRANCE, response_format=Capital, max_tokens=60,
                **GREEDY,
            )  # fmt: skip
            assert isinstance(answer.choices[0].message.parsed, Capital)
