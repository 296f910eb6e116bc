"""What Anthropic's official client counts, lists and raises."""

from __future__ import annotations

from typing import Any

import anthropic
import pytest

from .kit import (
    ABOUT,
    EMBEDDED,
    EVERYWHERE,
    FRANCE,
    OPENAI,
    PARAMETERS,
    SECOND,
    TEXT,
    TUNED,
    VLLM,
    Place,
    a_message,
    at,
    idle,
    tokens_read,
)

pytestmark = pytest.mark.e2e
TOOLS: list[Any] = [{"name": "weather", "description": ABOUT, "input_schema": PARAMETERS}]


class TestCounting:
    @at(EMBEDDED, TEXT)
    def test_as_many_as_are_read(self, claude: anthropic.Anthropic, place: Place) -> None:
        message = claude.messages.create(**a_message(place, max_tokens=1))
        count = claude.messages.count_tokens(model=place.model, messages=FRANCE)
        assert count.input_tokens == tokens_read(message.usage)

    @at(*EVERYWHERE)
    def test_more_is_more(self, claude: anthropic.Anthropic, place: Place) -> None:
        """Also where nobody but the relay can count, which makes it an estimate."""
        asked: Any = {"model": place.model, "messages": FRANCE}
        plain = claude.messages.count_tokens(**asked)
        more = claude.messages.count_tokens(**asked, system="You are a pirate. " * 20, tools=TOOLS)
        assert more.input_tokens > plain.input_tokens + 40
        assert plain.input_tokens > 6


class TestModels:
    @at(OPENAI)
    def test_list_and_retrieve(self, claude: anthropic.Anthropic) -> None:
        models = list(claude.models.list())
        assert [model.id for model in models] == list(SECOND)
        assert {model.type for model in models} == {"model"}
        page = claude.models.list(limit=2, after_id=VLLM)
        assert [model.id for model in page.data] == [OPENAI, TUNED]
        assert page.has_more
        assert [model.id for model in claude.models.list(limit=1)] == [m.id for m in models]
        one = claude.models.retrieve(OPENAI)
        assert (one.id, one.display_name) == (OPENAI, OPENAI)
        assert one.created_at.year > 1970


class TestErrors:
    def test_a_wrong_key(self, places: dict[str, Place]) -> None:
        stranger = anthropic.Anthropic(
            base_url=places[OPENAI].url, api_key="sk-wrong", max_retries=0
        )
        with stranger, pytest.raises(anthropic.AuthenticationError) as caught:
            stranger.messages.create(**a_message(places[OPENAI]))
        assert caught.value.body["error"]["type"] == "authentication_error"

    @at(EMBEDDED)
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_model_that_is_not_there(
        self, claude: anthropic.Anthropic, place: Place, stream: bool
    ) -> None:
        with pytest.raises(anthropic.NotFoundError) as caught:
            claude.messages.create(**{**a_message(place), "model": "nobody"}, stream=stream)
        body: Any = caught.value.body
        assert (body["type"], body["error"]["type"]) == ("error", "not_found_error")
        assert "nobody" in body["error"]["message"]
        assert body["request_id"] == caught.value.response.headers["x-request-id"]

    @at(EMBEDDED)
    def test_requests_have_ids(self, claude: anthropic.Anthropic, place: Place) -> None:
        """The client takes them from the header `request-id`."""
        assert claude.messages.create(**a_message(place, max_tokens=1))._request_id
        with pytest.raises(anthropic.NotFoundError) as caught:
            claude.messages.create(**{**a_message(place), "model": "nobody"})
        assert caught.value.request_id

    @at(EMBEDDED, TUNED)
    @pytest.mark.parametrize(
        ("wrong", "path"),
        [
            ({"max_tokens": 0}, "max_tokens"),
            ({"extra": {"temperature": 2}}, "temperature"),
            ({"messages": []}, "messages"),
            ({"messages": [{"role": "root", "content": "a"}]}, "messages[0].role"),
            ({"tools": [{"name": "a"}]}, "tools[0].input_schema"),
            ({"tool_choice": {"type": "must"}}, "tool_choice.type"),
            ({"stop_sequences": [""]}, "stop_sequences[0]"),
        ],
    )
    def test_a_wrong_field(
        self, claude: anthropic.Anthropic, place: Place, wrong: dict[str, Any], path: str
    ) -> None:
        with pytest.raises(anthropic.BadRequestError) as caught:
            claude.messages.create(**a_message(place, **wrong))
        body: Any = caught.value.body
        assert (body["type"], body["error"]["type"]) == ("error", "invalid_request_error")
        assert path in body["error"]["message"]

    @at(EMBEDDED, TUNED)
    def test_a_conversation_that_does_not_fit(
        self, claude: anthropic.Anthropic, place: Place
    ) -> None:
        """In the words by which Anthropic's own programs know it."""
        long: Any = [{"role": "user", "content": "word " * 9000}]
        with pytest.raises(anthropic.BadRequestError, match="prompt is too long"):
            claude.messages.create(**a_message(place, messages=long))

    @at(EMBEDDED)
    def test_patience(self, claude: anthropic.Anthropic, place: Place) -> None:
        endless = a_message(place, max_tokens=1500, extra={"ignore_eos": True})
        with pytest.raises(anthropic.APITimeoutError):
            claude.with_options(timeout=0.3).messages.create(**endless)
        idle(place)
