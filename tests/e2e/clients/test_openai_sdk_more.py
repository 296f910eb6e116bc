"""Completions, embeddings and models by the official OpenAI client."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

import openai
import pytest

from .kit import (
    CHAINED,
    CHATS,
    EMBEDDED,
    EVERYWHERE,
    GREEDY,
    OPENAI,
    SECOND,
    TEXT,
    UPSTREAM_NAMES,
    VLLM,
    Place,
    at,
)

pytestmark = pytest.mark.e2e
FRANCE = "The capital of France is"
COUNT = "One, two, three, four,"


def complete(client: openai.OpenAI, place: Place, **more: Any) -> Any:
    request = {"prompt": FRANCE, "max_tokens": 3, **GREEDY, **more}
    return client.completions.create(model=place.model, **request)


class TestCompletions:
    @at(*EVERYWHERE)
    def test_whole(self, client: openai.OpenAI, place: Place) -> None:
        answer = complete(client, place)
        (choice,) = answer.choices
        assert (answer.object, answer.model) == ("text_completion", place.model)
        assert choice.text.startswith(" Paris")
        assert choice.finish_reason == "length"
        usage = answer.usage
        assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (5, 3, 8)

    @at(VLLM, TEXT)
    def test_what_the_server_says_without_a_relay(
        self, client: openai.OpenAI, place: Place, direct: openai.OpenAI
    ) -> None:
        upstream = Place("", "", UPSTREAM_NAMES[place.model])
        asked = {"max_tokens": 12, "extra_body": {"cache_prompt": False}}
        mine, its = (complete(c, p, **asked) for c, p in ((client, place), (direct, upstream)))
        changing = {"id", "created", "timings", "model"}
        assert mine.model_dump(exclude=changing) == its.model_dump(exclude=changing)

    @at(EMBEDDED, OPENAI, CHAINED)
    def test_stream_of_the_same_text(self, client: openai.OpenAI, place: Place) -> None:
        whole = complete(client, place, max_tokens=8).choices[0]
        chunks = list(
            complete(client, place, max_tokens=8, stream=True,
                     stream_options={"include_usage": True})
        )  # fmt: skip
        choices = [choice for chunk in chunks for choice in chunk.choices]
        assert "".join(choice.text for choice in choices) == whole.text
        assert [c.finish_reason for c in choices if c.finish_reason] == [whole.finish_reason]
        (usage,) = (chunk.usage for chunk in chunks if chunk.usage)
        assert (usage.prompt_tokens, usage.completion_tokens) == (5, 8)

    @at(EMBEDDED, OPENAI)
    def test_stream_of_several_prompts(self, client: openai.OpenAI, place: Place) -> None:
        """llama.cpp's begins with an event that is null."""
        chunks = list(complete(client, place, prompt=[FRANCE, COUNT], stream=True))
        assert {choice.index for chunk in chunks for choice in chunk.choices} == {0, 1}

    @at(EMBEDDED)
    def test_usage_of_several(self, client: openai.OpenAI, place: Place) -> None:
        """Of all choices; llama.cpp tells that of each."""
        one, other = (complete(client, place, prompt=p).usage for p in (FRANCE, COUNT))
        asked = {"prompt": [FRANCE, COUNT], "n": 2}
        whole = complete(client, place, **asked).usage
        chunks = list(
            complete(client, place, **asked, stream=True, stream_options={"include_usage": True})
        )
        (told,) = (chunk.usage for chunk in chunks if chunk.usage)
        assert chunks[-1].choices == []
        for usage in (whole, told):
            assert usage.prompt_tokens == one.prompt_tokens + other.prompt_tokens
            assert usage.completion_tokens == 12
            assert usage.total_tokens == usage.prompt_tokens + 12

    @at(OPENAI)
    def test_several_prompts(self, client: openai.OpenAI, place: Place) -> None:
        answer = complete(client, place, prompt=[FRANCE, COUNT])
        assert [choice.index for choice in answer.choices] == [0, 1]
        texts = [choice.text for choice in answer.choices]
        assert texts == [
            complete(client, place, prompt=prompt).choices[0].text for prompt in (FRANCE, COUNT)
        ]

    @at(EMBEDDED, OPENAI)
    def test_token_ids(self, client: openai.OpenAI, place: Place) -> None:
        answer = complete(client, place, prompt=[504, 3575, 282])
        assert answer.usage.prompt_tokens == 3
        assert answer.choices[0].text

    @at(*CHATS)
    def test_stop(self, client: openai.OpenAI, place: Place) -> None:
        (choice,) = complete(client, place, stop=[".", "\n"], max_tokens=12).choices
        assert (choice.text, choice.finish_reason) == (" Paris", "stop")

    @at(EMBEDDED)
    @pytest.mark.parametrize("most", [0, 2])
    def test_logprobs(self, client: openai.OpenAI, place: Place, most: int) -> None:
        (choice,) = complete(client, place, logprobs=most).choices
        told = choice.logprobs
        assert "".join(told.tokens) == choice.text
        assert told.tokens[0] == " Paris"
        assert all(value <= 0 for value in told.token_logprobs)
        assert [len(tops) for tops in told.top_logprobs] == [most] * 3
        assert told.text_offset == [0, 6, 7]
        chunks = list(complete(client, place, logprobs=most, stream=True))
        pieces = [c.logprobs for chunk in chunks for c in chunk.choices if c.logprobs]
        assert [token for piece in pieces for token in piece.tokens] == told.tokens
        assert [offset for piece in pieces for offset in piece.text_offset] == told.text_offset

    @at(OPENAI)
    def test_logprobs_of_llama_cpp_as_they_are(self, client: openai.OpenAI, place: Place) -> None:
        """It tells them as chats do; a server behind `openai_chat:` is passed on."""
        told = complete(client, place, logprobs=2).choices[0].logprobs.model_dump()["content"]
        assert told[0]["token"] == " Paris"
        assert all(len(one["top_logprobs"]) == 2 for one in told)

    @at(EMBEDDED)
    def test_what_is_passed_over_is_reported(self, client: openai.OpenAI, place: Place) -> None:
        asked: Any = {"model": place.model, "prompt": FRANCE, "max_tokens": 1, "best_of": 2}
        asked |= {"echo": True, "suffix": "."}
        answer = client.completions.with_raw_response.create(**asked)
        assert answer.headers["x-h2o-dropped-params"] == "echo, suffix, best_of"
        assert not answer.parse().choices[0].text.startswith(FRANCE)
        with pytest.raises(openai.BadRequestError) as caught:
            client.completions.create(**asked, extra_headers={"x-h2o-strict": "true"})
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "echo")

    @at(OPENAI)
    async def test_async(self, client: openai.OpenAI, place: Place) -> None:
        async with openai.AsyncOpenAI(base_url=place.base, api_key=place.key) as asking:
            stream = await asking.completions.create(
                model=place.model, prompt=FRANCE, max_tokens=3, stream=True, **GREEDY
            )
            text = "".join([choice.text async for chunk in stream for choice in chunk.choices])
        assert text == complete(client, place).choices[0].text


