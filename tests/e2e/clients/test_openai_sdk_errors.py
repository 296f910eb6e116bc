"""What the official OpenAI client raises, and what becomes of an answer that it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from .kit import (
    CHAINED,
    EMBEDDED,
    FRANCE,
    GREEDY,
    LONG,
    OPENAI,
    TEXT,
    VLLM,
    Place,
    at,
    idle,
)

pytestmark = pytest.mark.e2e
SOON = 15.0  # seconds
ENDLESS: dict[str, Any] = {
    "messages": [{"role": "user", "content": LONG}],
    "max_tokens": 1500,
    "extra_body": {"ignore_eos": True},
}
PIXEL = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # noqa: E501
WHOLE_ERROR = {"message", "type", "param", "code"}


def ask(client: openai.OpenAI, place: Place, **more: Any) -> Any:
    request = {"model": place.model, "messages": FRANCE, "max_tokens": 8, **GREEDY, **more}
    return client.chat.completions.create(**request)


@pytest.fixture
def stranger(places: dict[str, Place]) -> Iterator[openai.OpenAI]:
    """A client whose key is wrong."""
    base = places[OPENAI].base
    with openai.OpenAI(base_url=base, api_key="sk-wrong", max_retries=0) as made:
        yield made


class TestErrors:
    def test_a_wrong_key(self, stranger: openai.OpenAI) -> None:
        with pytest.raises(openai.AuthenticationError) as caught:
            stranger.chat.completions.create(model=OPENAI, messages=FRANCE)
        assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")
        assert caught.value.type == "invalid_request_error"
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        assert "sk-wrong" not in str(caught.value)

    @at(EMBEDDED, OPENAI)
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_model_that_is_not_there(
        self, client: openai.OpenAI, place: Place, stream: bool
    ) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            ask(client, place, model="nobody/knows-it", stream=stream)
        error = caught.value
        assert (error.code, error.param) == ("model_not_found", "model")
        assert error.type == "invalid_request_error"
        assert error.body.keys() == WHOLE_ERROR
        assert error.request_id == error.response.headers["x-request-id"]

    @at(OPENAI)
    @pytest.mark.parametrize(
        ("wrong", "param", "code"),
        [
            ({"temperature": "hot"}, "temperature", "invalid_type"),
            ({"temperature": 3}, "temperature", "above_max_value"),
            ({"n": 0}, "n", "below_min_value"),
            ({"max_tokens": 1.5}, "max_tokens", "invalid_type"),
            ({"messages": []}, "messages", "empty_array"),
            ({"messages": [{"content": "a"}]}, "messages[0].role", "missing_required_parameter"),
            ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content",
             "invalid_type"),
            ({"stop": [""]}, "stop[0]", None),
            ({"tools": [5]}, "tools[0]", "invalid_type"),
        ],
    )  # fmt: skip
    def test_a_wrong_field(
        self, client: openai.OpenAI, place: Place, wrong: dict[str, Any], param: str,
        code: str | None,
    ) -> None:  # fmt: skip
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, place, **wrong)
        assert caught.value.param == param
        assert code in (None, caught.value.code)
        assert caught.value.type == "invalid_request_error"
        assert caught.value.body.keys() == WHOLE_ERROR

    @at(EMBEDDED, VLLM, CHAINED)
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_prompt_that_does_not_fit(
        self, client: openai.OpenAI, place: Place, stream: bool
    ) -> None:
        long: Any = [{"role": "user", "content": "word " * 9000}]
        with pytest.raises(openai.BadRequestError) as caught:
            ask(client, place, messages=long, stream=stream)
        assert caught.value.code == "context_length_exceeded"
        assert "context" in str(caught.value).lower()

    @at(EMBEDDED)
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_picture_that_the_model_cannot_see(
        self, client: openai.OpenAI, place: Place, stream: bool
    ) -> None:
        parts = [{"type": "text", "text": "What is it?"},
                 {"type": "image_url", "image_url": {"url": PIXEL}}]  # fmt: skip
        with pytest.raises(openai.BadRequestError, match="image input is not supported") as caught:
            ask(client, place, messages=[{"role": "user", "content": parts}], stream=stream)
        assert (caught.value.code, caught.value.param) == ("invalid_value", "messages")

    @at(EMBEDDED)
    def test_paths_that_nobody_has(self, client: openai.OpenAI, place: Place) -> None:
        for call in (
            lambda: client.moderations.create(model=place.model, input="x"),
            lambda: client.files.list(),
            lambda: client.models.delete(place.model),
        ):
            with pytest.raises(openai.APIStatusError) as caught:
                call()
            assert caught.value.status_code in (404, 405)
            assert caught.value.code in ("unknown_url", "method_not_allowed")
            assert caught.value.body.keys() == WHOLE_ERROR


class TestLeaving:
    @at(EMBEDDED, TEXT)
    def test_a_stream_that_is_closed(self, client: openai.OpenAI, place: Place) -> None:
        with ask(client, place, stream=True, **ENDLESS) as stream:
            for _, chunk in zip(range(3), stream, strict=False):
                assert chunk.choices
        idle(place)
        assert ask(client, place).choices[0].message.content

    @at(EMBEDDED, OPENAI)
    def test_a_whole_answer_that_takes_too_long(self, client: openai.OpenAI, place: Place) -> None:
        impatient = client.with_options(timeout=0.3)
        with pytest.raises(openai.APITimeoutError):
            ask(impatient, place, **ENDLESS)
        idle(place)

    @at(EMBEDDED, OPENAI)
    async def test_a_task_that_is_cancelled(self, place: Place) -> None:
        begun = asyncio.Event()
        async with openai.AsyncOpenAI(
            base_url=place.base, api_key=place.key, max_retries=0
        ) as asking:

            async def listen() -> None:
                stream = await asking.chat.completions.create(
                    model=place.model, stream=True, **ENDLESS
                )
                async for _ in stream:
                    begun.set()

            task = asyncio.create_task(listen())
            await asyncio.wait_for(begun.wait(), SOON)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.to_thread(idle, place)