class TestEmbeddings:
    TEXTS = ("A cat sat there.", "Stocks fell.", "The king sleeps.")

    @at(EMBEDDED, OPENAI)
    def test_floats_and_base64_say_the_same(self, client: openai.OpenAI, place: Place) -> None:
        """The client itself asks for base64 where nothing is said."""
        asked: Any = {"model": place.model, "input": list(self.TEXTS)}
        floats = client.embeddings.create(**asked, encoding_format="float")
        packed = client.embeddings.create(**asked, encoding_format="base64")
        plain = client.embeddings.create(**asked)
        assert floats.object == "list"
        assert [one.index for one in floats.data] == [0, 1, 2]
        assert floats.usage.prompt_tokens == floats.usage.total_tokens > len(self.TEXTS)
        for one, raw, same in zip(floats.data, packed.data, plain.data, strict=True):
            assert one.object == "embedding"
            data = base64.b64decode(str(raw.embedding))
            assert len(one.embedding) == len(data) // 4 == 576
            assert list(struct.unpack("<576f", data)) == pytest.approx(one.embedding, abs=2e-3)
            assert same.embedding == pytest.approx(one.embedding, abs=2e-3)

    @at(OPENAI)
    async def test_async(self, place: Place) -> None:
        async with openai.AsyncOpenAI(base_url=place.base, api_key=place.key) as asking:
            made = await asyncio.gather(
                *(asking.embeddings.create(model=place.model, input=t) for t in self.TEXTS)
            )
        assert len({tuple(one.data[0].embedding) for one in made}) == 3

    @at(EMBEDDED, OPENAI)
    @pytest.mark.parametrize(
        ("wrong", "param"),
        [
            ({"input": []}, "input"),
            ({"input": 5}, "input"),
            ({"input": "a", "dimensions": 0}, "dimensions"),
            ({"input": "a", "encoding_format": 5}, "encoding_format"),
        ],
    )
    def test_wrong_fields(
        self, client: openai.OpenAI, place: Place, wrong: dict[str, Any], param: str
    ) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            client.embeddings.create(model=place.model, **wrong)
        assert caught.value.param == param


class TestModels:
    @at(EMBEDDED)
    def test_the_embedded_one(self, client: openai.OpenAI) -> None:
        assert [model.id for model in client.models.list()] == [EMBEDDED]

    @at(OPENAI)
    def test_list(self, client: openai.OpenAI) -> None:
        models = list(client.models.list())
        assert [model.id for model in models] == list(SECOND)
        assert {model.object for model in models} == {"model"}
        assert all(model.owned_by for model in models)

    @at(*EVERYWHERE)
    def test_retrieve_ids_with_slashes(self, client: openai.OpenAI, place: Place) -> None:
        """The client writes the slash as %2F."""
        model = client.models.retrieve(place.model)
        assert (model.id, model.object) == (place.model, "model")
        assert model.created > 1_700_000_000

    @at(EMBEDDED, OPENAI)
    def test_one_that_is_not_there(self, client: openai.OpenAI, place: Place) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.models.retrieve("nobody/knows-it")
        assert caught.value.code == "model_not_found"
        assert caught.value.param == "model"
        assert place.model in str(caught.value)

    @at(OPENAI)
    async def test_async(self, place: Place) -> None:
        async with openai.AsyncOpenAI(base_url=place.base, api_key=place.key) as asking:
            assert [model.id async for model in asking.models.list()][1] == OPENAI
            assert (await asking.models.retrieve(OPENAI)).id == OPENAI
